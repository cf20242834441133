// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// settled waits until every node's kube-proxy sends the traffic of a Service
// (NAMESPACE/NAME) to exactly these pods. Pods are ready a moment before that, and
// what is sent in the meantime may go to pods that are gone.
func settled(ctx context.Context, dir, service string, pods []string) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	want := slices.Sorted(slices.Values(pods))
	for name := range s.Machines {
		if !isNode(name) {
			continue
		}
		var got []string
		for try := 0; !slices.Equal(got, want); try++ {
			if try == 600 {
				return fmt.Errorf("%s: %s leads to %v, not to %v", name, service, got, want)
			}
			if got, err = s.endpoints(ctx, name, service); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return nil
}

// endpoints lists the addresses that a node's rules send the Service's traffic to,
// whatever kube-proxy's mode.
func (s *state) endpoints(ctx context.Context, node, service string) ([]string, error) {
	rules, err := s.rules(ctx, node)
	if err != nil {
		return nil, err
	}
	return endpointsIn(rules, service), nil
}

// endpointsIn finds the jumps to endpoints: in nftables' names
//
//	goto endpoint-ABC-demo/echo/tcp/web__10.91.1.5/8081
//	goto endpoint-ABC-demo/echo/tcp/web__fd91.0.0.1..5/8081
//
// and in iptables' comments
//
//	--comment "demo/echo:web -> 10.91.1.5:8081" … -j KUBE-SEP-ABC
func endpointsIn(rules, service string) []string {
	name := regexp.QuoteMeta(service)
	jump := regexp.MustCompile(`goto endpoint-[A-Z0-9]+-` + name + `/[^ ]*__([0-9a-f.:]+)/\d+|"` + name + `(?::[^ ]*)? -> \[?([0-9a-f.:]+?)\]?:\d+"`)
	found := map[string]bool{}
	for _, match := range jump.FindAllStringSubmatch(rules, -1) {
		found[addressIn(strings.Join(match[1:], ""))] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// addressIn is the address that a rule names; in nftables' names a dot stands for each
// colon.
func addressIn(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return name
	}
	return strings.ReplaceAll(name, ".", ":")
}
