// SPDX-License-Identifier: Apache-2.0

package testnet

import "testing"

func TestChecksumErrors(t *testing.T) {
	const snmp = "Ip: InReceives InHdrErrors\nIp: 9 9\n" +
		"Tcp: InSegs InErrs InCsumErrors\nTcp: 9 9 2\n" +
		"Udp: InDatagrams InCsumErrors MemErrors\nUdp: 9 3 9\n" +
		"UdpLite: InDatagrams InCsumErrors\nUdpLite: 9 9\n"
	const snmp6 = "Ip6InReceives 9\nUdp6InCsumErrors  4\nUdpLite6InCsumErrors 9\n"
	if n, err := checksumErrors(snmp, snmp6); n != 9 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := checksumErrors(snmp, ""); err == nil {
		t.Error("a missing counter is no error")
	}
}
