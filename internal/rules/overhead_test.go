// SPDX-License-Identifier: Apache-2.0

package rules

import "testing"

func TestOverheadIsThatOfTheLongestHeader(t *testing.T) {
	for text, want := range map[string]int{
		"":                                       0,
		"udp dport 53 drop; tcp dport 80 accept": 0,
		"tcp dport 80 sport 540 unfunnel udp":    0,
		"tcp dport 80 sport 540 unfunnel udp reply":                                                        20,
		"udp dport 53 funnel udp dport 80 sport 540":                                                       8,
		"udp dport 53 funnel udp dport 80 sport 540; udp dport 54 funnel tcp dport 80 sport 540; tcp drop": 20,
		"tcp dport 443 funnel tcp dport 80 inline":                                                         0,
	} {
		rs, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Overhead(rs); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
