// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// A tally is where clients under load report. It prints each report as a line and
// answers with the order that holds.
type tally struct {
	lock  sync.Mutex
	order survey.Order
	out   io.Writer
}

// serveTally takes reports until the orders end: the lines "go" and "pause". Before the
// first one clients pause.
func serveTally(listen string, orders io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	t := &tally{order: survey.Order{Pause: true}, out: out}
	go http.Serve(listener, t)
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		if err := t.give(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (t *tally) give(order string) error {
	if order != "go" && order != "pause" {
		return fmt.Errorf("order %q: want go or pause", order)
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	t.order = survey.Order{Number: t.order.Number + 1, Pause: order == "pause"}
	return nil
}

// ServeHTTP takes one report.
func (t *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var told survey.Load
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	json.NewEncoder(t.out).Encode(told)
	reply(w, t.order)
}
