// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// watched is a property filter and the state that its collector has reported. Unlike a vCenter, the simulator looks for updates four times
// a second, reads every object again for each of them, and loses what happens between two calls.
type watched struct {
	spec types.PropertyFilterSpec
	told map[types.ManagedObjectReference]map[string]types.AnyType
}

const lookForUpdates = 10 * time.Millisecond

var filterReturned = regexp.MustCompile(`<returnval type="PropertyFilter">([^<]+)</returnval>`)

// filterMade remembers a filter that the simulator has made.
func (r *rig) filterMade(w *recorder, c *call) {
	found := filterReturned.FindStringSubmatch(w.body.String())
	req, err := c.request()
	if found == nil || err != nil {
		return
	}
	q := req.(*types.CreateFilter)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filters[c.session+" "+q.This.Value+" "+found[1]] = &watched{
		spec: q.Spec, told: map[types.ManagedObjectReference]map[string]types.AnyType{},
	}
}

// filterGone forgets a filter, or all of a collector.
func (r *rig) filterGone(c *call) {
	req, err := c.request()
	if err != nil {
		return
	}
	ref := reflect.ValueOf(req).Elem().FieldByName("This").Interface().(types.ManagedObjectReference)
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.filters {
		parts := strings.Split(key, " ")
		if parts[0] == c.session && (parts[1] == ref.Value || parts[2] == ref.Value) {
			delete(r.filters, key)
		}
	}
}

// filtersOf are the filters of a collector by their names.
func (r *rig) filtersOf(session, collector string) map[string]*watched {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[string]*watched{}
	for key, f := range r.filters {
		if name := strings.TrimPrefix(key, session+" "+collector+" "); name != key {
			found[name] = f
		}
	}
	return found
}

// ownUpdates tells whether the rig answers this call of WaitForUpdatesEx: views are known to the simulator alone.
func (r *rig) ownUpdates(c *call) bool {
	req, err := c.request()
	if err != nil {
		return false
	}
	filters := r.filtersOf(c.session, req.(*types.WaitForUpdatesEx).This.Value)
	for _, f := range filters {
		for _, o := range f.spec.ObjectSet {
			if strings.HasSuffix(o.Obj.Type, "View") {
				return false
			}
		}
	}
	return len(filters) > 0
}

func (r *rig) waitForUpdates(w *recorder, req *http.Request, c *call) {
	body, _ := c.request()
	q := body.(*types.WaitForUpdatesEx)
	limit := 30 * time.Minute
	if q.Options != nil && q.Options.MaxWaitSeconds != nil {
		limit = time.Duration(*q.Options.MaxWaitSeconds) * time.Second
	}
	end := time.Now().Add(limit)
	for {
		if r.session(req) == "" {
			writeFault(w, "The session is not authenticated.", newFault("NotAuthenticated"))
			return
		}
		var set []types.PropertyFilterUpdate
		for name, f := range r.filtersOf(c.session, q.This.Value) {
			if q.Version == "" {
				f.told = map[types.ManagedObjectReference]map[string]types.AnyType{}
			}
			if changed := r.changesOf(f, q.This); len(changed) > 0 {
				set = append(set, types.PropertyFilterUpdate{
					Filter: types.ManagedObjectReference{Type: "PropertyFilter", Value: name}, ObjectSet: changed,
				})
			}
		}
		if len(set) > 0 || q.Version == "" {
			r.mu.Lock()
			r.tokens++
			version := fmt.Sprintf("%d", r.tokens)
			r.mu.Unlock()
			writeResponse(w, "WaitForUpdatesExResponse", &types.WaitForUpdatesExResponse{
				Returnval: &types.UpdateSet{Version: version, FilterSet: set},
			})
			return
		}
		if !time.Now().Before(end) {
			writeResponse(w, "WaitForUpdatesExResponse", nil)
			return
		}
		time.Sleep(lookForUpdates)
	}
}

// changesOf is what has changed since the last look.
func (r *rig) changesOf(f *watched, collector types.ManagedObjectReference) []types.ObjectUpdate {
	spec := f.spec
	gone := true
	spec.ReportMissingObjectsInResults = &gone
	r.world.Lock()
	defer r.world.Unlock()
	service := simulator.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance)
	pc := simulator.Map.Get(service.Content.PropertyCollector).(*simulator.PropertyCollector)
	res, ok := pc.RetrievePropertiesEx(simulatorContext(collector), &types.RetrievePropertiesEx{
		SpecSet: []types.PropertyFilterSpec{spec},
	}).(*methods.RetrievePropertiesExBody)
	if !ok || res.Res == nil {
		return nil
	}
	var updates []types.ObjectUpdate
	seen := map[types.ManagedObjectReference]bool{}
	if res.Res.Returnval == nil {
		res.Res.Returnval = &types.RetrieveResult{}
	}
	for _, o := range res.Res.Returnval.Objects {
		seen[o.Obj] = true
		told, known := f.told[o.Obj]
		if !known {
			told = map[string]types.AnyType{}
			f.told[o.Obj] = told
		}
		update := types.ObjectUpdate{Obj: o.Obj, Kind: types.ObjectUpdateKindModify}
		if !known {
			update.Kind = types.ObjectUpdateKindEnter
		}
		now := map[string]bool{}
		for _, p := range o.PropSet {
			now[p.Name] = true
			if old, ok := told[p.Name]; !ok || !reflect.DeepEqual(old, p.Val) {
				told[p.Name] = deepCopy(reflect.ValueOf(p.Val)).Interface()
				update.ChangeSet = append(update.ChangeSet, types.PropertyChange{
					Op: types.PropertyChangeOpAssign, Name: p.Name, Val: told[p.Name],
				})
			}
		}
		for name := range told {
			if !now[name] {
				delete(told, name)
				update.ChangeSet = append(update.ChangeSet, types.PropertyChange{Op: types.PropertyChangeOpAssign, Name: name})
			}
		}
		if !known || len(update.ChangeSet) > 0 {
			updates = append(updates, update)
		}
	}
	for ref := range f.told {
		if !seen[ref] {
			delete(f.told, ref)
			updates = append(updates, types.ObjectUpdate{Obj: ref, Kind: types.ObjectUpdateKindLeave})
		}
	}
	return updates
}
