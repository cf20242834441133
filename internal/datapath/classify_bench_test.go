// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// BenchmarkClassify reports what a look-up costs by the number of rules, for
// the packet that the last rule matches and for one that none does. The
// program runs that reading the input costs are reported as "empty"; take
// them off.
func BenchmarkClassify(b *testing.B) {
	testnet.RequireRoot(b)
	for _, n := range []int{1, 5, 50, 480, 1000, classifier.MaxRules} {
		rs := rulestest.Distinct(n)
		coll := loadClassifier(b, tableOf(b, rs))
		last, none := rulestest.DistinctPacket(n-1), rulestest.DistinctPacket(n-1)
		none.DestinationPort = 1
		b.Run(fmt.Sprintf("rules=%d/last", n), func(b *testing.B) { nsPerRun(b, coll.Programs["classify_test"], last) })
		b.Run(fmt.Sprintf("rules=%d/none", n), func(b *testing.B) { nsPerRun(b, coll.Programs["classify_test"], none) })
		b.Run(fmt.Sprintf("rules=%d/empty", n), func(b *testing.B) { nsPerRun(b, coll.Programs["classify_empty_test"], last) })
	}
}

func nsPerRun(b *testing.B, program *ebpf.Program, p rules.Packet) {
	_, total, err := program.Benchmark(inputOf(p).bytes(), max(b.N, 1000), b.ResetTimer)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(total.Nanoseconds()), "ns/run")
}

// BenchmarkLoadClassifier reports how long it takes to compile a rule set, and
// to create, fill and freeze the maps and load one program.
func BenchmarkLoadClassifier(b *testing.B) {
	testnet.RequireRoot(b)
	for _, n := range []int{5, 1000, 4096} {
		rs := rulestest.Distinct(n)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			var compile, load time.Duration
			for b.Loop() {
				start := time.Now()
				table := tableOf(b, rs)
				compiled := time.Now()
				coll := openClassifier(b, table)
				compile, load = compile+compiled.Sub(start), load+time.Since(compiled)
				coll.Close()
			}
			b.ReportMetric(float64(compile.Milliseconds())/float64(b.N), "compile-ms")
			b.ReportMetric(float64(load.Milliseconds())/float64(b.N), "load-ms")
		})
	}
}
