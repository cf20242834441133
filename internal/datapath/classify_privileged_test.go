// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

// classifyTuple is struct tuple of bpf/classify.h.
type classifyTuple struct {
	Source, Destination         [16]byte
	SourcePort, DestinationPort [2]byte // network byte order
	Family, Protocol, Pushed, _ uint8
}

// classifyInput is struct classify_test_input of bpf/classify_test.c.
type classifyInput struct {
	Tuple classifyTuple
	Rule  uint32
	Port  [2]byte // network byte order
	_     uint16
}

func inputOf(p rules.Packet) classifyInput {
	tuple := classifyTuple{Family: uint8(rules.FamilyOf(p.Source)), Protocol: uint8(p.Protocol)}
	copy(tuple.Source[:], p.Source.AsSlice())
	copy(tuple.Destination[:], p.Destination.AsSlice())
	binary.BigEndian.PutUint16(tuple.SourcePort[:], p.SourcePort)
	binary.BigEndian.PutUint16(tuple.DestinationPort[:], p.DestinationPort)
	if p.Pushed {
		tuple.Pushed = 1
	}
	return classifyInput{Tuple: tuple}
}

func (in classifyInput) bytes() []byte {
	out, err := binary.Append(nil, binary.NativeEndian, in)
	if err != nil {
		panic(err)
	}
	return out
}

// loadClassifier loads the test programs with the tables of a rule set, as
// Load does it for the real ones.
func loadClassifier(t testing.TB, table *classifier.Table) *ebpf.Collection {
	t.Helper()
	coll := openClassifier(t, table)
	t.Cleanup(coll.Close)
	return coll
}

func openClassifier(t testing.TB, table *classifier.Table) *ebpf.Collection {
	t.Helper()
	spec, err := bpf.LoadClassifyTest()
	if err != nil {
		t.Fatal(err)
	}
	if err := sizeClassifier(spec, table); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{})
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		t.Fatalf("%+v", verifier)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := fillClassifier(coll, table); err != nil {
		t.Fatal(err)
	}
	return coll
}

func run(t testing.TB, program *ebpf.Program, in classifyInput) int {
	t.Helper()
	result, err := program.Run(&ebpf.RunOptions{Data: in.bytes()})
	if err != nil {
		t.Fatal(err)
	}
	return int(result)
}

func TestKernelAgreesWithMatch(t *testing.T) {
	requireRoot(t)
	seed := uint64(time.Now().UnixNano())
	for _, n := range []int{0, 1, 2, 5, 63, 64, 65, 128, 480, 511, 512, 513, 1000, 2500, 4096} {
		for round := range max(1, 10-n/100) {
			kernelAgrees(t, seed+uint64(round), n, 2000)
		}
	}
}

func kernelAgrees(t *testing.T, seed uint64, n, packets int) {
	t.Helper()
	rng := rulestest.New(seed)
	rs := rulestest.RuleSet(rng, n)
	table := tableOf(t, rs)
	start := time.Now()
	coll := loadClassifier(t, table)
	t.Logf("seed %d: %d rules, memory %d, load %v", seed, n, table.Layout().Words*8, time.Since(start))
	for _, p := range rulestest.Packets(rng, rs, packets) {
		want, ok := rs.Match(p)
		if !ok {
			want = -1
		}
		if got := run(t, coll.Programs["classify_test"], inputOf(p)) - 1; got != want {
			t.Fatalf("seed %d, %d rules, %+v: the program says %d, Match %d", seed, n, p, got, want)
		}
	}
}

func tableOf(t testing.TB, rs rules.RuleSet) *classifier.Table {
	t.Helper()
	table, err := classifier.Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
