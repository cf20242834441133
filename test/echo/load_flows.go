// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"net"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// How many messages a connection carries before the next one, and after how long a
// pause there is a new one: servers give idle ones up.
const (
	perConnection = 8
	idleLimit     = 10 * time.Second
)

// A connection is the one that a flow's messages travel on.
type connection struct {
	net.Conn
	answers *bufio.Reader
	left    int
	used    time.Time
}

// sendTCP sends a message and waits for its answer. What fails is not tried again.
func (f *flow) sendTCP(number int) {
	answer, err := f.askTCP(number)
	if err != nil {
		f.hangUp()
		f.fail(number, err)
		return
	}
	f.take(answer)
}

func (f *flow) askTCP(number int) (answer survey.Answer, err error) {
	if f.conn != nil && time.Since(f.conn.used) > idleLimit {
		f.hangUp()
	}
	if f.conn == nil {
		conn, err := net.DialTimeout("tcp", f.address, loadPatience)
		if err != nil {
			return answer, err
		}
		f.conn = &connection{conn, bufio.NewReader(conn), perConnection, time.Now()}
	}
	f.conn.used = time.Now()
	f.conn.SetDeadline(f.conn.used.Add(loadPatience))
	if _, err := f.conn.Write([]byte(f.message(number).String() + "\n")); err != nil {
		return answer, err
	}
	line, err := f.conn.answers.ReadBytes('\n')
	if err != nil {
		return answer, err
	}
	if f.conn.left--; f.conn.left == 0 {
		f.hangUp()
	}
	return answer, json.Unmarshal(line, &answer)
}

func (f *flow) hangUp() {
	if f.conn != nil {
		f.conn.Close()
		f.conn = nil
	}
}

// sendUDP sends a message; receiveUDP gets the answer. The socket takes answers from
// everywhere: a server's may come straight from the pod.
func (f *flow) sendUDP(socket *net.UDPConn, number int) {
	to, err := net.ResolveUDPAddr("udp", f.address)
	if err == nil {
		_, err = socket.WriteToUDP([]byte(f.message(number).String()), to)
	}
	if err != nil {
		f.fail(number, err)
	}
}

func (f *flow) receiveUDP(socket *net.UDPConn) {
	line := make([]byte, questionLimit)
	for {
		size, _, err := socket.ReadFromUDP(line)
		var answer survey.Answer
		if err == nil && json.Unmarshal(line[:size], &answer) == nil {
			f.take(answer)
		}
	}
}
