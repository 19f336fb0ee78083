// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	_ "github.com/vmware/govmomi/vapi/simulator" // the older form of the API, under /rest
)

// The tagging service under /api, as vCenter 7.0 Update 2 and later have it. Sessions, paths, actions, bodies and status codes are
// those of its reference (developer.broadcom.com/xapis/vsphere-automation-api/latest). Categories, tags and what they are
// attached to are in govmomi's simulator of /rest, which accepts any account; an administrator of the tests makes them there.
const (
	apiSession  = "/api/session"
	apiTagging  = "/api/cis/tagging/"
	restTagging = "/rest/com/vmware/cis/tagging/"
	restSession = "/rest/com/vmware/cis/session"
	apiToken    = "Vmware-Api-Session-Id"
)

var apiReads = map[string]bool{
	"POST tag?action=list-tags-for-category":                    true,
	"POST tag-association?action=list-attached-objects-on-tags": true,
	"GET category":  true,
	"GET category/": true,
	"GET tag":       true,
	"GET tag/":      true,
}

func (r *rig) serveAPI(w http.ResponseWriter, req *http.Request) {
	name := req.Method + " " + req.URL.RequestURI()
	r.record(name)
	f := r.matchFault(name)
	if f != nil && f.Kind == "revoke" {
		r.endAPISession(req)
	} else if f != nil && r.injectBefore(w, req, f) {
		return
	}
	out := newRecorder()
	out.header.Set("Content-Type", "application/json")
	r.answerAPI(out, req)
	if f != nil && r.injectAfter(w, f, out) {
		return
	}
	out.send(w)
}

func (r *rig) answerAPI(w *recorder, req *http.Request) {
	if req.URL.Path == apiSession && req.Method == http.MethodPost {
		user, password, _ := req.BasicAuth()
		if user != r.user || password != r.password {
			apiError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Authentication required.")
			return
		}
		r.mu.Lock()
		r.tokens++
		token := fmt.Sprintf("api-session-%d", r.tokens)
		r.apiSessions[token] = true
		r.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(token)
		return
	}
	r.mu.Lock()
	known := r.apiSessions[req.Header.Get(apiToken)]
	r.mu.Unlock()
	switch {
	case !known:
		apiError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Authentication required.")
	case req.URL.Path == apiSession && req.Method == http.MethodDelete:
		r.endAPISession(req)
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(req.URL.Path, apiTagging):
		r.answerTagging(w, req)
	default:
		apiError(w, http.StatusNotFound, "NOT_FOUND", "No such operation.")
	}
}

func (r *rig) endAPISession(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.apiSessions, req.Header.Get(apiToken))
}

// answerTagging asks /rest, which names an object "id:<id>" in the path, an action "~action", and wraps the answer in "value".
func (r *rig) answerTagging(w *recorder, req *http.Request) {
	path, id, one := strings.Cut(strings.TrimPrefix(req.URL.Path, apiTagging), "/")
	operation := req.Method + " " + path
	if one {
		operation += "/"
	} else if req.URL.RawQuery != "" {
		operation += "?" + req.URL.RawQuery
	}
	if !apiReads[operation] {
		apiError(w, http.StatusNotFound, "NOT_FOUND", "No such operation.")
		return
	}
	body, _ := io.ReadAll(req.Body)
	query := url.Values{}
	if req.Method == http.MethodPost {
		query.Set("~action", req.URL.Query().Get("action"))
		var given struct {
			Category string   `json:"category_id"`
			Tags     []string `json:"tag_ids"`
		}
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		if strict.Decode(&given) != nil || (path == "tag") != (given.Category != "") || (path == "tag") != (given.Tags == nil) {
			apiError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "The body is not what the operation takes.")
			return
		}
		id = given.Category
	}
	if id != "" {
		path += "/id:" + id
		if req.Method == http.MethodPost && r.rest(http.MethodGet, restTagging+"category/id:"+id, nil, nil).status != http.StatusOK {
			apiError(w, http.StatusNotFound, "NOT_FOUND", "No such category.")
			return
		}
	}
	inner := r.rest(req.Method, restTagging+path, query, body)
	if inner.status != http.StatusOK {
		apiError(w, http.StatusNotFound, "NOT_FOUND", "No such category or tag.")
		return
	}
	var answer struct {
		Value json.RawMessage `json:"value"`
	}
	_ = json.Unmarshal(inner.body.Bytes(), &answer)
	if len(answer.Value) == 0 || string(answer.Value) == "null" { // /rest leaves out an empty list
		answer.Value = json.RawMessage("[]")
	}
	_, _ = w.Write(bytes.ReplaceAll(answer.Value, []byte(`"object_ids":null`), []byte(`"object_ids":[]`)))
}

// rest makes a call of the simulator's /rest.
func (r *rig) rest(method, path string, query url.Values, body []byte) *recorder {
	r.restLogin.Do(func() { // a session that lasts as long as the rig
		req, _ := http.NewRequest(http.MethodPost, restSession, http.NoBody)
		req.SetBasicAuth(r.user, r.password)
		out := newRecorder()
		r.next.ServeHTTP(out, req)
		var answer struct {
			Value string `json:"value"`
		}
		_ = json.Unmarshal(out.body.Bytes(), &answer)
		r.restToken = answer.Value
	})
	req, _ := http.NewRequest(method, path+"?"+query.Encode(), bytes.NewReader(body))
	req.Header.Set(apiToken, r.restToken)
	out := newRecorder()
	r.next.ServeHTTP(out, req)
	return out
}

func apiError(w *recorder, status int, kind, text string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]interface{}{
		"error_type": kind, "messages": []map[string]string{{"default_message": text}},
	})
}
