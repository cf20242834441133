// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The files of a policy's folder; the same names without folders.
const (
	ingressFile  = "ingress.rules"
	egressFile   = "egress.rules"
	settingsFile = "settings"
	// rulesetFile holds rules for the direction that a variable names.
	rulesetFile = "ruleset"
)

// source reads rules from a folder and from a variable.
type source struct {
	folder     string
	variable   string            // SFUNNEL_RULESET
	directions []rules.Direction // nil when nothing was said
}

// read finds the rules and parses them. Policies whose settings could be read
// are returned also together with faults, so that a report can name them.
func (s source) read() (input, error) {
	folders, err := s.policyFolders()
	if err != nil {
		return input{}, err
	}
	flat := s.has(ingressFile) || s.has(egressFile)
	ruleset := s.variable != "" || s.has(rulesetFile)
	switch {
	case len(folders) > 0 && !flat && !ruleset:
		return s.readFolders(folders)
	case flat && !ruleset && len(folders) == 0:
		return s.readFlat()
	case ruleset && !flat && len(folders) == 0:
		return s.readRuleset()
	case !flat && !ruleset:
		return input{}, faults{"no rules: " + s.folder + " has neither policy folders nor " + ingressFile + ", " + egressFile + " or " + rulesetFile + ", and SFUNNEL_RULESET is not set"}
	}
	return input{}, faults{"rules in two places: " + strings.Join(s.places(folders), ", ") + "; leave one"}
}

// places lists where there are rules.
func (s source) places(folders []string) []string {
	var found []string
	if s.variable != "" {
		found = append(found, "SFUNNEL_RULESET")
	}
	for _, name := range append(folders, ingressFile, egressFile, rulesetFile) {
		if s.has(name) {
			found = append(found, filepath.Join(s.folder, name))
		}
	}
	return found
}

func (s source) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.folder, name))
	return err == nil
}

// policyFolders returns the names of the folders, but for hidden ones: a
// projected volume keeps its data in one and links to it.
func (s source) policyFolders() ([]string, error) {
	entries, err := os.ReadDir(s.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(s.folder, e.Name()))
		if err == nil && info.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readFlat reads the two files without a folder.
func (s source) readFlat() (input, error) {
	var p policy
	var err error
	p.ingress, p.egress, err = readDirections(s.folder, s.directions)
	return single(p, s.directions), err
}

// readRuleset reads one text that holds for the chosen directions, ingress
// unless something else was said.
func (s source) readRuleset() (input, error) {
	directions := s.directions
	if len(directions) == 0 {
		directions = []rules.Direction{rules.Ingress}
	}
	file, text := "SFUNNEL_RULESET", s.variable
	if text == "" {
		file = filepath.Join(s.folder, rulesetFile)
		content, err := os.ReadFile(file)
		if err != nil {
			return input{}, err
		}
		text = string(content)
	}
	rs, _, err := parseText(file, text)
	var p policy
	if slices.Contains(directions, rules.Ingress) {
		p.ingress = rs
	}
	if slices.Contains(directions, rules.Egress) {
		p.egress = rs
	}
	return single(p, directions), err
}
