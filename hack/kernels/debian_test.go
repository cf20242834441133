// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
)

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

func TestAptGetHasTheLockOfTheOtherTargets(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	aptGet := "#!/bin/sh\nflock --nonblock " + dir + "/hack/deps.sh echo is free || echo is taken\n"
	err := errors.Join(os.Mkdir("hack", 0o755), os.WriteFile("hack/deps.sh", nil, 0o755), os.WriteFile("apt-get", []byte(aptGet), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run(t.Context(), t.TempDir(), nil, "apt-get", "update"); err != nil || string(out) != "is taken\n" {
		t.Errorf("the lock %s, %v", out, err)
	}
}

func TestPackagesOfAnotherProcessorHaveListsOfTheirOwn(t *testing.T) {
	for name, want := range map[string]string{runtime.GOARCH: "", another(): "cache/apt-" + another()} {
		if a, err := architectureOf(name, "cache"); err != nil || a.aptState != want {
			t.Errorf("%s: %q, %v, want %q", name, a.aptState, err, want)
		}
	}
	if _, err := architectureOf("s390x", "cache"); err == nil || !strings.Contains(err.Error(), "arm64") {
		t.Errorf("an unknown one: %v", err)
	}
}

// another is an architecture that is not this machine's.
func another() string {
	for _, a := range architectures {
		if a.name != runtime.GOARCH {
			return a.name
		}
	}
	return ""
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
