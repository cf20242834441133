// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

func TestSelectorsMeet(t *testing.T) {
	for _, test := range []struct {
		name, a, b string
		meet       bool
	}{
		{"all and all", "", "", true},
		{"all and some", "", "app=web", true},
		{"the same", "app=web", "app=web", true},
		{"different values", "app=web", "app=db", false},
		{"different keys", "app=web", "tier=front", true},
		{"one of several", "app in (web, db)", "app in (db, cache)", true},
		{"none of several", "app in (web, db)", "app in (mq, cache)", false},
		{"excluded", "app=web", "app notin (web, db)", false},
		{"not excluded", "app in (web, db)", "app notin (web)", true},
		{"excluded together", "app in (web, db), app notin (db)", "app notin (web)", false},
		{"excluded twice", "app notin (web)", "app notin (db)", true},
		{"present and absent", "app", "!app", false},
		{"value and absent", "app=web", "!app", false},
		{"excluded and absent", "app notin (web)", "!app", true},
		{"excluded and present", "app notin (web)", "app", true},
		{"contradictory by itself", "app in (web), app in (db)", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := mustSelector(t, test.a), mustSelector(t, test.b)
			if got := selectorsMeet(a, b); got != test.meet {
				t.Errorf("got %v", got)
			}
			if got := selectorsMeet(b, a); got != test.meet {
				t.Errorf("the other way round: got %v", got)
			}
		})
	}
}

func mustSelector(t *testing.T, text string) *metav1.LabelSelector {
	t.Helper()
	s, err := metav1.ParseToLabelSelector(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPortsMeetAgreesWithEveryPort(t *testing.T) {
	random := mustRandom(t)
	for range 2000 {
		a, b := randomPorts(random), randomPorts(random)
		want := false
		for port := range 1 << 16 {
			if a.Contains(uint16(port)) && b.Contains(uint16(port)) {
				want = true
				break
			}
		}
		if got := portsMeet(a, b); got != want {
			t.Fatalf("%v and %v: got %v", a, b, got)
		}
	}
}

func TestAddressesMeetAgreesWithEveryAddress(t *testing.T) {
	random := mustRandom(t)
	for range 5000 {
		a, b := randomAddresses(random), randomAddresses(random)
		want := false
		for host := range uint32(16) { // randomAddresses are from 0.0.0.0/28 and the rest
			want = want || a.Contains(address(host)) && b.Contains(address(host))
		}
		outside := address(1 << 30)
		want = want || a.Contains(outside) && b.Contains(outside)
		if got := addressesMeet(a, b); got != want {
			t.Fatalf("%v and %v: got %v", a, b, got)
		}
	}
}

func TestAddressesOfDifferentFamiliesDontMeet(t *testing.T) {
	four := rules.AddrSet{Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	six := rules.AddrSet{Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}, Not: true}
	if addressesMeet(four, six) || addressesMeet(six, four) {
		t.Error("they do")
	}
	if !addressesMeet(six, rules.AddrSet{}) || !addressesMeet(six, six) {
		t.Error("an IPv6 set does not meet itself, or all addresses")
	}
}

func mustRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomPorts(random *rand.Rand) rules.PortSet {
	edges := []uint16{1, 2, 3, 4, 1000, 65533, 65534, 65535}
	set := rules.PortSet{}
	for range random.IntN(4) {
		a, b := edges[random.IntN(len(edges))], edges[random.IntN(len(edges))]
		set.Ranges = append(set.Ranges, rules.PortRange{First: min(a, b), Last: max(a, b)})
	}
	set.Not = len(set.Ranges) > 0 && random.IntN(2) == 0
	return set
}

func randomAddresses(random *rand.Rand) rules.AddrSet {
	set := rules.AddrSet{Not: random.IntN(2) == 0}
	for range 1 + random.IntN(4) {
		bits := []int{0, 28, 29, 30, 31, 32}[random.IntN(6)]
		set.Prefixes = append(set.Prefixes, netip.PrefixFrom(address(random.Uint32N(16)), bits).Masked())
	}
	return set
}

func address(host uint32) netip.Addr {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], host)
	return netip.AddrFrom4(bytes)
}
