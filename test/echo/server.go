// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// questionLimit is the longest question, in bytes, that a server reads.
const questionLimit = 64 << 10

// serve answers on all ports until it is told to end.
func serve(name, tcp, udp string) error {
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
	return nil
}

// serveTCP answers one line per connection, and closes it.
func serveTCP(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			question := bufio.NewReaderSize(conn, questionLimit)
			if _, err := question.ReadSlice('\n'); err != nil {
				return // a probe that only connects
			}
			local := conn.LocalAddr().(*net.TCPAddr)
			conn.Write(answer(name, conn.RemoteAddr().String(), local.Port))
		}()
	}
}

// serveUDP answers each datagram.
func serveUDP(conn *net.UDPConn, name string) {
	question := make([]byte, questionLimit)
	port := conn.LocalAddr().(*net.UDPAddr).Port
	for {
		_, client, err := conn.ReadFromUDPAddrPort(question)
		if err != nil {
			return
		}
		seen := net.UDPAddrFromAddrPort(client).String() // an IPv4 client's without ::ffff:
		conn.WriteToUDPAddrPort(answer(name, seen, port), client)
	}
}

func answer(name, seen string, port int) []byte {
	line, _ := json.Marshal(survey.Answer{Pod: name, Seen: seen, Port: port})
	return append(line, '\n')
}

func waitForSignal() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
