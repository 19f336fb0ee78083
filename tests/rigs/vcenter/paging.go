// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// objects splits the answer of RetrievePropertiesEx into the text before the objects, the objects, and the text behind them.
func objects(body string) (string, []string, string) {
	const open, close = "<objects>", "</objects>"
	first := strings.Index(body, open)
	if first < 0 {
		return body, nil, ""
	}
	var found []string
	at := first
	for strings.HasPrefix(body[at:], open) {
		depth, i := 1, at+len(open)
		for depth > 0 {
			o, c := strings.Index(body[i:], open), strings.Index(body[i:], close)
			if o >= 0 && o < c {
				depth, i = depth+1, i+o+len(open)
			} else {
				depth, i = depth-1, i+c+len(close)
			}
		}
		found = append(found, body[at:i])
		at = i
	}
	return body[:first], found, body[at:]
}

// page keeps the objects that do not fit into one answer, and puts a token into the answer.
func (r *rig) page(w *recorder, c *call) {
	if w.status != http.StatusOK {
		return
	}
	size := r.pageSize
	if req, err := c.request(); err == nil {
		if max := req.(*types.RetrievePropertiesEx).Options.MaxObjects; max > 0 && int(max) < size {
			size = int(max)
		}
	}
	before, found, after := objects(w.body.String())
	if len(found) <= size {
		return
	}
	w.body.Reset()
	w.body.WriteString(before + r.token(c.session, found[size:]) + strings.Join(found[:size], "") + after)
}

// token stores the rest and returns the element that names it.
func (r *rig) token(session string, rest []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens++
	key := fmt.Sprintf("%d", r.tokens)
	r.pages[session+" "+key] = rest
	return "<token>" + key + "</token>"
}

func continueRetrieve(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	r := c.rig
	key := c.session + " " + req.(*types.ContinueRetrievePropertiesEx).Token
	r.mu.Lock()
	rest, ok := r.pages[key]
	delete(r.pages, key)
	r.mu.Unlock()
	if !ok {
		return nil, &types.InvalidArgument{InvalidProperty: "token"}
	}
	size := len(rest)
	if size > r.pageSize {
		size = r.pageSize
	}
	var out bytes.Buffer
	if size < len(rest) {
		out.WriteString(r.token(c.session, rest[size:]))
	}
	out.WriteString(strings.Join(rest[:size], ""))
	return &struct {
		Returnval innerXML `xml:"returnval"`
	}{innerXML{out.String()}}, nil
}

type innerXML struct {
	Content string `xml:",innerxml"`
}

func cancelRetrieve(c *call) (interface{}, types.BaseMethodFault) {
	req, err := c.request()
	if err != nil {
		return nil, &types.InvalidRequest{}
	}
	c.rig.mu.Lock()
	defer c.rig.mu.Unlock()
	delete(c.rig.pages, c.session+" "+req.(*types.CancelRetrievePropertiesEx).Token)
	return nil, nil
}

// keyed is a property path with a key of extraConfig: vCenter answers it with the one entry, or leaves it out; the
// simulator knows no such path.
var keyed = regexp.MustCompile(`config\.extraConfig\[(?:"|&quot;)([^"&\]]+)(?:"|&quot;)\]`)

// askAll changes the request into one that the simulator knows; the keys are those asked for.
func askAll(body []byte) ([]byte, []string) {
	var keys []string
	for _, found := range keyed.FindAllSubmatch(body, -1) {
		keys = append(keys, string(found[1]))
	}
	if keys == nil {
		return body, nil
	}
	return keyed.ReplaceAll(body, []byte("config.extraConfig")), keys
}

var extraConfig = regexp.MustCompile(`(?s)<propSet><name>config\.extraConfig</name>(.*?)</propSet>`)
var optionValue = regexp.MustCompile(`(?s)<OptionValue[^>]*>(.*?)</OptionValue>`)

// answerKeys leaves of each extraConfig the entries asked for.
func answerKeys(body string, keys []string) string {
	return extraConfig.ReplaceAllStringFunc(body, func(all string) string {
		out := ""
		for _, key := range keys {
			for _, one := range optionValue.FindAllStringSubmatch(all, -1) {
				if strings.Contains(one[1], "<key>"+key+"</key>") {
					out += `<propSet><name>config.extraConfig[&#34;` + key + `&#34;]</name>` +
						`<val xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance" ` +
						`XMLSchema-instance:type="OptionValue">` + one[1] + `</val></propSet>`
				}
			}
		}
		return out
	})
}
