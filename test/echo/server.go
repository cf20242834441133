// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// The longest question, in bytes, that a server reads, and how much of it an answer
// repeats.
const (
	questionLimit = 64 << 10
	saidLimit     = 100
)

// serve answers on all ports until it is told to end, and then, with failing probes,
// until no message of a load came for as long as it lingers.
func serve(name, tcp, udp string, linger time.Duration) error {
	tcpPorts, tcpErr := ports(tcp)
	udpPorts, udpErr := ports(udp)
	if err := errors.Join(tcpErr, udpErr); err != nil {
		return err
	}
	for _, port := range tcpPorts {
		listener, err := net.Listen("tcp", fmt.Sprint(":", port))
		if err != nil {
			return err
		}
		go serveTCP(listener, name)
	}
	for _, port := range udpPorts {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		if err != nil {
			return err
		}
		go serveUDP(conn, name)
	}
	waitForSignal()
	ending.Store(true)
	for told := time.Now(); time.Since(told) < linger || sinceMessage() < linger; {
		time.Sleep(linger / 10)
	}
	return nil
}

// ending is true when the server was told to end: probes hear that it is not ready, so
// that datagrams, which need no new connection, are led elsewhere while it still answers.
var ending atomic.Bool

// lastMessage is when the last message of a load came, in Unix nanoseconds.
var lastMessage atomic.Int64

func sinceMessage() time.Duration { return time.Since(time.Unix(0, lastMessage.Load())) }

// noteMessage looks at what was said at a port: a message that was for another one is
// for whoever reads the log.
func noteMessage(said, seen string, port int) (isMessage bool) {
	m, isMessage := parseMessage(said)
	if !isMessage {
		return false
	}
	lastMessage.Store(time.Now().UnixNano())
	if m.port != port {
		fmt.Printf("misdelivered: %q of %s came to port %d\n", strings.TrimSpace(said), seen, port)
	}
	return true
}

// serveTCP answers one line per connection, and closes it; messages of a load as long as
// they come.
func serveTCP(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			local := conn.LocalAddr().(*net.TCPAddr)
			answerTCP(conn, name, local.Port)
		}()
	}
}

// answerTCP answers a line by a line, an HTTP request as HTTP, and a transfer by one.
func answerTCP(conn net.Conn, name string, port int) {
	seen, question := conn.RemoteAddr().String(), bufio.NewReaderSize(conn, questionLimit)
	if verb, _ := question.Peek(len("GET ")); string(verb) == "GET " {
		if _, err := http.ReadRequest(question); err == nil {
			line, status := answer(name, seen, port, "GET"), http.StatusOK
			if ending.Load() {
				status = http.StatusServiceUnavailable
			}
			fmt.Fprintf(conn, "HTTP/1.0 %d %s\r\nContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), len(line), line)
		}
		return
	}
	line, err := question.ReadSlice('\n')
	for ; err == nil && noteMessage(string(line), seen, port); line, err = question.ReadSlice('\n') {
		conn.Write(answer(name, seen, port, string(line)))
		conn.SetDeadline(time.Now().Add(time.Minute))
	}
	if err != nil {
		return // a probe that only connects, or the end of a load's messages
	}
	said := string(line)
	if t, ok := parseTransfer(said); ok {
		said = t.serve(conn, question)
	}
	conn.Write(answer(name, seen, port, said))
}

// serveUDP answers each datagram.
func serveUDP(conn *net.UDPConn, name string) {
	question := make([]byte, questionLimit)
	port := conn.LocalAddr().(*net.UDPAddr).Port
	for {
		size, client, err := conn.ReadFromUDPAddrPort(question)
		if err != nil {
			return
		}
		seen := net.UDPAddrFromAddrPort(client).String() // an IPv4 client's without ::ffff:
		said := string(question[:size])
		noteMessage(said, seen, port)
		conn.WriteToUDPAddrPort(answer(name, seen, port, said), client)
	}
}

// answer repeats of what was said no more than fits into a datagram anywhere.
func answer(name, seen string, port int, said string) []byte {
	size := len(said)
	said = strings.TrimSpace(said[:min(size, saidLimit)])
	line, _ := json.Marshal(survey.Answer{Pod: name, Seen: seen, Port: port, Said: said, Size: size})
	return append(line, '\n')
}

func waitForSignal() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
