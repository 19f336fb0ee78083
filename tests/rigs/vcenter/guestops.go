// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os/exec"
	"path"
	"reflect"
	"strconv"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Guest operations, after the Web Services API's reference (GuestAuthManager, GuestFileManager, GuestProcessManager): credentials are
// checked at every call, a Linux guest's programs are started by its bash, a URL ends with the first transfer that succeeds or
// after ten minutes, and an exit code is kept for five. The paths of temporary files are those of open-vm-tools.
// The reference does not say what a PUT of another size than announced, or a GET of a used URL, is answered.
const (
	urlValid   = 10 * time.Minute
	exitKept   = 5 * time.Minute
	queryGuest = "VirtualMachine.GuestOperations.Query"
	changeFile = "VirtualMachine.GuestOperations.Modify"
	runProgram = "VirtualMachine.GuestOperations.Execute"
	// Exit codes of the scripts below.
	notThere, notAFile, alreadyThere = 4, 5, 6
)

// guestSystem is what runs in a VM: a root folder in the namespaces of a process, and the account that may log in.
type guestSystem struct {
	VM       string `json:"vm"`
	PID      int    `json:"pid"`
	Root     string `json:"root"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// transfer is a URL that was given out.
type transfer struct {
	guest  *guestSystem
	path   string
	put    bool
	size   int64
	mode   string
	before time.Time
}

// guest decodes the request, and returns it with the guest it is for if that may be entered.
func (c *call) guest(privilege string) (interface{}, *guestSystem, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, nil, &types.InvalidRequest{}
	}
	fields := reflect.ValueOf(req).Elem()
	ref := fields.FieldByName("Vm").Interface().(types.ManagedObjectReference)
	auth := fields.FieldByName("Auth").Interface()
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return nil, nil, &types.ManagedObjectNotFound{Obj: ref}
	}
	if c.rig.lacks(privilege, vm.Name) != nil {
		return nil, nil, &types.NoPermission{Object: ref, PrivilegeId: privilege}
	}
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return nil, nil, &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
		}
	}
	c.rig.mu.Lock()
	system := c.rig.systems[vm.Name]
	c.rig.mu.Unlock()
	if system == nil || vm.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return nil, nil, &types.GuestOperationsUnavailable{}
	}
	given, ok := auth.(*types.NamePasswordAuthentication)
	if !ok || given.Username != system.User || given.Password != system.Password {
		return nil, nil, &types.InvalidGuestLogin{}
	}
	return req, system, nil
}

// command runs a program in the guest. Its environment is that of a daemon there.
func (g *guestSystem) command(words ...string) *exec.Cmd {
	enter := []string{"-t", strconv.Itoa(g.PID), "-m", "-n", "-p", "--", "chroot", g.Root, "env", "-i", "-C", "/root", "HOME=/root",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return exec.Command("nsenter", append(enter, words...)...)
}

// script runs a shell script in the guest, and returns what it printed and its exit code.
func (g *guestSystem) script(input io.Reader, text string, arguments ...string) (string, int) {
	cmd := g.command(append([]string{"sh", "-c", text, "sh"}, arguments...)...)
	cmd.Stdin = input
	out, _ := cmd.Output()
	return string(out), cmd.ProcessState.ExitCode()
}

func fileFault(code int, file string) types.BaseMethodFault {
	fault := types.FileFault{File: file}
	switch code {
	case 0:
		return nil
	case notThere:
		return &types.FileNotFound{FileFault: fault}
	case notAFile:
		return &types.NotAFile{FileFault: fault}
	case alreadyThere:
		return &types.FileAlreadyExists{FileFault: fault}
	}
	return &types.GuestOperationsFault{}
}

func validateCredentials(c *call) (interface{}, types.BaseMethodFault) {
	_, _, fault := c.guest(queryGuest)
	return nil, fault
}

func createTemporaryFile(c *call) (interface{}, types.BaseMethodFault) {
	body, guest, fault := c.guest(changeFile)
	if fault != nil {
		return nil, fault
	}
	req := body.(*types.CreateTemporaryFileInGuest)
	folder := req.DirectoryPath
	if folder == "" {
		folder = "/tmp/vmware-root"
	}
	out, code := guest.script(nil, `mkdir -p -m 700 /tmp/vmware-root; [ -d "$1" ] || exit 4; f=$(mktemp "$1/$2XXXXXX$3") && printf %s "$f"`,
		folder, req.Prefix, req.Suffix)
	if code != 0 {
		return nil, fileFault(code, folder)
	}
	return &types.CreateTemporaryFileInGuestResponse{Returnval: out}, nil
}

func deleteGuestFile(c *call) (interface{}, types.BaseMethodFault) {
	body, guest, fault := c.guest(changeFile)
	if fault != nil {
		return nil, fault
	}
	req := body.(*types.DeleteFileInGuest)
	_, code := guest.script(nil, `[ -e "$1" ] || [ -L "$1" ] || exit 4; [ -d "$1" ] && exit 5; rm -f -- "$1"`, req.FilePath)
	return nil, fileFault(code, req.FilePath)
}

func transferTo(c *call) (interface{}, types.BaseMethodFault) {
	body, guest, fault := c.guest(changeFile)
	if fault != nil {
		return nil, fault
	}
	req := body.(*types.InitiateFileTransferToGuest)
	keep := "keep"
	if req.Overwrite {
		keep = ""
	}
	_, code := guest.script(nil, `[ -d "$1" ] || [ -L "$1" ] && exit 5; [ -d "$2" ] || exit 4; [ -z "$3" ] || [ ! -e "$1" ] || exit 6`,
		req.GuestFilePath, path.Dir(req.GuestFilePath), keep)
	if code != 0 {
		return nil, fileFault(code, req.GuestFilePath)
	}
	one := &transfer{guest: guest, path: req.GuestFilePath, put: true, size: req.FileSize, mode: "644"}
	if posix, ok := req.FileAttributes.(*types.GuestPosixFileAttributes); ok && posix.Permissions != 0 {
		one.mode = strconv.FormatInt(posix.Permissions, 8)
	}
	return &types.InitiateFileTransferToGuestResponse{Returnval: c.rig.giveOut(one)}, nil
}

func transferFrom(c *call) (interface{}, types.BaseMethodFault) {
	body, guest, fault := c.guest(queryGuest)
	if fault != nil {
		return nil, fault
	}
	req := body.(*types.InitiateFileTransferFromGuest)
	out, code := guest.script(nil, `[ -d "$1" ] || [ -L "$1" ] && exit 5; [ -e "$1" ] || exit 4; stat -c %s -- "$1"`, req.GuestFilePath)
	if code != 0 {
		return nil, fileFault(code, req.GuestFilePath)
	}
	one := &transfer{guest: guest, path: req.GuestFilePath}
	_, _ = fmt.Sscan(out, &one.size)
	return &types.InitiateFileTransferFromGuestResponse{Returnval: types.FileTransferInformation{
		Attributes: &types.GuestPosixFileAttributes{}, Size: one.size, Url: c.rig.giveOut(one),
	}}, nil
}

// giveOut returns the URL of a transfer. The host is the one that was asked, which the reference writes as an asterisk.
func (r *rig) giveOut(one *transfer) string {
	token := make([]byte, 32)
	for n := range token {
		token[n] = byte('a' + rand.Intn(26)) // clients replace the port in the whole URL
	}
	one.before = time.Now().Add(urlValid)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.transfers[string(token)] = one
	return fmt.Sprintf("https://*:443/guestFile?id=1&token=%s", token)
}

// serveGuestFile is a host's side of a transfer.
func (r *rig) serveGuestFile(w http.ResponseWriter, req *http.Request) {
	name := req.Method + " " + req.URL.Path
	r.record(name)
	if f := r.matchFault(name); f != nil && r.injectBefore(w, req, f) {
		return
	}
	token := req.URL.Query().Get("token")
	r.mu.Lock()
	one := r.transfers[token]
	delete(r.transfers, token) // two requests at a time are not allowed either
	r.mu.Unlock()
	switch {
	case one == nil || time.Now().After(one.before):
		w.WriteHeader(http.StatusNotFound)
		return
	case one.put != (req.Method == http.MethodPut):
		w.WriteHeader(http.StatusMethodNotAllowed)
	case one.put && req.ContentLength != one.size:
		w.WriteHeader(http.StatusBadRequest)
	default:
		text := `cat -- "$1"`
		if one.put {
			text = `cat >"$1" && chmod "$2" -- "$1"`
		}
		out, code := one.guest.script(req.Body, text, one.path, one.mode)
		if code == 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(out)))
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, out)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	}
	r.mu.Lock()
	r.transfers[token] = one
	r.mu.Unlock()
}

func startProgram(c *call) (interface{}, types.BaseMethodFault) {
	body, guest, fault := c.guest(runProgram)
	if fault != nil {
		return nil, fault
	}
	req := body.(*types.StartProgramInGuest)
	spec := req.Spec.GetGuestProgramSpec()
	if _, code := guest.script(nil, `case $1 in /*) [ -f "$1" ] && [ -x "$1" ];; *) exit 4;; esac || exit 4`, spec.ProgramPath); code != 0 {
		return nil, fileFault(code, spec.ProgramPath)
	}
	cmd := guest.command("/bin/bash", "-c", fmt.Sprintf("exec \"%s\" %s", spec.ProgramPath, spec.Arguments))
	if err := cmd.Start(); err != nil {
		return nil, &types.GuestOperationsFault{}
	}
	one := &types.GuestProcessInfo{
		Name: path.Base(spec.ProgramPath), Pid: int64(cmd.Process.Pid), Owner: guest.User,
		CmdLine: spec.ProgramPath + " " + spec.Arguments, StartTime: time.Now(),
	}
	r := c.rig
	r.mu.Lock()
	r.programs[one.Pid] = one
	r.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		one.EndTime, one.ExitCode = types.NewTime(time.Now()), int32(cmd.ProcessState.ExitCode())
	}()
	return &types.StartProgramInGuestResponse{Returnval: one.Pid}, nil
}

func listProcesses(c *call) (interface{}, types.BaseMethodFault) {
	body, _, fault := c.guest(queryGuest)
	if fault != nil {
		return nil, fault
	}
	req := body.(*types.ListProcessesInGuest)
	res := &types.ListProcessesInGuestResponse{}
	c.rig.mu.Lock()
	defer c.rig.mu.Unlock()
	for _, pid := range req.Pids {
		one := c.rig.programs[pid]
		if one != nil && (one.EndTime == nil || time.Since(*one.EndTime) < exitKept) {
			res.Returnval = append(res.Returnval, *one)
		}
	}
	return res, nil
}
