// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// How long a client waits for one answer, and how often it asks: what is lost on
// a busy machine is asked again, and a target that never answers is told apart.
const (
	patience = 2 * time.Second
	tries    = 5
)

// ask asks the targets one after the other: two first questions at the same moment
// can race for the affinity entry that each would make.
func ask(name string, source netip.Addr, targets []string) survey.Client {
	told := survey.Client{Name: name, Answers: map[string]survey.Answer{}, Errors: map[string]string{}}
	for _, target := range targets {
		answer, err := askUntilAnswered(source, target)
		if err != nil {
			told.Errors[target] = err.Error()
		} else {
			told.Answers[target] = answer
		}
	}
	return told
}

func askUntilAnswered(source netip.Addr, target string) (answer survey.Answer, err error) {
	for range tries {
		if answer, err = askOnce(source, target); err == nil {
			return answer, nil
		}
	}
	return survey.Answer{}, fmt.Errorf("%d tries: %w", tries, err)
}

// askOnce asks from a fresh socket, so with a fresh source port. The socket is
// connected: an answer from another address or port than the target's is no answer.
func askOnce(source netip.Addr, target string) (survey.Answer, error) {
	network, address, found := strings.Cut(target, "://")
	if !found || network != "tcp" && network != "udp" {
		return survey.Answer{}, fmt.Errorf("%q: want tcp://ADDR:PORT or udp://ADDR:PORT", target)
	}
	dialer := net.Dialer{Timeout: patience, LocalAddr: localAddress(network, source)}
	conn, err := dialer.Dial(network, address)
	if err != nil {
		return survey.Answer{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("who are you?\n")); err != nil {
		return survey.Answer{}, err
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return survey.Answer{}, err
	}
	var answer survey.Answer
	return answer, json.Unmarshal(line, &answer)
}

// localAddress is a source address with a port of the kernel's choice; nil leaves
// the address to it, too.
func localAddress(network string, source netip.Addr) net.Addr {
	switch {
	case !source.IsValid():
		return nil
	case network == "tcp":
		return &net.TCPAddr{IP: source.AsSlice()}
	default:
		return &net.UDPAddr{IP: source.AsSlice()}
	}
}

// serveQuestions lets someone else decide what to ask, by HTTP, so that a client can
// be a pod that the API server's proxy reaches.
func serveQuestions(listen, name string) error {
	http.HandleFunc("GET /ask", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(ask(name, netip.Addr{}, r.URL.Query()["target"]))
	})
	failed := make(chan error, 1)
	go func() { failed <- http.ListenAndServe(listen, nil) }()
	go func() { waitForSignal(); failed <- nil }()
	return <-failed
}
