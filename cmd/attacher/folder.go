// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

func (s source) readFolders(names []string) (input, error) {
	in := input{directions: s.directions}
	var all faults
	for _, name := range names {
		p, err := readPolicy(filepath.Join(s.folder, name), s.directions)
		all.join(err)
		if p.name != "" {
			in.policies = append(in.policies, p)
		}
	}
	slices.SortFunc(in.policies, before)
	return in, all.orNil()
}

// before orders policies: the higher priority first, then by name.
func before(a, b policy) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.name, b.name))
}

// readPolicy reads one folder. The policy has a name when its settings could be
// read.
func readPolicy(folder string, directions []rules.Direction) (policy, error) {
	var all faults
	file := filepath.Join(folder, settingsFile)
	set, err := readSettings(file)
	if err == nil {
		err = set.check(file, filepath.Base(folder))
	}
	if err != nil {
		all.join(err)
		set = settings{}
	}
	p := policy{name: set.Policy, digest: set.Digest, priority: set.Priority, interfaces: set.Interfaces}
	p.reserve = set.MTU == mtuReserve
	if set.Flows != nil {
		p.flows = *set.Flows
	}
	p.ingress, p.egress, err = readDirections(folder, directions)
	all.join(err)
	return p, all.orNil()
}

// readDirections reads the rules of both directions at once.
func readDirections(folder string, chosen []rules.Direction) (ingress, egress rules.RuleSet, err error) {
	var all, others faults
	var reading sync.WaitGroup
	reading.Go(func() { egress = readDirection(&others, folder, chosen, rules.Egress) })
	ingress = readDirection(&all, folder, chosen, rules.Ingress)
	reading.Wait()
	return ingress, egress, append(all, others...).orNil()
}

// readDirection reads the rules of one direction; a file that is not there has
// none, and neither has a direction that was not chosen.
func readDirection(all *faults, folder string, chosen []rules.Direction, d rules.Direction) rules.RuleSet {
	name := ingressFile
	if d == rules.Egress {
		name = egressFile
	}
	file := filepath.Join(folder, name)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || !wants(chosen, d) {
		return nil
	}
	if err != nil {
		all.join(err)
		return nil
	}
	rs, _, err := parseText(file, string(text))
	all.join(err)
	return rs
}
