// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// deepCopy copies a value of the API: the simulator shares devices between VMs.
func deepCopy(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Ptr:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(deepCopy(v.Elem()))
		return out
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type()).Elem()
		out.Set(deepCopy(v.Elem()))
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := 0; i < v.Len(); i++ {
			out.Index(i).Set(deepCopy(v.Index(i)))
		}
		return out
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v) // unexported fields (of a time) too
		for i := 0; i < v.NumField(); i++ {
			if v.Type().Field(i).PkgPath == "" {
				out.Field(i).Set(deepCopy(v.Field(i)))
			}
		}
		return out
	}
	return v
}

func copyDevices(devices []types.BaseVirtualDevice) []types.BaseVirtualDevice {
	return deepCopy(reflect.ValueOf(devices)).Interface().([]types.BaseVirtualDevice)
}

func findVM(ref types.ManagedObjectReference) *simulator.VirtualMachine {
	vm, _ := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	return vm
}

func vmNamed(name string) *simulator.VirtualMachine {
	for _, e := range simulator.Map.All("VirtualMachine") {
		if vm := e.(*simulator.VirtualMachine); vm.Name == name {
			return vm
		}
	}
	return nil
}

// normalizeAll gives every VM what a real one has: devices of its own, a CD drive on IDE, a MAC of its own, no guest data.
func (r *rig) normalizeAll() {
	normalizeNetworks()
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		vm.Config.Hardware.Device = r.normalize(vm, vm.Config.Hardware.Device)
		r.addNICs(vm)
		clearGuest(vm)
	}
	for _, e := range simulator.Map.All("Datastore") {
		d := e.(*simulator.Datastore)
		d.Host = nil
		for _, h := range simulator.Map.All("HostSystem") {
			d.Host = append(d.Host, types.DatastoreHostMount{
				Key:       h.Reference(),
				MountInfo: types.HostMountInfo{AccessMode: "readWrite", Accessible: types.NewBool(true), Mounted: types.NewBool(true)},
			})
		}
	}
}

// nameStorage gives a VM's only SCSI controller and its only disk the key, the place and the label that a host gives them.
func nameStorage(d types.BaseVirtualDevice) {
	base := d.GetVirtualDevice()
	switch x := d.(type) {
	case *types.ParaVirtualSCSIController:
		base.Key, x.BusNumber = 1000, 0
		base.DeviceInfo = &types.Description{Label: "SCSI controller 0", Summary: "VMware paravirtual SCSI"}
	case *types.VirtualDisk:
		base.Key, base.UnitNumber = 2000, types.NewInt32(0)
		base.DeviceInfo = &types.Description{Label: "Hard disk 1", Summary: base.DeviceInfo.GetDescription().Summary}
	}
}

func (r *rig) normalize(vm *simulator.VirtualMachine, shared []types.BaseVirtualDevice) []types.BaseVirtualDevice {
	devices := copyDevices(shared)
	keys := map[int32]int32{}
	nics := int32(0)
	for _, d := range devices {
		base := d.GetVirtualDevice()
		old := base.Key
		nameStorage(d)
		switch x := d.(type) {
		case *types.VirtualCdrom:
			base.Key, base.ControllerKey, base.UnitNumber = 3000, 200, types.NewInt32(0)
			base.DeviceInfo = &types.Description{Label: "CD/DVD drive 1", Summary: "Remote device"}
			base.Backing = &types.VirtualCdromRemotePassthroughBackingInfo{}
			base.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true, Status: "untried"}
		case types.BaseVirtualEthernetCard:
			card := x.GetVirtualEthernetCard()
			base.Key, base.UnitNumber = 4000+nics, types.NewInt32(7+nics)
			card.MacAddress = r.mac()
			nics++
			base.DeviceInfo = &types.Description{Label: fmt.Sprintf("Network adapter %d", nics), Summary: "network"}
		}
		keys[old] = base.Key
	}
	for _, d := range devices {
		if base := d.GetVirtualDevice(); base.Key != 3000 {
			if key, ok := keys[base.ControllerKey]; ok && base.ControllerKey != 0 {
				base.ControllerKey = key
			}
		}
	}
	return devices
}

func (r *rig) mac() string {
	r.macs++
	return fmt.Sprintf("00:50:56:%02x:%02x:%02x", 0x80|r.macs>>16, r.macs>>8&0xff, r.macs&0xff)
}

// addNICs brings the VM to the number of NICs asked for; all but the first are on "VM Network".
func (r *rig) addNICs(vm *simulator.VirtualMachine) {
	var network *types.ManagedObjectReference
	for _, e := range simulator.Map.All("Network") {
		if n, ok := e.(*mo.Network); ok && n.Name == "VM Network" {
			network = &n.Self
		}
	}
	for n := 1; n < r.nics; n++ {
		key := int32(4000 + n)
		card := &types.VirtualVmxnet3{}
		card.Key, card.ControllerKey, card.UnitNumber = key, 100, types.NewInt32(int32(7+n))
		card.MacAddress, card.AddressType = r.mac(), "assigned"
		card.DeviceInfo = &types.Description{Label: fmt.Sprintf("Network adapter %d", n+1), Summary: "VM Network"}
		card.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
			VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"},
			Network:                        network,
		}
		card.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true, Status: "ok"}
		vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, card)
	}
}

// isoFile is the file a drive holds, or empty.
func isoFile(cd *types.VirtualCdrom) string {
	if b, ok := cd.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
		return b.FileName
	}
	return ""
}

func deviceByKey(devices []types.BaseVirtualDevice, key int32) types.BaseVirtualDevice {
	return object.VirtualDeviceList(devices).FindByKey(key)
}

// check refuses what a real host refuses in a reconfiguration. It changes nothing, but fills in the values that the host fills in.
func check(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	devices := vm.Config.Hardware.Device
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	added := map[int32]types.BaseVirtualDevice{} // controllers in the same spec
	for i, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		d := c.Device.GetVirtualDevice()
		invalid := &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		if c.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			if _, ok := c.Device.(types.BaseVirtualController); ok {
				added[d.Key] = c.Device
				continue
			}
		} else {
			existing := deviceByKey(devices, d.Key)
			if existing == nil || reflect.TypeOf(existing) != reflect.TypeOf(c.Device) {
				return invalid
			}
			if d.DeviceInfo == nil { // the simulator panics without one
				info := *existing.GetVirtualDevice().DeviceInfo.GetDescription()
				d.DeviceInfo = &info
			}
			if d.UnitNumber == nil {
				d.UnitNumber = existing.GetVirtualDevice().UnitNumber
			}
			if d.ControllerKey == 0 {
				d.ControllerKey = existing.GetVirtualDevice().ControllerKey
			}
		}
		if _, ok := c.Device.(types.BaseVirtualEthernetCard); ok && c.Operation != types.VirtualDeviceConfigSpecOperationRemove {
			if fault := checkNetwork(c.Device); fault != nil {
				return fault
			}
		}
		if disk, ok := c.Device.(*types.VirtualDisk); ok && c.Operation == types.VirtualDeviceConfigSpecOperationEdit {
			if fault := grow(deviceByKey(devices, d.Key).(*types.VirtualDisk), disk); fault != nil {
				return fault
			}
		}
		cd, ok := c.Device.(*types.VirtualCdrom)
		if !ok {
			continue
		}
		controller := deviceByKey(devices, d.ControllerKey)
		if controller == nil {
			controller = added[d.ControllerKey]
		}
		slots := int32(0)
		switch controller.(type) {
		case *types.VirtualIDEController:
			slots = 2
		case *types.VirtualAHCIController:
			slots = 30
		default:
			return invalid
		}
		if c.Operation != types.VirtualDeviceConfigSpecOperationEdit && on && slots == 2 {
			return &types.InvalidPowerState{
				RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: vm.Runtime.PowerState,
			}
		}
		if c.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			taken := map[int32]bool{}
			for _, other := range devices {
				o := other.GetVirtualDevice()
				if o.ControllerKey == d.ControllerKey && o.UnitNumber != nil {
					taken[*o.UnitNumber] = true
				}
			}
			for _, other := range spec.DeviceChange[:i] {
				o := other.GetVirtualDeviceConfigSpec().Device.GetVirtualDevice()
				if o.ControllerKey == d.ControllerKey && o.UnitNumber != nil {
					taken[*o.UnitNumber] = true
				}
			}
			if d.UnitNumber == nil {
				for u := int32(0); u < slots && d.UnitNumber == nil; u++ {
					if !taken[u] {
						d.UnitNumber = types.NewInt32(u)
					}
				}
			}
			if d.UnitNumber == nil || *d.UnitNumber < 0 || *d.UnitNumber >= slots || taken[*d.UnitNumber] {
				return invalid
			}
		}
		if c.Operation != types.VirtualDeviceConfigSpecOperationRemove {
			wanted := cd.Connectable == nil || cd.Connectable.Connected || cd.Connectable.StartConnected
			if file := isoFile(cd); file != "" && wanted && !isFile(diskPath(file)) {
				return &types.FileNotFound{FileFault: types.FileFault{File: file}}
			}
			if cd.Connectable == nil {
				cd.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: on, AllowGuestControl: true}
			}
			if !on {
				cd.Connectable.Connected = false
			}
		}
	}
	return nil
}

// grow refuses a smaller disk, and one that has a parent.
func grow(old, new *types.VirtualDisk) types.BaseMethodFault {
	if new.CapacityInKB < old.CapacityInKB {
		return &types.InvalidDeviceOperation{}
	}
	if b, ok := old.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.Parent != nil && new.CapacityInKB > old.CapacityInKB {
		return &types.GenericVmConfigFault{Reason: "a disk that has a parent cannot be extended"}
	}
	return nil
}

// opensDoor tells whether the reconfiguration takes a medium out of a connected drive.
func opensDoor(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) bool {
	for _, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		cd, ok := c.Device.(*types.VirtualCdrom)
		if !ok || c.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			continue
		}
		old, ok := deviceByKey(vm.Config.Hardware.Device, cd.Key).(*types.VirtualCdrom)
		if !ok || old.Connectable == nil || !old.Connectable.Connected || isoFile(old) == "" {
			continue
		}
		stays := c.Operation == types.VirtualDeviceConfigSpecOperationEdit && isoFile(cd) == isoFile(old) &&
			cd.Connectable != nil && cd.Connectable.Connected
		if !stays {
			return true
		}
	}
	return false
}

// ask asks the question of a host whose guest has locked the CD door, and waits for the answer.
func (r *rig) ask(vm *simulator.VirtualMachine, task *simulator.Task) types.BaseMethodFault {
	r.world.Lock()
	r.mu.Lock()
	r.tokens++
	id := fmt.Sprintf("_%d", r.tokens)
	answer := make(chan string, 1)
	r.answers[vm.Self.Value+id] = answer
	r.mu.Unlock()
	const text = "The guest operating system has locked the CD-ROM door and is probably using the CD-ROM, which can prevent " +
		"the guest from recognizing media changes. If possible, eject the CD-ROM from inside the guest before " +
		"disconnecting. Disconnect anyway and override the lock?"
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "runtime.question", Val: types.VirtualMachineQuestionInfo{
		Id: id, Text: "msg.cdromdisconnect.locked:" + text,
		Choice: types.ChoiceOption{
			ChoiceInfo: []types.BaseElementDescription{
				&types.ElementDescription{Description: types.Description{Label: "Yes", Summary: "Yes"}, Key: "0"},
				&types.ElementDescription{Description: types.Description{Label: "No", Summary: "No"}, Key: "1"},
			},
			DefaultIndex: 1,
		},
		Message: []types.VirtualMachineMessage{{Id: "msg.cdromdisconnect.locked", Text: text}},
	}}})
	r.world.Unlock()
	var choice string
	select {
	case choice = <-answer:
	case <-time.After(10 * time.Minute):
	}
	r.world.Lock()
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "runtime.question", Val: nil}})
	r.world.Unlock()
	if choice != "0" {
		return &types.GenericVmConfigFault{Reason: "the CD-ROM door is locked"}
	}
	return nil
}

func answerVM(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.AnswerVM)
	c.rig.mu.Lock()
	answer, ok := c.rig.answers[q.This.Value+q.QuestionId]
	delete(c.rig.answers, q.This.Value+q.QuestionId)
	c.rig.mu.Unlock()
	if !ok {
		return nil, &types.InvalidArgument{InvalidProperty: "questionId"}
	}
	answer <- q.AnswerChoice
	return nil, nil
}

func reconfigure(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.ReconfigVM_Task)
	vm := findVM(q.This)
	if vm == nil {
		return nil, &types.ManagedObjectNotFound{Obj: q.This}
	}
	r := c.rig
	var wait func(*simulator.Task) types.BaseMethodFault
	r.mu.Lock()
	locked := r.doors[vm.Self.Value]
	r.mu.Unlock()
	if locked && opensDoor(vm, &q.Spec) {
		wait = func(t *simulator.Task) types.BaseMethodFault { return r.ask(vm, t) }
	}
	task := c.start(vm, "reconfigVm", wait, func() (types.AnyType, types.BaseMethodFault) {
		if findVM(q.This) == nil {
			return nil, &types.ManagedObjectNotFound{Obj: q.This}
		}
		return nil, r.reconfigureNow(vm, &q.Spec)
	})
	return &types.ReconfigVM_TaskResponse{Returnval: task}, nil
}

// reconfigureNow changes a VM as a host does, or refuses it.
func (r *rig) reconfigureNow(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if fault := check(vm, spec); fault != nil {
		return fault
	}
	// A host replaces entries of extraConfig, and removes empty ones; the simulator appends them, and keeps empty ones.
	set := map[string]bool{}
	for _, o := range spec.ExtraConfig {
		set[o.GetOptionValue().Key] = true
	}
	var kept []types.BaseOptionValue
	for _, o := range vm.Config.ExtraConfig {
		if !set[o.GetOptionValue().Key] {
			kept = append(kept, o)
		}
	}
	vm.Config.ExtraConfig = kept
	reported := vm.Guest.Net // the simulator adds a new card, which the guest has not reported
	_, fault := inner(vm.ReconfigVMTask(simulatorContext(vm.Self), &types.ReconfigVM_Task{This: vm.Self, Spec: *spec}))
	vm.Guest.Net = reported
	r.tidy(vm)
	return fault
}

// tidy gives new devices the keys and labels a host gives them.
func (r *rig) tidy(vm *simulator.VirtualMachine) {
	rekey(vm.Config.Hardware.Device)
	drives := 0
	used := map[string]bool{}
	for _, d := range vm.Config.Hardware.Device {
		if cd, ok := d.(*types.VirtualCdrom); ok {
			drives++
			used[cd.DeviceInfo.GetDescription().Label] = true
			summary := "Remote device"
			if file := isoFile(cd); file != "" {
				summary = "ISO " + file
			}
			cd.DeviceInfo.GetDescription().Summary = summary
		}
	}
	for _, d := range vm.Config.Hardware.Device {
		cd, ok := d.(*types.VirtualCdrom)
		if !ok || strings.HasPrefix(cd.DeviceInfo.GetDescription().Label, "CD/DVD drive ") {
			continue
		}
		for n := 1; n <= drives; n++ {
			if label := fmt.Sprintf("CD/DVD drive %d", n); !used[label] {
				cd.DeviceInfo.GetDescription().Label, used[label] = label, true
				break
			}
		}
	}
}

// rekey gives SATA controllers, CD drives and network cards keys in the ranges of their kinds, by which clients order devices.
func rekey(devices []types.BaseVirtualDevice) {
	controllers := map[int32]int32{}
	taken := map[int32]bool{}
	for _, d := range devices {
		if c, ok := d.(*types.VirtualAHCIController); ok {
			controllers[c.Key] = 15000 + c.BusNumber
			c.Key = 15000 + c.BusNumber
		}
	}
	for _, d := range devices {
		base := d.GetVirtualDevice()
		if key, ok := controllers[base.ControllerKey]; ok {
			base.ControllerKey = key
		}
		if cd, ok := d.(*types.VirtualCdrom); ok && cd.UnitNumber != nil {
			if cd.ControllerKey >= 15000 {
				cd.Key = 16000 + 30*(cd.ControllerKey-15000) + *cd.UnitNumber
			} else {
				cd.Key = 3000 + 2*(cd.ControllerKey-200) + *cd.UnitNumber
			}
		}
		if _, ok := d.(types.BaseVirtualEthernetCard); ok && base.Key >= 4000 {
			taken[base.Key] = true
		}
	}
	for _, d := range devices {
		base := d.GetVirtualDevice()
		if _, ok := d.(types.BaseVirtualEthernetCard); ok && base.Key < 4000 {
			key := int32(4000)
			for taken[key] {
				key++
			}
			taken[key] = true
			base.Key, base.UnitNumber = key, types.NewInt32(7+key-4000)
			base.DeviceInfo.GetDescription().Label = fmt.Sprintf("Network adapter %d", key-3999)
		}
	}
}
