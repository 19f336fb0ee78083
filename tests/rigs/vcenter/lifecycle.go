// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// overrides are the calls the rig answers instead of the simulator.
var overrides map[string]override

func init() {
	overrides = map[string]override{
		"AddDVPortgroup_Task":           addDistributed,
		"AddPortGroup":                  addPortGroup,
		"AnswerVM":                      answerVM,
		"CancelRetrievePropertiesEx":    cancelRetrieve,
		"CloneVM_Task":                  clone,
		"ContinueRetrievePropertiesEx":  continueRetrieve,
		"CreateTemporaryFileInGuest":    createTemporaryFile,
		"DeleteFileInGuest":             deleteGuestFile,
		"InitiateFileTransferFromGuest": transferFrom,
		"InitiateFileTransferToGuest":   transferTo,
		"ListProcessesInGuest":          listProcesses,
		"StartProgramInGuest":           startProgram,
		"ValidateCredentialsInGuest":    validateCredentials,
		"CopyDatastoreFile_Task":        copyFile,
		"DeleteDatastoreFile_Task":      deleteFile,
		"Destroy_Task":                  destroy,
		"MigrateVM_Task":                migrate,
		"MoveDatastoreFile_Task":        moveFile,
		"PowerOffVM_Task":               powerOff,
		"PowerOnMultiVM_Task":           powerOnMulti,
		"PowerOnVM_Task":                powerOn,
		"ReconfigVM_Task":               reconfigure,
		"RelocateVM_Task":               relocate,
		"RemovePortGroup":               removePortGroup,
		"ShutdownGuest":                 shutdownGuest,
	}
}

// clockOffset is how far the hosts' clocks are ahead of this machine's, in nanoseconds.
var clockOffset atomic.Int64

// connectDrives sets the drives' connection by the power state: at power on those that start connected and have a file are connected.
func connectDrives(vm *simulator.VirtualMachine) {
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	vm.Runtime.BootTime = nil // the simulator has it in the summary only
	if on {
		vm.Runtime.BootTime = types.NewTime(time.Now().Add(time.Duration(clockOffset.Load())))
	}
	for _, d := range vm.Config.Hardware.Device {
		base := d.GetVirtualDevice()
		if base.Connectable == nil {
			continue
		}
		base.Connectable.Connected = on && base.Connectable.StartConnected
		if cd, ok := d.(*types.VirtualCdrom); ok {
			if file := isoFile(cd); file == "" || !isFile(diskPath(file)) {
				base.Connectable.Connected = false
			}
		}
	}
}

func power(c *call, ref types.ManagedObjectReference, name string, run func(*simulator.VirtualMachine) soap.HasFault,
) (types.ManagedObjectReference, types.BaseMethodFault) {
	vm := findVM(ref)
	if vm == nil {
		return ref, &types.ManagedObjectNotFound{Obj: ref}
	}
	return c.start(vm, name, nil, func() (types.AnyType, types.BaseMethodFault) {
		result, fault := inner(run(vm))
		if fault == nil {
			connectDrives(vm)
			if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff {
				clearGuest(vm)
				c.rig.mu.Lock()
				delete(c.rig.doors, vm.Self.Value)
				c.rig.mu.Unlock()
			}
		}
		return result, fault
	}), nil
}

func powerOn(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.PowerOnVM_Task)
	task, fault := power(c, q.This, "powerOn", func(vm *simulator.VirtualMachine) soap.HasFault {
		return vm.PowerOnVMTask(simulatorContext(vm.Self), q)
	})
	return &types.PowerOnVM_TaskResponse{Returnval: task}, fault
}

func powerOff(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.PowerOffVM_Task)
	task, fault := power(c, q.This, "powerOff", func(vm *simulator.VirtualMachine) soap.HasFault {
		return vm.PowerOffVMTask(simulatorContext(vm.Self), q)
	})
	return &types.PowerOffVM_TaskResponse{Returnval: task}, fault
}

func migrate(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.MigrateVM_Task)
	task, fault := move(c, q.This, types.VirtualMachineRelocateSpec{Host: q.Host, Pool: q.Pool})
	return &types.MigrateVM_TaskResponse{Returnval: task}, fault
}

func relocate(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.RelocateVM_Task)
	task, fault := move(c, q.This, q.Spec)
	return &types.RelocateVM_TaskResponse{Returnval: task}, fault
}

func move(c *call, ref types.ManagedObjectReference, spec types.VirtualMachineRelocateSpec,
) (types.ManagedObjectReference, types.BaseMethodFault) {
	vm := findVM(ref)
	if vm == nil {
		return ref, &types.ManagedObjectNotFound{Obj: ref}
	}
	return c.start(vm, "relocateVm", nil, func() (types.AnyType, types.BaseMethodFault) {
		target := spec.Datastore
		spec.Datastore = nil
		if spec.Host != nil {
			if fault := unseen(vm, *spec.Host); fault != nil {
				return nil, fault
			}
			old, _ := simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem)
			host, ok := simulator.Map.Get(*spec.Host).(*simulator.HostSystem)
			if !ok {
				return nil, &types.InvalidArgument{InvalidProperty: "host"}
			}
			if old != nil {
				simulator.Map.RemoveReference(old, &old.Vm, vm.Self)
			}
			simulator.Map.AddReference(host, &host.Vm, vm.Self)
		}
		q := &types.RelocateVM_Task{This: vm.Self, Spec: spec}
		if _, fault := inner(vm.RelocateVMTask(simulatorContext(vm.Self), q)); fault != nil {
			return nil, fault
		}
		if target == nil {
			return nil, nil
		}
		return nil, moveFiles(vm, *target)
	}), nil
}

// moveFiles is what a storage migration does: home and disks go, ISO files stay where they are.
func moveFiles(vm *simulator.VirtualMachine, ref types.ManagedObjectReference) types.BaseMethodFault {
	target, ok := simulator.Map.Get(ref).(*simulator.Datastore)
	if !ok {
		return &types.InvalidDatastore{}
	}
	var home object.DatastorePath
	home.FromString(vm.Config.Files.VmPathName)
	from := datastoreNamed(home.Datastore)
	if from == nil || from.Self == ref {
		return nil
	}
	folder := path.Dir(home.Path)
	old, new := path.Join(folderOf(from), folder), path.Join(folderOf(target), folder)
	if err := os.MkdirAll(new, 0o700); err != nil {
		return &types.FileFault{File: new}
	}
	entries, _ := os.ReadDir(old)
	for _, e := range entries {
		if strings.EqualFold(filepath.Ext(e.Name()), ".iso") {
			continue
		}
		if err := os.Rename(path.Join(old, e.Name()), path.Join(new, e.Name())); err != nil {
			return &types.FileFault{File: e.Name()}
		}
	}
	_ = os.Remove(old) // only if it is empty
	here, there := "["+from.Name+"] "+folder+"/", "["+target.Name+"] "+folder+"/"
	for _, d := range vm.Config.Hardware.Device {
		if disk, ok := d.(*types.VirtualDisk); ok {
			if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && strings.HasPrefix(b.FileName, here) {
				b.FileName, b.Datastore = there+strings.TrimPrefix(b.FileName, here), &target.Self
			}
		}
	}
	f := &vm.Config.Files
	for _, p := range []*string{&f.VmPathName, &f.SnapshotDirectory, &f.SuspendDirectory, &f.LogDirectory} {
		*p = strings.Replace(*p, "["+from.Name+"]", "["+target.Name+"]", 1)
	}
	for i := range vm.LayoutEx.File {
		vm.LayoutEx.File[i].Name = strings.Replace(vm.LayoutEx.File[i].Name, "["+from.Name+"]", "["+target.Name+"]", 1)
	}
	simulator.Map.RemoveReference(from, &from.Vm, vm.Self)
	simulator.Map.AddReference(target, &target.Vm, vm.Self)
	simulator.Map.Update(vm, []types.PropertyChange{
		{Name: "datastore", Val: []types.ManagedObjectReference{ref}},
		{Name: "summary.config.vmPathName", Val: f.VmPathName},
		{Name: "config.hardware.device", Val: vm.Config.Hardware.Device},
	})
	return nil
}

// destroy deletes the VM's own files. Files that are not the VM's, such as ISO images, stay with their folder.
func destroy(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.Destroy_Task)
	vm := findVM(q.This)
	if vm == nil {
		switch e := simulator.Map.Get(q.This).(type) {
		case nil:
			return nil, &types.ManagedObjectNotFound{Obj: q.This}
		case *simulator.DistributedVirtualPortgroup:
			return &types.Destroy_TaskResponse{Returnval: destroyDistributed(c, e, q)}, nil
		}
		return nil, &types.NotSupported{}
	}
	task := c.start(vm, "destroy", nil, func() (types.AnyType, types.BaseMethodFault) {
		if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			return nil, &types.InvalidPowerState{
				RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: vm.Runtime.PowerState,
			}
		}
		folder := path.Dir(diskPath(vm.Config.Files.VmPathName))
		aside, err := os.MkdirTemp("", "kept-")
		if err != nil {
			return nil, &types.FileFault{File: folder}
		}
		defer os.RemoveAll(aside)
		images, _ := filepath.Glob(escapeGlob(folder) + "/*.[iI][sS][oO]")
		for _, image := range images {
			_ = os.Rename(image, path.Join(aside, path.Base(image)))
		}
		removeDisks(vm)
		result, fault := inner(vm.DestroyTask(simulatorContext(vm.Self), q))
		if len(images) > 0 {
			_ = os.MkdirAll(folder, 0o700)
			for _, image := range images {
				_ = os.Rename(path.Join(aside, path.Base(image)), image)
			}
		}
		return result, fault
	})
	return &types.Destroy_TaskResponse{Returnval: task}, nil
}

func escapeGlob(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}
