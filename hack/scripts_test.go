// SPDX-License-Identifier: Apache-2.0

package hack_test

import (
	"os"
	"regexp"
	"testing"
)

// Of the common tools only GNU's have long options. What people run on a machine of
// their own, against their cluster, runs with any.
func TestScriptsForClustersRunAnywhere(t *testing.T) {
	long := regexp.MustCompile(`\b(awk|comm|cp|cut|grep|head|mkdir|mktemp|rm|sed|sort|tail|tr|xargs) (-\S+ )*--\w+`)
	for _, script := range []string{"admission.sh", "deploy.sh", "images.sh", "render.sh", "undeploy.sh"} {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range long.FindAllString(string(text), -1) {
			t.Errorf("%s: %s", script, found)
		}
	}
}
