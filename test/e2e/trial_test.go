// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// A trial is a fault that comes and goes under load, and what it cost.
type trial struct {
	fault string
	// excused tells the flows that lose messages whoever made the rules, since an end of
	// them was killed. They may be neither misdelivered nor split. nil: none.
	excused func(client string, f survey.Flow) bool
	// without rules clients are split: the trial shows what is lost anyhow.
	without bool

	times   int
	flows   map[string]survey.Flow // by protocol
	spared  int                    // flows that were not excused
	split   int                    // clients, in the end
	healing time.Duration          // from the end of the fault until all is well
}

var trials []*trial

// follow is how long a stream may take to follow the rest of its client to another pod.
const follow = time.Minute

// suffer lets a fault happen, how often is returned, under load; waits until all is well
// again, and every client has all its answers from one pod; and checks that every message was
// answered once, at the port that it was for.
func (c *cluster) suffer(t *tally, tr *trial, well func(), happen func() (times int)) {
	GinkgoHelper()
	phase("fault: " + tr.fault)
	before := flowsOf(t.loads())
	t.begin(c)
	tr.times = happen()
	over := time.Now()
	well()
	t.awaitAnswers(c)
	if !tr.without {
		// A pushed stream stays with its pod until its source port moves. Kubernetes may take a
		// pod out of the Service for a moment that no fault touched, as after an outage.
		Eventually(func() int { return splits(t.loads()) }).WithTimeout(follow).Should(BeZero(), tr.fault)
	}
	tr.healing = time.Since(over)
	t.rest(c)
	tr.count(t.loads(), before)
	trials = append(trials, tr)
	fmt.Println(tr)
	if !tr.without {
		Expect(tr.split).To(BeZero(), tr.fault)
	}
	t.forgetEnded()
	c.expectNoneMisdelivered(c.pods("site"))
}

// flowsOf are the flows by client and target.
func flowsOf(loads []survey.Load) map[string]survey.Flow {
	flows := map[string]survey.Flow{}
	for _, load := range loads {
		for _, f := range load.Flows {
			flows[load.Client+" "+f.Target] = f
		}
	}
	return flows
}

// count adds up what became of the flows since then.
func (tr *trial) count(loads []survey.Load, before map[string]survey.Flow) {
	GinkgoHelper()
	tr.flows = map[string]survey.Flow{}
	tr.split = splits(loads)
	for _, load := range loads {
		for _, f := range load.Flows {
			old := before[load.Client+" "+f.Target]
			since := subtract(f, old)
			excused := tr.excused != nil && (tr.excused(load.Client, f) || tr.excused(load.Client, old))
			if !excused {
				tr.spared++
				Expect(since.Lost()).To(BeZero(), "%s: %s: %+v", tr.fault, load.Client, since)
			}
			Expect(since.Wrong).To(BeZero(), "%s: %s: %+v", tr.fault, load.Client, since)
			Expect(since.Twice).To(BeZero(), "%s: %s: %+v", tr.fault, load.Client, since)
			tr.add(since)
		}
	}
	Expect(tr.spared).NotTo(BeZero(), "%s: the fault hit everybody, so that nothing is proved", tr.fault)
}

// splits counts the flows of clients that run that were answered by another pod last than the
// same client's flow before, by the same IP version.
func splits(loads []survey.Load) (n int) {
	for _, load := range loads {
		pods := map[bool]string{} // that answered, for IPv6 or not
		for _, f := range load.Flows {
			isIPv6 := strings.Contains(f.Target, "[")
			if pod := pods[isIPv6]; pod != "" && pod != f.Pod && !load.Ended {
				n++
			}
			pods[isIPv6] = f.Pod
		}
	}
	return n
}

func (tr *trial) add(f survey.Flow) {
	protocol, _, _ := strings.Cut(f.Target, "://")
	sum := tr.flows[protocol]
	sum.Sent, sum.Answered = sum.Sent+f.Sent, sum.Answered+f.Answered
	sum.Wrong, sum.Twice = sum.Wrong+f.Wrong, sum.Twice+f.Twice
	tr.flows[protocol] = sum
}

// subtract is what a flow did since it was as old. A client that was started again begins
// anew.
func subtract(f, old survey.Flow) survey.Flow {
	if f.Sent < old.Sent {
		return f
	}
	f.Sent, f.Answered, f.Wrong, f.Twice = f.Sent-old.Sent, f.Answered-old.Answered, f.Wrong-old.Wrong, f.Twice-old.Twice
	return f
}

func (tr *trial) String() string {
	tcp, udp := tr.flows["tcp"], tr.flows["udp"]
	return strings.Join([]string{
		tr.fault, fmt.Sprint(tr.times),
		fmt.Sprint(tcp.Sent, " + ", udp.Sent), fmt.Sprint(tcp.Lost(), " + ", udp.Lost()),
		fmt.Sprint(tcp.Wrong + udp.Wrong), fmt.Sprint(udp.Twice), fmt.Sprint(tr.split), seconds(tr.healing),
	}, "\t")
}

var _ = ReportAfterSuite("faults", func(Report) {
	if len(trials) == 0 {
		return
	}
	fmt.Println()
	text := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(text, "FAULT\tTIMES\tSENT (TCP + UDP)\tLOST\tMISDELIVERED\tTWICE\tCLIENTS SPLIT\tHEALED AFTER")
	for _, tr := range trials {
		fmt.Fprintln(text, tr)
	}
	text.Flush()
})
