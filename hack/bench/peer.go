// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// attachPeer attaches the one program of another implementation's object file to
// both hooks of both ends. Its rules are built in; README.md lists them.
func attachPeer(l *lab, object string) error {
	program, err := loadPeer(object)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	defer program.Close()
	for _, namespace := range []string{l.client, l.server} {
		err := inNamespace(namespace, func() error { return attachHooks("peer", program, program) })
		if err != nil {
			return err
		}
	}
	return nil
}

func loadPeer(object string) (*ebpf.Program, error) {
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, err
	}
	if len(spec.Programs) != 1 {
		return nil, fmt.Errorf("%d programs, want 1", len(spec.Programs))
	}
	var name string
	for name = range spec.Programs {
		spec.Programs[name].Type = ebpf.SchedCLS
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}
