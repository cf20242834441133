// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// What pods' interfaces and the wire take, a header that is pushed, and what IP and UDP
// add to a datagram.
const (
	wireMTU = 1500
	pushed  = 20
)

var udpHeaders = map[int]int{4: 20 + 8, 6: 40 + 8}

// expectReserve checks that a pod with mtu Reserve has routes that leave room for the
// header, by each family.
func (c *cluster) expectReserve() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "test/e2e/testdata/reserve.yaml")
	c.running("reserve")
	roomy, plain := c.pods("reserve")[0], c.pods("client")[0]
	var checks []func()
	for family := range families {
		checks = append(checks, func() { c.expectRoom(roomy, plain, family) })
	}
	concurrently(checks...)
	Eventually(c.condition("reserve", "MTUWarning")).Should(Equal("False/HeadroomSufficient"))
}

// expectRoom checks that with such routes a pod's longest datagrams and its bulk TCP arrive,
// and the kernel refuses longer ones. Without, datagrams as long as the interface allows do
// not arrive.
func (c *cluster) expectRoom(roomy, plain corev1.Pod, family int) {
	GinkgoHelper()
	udp, tcp := doors[0].target(family, 3, "443"), doors[0].target(family, 1, "443")
	Expect(c.routeMTU(roomy, udp)).To(Equal(wireMTU - pushed))
	fits := wireMTU - pushed - udpHeaders[family]

	told := c.askLong(roomy, udp, fits)
	Expect(told.Answers).To(HaveKeyWithValue(udp, HaveField("Size", fits)), "%+v", told)
	told = c.askLong(roomy, udp, fits+1)
	Expect(told.Errors).To(HaveKeyWithValue(udp, ContainSubstring("message too long")), "%+v", told)
	told = survey.Client{}
	c.askPod(&told, roomy, "ask", url.Values{"target": {tcp}, "bytes": {fmt.Sprint(bulk)}})
	Expect(told.Answers).To(HaveKeyWithValue(tcp, HaveField("Port", 443)), "%+v", told)

	Expect(c.routeMTU(plain, udp)).To(Equal(wireMTU))
	c.expectUnanswered(plain, udp, wireMTU-udpHeaders[family])
}

// routeMTU is the largest packet that a pod's kernel sends to a target.
func (c *cluster) routeMTU(p corev1.Pod, target string) (mtu int) {
	GinkgoHelper()
	c.askPod(&mtu, p, "mtu", url.Values{"target": {target}})
	return mtu
}

// askLong lets a pod ask with a datagram of that length, which may not be fragmented.
func (c *cluster) askLong(p corev1.Pod, target string, length int) (told survey.Client) {
	GinkgoHelper()
	c.askPod(&told, p, "ask", url.Values{"target": {target}, "datagram": {fmt.Sprint(length)}})
	return told
}
