// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
)

// Names of bpf/classify.h.
const (
	classifyMemory = "classify_memory"
	classifySaddr  = "classify_saddr"
	classifyDaddr  = "classify_daddr"
	classifyLayout = "classify_layout"
)

// prefixKey is struct classify_prefix: the number of bits that count, then the
// address in network byte order.
type prefixKey struct {
	Length  uint32
	Address [16]byte
}

// sizeClassifier makes the maps of bpf/classify.h in a collection as large as
// the table needs, and tells the programs where things stand.
func sizeClassifier(spec *ebpf.CollectionSpec, t *classifier.Table) error {
	layout := t.Layout()
	memory, saddr, daddr := spec.Maps[classifyMemory], spec.Maps[classifySaddr], spec.Maps[classifyDaddr]
	variable := spec.Variables[classifyLayout]
	if memory == nil || saddr == nil || daddr == nil || variable == nil {
		return fmt.Errorf("the object has no classifier")
	}
	memory.ValueSize = 8 * layout.Words
	saddr.MaxEntries = max(1, layout.Sources6)
	daddr.MaxEntries = max(1, layout.Destinations6)
	if err := variable.Set(layout); err != nil {
		return fmt.Errorf("set %s: %w", classifyLayout, err)
	}
	return nil
}

// fillClassifier writes the table to the maps of a collection that
// sizeClassifier sized for it, and freezes them.
func fillClassifier(coll *ebpf.Collection, t *classifier.Table) error {
	if err := coll.Maps[classifyMemory].Put(uint32(0), t.Memory()); err != nil {
		return fmt.Errorf("fill %s: %w", classifyMemory, err)
	}
	if err := fillTrie(coll.Maps[classifySaddr], t.Sources6()); err != nil {
		return fmt.Errorf("fill %s: %w", classifySaddr, err)
	}
	if err := fillTrie(coll.Maps[classifyDaddr], t.Destinations6()); err != nil {
		return fmt.Errorf("fill %s: %w", classifyDaddr, err)
	}
	for _, name := range []string{classifyMemory, classifySaddr, classifyDaddr} {
		if err := coll.Maps[name].Freeze(); err != nil {
			return fmt.Errorf("freeze %s: %w", name, err)
		}
	}
	return nil
}

func fillTrie(trie *ebpf.Map, list []classifier.PrefixClass) error {
	if len(list) == 0 {
		return nil
	}
	keys := make([]prefixKey, len(list))
	classes := make([]uint32, len(list))
	for i, p := range list {
		keys[i] = prefixKey{uint32(p.Prefix.Bits()), p.Prefix.Addr().As16()}
		classes[i] = uint32(p.Class)
	}
	_, err := trie.BatchUpdate(keys, classes, nil)
	return err
}
