// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// tallyAddress is where the pods of loaded report: on the control plane's machine.
const tallyAddress = "10.90.0.1:7171"

// A tally orders the pods of loaded to send or to pause, and knows their last reports.
type tally struct {
	orders io.Writer
	given  int // orders
	lock   sync.Mutex
	last   map[string]survey.Load
}

// startTally starts it for the rest of the specs. Until the first order nobody sends.
func (c *cluster) startTally() *tally {
	GinkgoHelper()
	cmd := exec.Command(program("cluster"), c.enter("control", "echo", "tally", "-listen", tallyAddress)...)
	cmd.Dir, cmd.Stderr = root, GinkgoWriter
	orders, err := cmd.StdinPipe()
	Expect(err).NotTo(HaveOccurred())
	reports, err := cmd.StdoutPipe()
	Expect(err).NotTo(HaveOccurred())
	Expect(cmd.Start()).To(Succeed())
	t := &tally{orders: orders, last: map[string]survey.Load{}}
	DeferCleanup(func() {
		orders.Close() // which ends it, unless the machine has gone
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	go t.take(reports)
	return t
}

func (t *tally) take(reports io.Reader) {
	for lines := bufio.NewScanner(reports); lines.Scan(); {
		var told survey.Load
		if json.Unmarshal(lines.Bytes(), &told) == nil {
			t.lock.Lock()
			t.last[told.Client] = told
			t.lock.Unlock()
		}
	}
}

func (t *tally) loads() []survey.Load {
	t.lock.Lock()
	defer t.lock.Unlock()
	return slices.Collect(maps.Values(t.last))
}

func (t *tally) order(line string) {
	GinkgoHelper()
	_, err := fmt.Fprintln(t.orders, line)
	Expect(err).NotTo(HaveOccurred())
	t.given++
}

// begin orders the load and returns when every client is answered.
func (t *tally) begin(c *cluster) {
	GinkgoHelper()
	t.order("go")
	t.awaitAnswers(c)
}

// awaitAnswers waits until every client that runs was answered on every flow again.
func (t *tally) awaitAnswers(c *cluster) {
	GinkgoHelper()
	base := t.answered()
	Eventually(func() (waiting []string) {
		now := t.answered()
		for _, p := range c.pods("loaded") {
			if now[p.Name] == nil {
				waiting = append(waiting, p.Name+" has not reported")
			}
			for i, answered := range now[p.Name] {
				// Fewer than before are those of a client that was started again.
				if before := at(base[p.Name], i); p.DeletionTimestamp == nil && answered > 0 && answered != before {
					continue
				}
				waiting = append(waiting, fmt.Sprintf("%s: flow %d: %d", p.Name, i, answered))
			}
		}
		return waiting
	}).Should(BeEmpty(), "flows without answers")
}

// awaitLeft waits until none of these pods is the last one that answered a flow, and every
// flow is answered: nothing is on its way to them any more.
func (t *tally) awaitLeft(pods []corev1.Pod) {
	GinkgoHelper()
	names := map[string]bool{}
	for _, p := range pods {
		names[p.Name] = true
	}
	Eventually(func() (waiting []string) {
		for _, load := range t.loads() {
			for _, f := range load.Flows {
				if !load.Ended && (names[f.Pod] || f.Lost() > 0) {
					waiting = append(waiting, fmt.Sprintf("%s: %+v", load.Client, f))
				}
			}
		}
		return waiting
	}).Should(BeEmpty(), "flows of pods that are ending")
}

// at is the number at that index, 0 where there is none.
func at(numbers []int, i int) int {
	if i >= len(numbers) {
		return 0
	}
	return numbers[i]
}

// answered counts the answers of each flow, by client.
func (t *tally) answered() map[string][]int {
	counts := map[string][]int{}
	for _, load := range t.loads() {
		for _, f := range load.Flows {
			counts[load.Client] = append(counts[load.Client], f.Answered)
		}
	}
	return counts
}

// rest pauses the load and returns when every client is answered, or will not be.
func (t *tally) rest(c *cluster) {
	GinkgoHelper()
	t.order("pause")
	Eventually(func() (working []string) {
		running := map[string]bool{}
		for _, p := range c.pods("loaded") {
			running[p.Name] = true
		}
		for _, load := range t.loads() {
			delete(running, load.Client)
			if !load.Ended && !(load.Rests && load.Order == t.given) {
				working = append(working, load.Client)
			}
		}
		return append(working, slices.Collect(maps.Keys(running))...)
	}).Should(BeEmpty(), "clients that did not report that they rest, or their end")
}

// forgetEnded forgets the clients that have ended.
func (t *tally) forgetEnded() {
	t.lock.Lock()
	defer t.lock.Unlock()
	maps.DeleteFunc(t.last, func(_ string, load survey.Load) bool { return load.Ended })
}

// expectNothingLost pauses the load and checks that every message of every client, those
// that have ended meanwhile included, was answered at the port that it was for.
func (t *tally) expectNothingLost(c *cluster, during string) {
	GinkgoHelper()
	t.rest(c)
	sums := survey.Sum(t.loads())
	for protocol, sum := range sums {
		fmt.Printf("%s: %s: %d messages, %d lost, %d misdelivered\n", during, protocol, sum.Sent, sum.Lost(), sum.Wrong)
	}
	Expect(sums).To(And(HaveKey("tcp"), HaveKey("udp")))
	for _, load := range t.loads() {
		for _, f := range load.Flows {
			Expect(f.Lost()).To(BeZero(), "%s of %s: %+v", during, load.Client, f)
			Expect(f.Wrong).To(BeZero(), "%s of %s: %+v", during, load.Client, f)
		}
	}
	t.forgetEnded()
}

// expectNoneMisdelivered checks what the servers themselves say.
func (c *cluster) expectNoneMisdelivered(pods []corev1.Pod) {
	GinkgoHelper()
	for _, p := range pods {
		log, err := c.core.Pods(c.namespace).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(GinkgoT().Context())
		Expect(err).NotTo(HaveOccurred(), p.Name)
		Expect(strings.Contains(string(log), "misdelivered")).To(BeFalse(), "%s: %s", p.Name, log)
	}
}
