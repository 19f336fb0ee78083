// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func folderOf(d *simulator.Datastore) string { return d.Info.GetDatastoreInfo().Url }

func datastores() []*simulator.Datastore {
	var all []*simulator.Datastore
	for _, e := range simulator.Map.All("Datastore") {
		all = append(all, e.(*simulator.Datastore))
	}
	return all
}

func datastoreNamed(name string) *simulator.Datastore {
	for _, d := range datastores() {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// linkDatastores gives each datastore a folder of a fixed name beside rig.json, so that tests can look at the files.
func (r *rig) linkDatastores() map[string]string {
	links := map[string]string{}
	for _, d := range datastores() {
		link := filepath.Join(r.state, "datastores", d.Name)
		_ = os.Remove(link)
		if err := os.Symlink(folderOf(d), link); err != nil {
			log.Print(err)
		}
		links[d.Name] = link
	}
	return links
}

// diskPath is the file behind "[datastore] path"; empty if the datastore does not exist.
func diskPath(name string) string {
	var p object.DatastorePath
	if !p.FromString(name) {
		return ""
	}
	d := datastoreNamed(p.Datastore)
	if d == nil {
		return ""
	}
	return path.Join(folderOf(d), p.Path)
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.IsDir()
}

// inUse tells whether a running VM has the file in a connected drive: the real product locks it then.
func inUse(file string) bool {
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			continue
		}
		for _, d := range vm.Config.Hardware.Device {
			if cd, ok := d.(*types.VirtualCdrom); ok && cd.Connectable != nil && cd.Connectable.Connected {
				if b, ok := cd.Backing.(*types.VirtualCdromIsoBackingInfo); ok && diskPath(b.FileName) == file {
					return true
				}
			}
		}
	}
	return false
}

// datacenterPath is the inventory path of a datacenter, as in dcPath.
func datacenterPath(dc *simulator.Datacenter) string {
	name := dc.Name
	for parent := dc.Parent; parent != nil; {
		folder, ok := simulator.Map.Get(*parent).(*simulator.Folder)
		if !ok || folder.Parent == nil {
			break
		}
		name = folder.Name + "/" + name
		parent = folder.Parent
	}
	return name
}

// locate finds the file a request for /folder/... means; nil if datacenter or datastore do not exist.
func locate(u *url.URL) (string, bool) {
	query := u.Query()
	for _, e := range simulator.Map.All("Datacenter") {
		dc := e.(*simulator.Datacenter)
		if datacenterPath(dc) != query.Get("dcPath") {
			continue
		}
		for _, ref := range dc.Datastore {
			if d, ok := simulator.Map.Get(ref).(*simulator.Datastore); ok && d.Name == query.Get("dsName") {
				return path.Join(folderOf(d), strings.TrimPrefix(u.Path, "/folder")), true
			}
		}
	}
	return "", false
}

// serveDatastore is the file access of a datastore by HTTPS.
func (r *rig) serveDatastore(w http.ResponseWriter, req *http.Request) {
	name := req.Method + " " + strings.TrimPrefix(req.URL.Path, "/folder/")
	r.record(name)
	f := r.matchFault(name)
	if f != nil && r.injectBefore(w, req, f) {
		return
	}
	if r.bare {
		r.next.ServeHTTP(w, req)
		return
	}
	user, password, basic := req.BasicAuth()
	if r.session(req) == "" && !(basic && user == r.user && password == r.password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.refuseFile(w, req) {
		return
	}
	r.world.Lock()
	file, ok := locate(req.URL)
	locked := ok && req.Method == http.MethodPut && inUse(file)
	r.world.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch req.Method {
	case http.MethodPut:
		if locked {
			http.Error(w, "the file is locked", http.StatusInternalServerError)
			return
		}
		r.put(w, req, file, f)
	case http.MethodGet, http.MethodHead:
		if !isFile(file) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if f == nil {
			http.ServeFile(w, req, file)
			return
		}
		out := newRecorder()
		http.ServeFile(out, req, file)
		if !r.injectAfter(w, f, out) {
			out.send(w)
		}
	default:
		w.WriteHeader(http.StatusOK) // DELETE: accepted, and nothing is deleted, as the simulator does
	}
}

func (r *rig) put(w http.ResponseWriter, req *http.Request, file string, f *fault) {
	if info, err := os.Stat(path.Dir(file)); err != nil || !info.IsDir() {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	status := http.StatusCreated
	if isFile(file) {
		status = http.StatusOK
	}
	out, err := os.Create(file)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer out.Close()
	if f != nil && (f.Kind == "upload_cut" || f.Kind == "upload_status") {
		_, _ = io.CopyN(out, req.Body, f.Bytes)
		if f.Kind == "upload_cut" {
			abort(w)
			return
		}
		w.WriteHeader(f.Status)
		return
	}
	// What has arrived stays when the connection breaks: an unfinished upload is a short file.
	if _, err := io.Copy(out, req.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	if f != nil && f.Kind == "lost" {
		abort(w)
		return
	}
	w.WriteHeader(status)
}

// fileTask runs one of the file manager's tasks unless a running VM has one of the files locked.
func fileTask(c *call, name string, files []string, run func() soap.HasFault) types.ManagedObjectReference {
	return c.start(mo.Reference(simulator.Map.FileManager()), name, nil, func() (types.AnyType, types.BaseMethodFault) {
		if fault := c.rig.refuseTask(files...); fault != nil {
			return nil, fault
		}
		for _, file := range files {
			if inUse(diskPath(file)) {
				return nil, &types.FileLocked{FileFault: types.FileFault{File: file}}
			}
		}
		return inner(run())
	})
}

func deleteFile(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.DeleteDatastoreFile_Task)
	return &types.DeleteDatastoreFile_TaskResponse{Returnval: fileTask(c, "deleteDatastoreFile", []string{q.Name},
		func() soap.HasFault { return simulator.Map.FileManager().DeleteDatastoreFileTask(q) })}, nil
}

func moveFile(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.MoveDatastoreFile_Task)
	if q.DestinationDatacenter == nil {
		q.DestinationDatacenter = q.SourceDatacenter
	}
	return &types.MoveDatastoreFile_TaskResponse{
		Returnval: fileTask(c, "moveDatastoreFile", []string{q.SourceName, q.DestinationName},
			func() soap.HasFault { return simulator.Map.FileManager().MoveDatastoreFileTask(q) }),
	}, nil
}

func copyFile(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.CopyDatastoreFile_Task)
	if q.DestinationDatacenter == nil {
		q.DestinationDatacenter = q.SourceDatacenter
	}
	return &types.CopyDatastoreFile_TaskResponse{
		Returnval: fileTask(c, "copyDatastoreFile", []string{q.DestinationName},
			func() soap.HasFault { return simulator.Map.FileManager().CopyDatastoreFileTask(q) }),
	}, nil
}
