// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	sector      = 512
	streamVmdk  = "application/x-vnd.vmware-streamVmdk"
	streamFlags = 3 << 16 // compressed grains, and markers before all there is
	// What the simulator says, and what a vCenter does.
	wrongTimeout, leaseTimeout = "<leaseTimeout>30000</leaseTimeout>", "<leaseTimeout>300</leaseTimeout>"
)

var leaseReference = regexp.MustCompile(`type="HttpNfcLease">([^<]+)<`)

// lease is an import under way. The simulator knows the lease, but not what was sent, nor what is removed if it fails.
type lease struct {
	vm       types.ManagedObjectReference
	uploaded bool
}

// leaseOf is the lease of a request, or nil.
func (r *rig) leaseOf(id string) *lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leases[id]
}

// beforeImport refuses what a vCenter refuses and the simulator does not.
func (r *rig) beforeImport(c *call) types.BaseMethodFault {
	switch c.name {
	case "ImportVApp", "HttpNfcLeaseComplete", "HttpNfcLeaseProgress", "MarkAsTemplate":
	default:
		return nil
	}
	req, err := c.request()
	if err != nil {
		return &types.InvalidRequest{}
	}
	switch q := req.(type) {
	case *types.ImportVApp:
		return r.checkImport(q)
	case *types.MarkAsTemplate:
		if id := r.leaseOn(q.This); id != "" { // the import's task has the VM until its lease is over
			return &types.TaskInProgress{Task: types.ManagedObjectReference{Type: "Task", Value: id}}
		}
	case *types.HttpNfcLeaseProgress:
		if q.Percent < 0 || q.Percent > 100 {
			return &types.InvalidArgument{InvalidProperty: "percent"}
		}
	case *types.HttpNfcLeaseComplete:
		if l := r.leaseOf(q.This.Value); l != nil && !l.uploaded {
			return &types.InvalidState{} // a VM with an empty disk is a mistake of the client
		}
	}
	return nil
}

// leaseOn is the name of the lease under which a VM is imported, or empty.
func (r *rig) leaseOn(vm types.ManagedObjectReference) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, l := range r.leases {
		if l.vm == vm {
			return id
		}
	}
	return ""
}

func (r *rig) checkImport(q *types.ImportVApp) types.BaseMethodFault {
	spec, ok := q.Spec.(*types.VirtualMachineImportSpec)
	if !ok || q.Folder == nil {
		return &types.InvalidArgument{InvalidProperty: "spec"}
	}
	r.world.Lock()
	defer r.world.Unlock()
	if twin := sameName(*q.Folder, escapeName(spec.ConfigSpec.Name)); twin != nil {
		return &types.DuplicateName{Name: spec.ConfigSpec.Name, Object: *twin}
	}
	controllers := map[int32]bool{}
	for i, change := range spec.ConfigSpec.DeviceChange {
		s := change.GetVirtualDeviceConfigSpec()
		d := s.Device.GetVirtualDevice()
		if s.Operation != types.VirtualDeviceConfigSpecOperationAdd {
			return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		}
		switch s.Device.(type) {
		case types.BaseVirtualController:
			controllers[d.Key] = true
		case *types.VirtualCdrom, *types.VirtualDisk:
			if !controllers[d.ControllerKey] {
				return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
			}
		case types.BaseVirtualEthernetCard:
			if fault := checkNetwork(s.Device); fault != nil {
				return fault
			}
		}
	}
	return nil
}

// afterImport does what the simulator leaves undone.
func (r *rig) afterImport(w *recorder, c *call) {
	if text := w.body.String(); strings.Contains(text, wrongTimeout) {
		w.body.Reset()
		w.body.WriteString(strings.Replace(text, wrongTimeout, leaseTimeout, 1))
	}
	if w.status != http.StatusOK {
		return
	}
	switch c.name {
	case "ImportVApp":
		req, err := c.request()
		found := leaseReference.FindSubmatch(w.body.Bytes())
		if err != nil || found == nil {
			return
		}
		spec := req.(*types.ImportVApp).Spec.(*types.VirtualMachineImportSpec)
		r.world.Lock()
		defer r.world.Unlock()
		vm := vmNamed(spec.ConfigSpec.Name)
		r.furnish(vm)
		r.mu.Lock()
		r.leases[string(found[1])] = &lease{vm: vm.Self}
		r.mu.Unlock()
	case "HttpNfcLeaseAbort", "HttpNfcLeaseComplete":
		req, err := c.request()
		if err != nil {
			return
		}
		id := ""
		if q, ok := req.(*types.HttpNfcLeaseAbort); ok {
			id = q.This.Value
			if l := r.leaseOf(id); l != nil {
				r.world.Lock()
				r.discard(l)
				r.world.Unlock()
			}
		} else {
			id = req.(*types.HttpNfcLeaseComplete).This.Value
		}
		r.mu.Lock()
		delete(r.leases, id)
		r.mu.Unlock()
	}
}

// discard removes what was imported: "all objects created during the import are removed when the lease enters this state".
func (r *rig) discard(l *lease) {
	vm := findVM(l.vm)
	if vm == nil {
		return
	}
	removeDisks(vm)
	if _, fault := inner(vm.DestroyTask(simulatorContext(vm.Self), &types.Destroy_Task{This: vm.Self})); fault != nil {
		log.Printf("an aborted import stays: %T", fault)
	}
}

// furnish gives the devices of an imported VM the keys, labels and MACs that a host gives them.
func (r *rig) furnish(vm *simulator.VirtualMachine) {
	keys := map[int32]int32{}
	for _, d := range vm.Config.Hardware.Device {
		base := d.GetVirtualDevice()
		old := base.Key
		nameStorage(d)
		switch x := d.(type) {
		case *types.VirtualDisk:
			x.CapacityInBytes = x.CapacityInKB * 1024
		case types.BaseVirtualEthernetCard:
			x.GetVirtualEthernetCard().MacAddress = r.mac()
			if base.Connectable == nil {
				base.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true}
			}
		}
		keys[old] = base.Key
	}
	for _, d := range vm.Config.Hardware.Device {
		if key, ok := keys[d.GetVirtualDevice().ControllerKey]; ok {
			d.GetVirtualDevice().ControllerKey = key
		}
	}
	clearGuest(vm)
	r.tidy(vm)
}

// serveNFC receives a disk under a lease, as a host does: without a session, because the address is the secret.
func (r *rig) serveNFC(w http.ResponseWriter, req *http.Request) {
	name := req.Method + " /nfc"
	r.record(name)
	f := r.matchFault(name)
	if f != nil && r.injectBefore(w, req, f) {
		return
	}
	parts := strings.Split(strings.TrimPrefix(req.URL.Path, "/nfc/"), "/")
	l := r.leaseOf(parts[0])
	if l == nil || len(parts) != 2 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	r.world.Lock()
	file, capacity := diskOf(findVM(l.vm), parts[1])
	r.world.Unlock()
	if file == "" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if req.Method != http.MethodPost || req.Header.Get("Content-Type") != streamVmdk || req.ContentLength <= 0 {
		http.Error(w, "only a stream of a known length", http.StatusBadRequest)
		return
	}
	body := io.Reader(req.Body)
	if f != nil && (f.Kind == "upload_cut" || f.Kind == "upload_status") {
		_, _ = io.CopyN(io.Discard, body, f.Bytes)
		if f.Kind == "upload_cut" {
			abort(w)
			return
		}
		w.WriteHeader(f.Status)
		return
	}
	out, err := os.Create(file)
	if err == nil {
		defer out.Close()
		if err = out.Truncate(capacity); err == nil {
			err = unstream(bufio.NewReader(body), out, capacity)
		}
	}
	if err != nil {
		log.Printf("nfc: %s", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(io.Discard, body)
	r.mu.Lock()
	l.uploaded = true
	r.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

// flatFile is the file with the bytes of a disk, beside its description.
func flatFile(name string) string {
	file := diskPath(name)
	return strings.TrimSuffix(file, path.Ext(file)) + "-flat.vmdk"
}

// diskOf returns the file for the bytes of a VM's disk of this name, and the disk's size in bytes.
func diskOf(vm *simulator.VirtualMachine, name string) (string, int64) {
	if vm == nil {
		return "", 0
	}
	for _, d := range vm.Config.Hardware.Device {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			var p object.DatastorePath
			if p.FromString(b.FileName) && path.Base(p.Path) == name {
				return flatFile(b.FileName), disk.CapacityInKB * 1024
			}
		}
	}
	return "", 0
}

// copyDisk gives a clone's disk the bytes of the source's, where there are any.
func copyDisk(from, to types.BaseVirtualDeviceBackingInfo) {
	source, ok := from.(*types.VirtualDiskFlatVer2BackingInfo)
	own, known := to.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok || !known {
		return
	}
	if data, err := os.ReadFile(flatFile(source.FileName)); err == nil && len(data) > 0 {
		if err := os.WriteFile(flatFile(own.FileName), data, 0o600); err != nil {
			log.Print(err)
		}
	}
}

type sparseHeader struct {
	Magic, Version, Flags                         uint32
	Capacity, Grain, Descriptor, DescriptorLength uint64
	Entries                                       uint32
	Redundant, Directory, Overhead                uint64
}

// unstream reads a stream-optimized VMDK once, from its beginning to its end (VMware's Virtual Disk Format 5.0).
func unstream(in io.Reader, out io.WriterAt, capacity int64) error {
	block := make([]byte, sector)
	if _, err := io.ReadFull(in, block); err != nil {
		return err
	}
	var h sparseHeader
	if err := binary.Read(bytes.NewReader(block), binary.LittleEndian, &h); err != nil {
		return err
	}
	if h.Magic != 0x564d444b || h.Flags&streamFlags != streamFlags || h.Grain == 0 || h.Grain > 2048 || h.Overhead == 0 {
		return errors.New("no stream-optimized VMDK")
	}
	if int64(h.Capacity)*sector > capacity {
		return fmt.Errorf("the disk has %d sectors, more than the VM's", h.Capacity)
	}
	if _, err := io.CopyN(io.Discard, in, int64(h.Overhead-1)*sector); err != nil {
		return err
	}
	for {
		if _, err := io.ReadFull(in, block); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		value, size := binary.LittleEndian.Uint64(block), binary.LittleEndian.Uint32(block[8:])
		if size == 0 {
			if binary.LittleEndian.Uint32(block[12:]) == 0 {
				return nil // the end of the stream
			}
			if _, err := io.CopyN(io.Discard, in, int64(value)*sector); err != nil {
				return err
			}
			continue
		}
		if int64(size) > 2*int64(h.Grain)*sector {
			return errors.New("a grain that cannot be")
		}
		rest := make([]byte, (int(size)+12+sector-1)/sector*sector-sector)
		if _, err := io.ReadFull(in, rest); err != nil {
			return err
		}
		z, err := zlib.NewReader(bytes.NewReader(append(append([]byte{}, block[12:]...), rest...)))
		if err != nil {
			return err
		}
		grain, err := io.ReadAll(io.LimitReader(z, int64(h.Grain)*sector))
		if err != nil {
			return err
		}
		at := int64(value) * sector
		if at >= capacity {
			return errors.New("a grain behind the end")
		}
		if left := capacity - at; int64(len(grain)) > left {
			grain = grain[:left]
		}
		if _, err := out.WriteAt(grain, at); err != nil {
			return err
		}
	}
}
