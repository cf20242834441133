// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
)

// The two tables of docs/security.md give a reason for each verb that is granted, and for no
// other.
func TestEveryPermissionHasItsReason(t *testing.T) {
	page, err := docs.Read("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(page.Text, "\n### What it may, verb by verb\n")
	everywhere, here, found := strings.Cut(section, "\nIn its own namespace:\n")
	if !found {
		t.Fatal("docs/security.md has no table of what the manager may in its own namespace")
	}
	here, _, _ = strings.Cut(here, "\n\n`create`")
	got := append(documented("cluster", everywhere), documented(own, here)...)

	var want []string
	for _, permission := range granted(t, func(string) bool { return true }) {
		want = append(want, asDocumented(permission))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("granted (-) and explained (+):\n" + diff)
	}
}

// groupOf finds the group in "where: verb group/resource".
var groupOf = regexp.MustCompile(`(: \w+ )(?:[\w-]+\.)+[\w-]+/`)

// asDocumented leaves out the group, but for the newer of the two kinds of Events.
func asDocumented(permission string) string {
	permission = strings.NewReplacer("[", "/", "]", "").Replace(permission)
	if strings.Contains(permission, " events.k8s.io/") {
		return permission
	}
	return groupOf.ReplaceAllString(permission, "$1")
}

// documented reads rows such as "| list, watch `a`, `b`; get `a/name` | reason |".
func documented(where, table string) []string {
	var list []string
	for row := range strings.Lines(table) {
		if !strings.HasPrefix(row, "| ") || !strings.Contains(row, "`") {
			continue
		}
		for granted := range strings.SplitSeq(strings.Split(row, "|")[1], ";") {
			verbs, resources, _ := strings.Cut(granted, "`")
			for verb := range strings.SplitSeq(verbs, ",") {
				for resource := range strings.SplitSeq(resources, ",") {
					list = append(list, where+": "+strings.TrimSpace(verb)+" "+strings.Trim(resource, "` "))
				}
			}
		}
	}
	return list
}
