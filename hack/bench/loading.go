// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

// loading is what it takes to get as many rules as there can be into the kernel, for
// both directions: to compile their tables, and to load the programs with them.
type loading struct {
	name          string
	rules         rules.RuleSet
	compile, load benchpage.Samples // milliseconds
	octets        int
}

// measureLoading takes turns between rules that have nothing in common and such that
// overlap in every way.
func measureLoading(rounds int) ([]*loading, error) {
	apart, err := rules.Parse(manyRules(classifier.MaxRules))
	if err != nil {
		return nil, err
	}
	all := []*loading{{name: "apart", rules: apart}, {name: "overlapping", rules: rulestest.Overlapping(classifier.MaxRules)}}
	for range rounds {
		for _, l := range all {
			if err := l.sample(); err != nil {
				return nil, fmt.Errorf("%d rules, %s: %w", len(l.rules), l.name, err)
			}
		}
	}
	return all, nil
}

func (l *loading) sample() error {
	begin := time.Now()
	table, err := classifier.Compile(l.rules)
	if err != nil {
		return err
	}
	compiled := time.Now()
	programs, err := datapath.Load(datapath.Config{
		Ingress: table, Egress: table,
		Interface: datapath.Interface{Index: 1, MTU: mtu, Ethernet: true},
	})
	if err != nil {
		return err
	}
	defer programs.Close()
	l.compile = append(l.compile, milliseconds(compiled.Sub(begin)))
	l.load = append(l.load, milliseconds(time.Since(compiled)))
	l.octets = len(table.Memory())
	return nil
}

func (l *loading) goal() benchpage.Goal {
	return benchpage.Goal{
		What:     fmt.Sprintf("load of %d rules, %s", len(l.rules), l.name),
		Measured: l.load.Median(), Bound: 100, AtMost: true, Unit: " ms",
	}
}

func loadingText(text *strings.Builder, all []*loading) {
	fmt.Fprintf(text, "\nLoading alone, in a process that runs already: the tables of %d rules for both directions. Those that overlap\n"+
		"have prefixes of every length and port ranges that lie in one another, of both families.\n\n", len(all[0].rules))
	fmt.Fprintln(text, "| rules | | table | compile | load | spread | target |\n|---:|---|---:|---:|---:|---:|---|")
	for _, l := range all {
		fmt.Fprintf(text, "| %d | %s | %.1f KiB | %.1f ms | %.1f ms | %.1f %% | %s |\n", len(l.rules), l.name,
			float64(l.octets)/1024, l.compile.Median(), l.load.Median(), 100*l.load.Spread(), l.goal())
	}
}
