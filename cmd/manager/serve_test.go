// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/status"
)

func TestTheReconcilerKnowsWhoInjects(t *testing.T) {
	const keptBySomebodyElse = "--webhook-cert-dir=/tls"
	for _, row := range []struct {
		args     []string
		injector status.Injector
		asked    string
	}{
		{nil, status.Admission, configurationName},
		{[]string{keptBySomebodyElse}, status.Admission, ""},
		{[]string{"--webhook=false", "--admission-policies"}, status.Admission, ""},
		{[]string{"--webhook=false"}, status.Manifests, ""},
	} {
		opts, err := parse(slices.Concat(required, row.args), func(string) string { return "" }, &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		var source certificates
		if !slices.Contains(row.args, keptBySomebodyElse) {
			if source, err = certificateSource(opts); err != nil {
				t.Fatal(err)
			}
		}
		got := reconciler(opts, source)
		if got.Injector != row.injector || got.WebhookConfiguration != row.asked {
			t.Errorf("%v: injector %v, configuration %q", row.args, got.Injector, got.WebhookConfiguration)
		}
		if got.Namespace != "sfunnel-system" {
			t.Errorf("%v: the operator's own namespace is %q", row.args, got.Namespace)
		}
	}
}
