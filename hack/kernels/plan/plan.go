// SPDX-License-Identifier: Apache-2.0

// Package plan holds what the harness and the guest's init agree on: the plan
// that the harness puts into the initramfs and the events that the guest writes
// to its second serial port, between the output of the tests.
package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Path is where the guest finds its plan.
const Path = "/plan.json"

// Plan is what the guest does, in this order.
type Plan struct {
	Report  string   // path of the serial port to report on
	Modules []string // paths of uncompressed modules, dependencies first
	Tests   []Test
}

// Test is one test binary. Dir is its working directory, Seconds the time after
// which the guest ends it.
type Test struct {
	Name, Binary, Dir string
	Args              []string
	Seconds           int
}

// Kind says what an event reports.
type Kind string

// Every test makes a Start and a Result; Done is the last event. A guest that
// does not get to Done has failed, whatever else it said.
const (
	Fault  Kind = "fault"  // Error says what the guest could not set up
	Start  Kind = "start"  // Name is the test's
	Result Kind = "result" // Name, Exit, Error, Taint
	Done   Kind = "done"
)

// Event is one line of the guest's report. Exit is the test's exit status, -1
// when it was ended by a signal. Taint is what the kernel's taint flags gained
// during the test (Documentation/admin-guide/tainted-kernels.rst).
type Event struct {
	Kind  Kind
	Name  string `json:",omitempty"`
	Exit  int    `json:",omitempty"`
	Error string `json:",omitempty"`
	Taint uint64 `json:",omitempty"`
}

const prefix = "@guest "

// Write sends one event on a line of its own, also when a test that was cut off
// left an unfinished line.
func Write(w io.Writer, e Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n%s%s\n", prefix, text)
	return err
}

// Parse reads one line of the report; ok is false for the output of a test.
func Parse(line string) (e Event, ok bool) {
	text, found := strings.CutPrefix(strings.TrimRight(line, "\r\n"), prefix)
	if !found || json.Unmarshal([]byte(text), &e) != nil {
		return Event{}, false
	}
	return e, true
}
