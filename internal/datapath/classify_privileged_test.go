// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
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
	sizeTables(spec.Maps, table)
	if err := spec.Variables[classifyLayout].Set(table.Layout()); err != nil {
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
	if err := fillClassifier(coll.Maps, table); err != nil {
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
	testnet.RequireRoot(t)
	seed := rulestest.Seed(t)
	sizes, rounds := []int{0, 1, 2, 5, 50, 63, 64, 65, 128, 480, 511, 512, 513, 1000, 2500, rules.MaxRules}, 4
	if testing.Short() {
		sizes, rounds = []int{0, 1, 5, 64, 65, 513}, 1
	}
	for _, n := range sizes {
		for round := range max(1, rounds-n/200) {
			rng := rulestest.New(seed + uint64(round))
			kernelAgrees(t, rng, rulestest.RuleSet(rng, n))
			kernelAgrees(t, rng, rulestest.Narrow(rng, n))
		}
	}
}

// kernelAgrees holds the programs and Table.Lookup against RuleSet.Match.
func kernelAgrees(t *testing.T, rng *rand.Rand, rs rules.RuleSet) {
	t.Helper()
	table := tableOf(t, rs)
	start := time.Now()
	coll := openClassifier(t, table)
	defer coll.Close()
	loaded := time.Since(start)
	matched := map[int]bool{}
	for _, p := range rulestest.Packets(rng, rs, scaled(max(150, 500-len(rs)/4))) {
		want, ok := rs.Match(p)
		if !ok {
			want = -1
		}
		if got, found := table.Lookup(p); found != ok || ok && got != want {
			t.Fatalf("%+v: Lookup %d, Match %d\n%s", p, got, want, rs)
		}
		if got := run(t, coll.Programs["classify_test"], inputOf(p)) - 1; got != want {
			t.Fatalf("%+v: the program says %d, Match %d\n%s", p, got, want, rs)
		}
		matched[want] = true
		if len(rs) > 0 {
			portsAgree(t, coll, rs, rng.IntN(len(rs)), p.DestinationPort)
		}
	}
	t.Logf("%d rules, %d of them matched, %d octets, loaded in %v, verifier: %d instructions",
		len(rs), len(matched), len(table.Memory()), loaded, verified(t, coll.Programs["classify_test"]))
}

func portsAgree(t *testing.T, coll *ebpf.Collection, rs rules.RuleSet, rule int, port uint16) {
	t.Helper()
	in := classifyInput{Rule: uint32(rule)}
	binary.BigEndian.PutUint16(in.Port[:], port)
	want := rs[rule].Action.Ports.Contains(port)
	if got := run(t, coll.Programs["port_allowed_test"], in) == 1; got != want {
		t.Fatalf("port_allowed(%d, %d) is %v; the rule is %v", rule, port, got, rs[rule])
	}
}

func verified(t testing.TB, program *ebpf.Program) uint32 {
	t.Helper()
	info, err := program.Info()
	if err != nil {
		t.Fatal(err)
	}
	n, _ := info.VerifiedInstructions()
	return n
}

// The programs are the same for every rule set, but the verifier sees its
// layout: with and without sets of more than one word, with each dimension used
// or not.
func TestLoadTakesAnyRuleSet(t *testing.T) {
	testnet.RequireRoot(t)
	rng := rulestest.New(rulestest.Seed(t))
	sets := []rules.RuleSet{
		nil,
		rulestest.RuleSet(rng, 500),
		ipv4Only(rulestest.Narrow(rng, 64)),
		rulestest.Distinct(1),
		rulestest.Distinct(65),
		rulestest.Narrow(rng, 65),
		rulestest.Narrow(rng, rules.MaxRules),
	}
	if testing.Short() {
		sets = sets[:3]
	}
	for _, rs := range sets {
		table := tableOf(t, rs)
		device := Interface{Index: 1, MTU: 1500, Ethernet: true, SegmentA: 2, SegmentB: 3}
		start := time.Now()
		programs, err := Load(Config{Ingress: table, Egress: table, Interface: device})
		if err != nil {
			t.Fatalf("%d rules: %v", len(rs), err)
		}
		t.Logf("%d rules, loaded in %v, verifier: ingress %d, egress %d instructions",
			len(rs), time.Since(start), verified(t, programs.Ingress), verified(t, programs.Egress))
		programs.Close()
	}
}

func ipv4Only(rs rules.RuleSet) rules.RuleSet {
	return slices.DeleteFunc(rs, func(r rules.Rule) bool { return r.Family != rules.IPv4 })
}

// A table of many MiB: more than the kernel's largest contiguous allocation.
func TestKernelTakesLargeTables(t *testing.T) {
	testnet.RequireRoot(t)
	rs := make(rules.RuleSet, rules.MaxRules)
	for i := range rs {
		rs[i] = rules.Rule{Protocol: rules.UDP, Action: rules.Action{Verb: rules.Drop}}
		for j := range 8 {
			a := netip.AddrFrom4([4]byte{byte(j), byte(i >> 8), byte(i), byte(j)})
			rs[i].Source.Prefixes = append(rs[i].Source.Prefixes, netip.PrefixFrom(a, 32))
		}
	}
	table := tableOf(t, rs)
	coll := loadClassifier(t, table)
	t.Logf("%d octets", len(table.Memory()))
	for _, i := range []int{0, 1, 255, 256, 4095} {
		p := rulestest.DistinctPacket(i)
		p.Source = netip.AddrFrom4([4]byte{7, byte(i >> 8), byte(i), 7})
		if got := run(t, coll.Programs["classify_test"], inputOf(p)) - 1; got != i {
			t.Errorf("%v matches rule %d, not %d", p.Source, got, i)
		}
	}
}

func TestClassifierIsFrozen(t *testing.T) {
	testnet.RequireRoot(t)
	table := tableOf(t, rulestest.Narrow(rulestest.New(1), 100))
	coll := loadClassifier(t, table)
	if err := coll.Maps[classifyMemory].Put(uint32(0), table.Memory()); !errors.Is(err, os.ErrPermission) {
		t.Errorf("writing %s: %v", classifyMemory, err)
	}
	for _, name := range []string{classifySaddr, classifyDaddr} {
		if err := coll.Maps[name].Put(prefixKey{}, uint32(0)); !errors.Is(err, os.ErrPermission) {
			t.Errorf("writing %s: %v", name, err)
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
