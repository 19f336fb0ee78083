// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command vcenter is the test rig for the VMware driver: the vCenter simulator of the govmomi library behind an HTTP
// layer that corrects what the simulator is more lenient about than a real vCenter, counts calls and injects faults.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// options are the switches of the rig.
type options struct {
	state     string        // folder for certificates, datastores and rig.json
	listen    string        // address of the API; not 127.0.0.1, for which pyVmomi silently skips verification
	vms       int           // number of VMs
	nics      int           // NICs of each VM
	stores    int           // number of datastores
	pageSize  int           // objects in one answer of the property collector
	taskDelay time.Duration // time a task stays in the state "running"
	delay     time.Duration // time added to every call, as the network would
	bare      bool          // no corrections: the simulator as it is
	esx       bool          // a stand-alone ESXi host instead of a vCenter
	free      bool          // the free licence of a stand-alone host, which refuses all changes
	folder    bool          // the datacenter and everything in it lie in folders
	off       bool          // VMs are not started
	user      string
	password  string
}

func parse() options {
	o := options{}
	flag.StringVar(&o.state, "state", "", "folder for certificates, datastores and rig.json")
	flag.StringVar(&o.listen, "listen", "127.0.0.2:0", "address and port of the API")
	flag.IntVar(&o.vms, "vms", 10, "number of VMs")
	flag.IntVar(&o.nics, "nics", 1, "NICs of each VM")
	flag.IntVar(&o.stores, "datastores", 2, "number of datastores")
	flag.IntVar(&o.pageSize, "page-size", 100, "objects in one answer of the property collector")
	flag.DurationVar(&o.taskDelay, "task-delay", 0, "time a task stays in the state running")
	flag.DurationVar(&o.delay, "delay", 0, "time added to every call")
	flag.BoolVar(&o.bare, "bare", false, "no corrections")
	flag.BoolVar(&o.esx, "esx", false, "a stand-alone ESXi host")
	flag.BoolVar(&o.free, "free", false, "the free licence of a stand-alone ESXi host")
	flag.BoolVar(&o.folder, "folder", false, "the datacenter lies in a folder")
	flag.BoolVar(&o.off, "off", false, "the VMs are stopped")
	flag.StringVar(&o.user, "user", "administrator@vsphere.local", "account")
	flag.StringVar(&o.password, "password", "rig-password", "its password")
	flag.Parse()
	if o.state == "" {
		log.Fatal("-state is needed")
	}
	return o
}

func main() {
	o := parse()
	// The simulator makes its datastores in the temporary folder.
	for _, d := range []string{"tmp", "datastores"} {
		if err := os.MkdirAll(filepath.Join(o.state, d), 0o700); err != nil {
			log.Fatal(err)
		}
	}
	if err := os.Setenv("TMPDIR", filepath.Join(o.state, "tmp")); err != nil {
		log.Fatal(err)
	}

	model := simulator.VPX()
	if o.esx {
		model = simulator.ESX()
	} else {
		model.Host = 0 // no stand-alone host beside the cluster
		if o.folder {
			model.Folder = 1
		}
	}
	model.Machine, model.Datastore, model.Autostart = o.vms, o.stores, !o.off
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}

	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := makeCertificates(o.state, host)
	if err != nil {
		log.Fatal(err)
	}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{Host: o.listen, User: url.UserPassword(o.user, o.password)}

	r := newRig(o)
	if !o.bare {
		r.normalizeAll()
		guests := simulator.Map.Get(*model.ServiceContent.GuestOperationsManager).(*simulator.GuestOperationsManager)
		guests.AuthManager = &types.ManagedObjectReference{Type: "GuestAuthManager", Value: "guestOperationsAuthManager"}
	}
	if o.free {
		simulator.Map.Get(*model.ServiceContent.LicenseManager).(*simulator.LicenseManager).Licenses = []types.LicenseManagerLicenseInfo{
			{LicenseKey: "00000-00000-00000-00000-00000", EditionKey: "esxBasic.hypervisor.cpuPackage", Name: "VMware vSphere Hypervisor"},
		}
	}
	server := model.Service.NewServer()
	r.next = server.Config.Handler
	server.Config.Handler = r

	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = http.Serve(control, r.control()) }()

	port, _ := strconv.Atoi(server.URL.Port())
	facts := map[string]interface{}{
		"host": host, "port": port, "username": o.user, "password": o.password,
		"ca_path": filepath.Join(o.state, "ca.pem"), "other_ca_path": filepath.Join(o.state, "other-ca.pem"),
		"control": "http://" + control.Addr().String(), "datastores": r.linkDatastores(),
		"pid": os.Getpid(), "vms": o.vms, "page_size": o.pageSize, "esx": o.esx, "bare": o.bare,
	}
	if err := writeJSON(filepath.Join(o.state, "rig.json"), facts); err != nil {
		log.Fatal(err)
	}
	log.Printf("vCenter rig on %s:%d", host, port)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	_ = os.Remove(filepath.Join(o.state, "rig.json"))
	model.Remove() // removes the datastore folders
}

// writeJSON writes the file under another name first, so that nobody reads half of it.
func writeJSON(path string, v interface{}) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(part, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}
