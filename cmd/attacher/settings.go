// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
)

// settings is the file of that name: one JSON object, all of it known.
type settings struct {
	Policy     string   `json:"policy"`
	Digest     string   `json:"digest"`
	Priority   int      `json:"priority"`
	Interfaces []string `json:"interfaces"`
	MTU        string   `json:"mtu"`
	Flows      *int     `json:"flows"`
}

// What settings say about the MTU: tell where headers do not fit, or make room.
const (
	mtuWarn    = "Warn"
	mtuReserve = "Reserve"
)

func readSettings(file string) (settings, error) {
	var s settings
	text, err := os.ReadFile(file)
	if err != nil {
		return s, faults{err.Error()}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, faults{file + ": " + err.Error()}
	}
	if _, err := dec.Token(); err != io.EOF {
		return s, faults{file + ": more than one JSON object"}
	}
	return s, nil
}

// check makes sure that the settings are those of the folder, that success can
// be told by the digest and that nothing is asked for that this version can't do.
func (s settings) check(file, folder string) error {
	var all faults
	if s.Policy != folder {
		all.add(file, "policy is %q, want the folder's name %q", s.Policy, folder)
	}
	if s.Digest == "" {
		all.add(file, "digest is missing")
	}
	if s.MTU != "" && s.MTU != mtuWarn && s.MTU != mtuReserve {
		all.add(file, "mtu is %q, want %s or %s", s.MTU, mtuWarn, mtuReserve)
	}
	if s.Flows != nil && (*s.Flows < 1 || *s.Flows > datapath.MaxFlows) {
		all.add(file, "flows is %d, want 1 to %d", *s.Flows, datapath.MaxFlows)
	}
	return all.orNil()
}
