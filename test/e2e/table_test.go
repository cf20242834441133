// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// Whether clients of a row have rules.
const (
	before = iota
	with
)

// A row is about clients of one door and one protocol.
type row struct{ door, mode, protocol string }

// A cell has how many clients were answered by different pods, by family.
type cell map[int]survey.Counts

// results is the table that the suite ends with, and how long things took.
type results struct {
	lock  sync.Mutex
	cells map[row]*[2]cell
	times []timing
}

type timing struct {
	what string
	took time.Duration
}

var table = results{cells: map[row]*[2]cell{}}

// note adds a survey to the table: for TCP the answers on all TCP ports count, for UDP
// those on the UDP port and the one that everything travels through. The last survey of
// a kind counts.
func (r *results) note(d door, mode string, column, family int, clients []survey.Client) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for protocol, counts := range map[string]func(target string) bool{
		"TCP": func(target string) bool { return strings.HasPrefix(target, "tcp:") },
		"UDP": func(target string) bool {
			return strings.HasPrefix(target, "udp:") || strings.HasSuffix(target, ":"+d.listed[0])
		},
	} {
		at := row{d.kind, mode, protocol}
		if r.cells[at] == nil {
			r.cells[at] = &[2]cell{{}, {}}
		}
		r.cells[at][column][family] = survey.Count(only(clients, counts))
	}
}

// only are the clients with those answers alone.
func only(clients []survey.Client, counts func(target string) bool) []survey.Client {
	var fewer []survey.Client
	for _, client := range clients {
		answers := map[string]survey.Answer{}
		for target, answer := range client.Answers {
			if counts(target) {
				answers[target] = answer
			}
		}
		fewer = append(fewer, survey.Client{Name: client.Name, Answers: answers})
	}
	return fewer
}

// took notes how long something took, for the end of the report.
func (r *results) took(what string, d time.Duration) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.times = append(r.times, timing{what, d})
}

// print writes the table and the times.
func (r *results) print(w io.Writer) {
	text := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(text, "SERVICE\tKUBE-PROXY\tPROTOCOL\tSPLIT BEFORE\tSPLIT WITH")
	for _, at := range slices.SortedFunc(maps.Keys(r.cells), func(a, b row) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	}) {
		fmt.Fprintf(text, "%s\t%s\t%s", at.door, at.mode, at.protocol)
		for _, families := range r.cells[at] {
			fmt.Fprintf(text, "\t%d of %d", families[4].Split+families[6].Split, families[4].Clients+families[6].Clients)
		}
		fmt.Fprintln(text)
	}
	text.Flush()
	for _, t := range r.times {
		fmt.Fprintf(w, "%8s  %s\n", seconds(t.took), t.what)
	}
}

var _ = ReportAfterSuite("table", func(Report) {
	fmt.Println()
	report(func() { table.print(stdout) })
})
