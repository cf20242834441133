// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// architecture is a processor that qemu emulates, by the name that Go and Debian share.
type architecture struct {
	name     string
	emulator string   // qemu's command
	debian   string   // the package that has it
	machine  []string // its arguments
	console  string   // what the kernel calls the first serial port
	report   []string // its arguments for a second one that writes to %s
	device   string   // where the guest finds that
	aptState string   // a folder of package lists; empty for those of this machine
}

var architectures = []architecture{
	{
		name: "amd64", emulator: "qemu-system-x86_64", debian: "qemu-system-x86",
		machine: []string{"-cpu", "max,la57=off"},
		console: "ttyS0", report: []string{"-serial", "file:%s"}, device: "/dev/ttyS1",
	},
	{
		name: "arm64", emulator: "qemu-system-aarch64", debian: "qemu-system-arm",
		machine: []string{"-machine", "virt", "-cpu", "max,pauth=off"},
		console: "ttyAMA0", report: []string{"-chardev", "file,id=report,path=%s", "-device", "pci-serial,chardev=report"}, device: "/dev/ttyS0",
	},
}

// architectureOf returns the one of a name. Packages of another processor than this
// machine's come by lists of their own, below dir, so that this machine's stay as they are.
func architectureOf(name, dir string) (architecture, error) {
	var names []string
	for _, a := range architectures {
		if a.name != name {
			names = append(names, a.name)
			continue
		}
		if name != runtime.GOARCH {
			a.aptState = filepath.Join(dir, "apt-"+name)
		}
		return a, nil
	}
	return architecture{}, fmt.Errorf("unknown architecture %q: want %s", name, strings.Join(names, " or "))
}

// reportTo returns qemu's arguments for the port on which the guest reports.
func (a architecture) reportTo(file string) []string {
	var args []string
	for _, arg := range a.report {
		args = append(args, strings.ReplaceAll(arg, "%s", file))
	}
	return args
}

// aptConfig is for an apt that knows one architecture and has nothing installed.
const aptConfig = `APT::Architecture "%[1]s";
APT::Architectures { "%[1]s"; };
Dir::State "%[2]s";
Dir::State::status "/dev/null";
Dir::Cache "%[2]s";
`

// apt runs one of apt's commands about packages of the architecture, in a folder.
func (a architecture) apt(ctx context.Context, dir, command string, args ...string) (output []byte, err error) {
	var environment []string
	if a.aptState != "" {
		config := filepath.Join(a.aptState, "apt.conf")
		environment = append(environment, "APT_CONFIG="+config)
		for _, folder := range []string{"lists/partial", "archives/partial"} {
			if err := os.MkdirAll(filepath.Join(a.aptState, folder), 0o755); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(config, fmt.Appendf(nil, aptConfig, a.name, a.aptState), 0o644); err != nil {
			return nil, err
		}
	}
	return run(ctx, dir, environment, command, args...)
}

// root returns the root of a tree that holds commands of the architecture, from these
// packages and those that they depend on: this machine's own if it can run them.
func (a architecture) root(ctx context.Context, packages ...string) (string, error) {
	if a.aptState == "" {
		return "/", nil
	}
	root := filepath.Join(a.aptState, "root")
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if _, err := a.apt(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return "", err
	}
	install := append([]string{"install", "-y", "-qq", "--download-only", "--no-install-recommends"}, packages...)
	if _, err := a.apt(ctx, "", "apt-get", install...); err != nil {
		return "", err
	}
	archives, err := filepath.Glob(filepath.Join(a.aptState, "archives", "*.deb"))
	if err != nil {
		return "", err
	}
	work := root + ".new"
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	for _, archive := range archives {
		if _, err := run(ctx, "", nil, "dpkg-deb", "-x", archive, work); err != nil {
			return "", err
		}
	}
	return root, os.Rename(work, root)
}
