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

// sizeClassifier makes the maps of bpf/classify.h as large as the table needs, and
// tells the program where things stand.
func sizeClassifier(o *object, t *classifier.Table) error {
	sizeTables(o.maps, t)
	return o.set(classifyLayout, t.Layout())
}

func sizeTables(maps map[string]*ebpf.MapSpec, t *classifier.Table) {
	layout := t.Layout()
	maps[classifyMemory].ValueSize = 8 * layout.Words
	maps[classifySaddr].MaxEntries = max(1, layout.Sources6)
	maps[classifyDaddr].MaxEntries = max(1, layout.Destinations6)
}

// fillClassifier writes the table to maps that were sized for it, and freezes them.
func fillClassifier(maps map[string]*ebpf.Map, t *classifier.Table) error {
	if err := maps[classifyMemory].Put(uint32(0), t.Memory()); err != nil {
		return fmt.Errorf("fill %s: %w", classifyMemory, err)
	}
	if err := fillTrie(maps[classifySaddr], t.Sources6()); err != nil {
		return fmt.Errorf("fill %s: %w", classifySaddr, err)
	}
	if err := fillTrie(maps[classifyDaddr], t.Destinations6()); err != nil {
		return fmt.Errorf("fill %s: %w", classifyDaddr, err)
	}
	for _, name := range []string{classifyMemory, classifySaddr, classifyDaddr} {
		if err := maps[name].Freeze(); err != nil {
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
