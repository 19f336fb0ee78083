// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// clearGuest sets the state of a VM whose guest reports nothing.
func clearGuest(vm *simulator.VirtualMachine) {
	setGuest(vm, guest{ToolsRunning: "guestToolsNotRunning", ToolsVersion: "guestToolsNotInstalled"})
}

// guest is what VMware Tools would report.
type guest struct {
	VM           string     `json:"vm"`
	ToolsRunning string     `json:"tools_running"`
	ToolsVersion string     `json:"tools_version"`
	HostName     string     `json:"host_name"`
	IP           string     `json:"ip"`
	NICs         []guestNIC `json:"nics"`
}

type guestNIC struct {
	MAC       string         `json:"mac"`
	Network   string         `json:"network"`
	Device    int32          `json:"device_config_id"` // -1 for an interface that is none of the VM's NICs
	Connected bool           `json:"connected"`
	Addresses []guestAddress `json:"addresses"`
}

type guestAddress struct {
	IP     string `json:"ip"`
	Prefix int32  `json:"prefix"`
	State  string `json:"state"`
}

func setGuest(vm *simulator.VirtualMachine, g guest) {
	var nics []types.GuestNicInfo
	for _, n := range g.NICs {
		nic := types.GuestNicInfo{Network: n.Network, MacAddress: n.MAC, Connected: n.Connected, DeviceConfigId: n.Device}
		if len(n.Addresses) > 0 {
			nic.IpConfig = &types.NetIpConfigInfo{}
		}
		for _, a := range n.Addresses {
			nic.IpAddress = append(nic.IpAddress, a.IP)
			nic.IpConfig.IpAddress = append(nic.IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{
				IpAddress: a.IP, PrefixLength: a.Prefix, State: a.State,
			})
		}
		nics = append(nics, nic)
	}
	status := "guestToolsUnmanaged"
	if g.ToolsVersion == "guestToolsNotInstalled" {
		status = g.ToolsVersion
	}
	simulator.Map.Update(vm, []types.PropertyChange{
		{Name: "guest.toolsRunningStatus", Val: g.ToolsRunning},
		{Name: "guest.toolsVersionStatus2", Val: g.ToolsVersion},
		{Name: "guest.toolsVersionStatus", Val: status},
		{Name: "guest.hostName", Val: g.HostName},
		{Name: "guest.ipAddress", Val: g.IP},
		{Name: "guest.net", Val: nics},
		{Name: "summary.guest.ipAddress", Val: g.IP},
		{Name: "summary.guest.hostName", Val: g.HostName},
		{Name: "summary.guest.toolsRunningStatus", Val: g.ToolsRunning},
	})
}

type drive struct {
	Label, File string
	Controller  string
	Bus, Unit   int32
	Connected   bool
	Start       bool
}

type disk struct {
	File, Parent string
	CapacityKB   int64
}

// describe returns the VM for tests, which compare the driver's view with it.
func describe(vm *simulator.VirtualMachine) map[string]interface{} {
	drives, nics, disks, networks := []drive{}, []string{}, []disk{}, []string{}
	for _, d := range vm.Config.Hardware.Device {
		switch x := d.(type) {
		case *types.VirtualCdrom:
			one := drive{Label: x.DeviceInfo.GetDescription().Label, File: isoFile(x)}
			if x.UnitNumber != nil {
				one.Unit = *x.UnitNumber
			}
			switch controller := deviceByKey(vm.Config.Hardware.Device, x.ControllerKey).(type) {
			case *types.VirtualIDEController:
				one.Controller, one.Bus = "ide", controller.BusNumber
			case *types.VirtualAHCIController:
				one.Controller, one.Bus = "sata", controller.BusNumber
			}
			if x.Connectable != nil {
				one.Connected, one.Start = x.Connectable.Connected, x.Connectable.StartConnected
			}
			drives = append(drives, one)
		case *types.VirtualDisk:
			one := disk{CapacityKB: x.CapacityInKB}
			if b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				one.File = b.FileName
				if b.Parent != nil {
					one.Parent = b.Parent.FileName
				}
			}
			disks = append(disks, one)
		case types.BaseVirtualEthernetCard:
			nics = append(nics, x.GetVirtualEthernetCard().MacAddress)
			switch b := x.GetVirtualEthernetCard().Backing.(type) {
			case *types.VirtualEthernetCardNetworkBackingInfo:
				networks = append(networks, b.DeviceName)
			case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
				networks = append(networks, b.Port.PortgroupKey)
			}
		}
	}
	extra := map[string]string{}
	for _, o := range vm.Config.ExtraConfig {
		extra[o.GetOptionValue().Key], _ = o.GetOptionValue().Value.(string)
	}
	host := ""
	if h, ok := simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem); ok {
		host = h.Name
	}
	return map[string]interface{}{
		"name": vm.Name, "ref": vm.Self.Value, "instance_uuid": vm.Config.InstanceUuid, "uuid": vm.Config.Uuid,
		"power_state": vm.Runtime.PowerState, "template": vm.Config.Template, "path": vm.Config.Files.VmPathName,
		"host": host, "drives": drives, "macs": nics, "networks": networks, "disks": disks,
		"memory": vm.Config.Hardware.MemoryMB, "cpus": vm.Config.Hardware.NumCPU, "extra_config": extra,
	}
}

// control is the interface for tests, apart from the API.
func (r *rig) control() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v interface{}) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	read := func(w http.ResponseWriter, req *http.Request, v interface{}) bool {
		d := json.NewDecoder(req.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return false
		}
		return true
	}
	find := func(w http.ResponseWriter, name string) *simulator.VirtualMachine {
		vm := vmNamed(name)
		if vm == nil {
			http.Error(w, "no VM "+name, http.StatusNotFound)
		}
		return vm
	}
	mux.HandleFunc("/calls", func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		answer(w, map[string]interface{}{"calls": r.calls, "journal": r.journal})
		if req.Method == http.MethodDelete {
			r.calls, r.journal = map[string]int{}, nil
		}
	})
	mux.HandleFunc("/faults", func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch req.Method {
		case http.MethodPost:
			f := &fault{cleared: make(chan struct{})}
			if !read(w, req, f) {
				return
			}
			r.faults = append(r.faults, f)
		case http.MethodDelete:
			for _, f := range r.faults {
				close(f.cleared)
			}
			r.faults = nil
		}
		hits := 0
		for _, f := range r.faults {
			hits += f.hits
		}
		answer(w, map[string]interface{}{"faults": r.faults, "hits": hits})
	})
	mux.HandleFunc("/sessions", func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if req.Method == http.MethodDelete {
			r.sessions, r.apiSessions = map[string]bool{}, map[string]bool{}
		}
		answer(w, map[string]int{"sessions": len(r.sessions), "api_sessions": len(r.apiSessions)})
	})
	mux.HandleFunc("/guests", func(w http.ResponseWriter, req *http.Request) {
		var guests []guest
		if !read(w, req, &guests) {
			return
		}
		r.world.Lock()
		defer r.world.Unlock()
		for _, g := range guests {
			vm := find(w, g.VM)
			if vm == nil {
				return
			}
			setGuest(vm, g)
		}
		answer(w, map[string]int{"guests": len(guests)})
	})
	mux.HandleFunc("/guest_system", func(w http.ResponseWriter, req *http.Request) {
		system := &guestSystem{}
		if !read(w, req, system) {
			return
		}
		r.world.Lock()
		defer r.world.Unlock()
		if vm := find(w, system.VM); vm != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.systems[vm.Name] = system
			simulator.Map.Update(vm, []types.PropertyChange{{Name: "guest.guestFamily", Val: "linuxGuest"}})
			answer(w, map[string]string{"vm": system.VM})
		}
	})
	mux.HandleFunc("/door", func(w http.ResponseWriter, req *http.Request) {
		var door struct {
			VM     string `json:"vm"`
			Locked bool   `json:"locked"`
		}
		if !read(w, req, &door) {
			return
		}
		r.world.Lock()
		defer r.world.Unlock()
		vm := find(w, door.VM)
		if vm == nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.doors[vm.Self.Value] = door.Locked
		answer(w, door)
	})
	mux.HandleFunc("/denied", func(w http.ResponseWriter, req *http.Request) {
		var all []denied
		if !read(w, req, &all) {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.denied = all
		answer(w, all)
	})
	mux.HandleFunc("/deaf", func(w http.ResponseWriter, req *http.Request) {
		var deaf struct {
			VM   string `json:"vm"`
			Deaf bool   `json:"deaf"`
		}
		if !read(w, req, &deaf) {
			return
		}
		r.world.Lock()
		defer r.world.Unlock()
		if vm := find(w, deaf.VM); vm != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.deaf[vm.Self.Value] = deaf.Deaf
			answer(w, deaf)
		}
	})
	mux.HandleFunc("/clock", func(w http.ResponseWriter, req *http.Request) {
		var later struct {
			Seconds int64 `json:"seconds"`
		}
		if read(w, req, &later) {
			clockOffset.Add(later.Seconds * int64(time.Second))
			answer(w, later)
		}
	})
	mux.HandleFunc("/datastore_hosts", func(w http.ResponseWriter, req *http.Request) {
		var limit struct {
			Datastore string   `json:"datastore"`
			Hosts     []string `json:"hosts"`
		}
		if !read(w, req, &limit) {
			return
		}
		r.world.Lock()
		defer r.world.Unlock()
		if !limitDatastore(limit.Datastore, limit.Hosts) {
			http.Error(w, "no datastore "+limit.Datastore, http.StatusNotFound)
			return
		}
		answer(w, limit)
	})
	mux.HandleFunc("/vms", func(w http.ResponseWriter, req *http.Request) {
		r.world.Lock()
		defer r.world.Unlock()
		all := []map[string]interface{}{}
		for _, e := range simulator.Map.All("VirtualMachine") {
			vm := e.(*simulator.VirtualMachine)
			if name := req.URL.Query().Get("name"); name == "" || name == vm.Name {
				all = append(all, describe(vm))
			}
		}
		answer(w, all)
	})
	return mux
}
