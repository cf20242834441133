// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

func TestBothProtocolsAnswerWithNameAndSeenAddress(t *testing.T) {
	for _, target := range []string{mustServeTCP(t), mustServeUDP(t)} {
		source := netip.MustParseAddr("127.0.0.2")
		told := ask("here", source, amount{}, []string{target})
		answer, ok := told.Answers[target]
		if !ok {
			t.Fatalf("%s: %s", target, told.Errors[target])
		}
		if answer.Pod != "pod-1" || !strings.HasPrefix(answer.Seen, "127.0.0.2:") || !strings.HasSuffix(target, portSuffix(answer.Port)) {
			t.Errorf("%s answered %+v to a client at %s", target, answer, source)
		}
	}
}

func TestSilentTargetIsAnError(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	target := "tcp://" + closed.Addr().String()
	told := ask("here", netip.Addr{}, amount{}, []string{target, "ftp://127.0.0.1:21"})
	if len(told.Answers) != 0 || len(told.Errors) != 2 {
		t.Errorf("got %+v, want two errors", told)
	}
}

func TestATargetIsAskedAsOftenAsTold(t *testing.T) {
	closed := mustListenUDP(t)
	target := "udp://" + closed.LocalAddr().String()
	closed.Close()
	for often, want := range map[int64]string{0: "5 tries: ", 2: "2 tries: "} {
		told := ask("here", netip.Addr{}, amount{tries: often}, []string{target})
		if !strings.HasPrefix(told.Errors[target], want) {
			t.Errorf("%d: %q, want %q", often, told.Errors[target], want)
		}
	}
}

// A connected socket takes answers from its target only: this is how a reply that
// skipped the way back through the Service is found out.
func TestAnswerFromElsewhereIsNone(t *testing.T) {
	conn, other := mustListenUDP(t), mustListenUDP(t)
	go func() {
		question := make([]byte, 100)
		for {
			_, client, err := conn.ReadFromUDPAddrPort(question)
			if err != nil {
				return
			}
			other.WriteToUDPAddrPort(answer("wrong", client.String(), 1, ""), client)
		}
	}()
	if got, err := askOnce(netip.Addr{}, amount{}, "udp://"+conn.LocalAddr().String()); err == nil {
		t.Errorf("took an answer from elsewhere: %+v", got)
	}
}

func TestAskPrintsOneListEntryPerSource(t *testing.T) {
	target := mustServeTCP(t)
	var out, failures bytes.Buffer
	if status := run([]string{"ask", "-source", "127.0.0.2,127.0.0.3", target}, &out, &failures); status != 0 {
		t.Fatalf("exit status %d: %s", status, &failures)
	}
	var told []survey.Client
	if err := json.Unmarshal(out.Bytes(), &told); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0].Name != "127.0.0.2" || told[1].Name != "127.0.0.3" {
		t.Errorf("got %+v", told)
	}
}

func TestTransferComparesEveryByte(t *testing.T) {
	target := mustServeTCP(t)
	told := ask("here", netip.Addr{}, amount{transfer: 3<<20 + 1}, []string{target})
	if answer := told.Answers[target]; answer.Pod != "pod-1" || answer.Said != transferred {
		t.Errorf("got %+v, %v", answer, told.Errors)
	}

	const size = 200_000
	right, err := io.ReadAll(io.LimitReader(content(7), size))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		damage     func([]byte) []byte
	}{
		{"as sent", "", func(b []byte) []byte { return b }},
		{"a bit", "wrong bytes in the transfer, 131072 to 196608 of 200000", func(b []byte) []byte { b[150_000] ^= 1; return b }},
		{"cut short", "transfer ends after 199999 of 200000 bytes: unexpected EOF", func(b []byte) []byte { return b[:size-1] }},
	} {
		got := compare(bytes.NewReader(test.damage(slices.Clone(right))), size, 7)
		if fmt.Sprint(got) != cmp.Or(test.want, "<nil>") {
			t.Errorf("%s: %v, want %q", test.name, got, test.want)
		}
	}
}

// What is broken stays broken: a second try could go well.
func TestTransferIsNotTriedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	accepted := make(chan struct{}, tries)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			conn.Close()
		}
	}()
	if _, err := askUntilAnswered(netip.Addr{}, amount{transfer: 100}, "tcp://"+listener.Addr().String()); !errors.Is(err, errTransfer) {
		t.Errorf("got %v, want a failed transfer", err)
	}
	if len(accepted) > 1 {
		t.Errorf("%d connections, want one", len(accepted))
	}
}

// The kubelet's HTTP probes go to the port that transfers and questions go to.
func TestProbeIsAnswered(t *testing.T) {
	response, err := http.Get(strings.Replace(mustServeTCP(t), "tcp://", "http://", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer survey.Answer
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK || answer.Pod != "pod-1" {
		t.Errorf("got %s, %+v, %v", response.Status, answer, err)
	}
}

func TestStreamNamesWhoAnswers(t *testing.T) {
	running := streams{started: map[string]*stream{}}
	target := mustServeUDP(t)
	for {
		told, err := running.of([]string{target})
		if err != nil {
			t.Fatal(err)
		}
		if now := told[0].Now(); now.Last > now.First {
			if now.Pod != "pod-1" || told[0].Target != target || told[0].Sent < now.Last {
				t.Errorf("got %+v", told[0])
			}
			break
		}
		time.Sleep(streamEvery)
	}
	if _, err := running.of([]string{"tcp://127.0.0.1:1"}); err == nil {
		t.Error("a stream over TCP started")
	}
}

func mustServeTCP(t *testing.T) (target string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go serveTCP(listener, "pod-1")
	return "tcp://" + listener.Addr().String()
}

func mustServeUDP(t *testing.T) (target string) {
	t.Helper()
	conn := mustListenUDP(t)
	go serveUDP(conn, "pod-1")
	return "udp://" + conn.LocalAddr().String()
}

func mustListenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func portSuffix(port int) string {
	_, suffix, _ := strings.Cut((&net.TCPAddr{Port: port}).String(), ":")
	return ":" + suffix
}
