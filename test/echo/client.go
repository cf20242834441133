// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// How long a client waits for one answer, and how often it asks when nobody says
// it: what is lost on a busy machine is asked again, and a target that never answers
// is told apart.
const (
	patience = 2 * time.Second
	tries    = 5
)

// An amount is how much a question is: what each connection carries both ways, in
// bytes, and the length of each datagram, which is not fragmented then. 0: a line. And
// how often it is asked until there is an answer; 0: tries.
type amount struct{ transfer, datagram, tries int64 }

// ask asks the targets one after the other: two first questions at the same moment
// can race for the affinity entry that each would make.
func ask(name string, source netip.Addr, size amount, targets []string) survey.Client {
	told := survey.Client{Name: name, Answers: map[string]survey.Answer{}, Errors: map[string]string{}}
	for _, target := range targets {
		answer, err := askUntilAnswered(source, size, target)
		if err != nil {
			told.Errors[target] = err.Error()
		} else {
			told.Answers[target] = answer
		}
	}
	return told
}

func askUntilAnswered(source netip.Addr, size amount, target string) (answer survey.Answer, err error) {
	often := cmp.Or(size.tries, tries)
	for range often {
		answer, err = askOnce(source, size, target)
		if err == nil || errors.Is(err, errTransfer) {
			return answer, err
		}
	}
	return survey.Answer{}, fmt.Errorf("%d tries: %w", often, err)
}

// errTransfer is what became of a transfer that began: it is not tried again.
var errTransfer = errors.New("transfer failed")

// askOnce asks from a fresh socket, so with a fresh source port. The socket is
// connected: an answer from another address or port than the target's is no answer.
func askOnce(source netip.Addr, size amount, target string) (survey.Answer, error) {
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
	if size.transfer > 0 && network == "tcp" {
		answer, err := transfer{size.transfer, rand.Uint64()}.ask(conn)
		if err != nil {
			err = fmt.Errorf("%w: %w", errTransfer, err)
		}
		return answer, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	question := []byte("who are you?\n")
	if size.datagram > 0 && network == "udp" {
		if err := dontFragment(conn); err != nil {
			return survey.Answer{}, err
		}
		question = append(bytes.Repeat([]byte{' '}, max(int(size.datagram)-len(question), 0)), question...)
	}
	if _, err := conn.Write(question); err != nil {
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
// be a pod that the API server's proxy reaches. Meanwhile the client may be under load,
// and then ends when that has.
func serveQuestions(listen, name, tally string, targets []string) error {
	var destinations []destination
	for _, target := range targets {
		d, err := parseDestination(target)
		if err != nil {
			return err
		}
		destinations = append(destinations, d)
	}
	http.HandleFunc("GET /ask", func(w http.ResponseWriter, r *http.Request) {
		var size amount
		size.transfer, _ = strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
		size.datagram, _ = strconv.ParseInt(r.URL.Query().Get("datagram"), 10, 64)
		size.tries, _ = strconv.ParseInt(r.URL.Query().Get("tries"), 10, 64)
		reply(w, ask(name, netip.Addr{}, size, r.URL.Query()["target"]))
	})
	running := streams{started: map[string]*stream{}}
	http.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		told, err := running.of(r.URL.Query()["target"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(w, told)
	})
	http.HandleFunc("GET /mtu", func(w http.ResponseWriter, r *http.Request) {
		mtu, err := pathMTU(r.URL.Query().Get("target"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(w, mtu)
	})
	http.HandleFunc("GET /forge", serveForgery)
	failed := make(chan error, 1)
	go func() { failed <- http.ListenAndServe(listen, nil) }()
	go func() {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if len(destinations) > 0 {
			failed <- runLoad(ctx, name, tally, destinations)
		}
		<-ctx.Done()
		failed <- nil
	}()
	return <-failed
}

func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}
