// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

func TestBothProtocolsAnswerWithNameAndSeenAddress(t *testing.T) {
	for _, target := range []string{mustServeTCP(t), mustServeUDP(t)} {
		source := netip.MustParseAddr("127.0.0.2")
		told := ask("here", source, []string{target})
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
	told := ask("here", netip.Addr{}, []string{target, "ftp://127.0.0.1:21"})
	if len(told.Answers) != 0 || len(told.Errors) != 2 {
		t.Errorf("got %+v, want two errors", told)
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
			other.WriteToUDPAddrPort(answer("wrong", client.String(), 1), client)
		}
	}()
	if got, err := askOnce(netip.Addr{}, "udp://"+conn.LocalAddr().String()); err == nil {
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
