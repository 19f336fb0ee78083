// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Each host has standard port groups of its own, and vCenter shows those of one name in a datacenter as one network. The
// simulator has them per datacenter, accepts any VLAN, and removes those that VMs and VMkernel adapters are on.

// maxTag is the largest tag of a standard port group, where it means all tags; on a distributed one a tag is at most 4094.
const maxTag = 4095

// normalizeNetworks gives each host lists of its own (the simulator's share memory) and its VMkernel adapters.
func normalizeNetworks() {
	for _, e := range simulator.Map.All("HostSystem") {
		host := e.(*simulator.HostSystem)
		host.Network = append([]types.ManagedObjectReference{}, host.Network...)
		system := networkSystem(*host.ConfigManager.NetworkSystem)
		if system == nil {
			continue
		}
		info := system.NetworkInfo
		info.Portgroup = append([]types.HostPortGroup{}, info.Portgroup...)
		info.Vnic = append([]types.HostVirtualNic{}, host.Config.Network.Vnic...)
		for i := range info.Vswitch {
			info.Vswitch[i].Portgroup = append([]string{}, info.Vswitch[i].Portgroup...)
		}
	}
}

func networkSystem(ref types.ManagedObjectReference) *simulator.HostNetworkSystem {
	found, _ := simulator.Map.Get(ref).(*simulator.HostNetworkSystem)
	return found
}

// networkOf returns the network that a card is on.
func networkOf(card *types.VirtualEthernetCard) *types.ManagedObjectReference {
	switch b := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		for _, e := range simulator.Map.All("Network") {
			if n, ok := e.(*mo.Network); ok && n.Name == b.DeviceName {
				return &n.Self
			}
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		for _, e := range simulator.Map.All("DistributedVirtualPortgroup") {
			if n, ok := e.(*simulator.DistributedVirtualPortgroup); ok && n.Key == b.Port.PortgroupKey {
				return &n.Self
			}
		}
	}
	return nil
}

// syncNetworks lets the VMs' list of networks follow their cards, which the simulator does for some changes only.
func syncNetworks() {
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		vm.Network = nil
		for _, d := range vm.Config.Hardware.Device {
			if card, ok := d.(types.BaseVirtualEthernetCard); ok {
				if ref := networkOf(card.GetVirtualEthernetCard()); ref != nil && !contains(vm.Network, *ref) {
					vm.Network = append(vm.Network, *ref)
				}
			}
		}
	}
}

// isUsed tells whether a VM (of a host, if one is given) has a card on the network.
func isUsed(network types.ManagedObjectReference, host *types.ManagedObjectReference) bool {
	syncNetworks()
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		if contains(vm.Network, network) && (host == nil || *vm.Runtime.Host == *host) {
			return true
		}
	}
	return false
}

func contains(refs []types.ManagedObjectReference, wanted types.ManagedObjectReference) bool {
	for _, ref := range refs {
		if ref == wanted {
			return true
		}
	}
	return false
}

func without(refs []types.ManagedObjectReference, gone types.ManagedObjectReference) []types.ManagedObjectReference {
	kept := []types.ManagedObjectReference{}
	for _, ref := range refs {
		if ref != gone {
			kept = append(kept, ref)
		}
	}
	return kept
}

// networkFolder is the folder of networks in a host's datacenter.
func networkFolder(host mo.Entity) *simulator.Folder {
	for e := host; e != nil; {
		if dc, ok := e.(*simulator.Datacenter); ok {
			folder, _ := simulator.Map.Get(dc.NetworkFolder).(*simulator.Folder)
			return folder
		}
		parent := e.Entity().Parent
		if parent == nil {
			return nil
		}
		e, _ = simulator.Map.Get(*parent).(mo.Entity)
	}
	return nil
}

// setResourceNetwork adds a network to a host's cluster, or removes it if no host of the cluster has it.
func setResourceNetwork(host *simulator.HostSystem, network types.ManagedObjectReference) {
	change := func(networks *[]types.ManagedObjectReference, hosts []types.ManagedObjectReference) {
		has := false
		for _, ref := range hosts {
			if h, ok := simulator.Map.Get(ref).(*simulator.HostSystem); ok {
				has = has || contains(h.Network, network)
			}
		}
		*networks = without(*networks, network)
		if has {
			*networks = append(*networks, network)
		}
	}
	switch parent := simulator.Map.Get(*host.Parent).(type) {
	case *simulator.ClusterComputeResource:
		change(&parent.Network, parent.Host)
	case *mo.ComputeResource:
		change(&parent.Network, parent.Host)
	}
}

func addPortGroup(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.AddPortGroup)
	system := networkSystem(q.This)
	if system == nil {
		return nil, &types.ManagedObjectNotFound{Obj: q.This}
	}
	spec := q.Portgrp
	if spec.Name == "" || spec.VlanId < 0 || spec.VlanId > maxTag {
		return nil, &types.InvalidArgument{InvalidProperty: "portgrp"}
	}
	var vswitch *types.HostVirtualSwitch
	for i := range system.NetworkInfo.Vswitch {
		if system.NetworkInfo.Vswitch[i].Name == spec.VswitchName {
			vswitch = &system.NetworkInfo.Vswitch[i]
		}
	}
	if vswitch == nil {
		return nil, &types.NotFound{}
	}
	for _, group := range system.NetworkInfo.Portgroup {
		if group.Spec.Name == spec.Name {
			return nil, &types.AlreadyExists{Name: spec.Name}
		}
	}
	host := simulator.Map.Get(system.Host.Self).(*simulator.HostSystem)
	folder := networkFolder(host)
	ref := sameName(folder.Self, spec.Name)
	if ref == nil {
		if _, fault := answerOf(system.AddPortGroup(simulatorContext(system.Self), q)); fault != nil {
			return nil, fault
		}
		ref = sameName(folder.Self, spec.Name)
	} else {
		if _, ok := simulator.Map.Get(*ref).(*mo.Network); !ok {
			return nil, &types.DuplicateName{Name: spec.Name, Object: *ref}
		}
		vswitch.Portgroup = append(vswitch.Portgroup, spec.Name)
		group := types.HostPortGroup{Key: "key-vim.host.PortGroup-" + spec.Name, Spec: spec}
		system.NetworkInfo.Portgroup = append(system.NetworkInfo.Portgroup, group)
	}
	network := simulator.Map.Get(*ref).(*mo.Network)
	network.Host = append(network.Host, host.Self)
	host.Network = append(host.Network, *ref)
	setResourceNetwork(host, *ref)
	return nil, nil
}

func removePortGroup(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.RemovePortGroup)
	system := networkSystem(q.This)
	if system == nil {
		return nil, &types.ManagedObjectNotFound{Obj: q.This}
	}
	info := system.NetworkInfo
	kept := []types.HostPortGroup{}
	for _, group := range info.Portgroup {
		if group.Spec.Name != q.PgName {
			kept = append(kept, group)
		}
	}
	if len(kept) == len(info.Portgroup) {
		return nil, &types.NotFound{}
	}
	for _, vnic := range info.Vnic {
		if vnic.Portgroup == q.PgName {
			return nil, &types.ResourceInUse{Type: "HostVirtualNic", Name: vnic.Device}
		}
	}
	host := simulator.Map.Get(system.Host.Self).(*simulator.HostSystem)
	ref := sameName(networkFolder(host).Self, q.PgName)
	if ref != nil && isUsed(*ref, &host.Self) {
		return nil, &types.ResourceInUse{Type: "Network", Name: q.PgName}
	}
	info.Portgroup = kept
	for i := range info.Vswitch {
		names := []string{}
		for _, name := range info.Vswitch[i].Portgroup {
			if name != q.PgName {
				names = append(names, name)
			}
		}
		info.Vswitch[i].Portgroup = names
	}
	if ref == nil {
		return nil, nil
	}
	host.Network = without(host.Network, *ref)
	setResourceNetwork(host, *ref)
	network := simulator.Map.Get(*ref).(*mo.Network)
	network.Host = without(network.Host, host.Self)
	if len(network.Host) == 0 {
		dropNetwork(networkFolder(host), *ref)
	}
	return nil, nil
}

func dropNetwork(folder *simulator.Folder, ref types.ManagedObjectReference) {
	folder.ChildEntity = without(folder.ChildEntity, ref)
	if dc, ok := simulator.Map.Get(*folder.Parent).(*simulator.Datacenter); ok {
		dc.Network = without(dc.Network, ref)
	}
	simulator.Map.Remove(ref)
}

func addDistributed(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	q := req.(*types.AddDVPortgroup_Task)
	dvs, ok := simulator.Map.Get(q.This).(*simulator.DistributedVirtualSwitch)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: q.This}
	}
	task := c.start(dvs, "addPortgroup", nil, func() (types.AnyType, types.BaseMethodFault) {
		for _, spec := range q.Spec {
			setting, ok := spec.DefaultPortConfig.(*types.VMwareDVSPortSetting)
			if !ok {
				continue
			}
			if vlan, ok := setting.Vlan.(*types.VmwareDistributedVirtualSwitchVlanIdSpec); ok && (vlan.VlanId < 0 || vlan.VlanId >= maxTag) {
				return nil, &types.InvalidArgument{InvalidProperty: "spec.defaultPortConfig.vlan"}
			}
		}
		return inner(dvs.AddDVPortgroupTask(simulatorContext(dvs.Self), q))
	})
	return &types.AddDVPortgroup_TaskResponse{Returnval: task}, nil
}

// destroyDistributed refuses a port group that VMs are on; else it goes from hosts and clusters, too.
func destroyDistributed(c *call, group *simulator.DistributedVirtualPortgroup, q *types.Destroy_Task) types.ManagedObjectReference {
	return c.start(group, "destroy", nil, func() (types.AnyType, types.BaseMethodFault) {
		if isUsed(group.Self, nil) {
			return nil, &types.ResourceInUse{Type: "DistributedVirtualPortgroup", Name: group.Name}
		}
		result, fault := inner(group.DestroyTask(simulatorContext(group.Self), q))
		if fault != nil {
			return nil, fault
		}
		for _, e := range simulator.Map.All("HostSystem") {
			host := e.(*simulator.HostSystem)
			host.Network = without(host.Network, group.Self)
			setResourceNetwork(host, group.Self)
		}
		return result, nil
	})
}
