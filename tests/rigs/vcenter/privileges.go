// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"net/http"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	browse         = "Datastore.Browse"
	fileManagement = "Datastore.FileManagement"
)

// denied is a privilege that the account lacks on one object. Over HTTP a vCenter answers it with 401, 404 or 500 (reports of
// rbvmomi, packer-plugin-vsphere), over SOAP with NoPermission; both the datastore and its datacenter count.
type denied struct {
	Object    string `json:"object"` // a datastore or datacenter
	Privilege string `json:"privilege"`
	Status    int    `json:"status"`
}

// lacks returns the first privilege that the account lacks on one of the objects.
func (r *rig) lacks(privilege string, objects ...string) *denied {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.denied {
		for _, name := range objects {
			if d.Object == name && d.Privilege == privilege {
				found := d
				return &found
			}
		}
	}
	return nil
}

// refuseFile answers a request for a file that the account has no right to.
func (r *rig) refuseFile(w http.ResponseWriter, req *http.Request) bool {
	privilege := browse
	if req.Method == http.MethodPut {
		privilege = fileManagement
	}
	query := req.URL.Query()
	d := r.lacks(privilege, query.Get("dsName"), query.Get("dcPath"))
	if d != nil {
		w.WriteHeader(d.Status)
	}
	return d != nil
}

// refuseTask is the fault for a task of the file manager.
func (r *rig) refuseTask(files ...string) types.BaseMethodFault {
	for _, file := range files {
		var p object.DatastorePath
		if !p.FromString(file) {
			continue
		}
		ds := datastoreNamed(p.Datastore)
		if ds == nil {
			continue
		}
		for _, e := range simulator.Map.All("Datacenter") {
			dc := e.(*simulator.Datacenter)
			ref := mo.Reference(ds)
			d := r.lacks(fileManagement, ds.Name)
			if d == nil {
				d, ref = r.lacks(fileManagement, datacenterPath(dc)), dc
			}
			if d != nil {
				return &types.NoPermission{Object: ref.Reference(), PrivilegeId: d.Privilege}
			}
		}
	}
	return nil
}
