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
	return s.onNodes(func(node string) error {
		err := untilEqual(ctx, want, func() ([]string, error) { return s.endpoints(ctx, node, service) })
		if err != nil {
			return fmt.Errorf("%s: %s: %w", node, service, err)
		}
		return nil
	})
}

// untilEqual looks until it finds exactly what is wanted, 600 times and once at least.
func untilEqual(ctx context.Context, want []string, look func() ([]string, error)) error {
	for try := 1; ; try++ {
		got, err := look()
		if err != nil {
			return err
		}
		if slices.Equal(got, want) {
			return nil
		}
		if try == 600 {
			return fmt.Errorf("leads to %v, not to %v", got, want)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
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
