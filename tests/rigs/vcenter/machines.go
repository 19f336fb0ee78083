// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"os"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Units that operations take of a host, which does at most unitsOfHost at a time and queues the rest (VMware's performance guides).
const (
	unitsOfHost   = 16
	unitsOfLinked = 1
	unitsOfFull   = 4
)

// acquire waits for units of a host and takes them; the returned function gives them back.
func (r *rig) acquire(host string, units int) func() {
	for {
		r.mu.Lock()
		if r.units[host]+units <= unitsOfHost {
			r.units[host] += units
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				r.units[host] -= units
				r.mu.Unlock()
			}
		}
		r.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
}

// sameName is the entity in a folder that already has the name.
func sameName(folder types.ManagedObjectReference, name string) *types.ManagedObjectReference {
	f, ok := simulator.Map.Get(folder).(*simulator.Folder)
	if !ok {
		return nil
	}
	for _, ref := range f.ChildEntity {
		if e, ok := simulator.Map.Get(ref).(mo.Entity); ok && e.Entity().Name == name {
			found := ref
			return &found
		}
	}
	return nil
}

// escapeName escapes a name as vCenter does: / and \, and a % that begins no escape.
func escapeName(name string) string {
	return strings.NewReplacer("/", "%2f", `\`, "%5c").Replace(name)
}

// checkClone refuses what a vCenter refuses at the start of a clone.
func checkClone(source *simulator.VirtualMachine, q *types.CloneVM_Task) types.BaseMethodFault {
	folder := q.Folder
	if q.Spec.Location.Folder != nil {
		folder = *q.Spec.Location.Folder
	}
	if _, ok := simulator.Map.Get(folder).(*simulator.Folder); !ok {
		return &types.InvalidArgument{InvalidProperty: "folder"}
	}
	if twin := sameName(folder, escapeName(q.Name)); twin != nil {
		return &types.DuplicateName{Name: q.Name, Object: *twin}
	}
	if q.Spec.Location.Pool == nil && source.Config.Template {
		return &types.InvalidArgument{InvalidProperty: "spec.location.pool"}
	}
	if host := q.Spec.Location.Host; host != nil {
		if _, ok := simulator.Map.Get(*host).(*simulator.HostSystem); !ok {
			return &types.InvalidArgument{InvalidProperty: "spec.location.host"}
		}
	}
	if ref := q.Spec.Location.Datastore; ref != nil {
		if _, ok := simulator.Map.Get(*ref).(*simulator.Datastore); !ok {
			return &types.InvalidDatastore{Datastore: ref}
		}
	}
	for _, change := range q.Spec.Location.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		if _, ok := c.Device.(types.BaseVirtualEthernetCard); !ok || c.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			return &types.InvalidArgument{InvalidProperty: "spec.location.deviceChange"}
		}
	}
	linked := q.Spec.Location.DiskMoveType == string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	if linked && q.Spec.Snapshot == nil {
		return &types.InvalidArgument{InvalidProperty: "spec.location.diskMoveType"} // "only valid when cloning from a snapshot"
	}
	if q.Spec.Snapshot != nil {
		snapshot, ok := simulator.Map.Get(*q.Spec.Snapshot).(*simulator.VirtualMachineSnapshot)
		if !ok || snapshot.Vm != source.Self {
			return &types.InvalidArgument{InvalidProperty: "spec.snapshot"}
		}
	}
	if linked && q.Spec.Config != nil {
		for _, change := range q.Spec.Config.DeviceChange {
			if _, ok := change.GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk); ok {
				return &types.GenericVmConfigFault{Reason: "a disk that has a parent cannot be extended"}
			}
		}
	}
	return nil
}

// clone keeps the source whole (the simulator empties its disk's backing) and gives the clone devices of its own, with the
// changes of the specification, which the simulator ignores for the most part.
func clone(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.CloneVM_Task)
	source := findVM(q.This)
	if source == nil {
		return nil, &types.ManagedObjectNotFound{Obj: q.This}
	}
	if c.rig.esx {
		return nil, &types.NotSupported{}
	}
	units := unitsOfFull
	if q.Spec.Location.DiskMoveType == string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking) {
		units = unitsOfLinked
	}
	c.queue = func() func() { return c.rig.acquire(source.Runtime.Host.Value, units) }
	task := c.start(source, "cloneVm", nil, func() (types.AnyType, types.BaseMethodFault) {
		return c.rig.cloneNow(source, q)
	})
	return &types.CloneVM_TaskResponse{Returnval: task}, nil
}

func (r *rig) cloneNow(source *simulator.VirtualMachine, q *types.CloneVM_Task) (types.AnyType, types.BaseMethodFault) {
	if fault := checkClone(source, q); fault != nil {
		return nil, fault
	}
	bare := *q
	bare.Name = escapeName(q.Name)
	bare.Spec.Location.DeviceChange = nil
	bare.Spec.Config = nil
	if q.Spec.Location.Folder != nil {
		bare.Folder = *q.Spec.Location.Folder
	}
	if q.Spec.Config != nil {
		bare.Spec.Config = &types.VirtualMachineConfigSpec{InstanceUuid: q.Spec.Config.InstanceUuid}
	}
	bare.Spec.Template = false // until it has its devices: a template cannot be reconfigured
	devices := source.Config.Hardware.Device
	source.Config.Hardware.Device = copyDevices(devices)
	result, fault := inner(source.CloneVMTask(simulatorContext(source.Self), &bare))
	source.Config.Hardware.Device = devices
	if fault != nil {
		return nil, fault
	}
	vm := findVM(result.(types.ManagedObjectReference))
	vm.Config.Hardware.Device = r.cloned(vm, vm.Config.Hardware.Device, devices, q.Spec.Snapshot != nil &&
		q.Spec.Location.DiskMoveType == string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking))
	clearGuest(vm)
	if fault := r.configureClone(source, vm, q); fault != nil {
		_, _ = inner(vm.DestroyTask(simulatorContext(vm.Self), &types.Destroy_Task{This: vm.Self}))
		return nil, fault
	}
	r.tidy(vm)
	if q.Spec.Template {
		_ = vm.MarkAsTemplate(&types.MarkAsTemplate{This: vm.Self})
	} else if q.Spec.PowerOn {
		if _, fault := inner(vm.PowerOnVMTask(simulatorContext(vm.Self), &types.PowerOnVM_Task{This: vm.Self})); fault != nil {
			return nil, fault
		}
		connectDrives(vm)
	}
	return result, nil
}

// configureClone does what the specification says beyond the copy: the clone inherits the source's extraConfig, and gets
// devices, memory, processors and settings of its own.
func (r *rig) configureClone(source, vm *simulator.VirtualMachine, q *types.CloneVM_Task) types.BaseMethodFault {
	vm.Config.ExtraConfig = append([]types.BaseOptionValue{}, source.Config.ExtraConfig...)
	if host := q.Spec.Location.Host; host != nil && *host != *vm.Runtime.Host {
		if old, ok := simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem); ok {
			simulator.Map.RemoveReference(old, &old.Vm, vm.Self)
		}
		new := simulator.Map.Get(*host).(*simulator.HostSystem)
		simulator.Map.AddReference(new, &new.Vm, vm.Self)
		simulator.Map.Update(vm, []types.PropertyChange{
			{Name: "runtime.host", Val: host}, {Name: "summary.runtime.host", Val: host},
		})
	}
	spec := types.VirtualMachineConfigSpec{DeviceChange: q.Spec.Location.DeviceChange}
	if own := q.Spec.Config; own != nil {
		spec.NumCPUs, spec.MemoryMB, spec.ExtraConfig = own.NumCPUs, own.MemoryMB, own.ExtraConfig
		spec.DeviceChange = append(append([]types.BaseVirtualDeviceConfigSpec{}, spec.DeviceChange...), own.DeviceChange...)
	}
	for _, change := range spec.DeviceChange {
		// Clients send the source's disk, with its file, which stays; the other settings of the clone's disk can be changed.
		if disk, ok := change.GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk); ok {
			if own := deviceByKey(vm.Config.Hardware.Device, disk.Key); own != nil {
				disk.Backing = own.GetVirtualDevice().Backing
			}
		}
	}
	return r.reconfigureNow(vm, &spec)
}

// cloned brings the clone's devices back to the keys and places of the source's; MACs are new. A linked clone's disks have
// the source's as their parents.
func (r *rig) cloned(vm *simulator.VirtualMachine, made, source []types.BaseVirtualDevice, linked bool) []types.BaseVirtualDevice {
	var disks []*types.VirtualDisk
	for _, d := range made {
		if disk, ok := d.(*types.VirtualDisk); ok {
			disks = append(disks, disk)
		}
	}
	devices := copyDevices(source)
	for _, d := range devices {
		switch x := d.(type) {
		case *types.VirtualDisk:
			if len(disks) > 0 {
				parent, _ := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
				x.Backing, disks = disks[0].Backing, disks[1:]
				if parent != nil {
					copyDisk(parent, x.Backing)
				}
				if own, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && linked {
					own.Parent = parent
				}
			}
		case *types.VirtualCdrom:
			x.Connectable.Connected = false
		case types.BaseVirtualEthernetCard:
			x.GetVirtualEthernetCard().MacAddress = r.mac()
		}
	}
	return devices
}

// checkNetwork refuses a network card on a network that does not exist, and fills in what the host fills in.
func checkNetwork(device types.BaseVirtualDevice) types.BaseMethodFault {
	switch b := device.GetVirtualDevice().Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		for _, e := range simulator.Map.All("Network") {
			if n, ok := e.(*mo.Network); ok && n.Name == b.DeviceName {
				b.Network = &n.Self
				return nil
			}
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		ref := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}
		if simulator.Map.Get(ref) != nil {
			return nil
		}
	default:
		return nil // unchanged, or opaque
	}
	return &types.InvalidDeviceBacking{}
}

// powerOnMulti starts VMs beside the task, which is done before they are on, as with DRS.
func powerOnMulti(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.PowerOnMultiVM_Task)
	dc, ok := simulator.Map.Get(q.This).(*simulator.Datacenter)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: q.This}
	}
	for _, ref := range q.Vm {
		if findVM(ref) == nil {
			return nil, &types.ManagedObjectNotFound{Obj: ref}
		}
	}
	task := c.start(dc, "powerOnMultiVM", nil, func() (types.AnyType, types.BaseMethodFault) {
		if c.rig.esx {
			return nil, &types.NotImplemented{}
		}
		result := types.ClusterPowerOnVmResult{}
		for _, ref := range q.Vm {
			vm := findVM(ref)
			if vm == nil {
				continue
			}
			if fault := c.rig.notStarted(vm); fault != nil {
				result.NotAttempted = append(result.NotAttempted, types.ClusterNotAttemptedVmInfo{
					Vm: ref, Fault: types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultText(fault)},
				})
				continue
			}
			if c.rig.matchFault("DRS "+vm.Name) != nil { // manual: a recommendation that somebody has to apply
				result.Recommendations = append(result.Recommendations, types.ClusterRecommendation{
					Key: "1", Type: "V1", Time: time.Now(), Rating: 3, Reason: "powerOnVm", ReasonText: "power on virtual machine",
					Target: &types.ManagedObjectReference{Type: ref.Type, Value: ref.Value},
				})
				continue
			}
			result.Attempted = append(result.Attempted, types.ClusterAttemptedVmInfo{Vm: ref})
			go c.rig.startLater(vm)
		}
		return result, nil
	})
	return &types.PowerOnMultiVM_TaskResponse{Returnval: task}, nil
}

// notStarted is the reason why DRS does not try to start a VM.
func (r *rig) notStarted(vm *simulator.VirtualMachine) types.BaseMethodFault {
	if f := r.matchFault("PowerOn " + vm.Name); f != nil {
		return newFault(f.Fault)
	}
	if vm.Config.Template {
		return &types.NotSupported{}
	}
	if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		return &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
		}
	}
	return nil
}

func faultText(fault types.BaseMethodFault) string {
	switch fault.(type) {
	case *types.InsufficientResourcesFault:
		return "The host does not have sufficient memory resources to satisfy the reservation."
	case *types.NotSupported:
		return "The operation is not supported on the object."
	}
	return "The operation is not allowed in the current state."
}

func (r *rig) startLater(vm *simulator.VirtualMachine) {
	time.Sleep(r.taskDelay)
	if r.matchFault("Boot "+vm.Name) != nil {
		return // the attempt failed on its host, which has a task of its own
	}
	r.world.Lock()
	defer r.world.Unlock()
	if findVM(vm.Self) == nil {
		return
	}
	if _, fault := inner(vm.PowerOnVMTask(simulatorContext(vm.Self), &types.PowerOnVM_Task{This: vm.Self})); fault == nil {
		connectDrives(vm)
	}
}

// shutdownGuest needs VMware Tools in the guest; the VM goes off in its own time, or never.
func shutdownGuest(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	ref := req.(*types.ShutdownGuest).This
	vm := findVM(ref)
	if vm == nil {
		return nil, &types.ManagedObjectNotFound{Obj: ref}
	}
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return nil, &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
		}
	}
	if vm.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return nil, &types.ToolsUnavailable{}
	}
	r := c.rig
	r.mu.Lock()
	deaf := r.deaf[vm.Self.Value]
	r.mu.Unlock()
	if deaf {
		return nil, nil
	}
	go func() {
		time.Sleep(r.taskDelay)
		r.world.Lock()
		defer r.world.Unlock()
		if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			_, _ = inner(vm.PowerOffVMTask(simulatorContext(vm.Self), &types.PowerOffVM_Task{This: vm.Self}))
			connectDrives(vm)
			clearGuest(vm)
		}
	}()
	return nil, nil
}

// unseen is the connected CD/DVD drive whose file the target host cannot see: it stops a migration.
func unseen(vm *simulator.VirtualMachine, host types.ManagedObjectReference) types.BaseMethodFault {
	for _, d := range vm.Config.Hardware.Device {
		cd, ok := d.(*types.VirtualCdrom)
		if !ok || cd.Connectable == nil || !cd.Connectable.Connected || isoFile(cd) == "" {
			continue
		}
		var p object.DatastorePath
		p.FromString(isoFile(cd))
		if ds := datastoreNamed(p.Datastore); ds != nil && !seenBy(ds, host) {
			return &types.CannotAccessVmDevice{
				Device: cd.DeviceInfo.GetDescription().Label, Backing: isoFile(cd), Connected: true,
			}
		}
	}
	return nil
}

func seenBy(ds *simulator.Datastore, host types.ManagedObjectReference) bool {
	for _, mount := range ds.Host {
		if mount.Key == host {
			return true
		}
	}
	return false
}

// limitDatastore makes only some hosts see a datastore.
func limitDatastore(name string, hosts []string) bool {
	ds := datastoreNamed(name)
	if ds == nil {
		return false
	}
	kept := []types.DatastoreHostMount{}
	for _, e := range simulator.Map.All("HostSystem") {
		h := e.(*simulator.HostSystem)
		seen := false
		for _, host := range hosts {
			seen = seen || host == h.Name
		}
		refs := h.Datastore[:0:0]
		for _, ref := range h.Datastore {
			if ref != ds.Self {
				refs = append(refs, ref)
			}
		}
		if seen {
			kept = append(kept, types.DatastoreHostMount{Key: h.Self, MountInfo: types.HostMountInfo{
				AccessMode: "readWrite", Accessible: types.NewBool(true), Mounted: types.NewBool(true),
			}})
			refs = append(refs, ds.Self)
		}
		h.Datastore = refs
	}
	ds.Host = kept
	return true
}

// removeDisks deletes the files of a destroyed VM's disks wherever they are; parents of linked clones stay.
func removeDisks(vm *simulator.VirtualMachine) {
	for _, d := range vm.Config.Hardware.Device {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			file := diskPath(b.FileName)
			_ = os.Remove(file)
			_ = os.Remove(strings.TrimSuffix(file, path.Ext(file)) + "-flat.vmdk")
		}
	}
}
