// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ChecksumErrors returns how many TCP segments and UDP datagrams the namespace
// has discarded because of their checksum.
func (ns *Namespace) ChecksumErrors() int {
	ns.t.Helper()
	var texts [2]string
	var err error
	ns.Do(func() {
		for i, file := range []string{"snmp", "snmp6"} {
			var text []byte
			if err == nil {
				text, err = os.ReadFile("/proc/thread-self/net/" + file)
			}
			texts[i] = string(text)
		}
	})
	if err != nil {
		ns.t.Fatalf("%s: %v", ns.Name, err)
	}
	n, err := checksumErrors(texts[0], texts[1])
	if err != nil {
		ns.t.Fatalf("%s: %v", ns.Name, err)
	}
	return n
}

// checksumErrors reads /proc/net/snmp, a line of names above a line of numbers
// for each protocol, and snmp6, a name and a number on each line. TCP has one
// counter for both families.
func checksumErrors(snmp, snmp6 string) (all int, err error) {
	found := 0
	add := func(number string) {
		n, err2 := strconv.Atoi(number)
		if err2 != nil {
			err = err2
		}
		all, found = all+n, found+1
	}
	lines := strings.Split(snmp, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j, name := range names {
			if name == "InCsumErrors" && (names[0] == "Tcp:" || names[0] == "Udp:") && j < len(numbers) {
				add(numbers[j])
			}
		}
	}
	for _, line := range strings.Split(snmp6, "\n") {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "Udp6InCsumErrors" {
			add(words[1])
		}
	}
	if err == nil && found != 3 {
		err = fmt.Errorf("found %d counters of checksum errors, want 3", found)
	}
	return all, err
}
