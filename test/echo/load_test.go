// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

func TestLoadCountsEveryMessage(t *testing.T) {
	udp, tcp := mustServeUDP(t), mustServeTCP(t)
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	url, orders, reports := mustTally(t)
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var to []destination
	for _, target := range []string{udp, tcp, tcp + "/9", "tcp://" + refused.Addr().String()} {
		d, err := parseDestination(target)
		if err != nil {
			t.Fatal(err)
		}
		to = append(to, d)
	}
	go func() { done <- runLoad(ctx, "here", url, to) }()

	orders("go")
	await(t, reports, func(told survey.Load) bool {
		return told.Flows[0].Answered > 2*perConnection && told.Flows[1].Answered > 2*perConnection && told.Flows[3].Sent > 1
	})
	orders("pause")
	told := await(t, reports, func(told survey.Load) bool { return told.Order == 2 && told.Rests })
	for i, want := range []struct{ lost, wrong bool }{{}, {}, {wrong: true}, {lost: true}} {
		f := told.Flows[i]
		if (f.Lost() > 0) != want.lost || (f.Wrong > 0) != want.wrong || (f.Failure != "") != want.lost {
			t.Errorf("%s: %+v, want lost %v, wrong %v", f.Target, f, want.lost, want.wrong)
		}
	}
	orders("go")
	await(t, reports, func(next survey.Load) bool { return next.Flows[0].Answered > told.Flows[0].Answered })
	end()
	last := await(t, reports, func(told survey.Load) bool { return told.Ended })
	if last.Flows[0].Lost() != 0 || last.Flows[1].Lost() != 0 {
		t.Errorf("at its end it lost messages: %+v", last)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A server that ends is not ready, and goes on answering.
func TestServerThatEndsFailsItsProbe(t *testing.T) {
	target := mustServeTCP(t)
	ending.Store(true)
	defer ending.Store(false)
	response, err := http.Get(strings.Replace(target, "tcp://", "http://", 1))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s", response.Status)
	}
	if _, err := askOnce(netip.Addr{}, amount{}, target); err != nil {
		t.Error(err)
	}
}

// A message that arrives at another port than it was for is seen by both ends.
func TestMessageRoundTrip(t *testing.T) {
	want := message{"client-1", 2, 33, 443}
	if got, ok := parseMessage(want.String()); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
	if _, ok := parseMessage("who are you?"); ok {
		t.Error("a question was taken for a message")
	}
}

func TestPathMTUOfLoopback(t *testing.T) {
	if mtu, err := pathMTU(mustServeUDP(t)); err != nil || mtu < 65535 {
		t.Errorf("got %d, %v, want loopback's", mtu, err)
	}
	if _, err := pathMTU("tcp://127.0.0.1:1"); err == nil {
		t.Error("no error for TCP")
	}
}

func TestDatagramOfThatLength(t *testing.T) {
	target := mustServeUDP(t)
	told := ask("here", netip.Addr{}, amount{datagram: 1200}, []string{target})
	if got := told.Answers[target].Size; got != 1200 {
		t.Errorf("the server saw %d bytes, want 1200: %v", got, told.Errors)
	}
}

// mustTally starts a tally. Orders go to it, and reports come from it.
func mustTally(t *testing.T) (url string, order func(string), reports *bufio.Scanner) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	stdin, orders := io.Pipe()
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveTally(address, stdin, stdout) }()
	t.Cleanup(func() {
		orders.Close()
		out.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + address, func(line string) { io.Copy(orders, strings.NewReader(line+"\n")) }, bufio.NewScanner(out)
}

// await reads reports until one is as wanted.
func await(t *testing.T, reports *bufio.Scanner, wanted func(survey.Load) bool) (told survey.Load) {
	t.Helper()
	for reports.Scan() {
		told = survey.Load{}
		if err := json.Unmarshal(reports.Bytes(), &told); err != nil {
			t.Fatal(err)
		}
		if wanted(told) {
			return told
		}
	}
	t.Fatal("no more reports")
	return told
}
