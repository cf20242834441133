// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestDependsOnImage(t *testing.T) {
	const control = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\n" +
		"Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\nDescription: x\n"
	for series, want := range map[string]bool{"6.1": true, "6.12": false, "6": true, "6.19": false} {
		name, version, ok := dependsOnImage(control, series)
		if ok != want || ok && (name != "linux-image-6.1.0-56-cloud-amd64" || version != "6.1.192-2") {
			t.Errorf("series %s: %q %q %t, want %t", series, name, version, ok, want)
		}
	}
}

func TestModuleName(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/net/sched/cls_bpf.ko": "cls_bpf", "a/nf-nat.ko.xz": "nf_nat", "veth": "veth",
	} {
		if got := moduleName(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}
