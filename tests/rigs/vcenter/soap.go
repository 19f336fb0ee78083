// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"reflect"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

const sessionCookie = "vmware_soap_session"

// rig is the HTTP layer in front of the simulator.
type rig struct {
	options
	next http.Handler

	// world is held while the inventory is read or changed, because the simulator has races.
	world sync.Mutex

	mu       sync.Mutex // guards what follows
	sessions map[string]bool
	faults   []*fault
	calls    map[string]int
	journal  []string
	pages    map[string][]string // token -> objects not yet sent
	tokens   int
	doors    map[string]bool // VM references whose guest has locked the CD door
	answers  map[string]chan string
	macs     int
	units    map[string]int      // host -> units of work it does now
	denied   []denied            // privileges that the account lacks
	filters  map[string]*watched // session, collector and name of a property filter
	deaf     map[string]bool     // VM references whose guest takes no notice of a request to shut down
	leases   map[string]*lease   // imports under way

	systems   map[string]*guestSystem           // VM name -> what runs in it
	transfers map[string]*transfer              // token -> file
	programs  map[int64]*types.GuestProcessInfo // that were started in guests

	apiSessions map[string]bool // of the Automation API
	restLogin   sync.Once
	restToken   string // of the rig's own session at the simulator's /rest
}

func newRig(o options) *rig {
	return &rig{
		options: o, sessions: map[string]bool{}, calls: map[string]int{}, pages: map[string][]string{},
		doors: map[string]bool{}, answers: map[string]chan string{}, units: map[string]int{}, filters: map[string]*watched{},
		deaf: map[string]bool{}, leases: map[string]*lease{}, apiSessions: map[string]bool{},
		systems: map[string]*guestSystem{}, transfers: map[string]*transfer{}, programs: map[int64]*types.GuestProcessInfo{},
	}
}

// call is one SOAP request.
type call struct {
	name    string
	body    []byte
	session string // key of a valid session or empty
	fault   *fault // a fault that concerns the task this call starts
	rig     *rig
	queue   func() func() // waits for the task's turn; the function returned ends it
}

func typeFunc(name string) (reflect.Type, bool) {
	f := types.TypeFunc()
	if t, ok := f(name); ok {
		return t, ok
	}
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return f(name[i+1:])
	}
	return nil, false
}

// request decodes the body; its Body is a pointer to the request's type.
func (c *call) request() (interface{}, error) {
	method, err := simulator.UnmarshalBody(typeFunc, c.body)
	if err != nil {
		return nil, err
	}
	return method.Body, nil
}

var methodName = regexp.MustCompile(`<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)`)

func (r *rig) record(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[name]++
	if len(r.journal) < 100000 {
		r.journal = append(r.journal, name)
	}
}

// session returns the key of the caller's session if it is valid.
func (r *rig) session(req *http.Request) string {
	cookie, err := req.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.Trim(cookie.Value, `"`)
	if r.sessions[key] {
		return key
	}
	return ""
}

func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			log.Printf("panic: %v\n%s", p, debug.Stack())
			writeFault(w, fmt.Sprintf("the rig panicked: %v", p), &types.RuntimeFault{})
		}
	}()
	if r.delay > 0 {
		time.Sleep(r.delay)
	}
	switch {
	case strings.HasPrefix(req.URL.Path, "/folder"):
		r.serveDatastore(w, req)
	case strings.HasPrefix(req.URL.Path, "/sdk") && req.Method == http.MethodPost:
		r.serveSOAP(w, req)
	case strings.HasPrefix(req.URL.Path, "/nfc/") && !r.bare:
		r.serveNFC(w, req)
	case req.URL.Path == "/guestFile" && !r.bare:
		r.serveGuestFile(w, req)
	case strings.HasPrefix(req.URL.Path, "/api/") && !r.bare && !r.esx:
		r.serveAPI(w, req)
	default:
		name := req.Method + " " + req.URL.Path
		r.record(name)
		if f := r.matchFault(name); f != nil && r.injectBefore(w, req, f) {
			return
		}
		r.next.ServeHTTP(w, req)
	}
}

// withoutSession has the calls that a real vCenter answers before the login.
var withoutSession = map[string]bool{
	"RetrieveServiceContent": true, "Login": true, "LoginByToken": true, "CloneSession": true, "RetrieveInternalContent": true,
}

type override func(*call) (interface{}, types.BaseMethodFault)

func (r *rig) serveSOAP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	match := methodName.FindSubmatch(body)
	if match == nil {
		http.Error(w, "no SOAP method", http.StatusBadRequest)
		return
	}
	c := &call{name: string(match[1]), body: body, rig: r}
	r.record(c.name)

	f := r.matchFault(c.name)
	if f != nil && f.Kind == "task" {
		c.fault, f = f, nil
	}
	if f != nil && r.injectBefore(w, req, f) {
		return
	}

	out := newRecorder()
	r.answer(out, req, c)
	if f != nil && r.injectAfter(w, f, out) {
		return
	}
	out.send(w)
}

func (r *rig) answer(w *recorder, req *http.Request, c *call) {
	c.session = r.session(req)
	if r.bare {
		r.pass(w, req, c)
		return
	}
	// The simulator answers some reads without a login, and would do so for a session that has been revoked.
	if c.session == "" && !withoutSession[c.name] && !bytes.Contains(c.body, []byte(">ServiceInstance<")) {
		writeFault(w, "The session is not authenticated.", newFault("NotAuthenticated"))
		return
	}
	name := c.name
	if r.free && (strings.HasSuffix(name, "_Task") || name == "MakeDirectory" || name == "ShutdownGuest") {
		writeFault(w, "Current license or ESXi version prohibits execution of the requested operation.", &types.RestrictedVersion{})
		return
	}
	if handler, ok := overrides[name]; ok {
		res, fault := func() (interface{}, types.BaseMethodFault) {
			r.world.Lock()
			defer r.world.Unlock()
			return handler(c)
		}()
		if fault != nil {
			writeFault(w, fmt.Sprintf("%T", fault), fault)
			return
		}
		writeResponse(w, name+"Response", res)
		return
	}
	if name == "WaitForUpdatesEx" && r.ownUpdates(c) {
		r.waitForUpdates(w, req, c)
		return
	}
	if fault := r.beforeImport(c); fault != nil {
		writeFault(w, fmt.Sprintf("%T", fault), fault)
		return
	}
	var keys []string
	if name == "RetrievePropertiesEx" {
		if bytes.Contains(c.body, []byte(">network<")) {
			r.world.Lock()
			syncNetworks()
			r.world.Unlock()
		}
		c.body, keys = askAll(c.body)
	}
	r.pass(w, req, c)
	r.afterImport(w, c)
	switch c.name {
	case "CreateFilter":
		r.filterMade(w, c)
	case "DestroyPropertyFilter", "DestroyPropertyCollector":
		r.filterGone(c)
	case "RetrievePropertiesEx":
		if keys != nil {
			text := answerKeys(w.body.String(), keys)
			w.body.Reset()
			w.body.WriteString(text)
		}
		r.page(w, c)
	case "Login", "LoginByToken", "CloneSession":
		for _, cookie := range (&http.Response{Header: w.Header()}).Cookies() {
			if cookie.Name == sessionCookie {
				r.mu.Lock()
				r.sessions[cookie.Value] = true
				r.mu.Unlock()
			}
		}
	case "Logout":
		r.revoke(c.session)
	}
}

// pass hands the call to the simulator. Only waiting calls run beside others.
func (r *rig) pass(w *recorder, req *http.Request, c *call) {
	defer func() {
		if p := recover(); p != nil {
			if c.name == "Fetch" { // an unset property of the top level
				w.reset()
				writeResponse(w, "FetchResponse", nil)
				return
			}
			panic(p)
		}
	}()
	if !strings.HasPrefix(c.name, "WaitForUpdates") {
		r.world.Lock()
		defer r.world.Unlock()
	}
	if c.session == "" && !r.bare {
		req.Header.Del("Cookie") // the simulator would accept a revoked session
	}
	req.Body = io.NopCloser(bytes.NewReader(c.body))
	r.next.ServeHTTP(w, req)
}

func (r *rig) revoke(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, key)
}

// recorder keeps an answer until it is decided whether and how it is sent.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}, status: http.StatusOK} }

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }
func (w *recorder) reset()                      { w.status = http.StatusOK; w.body.Reset() }

func (w *recorder) send(out http.ResponseWriter) {
	for k, v := range w.header {
		out.Header()[k] = v
	}
	out.Header().Set("Content-Length", fmt.Sprint(w.body.Len()))
	if out.Header().Get("Content-Type") == "" {
		out.Header().Set("Content-Type", `text/xml; charset="utf-8"`)
	}
	out.WriteHeader(w.status)
	_, _ = out.Write(w.body.Bytes())
}

const envelopeStart = xml.Header + `<soapenv:Envelope xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/" ` +
	`xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" ` +
	`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`
const envelopeEnd = `</soapenv:Body></soapenv:Envelope>`

// writeResponse sends res (nil for an empty answer) as the element name.
func writeResponse(w http.ResponseWriter, name string, res interface{}) {
	var out bytes.Buffer
	out.WriteString(envelopeStart)
	if res == nil {
		fmt.Fprintf(&out, `<%s xmlns="urn:vim25"></%s>`, name, name)
	} else {
		e := xml.NewEncoder(&out)
		start := xml.StartElement{Name: xml.Name{Space: "urn:vim25", Local: name}}
		if err := e.EncodeElement(res, start); err != nil {
			log.Printf("%s: %s", name, err)
		}
		_ = e.Flush()
	}
	out.WriteString(envelopeEnd)
	_, _ = w.Write(out.Bytes())
}

type faultDetail struct{ fault types.AnyType }

// MarshalXML names the element after the fault, as clients expect.
func (d *faultDetail) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	kind := reflect.TypeOf(d.fault).Elem().Name()
	start.Name.Local = kind + "Fault"
	start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"},
		xml.Attr{Name: xml.Name{Local: "xsi:type"}, Value: kind})
	return e.EncodeElement(d.fault, start)
}

// writeFault sends a SOAP fault.
func writeFault(w http.ResponseWriter, message string, fault types.BaseMethodFault) {
	w.WriteHeader(http.StatusInternalServerError)
	body := struct {
		XMLName xml.Name `xml:"soapenv:Fault"`
		Code    string   `xml:"faultcode"`
		String  string   `xml:"faultstring"`
		Detail  struct {
			Fault *faultDetail
		} `xml:"detail"`
	}{Code: "ServerFaultCode", String: message}
	body.Detail.Fault = &faultDetail{fault}
	var out bytes.Buffer
	out.WriteString(envelopeStart)
	if err := xml.NewEncoder(&out).Encode(body); err != nil {
		log.Printf("fault %T: %s", fault, err)
	}
	out.WriteString(envelopeEnd)
	_, _ = w.Write(out.Bytes())
}

// newFault makes a fault by the name of its type, such as FileLocked.
func newFault(name string) types.BaseMethodFault {
	if t, ok := typeFunc(name); ok {
		if f, ok := reflect.New(t).Interface().(types.BaseMethodFault); ok {
			// Clients cannot read a reference to nothing.
			root := types.ManagedObjectReference{Type: "Folder", Value: "group-d1"}
			switch x := f.(type) {
			case *types.NotAuthenticated:
				x.Object, x.PrivilegeId = root, "System.View"
			case *types.NoPermission:
				x.Object, x.PrivilegeId = root, "VirtualMachine.Config.EditDevice"
			case *types.TaskInProgress:
				x.Task = types.ManagedObjectReference{Type: "Task", Value: "task-0"}
			case *types.ManagedObjectNotFound:
				x.Obj = root
			}
			return f
		}
	}
	return &types.RuntimeFault{}
}

// simulatorContext is the context for calls of the simulator's own methods.
func simulatorContext(ref types.ManagedObjectReference) *simulator.Context {
	return &simulator.Context{
		Context: context.Background(),
		Session: &simulator.Session{
			UserSession: types.UserSession{Key: "rig", UserName: "rig"}, Registry: simulator.NewRegistry(),
		},
		Caller: &ref,
		Map:    simulator.Map,
	}
}

// answerOf returns the result of one of the simulator's methods that make no task.
func answerOf(res soap.HasFault) (interface{}, types.BaseMethodFault) {
	if f := res.Fault(); f != nil {
		if m, ok := f.VimFault().(types.BaseMethodFault); ok {
			return nil, m
		}
		return nil, &types.RuntimeFault{}
	}
	return nil, nil
}

// inner runs one of the simulator's own _Task methods to its end (they are synchronous) and returns the result.
func inner(res soap.HasFault) (types.AnyType, types.BaseMethodFault) {
	if _, fault := answerOf(res); fault != nil {
		return nil, fault
	}
	ref := reflect.ValueOf(res).Elem().FieldByName("Res").Elem().FieldByName("Returnval").Interface()
	task := simulator.Map.Get(ref.(types.ManagedObjectReference)).(*simulator.Task)
	simulator.Map.Remove(task.Self)
	if e := task.Info.Error; e != nil {
		return nil, e.Fault
	}
	return task.Info.Result, nil
}

// start makes a task that runs beside the caller, as all do in a real vCenter. wait, if any, is called before run
// without holding the world; what it returns ends the task.
func (c *call) start(
	owner mo.Reference, name string, wait func(*simulator.Task) types.BaseMethodFault,
	run func() (types.AnyType, types.BaseMethodFault),
) types.ManagedObjectReference {
	r := c.rig
	var failed types.BaseMethodFault
	task := simulator.CreateTask(owner, name, func(*simulator.Task) (result types.AnyType, fault types.BaseMethodFault) {
		if failed != nil {
			return nil, failed
		}
		defer func() {
			if p := recover(); p != nil { // a panic of the simulator becomes the task's error
				log.Printf("panic in %s: %v\n%s", name, p, debug.Stack())
				result, fault = nil, &types.GenericVmConfigFault{Reason: fmt.Sprintf("the simulator panicked: %v", p)}
			}
		}()
		return run()
	})
	task.Info.Name = c.name // pyVmomi looks the method up
	if _, ok := owner.(mo.Entity); !ok {
		task.Info.Entity = nil // pyVmomi refuses anything but an entity here
		task.Info.EntityName = ""
	}
	ref := task.Self
	begun := func() {
		simulator.Map.Update(task, []types.PropertyChange{
			{Name: "info.startTime", Val: time.Now()}, {Name: "info.state", Val: types.TaskInfoStateRunning},
		})
	}
	go func() {
		if c.queue != nil {
			defer c.queue()()
		}
		delay := r.taskDelay
		if c.fault != nil && c.fault.DelayMS > 0 {
			delay = time.Duration(c.fault.DelayMS) * time.Millisecond
		}
		if wait != nil || delay > 0 {
			r.world.Lock()
			begun()
			r.world.Unlock()
			time.Sleep(delay)
		}
		if c.fault != nil && c.fault.Fault != "" {
			failed = newFault(c.fault.Fault)
		} else if wait != nil {
			failed = wait(task)
		}
		r.world.Lock()
		defer r.world.Unlock()
		task.Run()
	}()
	return ref
}
