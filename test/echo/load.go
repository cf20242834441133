// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// How often a flow sends a message and a client reports; and patience with a slow
// machine: with one TCP message, and of a client that ends with answers that are
// outstanding.
const (
	loadEvery    = 200 * time.Millisecond
	reportEvery  = 300 * time.Millisecond
	loadPatience = time.Minute
	lastAnswers  = 20 * time.Second
)

// A load is a client's: a flow to each destination.
type load struct {
	name  string
	flows []*flow
	sends sync.RWMutex // held to write while nobody may send
}

// A flow sends numbered messages to one destination.
type flow struct {
	destination
	client string
	index  int
	conn   *connection // TCP's; the sender's alone

	lock    sync.Mutex
	seen    survey.Flow
	waiting map[int]bool // numbers of messages that may still be answered
	failed  map[int]bool // of those that were given up
}

// runLoad sends until the context ends, as the tally at that URL orders, and reports to
// it; last when all is answered or will not be.
func runLoad(ctx context.Context, name, tally string, destinations []destination) error {
	l := &load{name: name}
	for i, d := range destinations {
		l.flows = append(l.flows, &flow{
			destination: d, client: name, index: i,
			seen: survey.Flow{Target: d.target}, waiting: map[int]bool{}, failed: map[int]bool{},
		})
	}
	l.sends.Lock() // until the first order
	var senders sync.WaitGroup
	for _, f := range l.flows {
		send := f.sendTCP
		if f.network == "udp" {
			socket, err := net.ListenUDP("udp", nil)
			if err != nil {
				return err
			}
			go f.receiveUDP(socket)
			send = func(number int) { f.sendUDP(socket, number) }
		}
		senders.Go(func() { f.run(ctx, &l.sends, send) })
	}
	order := l.obey(ctx, tally)
	senders.Wait()
	for end := time.Now().Add(lastAnswers); !l.answered() && time.Now().Before(end); {
		time.Sleep(loadEvery)
	}
	last := survey.Load{Order: order.Number, Ended: true}
	for _, err := l.report(tally, last); err != nil; _, err = l.report(tally, last) {
		time.Sleep(reportEvery)
	}
	return nil
}

// obey reports and does what it is told, until the context ends. The flows can send then.
func (l *load) obey(ctx context.Context, tally string) survey.Order {
	order := survey.Order{Pause: true}
	var paused time.Time
	for ctx.Err() == nil {
		rests := order.Pause && (l.answered() || time.Since(paused) > lastAnswers)
		if next, err := l.report(tally, survey.Load{Order: order.Number, Rests: rests}); err == nil {
			switch {
			case next.Pause && !order.Pause:
				l.sends.Lock()
				paused = time.Now()
			case order.Pause && !next.Pause:
				l.sends.Unlock()
			}
			order = next
		}
		select {
		case <-ctx.Done():
		case <-time.After(reportEvery):
		}
	}
	if order.Pause {
		l.sends.Unlock() // they look at the context first
	}
	return order
}

// report tells the tally how it stands, and returns its order.
func (l *load) report(tally string, told survey.Load) (next survey.Order, err error) {
	told.Client = l.name
	for _, f := range l.flows {
		f.lock.Lock()
		told.Flows = append(told.Flows, f.seen)
		f.lock.Unlock()
	}
	body, err := json.Marshal(told)
	if err != nil {
		return next, err
	}
	client := http.Client{Timeout: lastAnswers}
	response, err := client.Post(tally, "application/json", bytes.NewReader(body))
	if err != nil {
		return next, err
	}
	defer response.Body.Close()
	return next, json.NewDecoder(response.Body).Decode(&next)
}

// answered tells whether no flow waits for an answer.
func (l *load) answered() bool {
	for _, f := range l.flows {
		f.lock.Lock()
		waits := len(f.waiting)
		f.lock.Unlock()
		if waits > 0 {
			return false
		}
	}
	return true
}

// run sends messages at a steady pace whenever that is allowed.
func (f *flow) run(ctx context.Context, allowed *sync.RWMutex, send func(number int)) {
	for number := 1; ; number++ {
		allowed.RLock()
		if ctx.Err() != nil {
			allowed.RUnlock()
			return
		}
		f.lock.Lock()
		f.seen.Sent, f.waiting[number] = number, true
		f.lock.Unlock()
		send(number)
		allowed.RUnlock()
		time.Sleep(loadEvery)
	}
}

func (f *flow) message(number int) message {
	return message{f.client, f.index, number, f.port}
}

// take notes an answer. One to somebody else's message is none, and the second one to a
// message is counted by itself.
func (f *flow) take(answer survey.Answer) {
	m, ok := parseMessage(answer.Said)
	f.lock.Lock()
	defer f.lock.Unlock()
	switch {
	case !ok || m != f.message(m.number) || m.number > f.seen.Sent || f.failed[m.number]:
		return
	case !f.waiting[m.number]:
		f.seen.Twice++
		return
	}
	delete(f.waiting, m.number)
	f.seen.Answered++
	f.seen.Pod = answer.Pod
	if answer.Port != f.port {
		f.seen.Wrong++
	}
}

// fail notes that a message will not be answered.
func (f *flow) fail(number int, err error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	delete(f.waiting, number)
	f.failed[number] = true
	if f.seen.Failure == "" {
		f.seen.Failure = err.Error()
	}
}
