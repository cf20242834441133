// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// streamEvery is the time between two datagrams of a stream.
const streamEvery = 100 * time.Millisecond

// streams are those that a client was told to send, by target; they go on as long
// as it runs.
type streams struct {
	lock    sync.Mutex
	started map[string]*stream
}

// A stream is one socket that sends numbered datagrams, and what came back.
type stream struct {
	lock  sync.Mutex
	seen  survey.Stream
	conn  *net.UDPConn
	start time.Time
}

// of tells of the streams to these targets, and starts those that are new.
func (s *streams) of(targets []string) ([]survey.Stream, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	var told []survey.Stream
	for _, target := range targets {
		if s.started[target] == nil {
			started, err := startStream(target)
			if err != nil {
				return nil, err
			}
			s.started[target] = started
		}
		told = append(told, s.started[target].tell())
	}
	return told, nil
}

// startStream starts a stream to a target udp://ADDR:PORT. Its socket takes answers
// from everywhere: a server's may come straight from the pod.
func startStream(target string) (*stream, error) {
	address, isUDP := strings.CutPrefix(target, "udp://")
	if !isUDP {
		return nil, fmt.Errorf("%q: want udp://ADDR:PORT", target)
	}
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	s := &stream{seen: survey.Stream{Target: target}, conn: conn, start: time.Now()}
	go s.send(to)
	go s.receive()
	return s, nil
}

// send numbers each datagram with the milliseconds since the stream's start. One
// that can't be sent is as one that was lost.
func (s *stream) send(to *net.UDPAddr) {
	for ; ; time.Sleep(streamEvery) {
		now := int(time.Since(s.start).Milliseconds())
		s.conn.WriteToUDP(strconv.AppendInt(nil, int64(now), 10), to)
		s.lock.Lock()
		s.seen.Sent = now
		s.lock.Unlock()
	}
}

func (s *stream) receive() {
	line := make([]byte, questionLimit)
	for {
		size, _, err := s.conn.ReadFromUDP(line)
		var answer survey.Answer
		if err != nil || json.Unmarshal(line[:size], &answer) != nil {
			continue
		}
		if number, err := strconv.Atoi(answer.Said); err == nil {
			s.lock.Lock()
			s.seen.Add(answer.Pod, number)
			s.lock.Unlock()
		}
	}
}

func (s *stream) tell() survey.Stream {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.seen.Clone()
}
