// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// Streams of one client to the same Service, pushed through the same port: the first
// from source ports that move, the second from one port, the third as the first by
// IPv6.
const (
	movingStream = "udp://10.92.0.80:443"
	fixedStream  = "udp://10.94.0.2:443"
	ipv6Stream   = "udp://[fd92::80]:443"
)

// followWithin is the promise, in the streams' milliseconds, and followMargin how much
// longer the stream that can't follow is stuck at least: conntrack forgets a port's
// entry 120 s after its first packet when no answer passes through it.
const (
	followWithin = 60_000
	followMargin = 5_000
)

// addClients applies the policies of clients that come later, whose rules need not wait.
func (c *cluster) addClients() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "test/e2e/testdata/later-clients.yaml")
	for _, policy := range []string{"streamer", "fixed", "reserve"} {
		Eventually(c.condition(policy, "Ready")).Should(Equal("True/Ready"))
	}
}

// startStreamer starts the client that sends streams, and the server that is not
// injected.
func (c *cluster) startStreamer() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "test/e2e/testdata/streamer.yaml")
	c.running("streamer")
	c.running("bare")
	Expect(c.injected("streamer")).To(Equal(1))
}

// streams starts the streams, once for each pod of streamer, and returns what became of
// them.
func (c *cluster) streams() (moving, fixed, ipv6 survey.Stream) {
	GinkgoHelper()
	var told []survey.Stream
	c.askPod(&told, c.pods("streamer")[0], "stream", url.Values{"target": {movingStream, fixedStream, ipv6Stream}})
	Expect(told).To(HaveLen(3))
	return told[0], told[1], told[2]
}

// losePod starts the streams, deletes the pod that answers the first two and returns
// its name.
func (c *cluster) losePod() string {
	GinkgoHelper()
	var moving, fixed, ipv6 survey.Stream
	Eventually(func() bool {
		moving, fixed, ipv6 = c.streams()
		return moving.Now().Pod != "" && fixed.Now().Pod != "" && ipv6.Now().Pod != ""
	}).Should(BeTrue(), "not all streams are answered")
	Expect(fixed.Now().Pod).To(Equal(moving.Now().Pod), "one client, one pod")
	c.kubectl("-n", c.namespace, "delete", "pod", moving.Now().Pod, "--wait=false", "--grace-period=1")
	return moving.Now().Pod
}

// expectFollowed checks that the stream with moving ports reached a living pod in
// time and stays there, and that the other one was still stuck then.
func (c *cluster) expectFollowed(lost string) {
	GinkgoHelper()
	moving, fixed := c.awaitFollowed()
	silence, stuckUntil := moving.Now().First-moving.Spells[0].Last, fixed.Sent
	if len(fixed.Spells) > 1 {
		stuckUntil = fixed.Spells[1].First
	}
	fmt.Printf("%s: the stream with moving ports followed after %.1f s; the other one was stuck for %.1f s\n",
		c.mode, float64(silence)/1000, float64(stuckUntil-fixed.Spells[0].Last)/1000)
	Expect(moving.Spells).To(HaveLen(2), "%+v", moving)
	Expect(moving.Spells[0].Pod).To(Equal(lost))
	Expect(silence).To(BeNumerically("<", followWithin))
	Expect(fixed.Spells[0].Pod).To(Equal(lost))
	Expect(stuckUntil).To(BeNumerically(">", moving.Now().First+followMargin), "a stream from one port is expected to be stuck: %+v", fixed)
}

// awaitFollowed waits until the stream with moving ports has been answered by a living
// pod for a while, and by a second more: the streams are counted one after the other.
func (c *cluster) awaitFollowed() (moving, fixed survey.Stream) {
	GinkgoHelper()
	Eventually(func() int {
		moving, fixed, _ = c.streams()
		if len(moving.Spells) < 2 {
			return 0
		}
		return moving.Sent - moving.Now().First
	}).Should(BeNumerically(">", followMargin+1000), "no living pod answers the stream with moving ports")
	return moving, fixed
}
