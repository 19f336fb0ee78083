// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// fault says what is to go wrong with which calls.
type fault struct {
	// Method is a pattern with * for a SOAP method, "GET <path>" or "PUT <path>" of a file; "*" is every call.
	Method string `json:"method"`
	// Kind: status, fault, task, reset, cut, lost, delay, hold (until the faults are cleared), revoke, upload_cut, upload_status.
	Kind    string `json:"kind"`
	Status  int    `json:"status"`   // status, upload_status: the HTTP status
	Fault   string `json:"fault"`    // fault, task: the name of the fault's type
	DelayMS int    `json:"delay_ms"` // delay, task: milliseconds
	Bytes   int64  `json:"bytes"`    // cut, upload_cut, upload_status: bytes that pass before
	Skip    int    `json:"skip"`     // calls that pass before the first is hit
	Count   int    `json:"count"`    // calls that are hit; 0 is 1, -1 all

	hits    int
	cleared chan struct{}
}

// glob knows * (any characters) only.
func glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	ok, _ := regexp.MatchString("^"+strings.Join(parts, ".*")+"$", name)
	return ok
}

// matchFault returns the first fault for this call and counts it.
func (r *rig) matchFault(name string) *fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if !glob(f.Method, name) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		count := f.Count
		if count == 0 {
			count = 1
		}
		if count > 0 && f.hits >= count {
			continue
		}
		f.hits++
		return f
	}
	return nil
}

// abort cuts the connection; with reset, so that the client sees ECONNRESET.
func abort(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	connection, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := connection
	if t, ok := connection.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = raw.Close()
}

// injectBefore acts on a call that has not been done yet; true if it is dealt with.
func (r *rig) injectBefore(w http.ResponseWriter, req *http.Request, f *fault) bool {
	switch f.Kind {
	case "delay":
		time.Sleep(time.Duration(f.DelayMS) * time.Millisecond)
	case "hold":
		<-f.cleared
	case "revoke":
		r.revoke(r.session(req))
	case "status":
		w.WriteHeader(f.Status)
		return true
	case "fault":
		writeFault(w, f.Fault, newFault(f.Fault))
		return true
	case "reset":
		abort(w)
		return true
	}
	return false
}

// injectAfter acts on the answer of a call that has been done; true if it is dealt with.
func (r *rig) injectAfter(w http.ResponseWriter, f *fault, out *recorder) bool {
	switch f.Kind {
	case "lost":
		abort(w)
		return true
	case "cut":
		cut := int(f.Bytes)
		if cut > out.body.Len() {
			cut = out.body.Len()
		}
		full := out.body.Len()
		out.body.Truncate(cut)
		for k, v := range out.header {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(full))
		w.WriteHeader(out.status)
		_, _ = w.Write(out.body.Bytes())
		if fl, ok := w.(http.Flusher); ok {
			fl.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	return false
}
