// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print writes a table: a line for each client, a column for each port, in it the
// pod that answered; then the count. Pods are shown by the end of their name.
func Print(w io.Writer, clients []Client) {
	ports := columns(clients)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "CLIENT\t%s\t\n", strings.Join(ports, "\t"))
	for _, c := range clients {
		fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, strings.Join(c.row(ports), "\t"), c.verdict())
	}
	table.Flush()
	counts := Count(clients)
	fmt.Fprintf(w, "%d of %d clients split", counts.Split, counts.Clients)
	if counts.Mute > 0 {
		fmt.Fprintf(w, ", %d not answered on every port", counts.Mute)
	}
	fmt.Fprintln(w)
	for _, c := range clients {
		for _, target := range slices.Sorted(maps.Keys(c.Errors)) {
			fmt.Fprintf(w, "%s: %s: %s\n", c.Name, target, c.Errors[target])
		}
	}
}

// columns lists the ports that anybody was asked for, as "tcp/80".
func columns(clients []Client) []string {
	ports := map[string]bool{}
	for _, c := range clients {
		for target := range c.Answers {
			ports[column(target)] = true
		}
		for target := range c.Errors {
			ports[column(target)] = true
		}
	}
	return slices.SortedFunc(maps.Keys(ports), func(a, b string) int {
		if byLength := len(a) - len(b); byLength != 0 {
			return byLength
		}
		return strings.Compare(a, b)
	})
}

// column is the part of a target that clients have in common: udp://ADDR:2055 is
// udp/2055.
func column(target string) string {
	network, address, _ := strings.Cut(target, "://")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return target
	}
	return network + "/" + port
}

func (c Client) row(ports []string) []string {
	cells := slices.Repeat([]string{"-"}, len(ports))
	for target, answer := range c.Answers {
		cells[slices.Index(ports, column(target))] = answer.Pod[strings.LastIndexByte(answer.Pod, '-')+1:]
	}
	for target := range c.Errors {
		cells[slices.Index(ports, column(target))] = "no answer"
	}
	return cells
}

func (c Client) verdict() string {
	switch {
	case c.Split():
		return "split"
	case len(c.Errors) > 0:
		return ""
	}
	return "together"
}
