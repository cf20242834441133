// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

const (
	manyConnections = 10_000
	manyPorts       = 3 // from innerTCP on, all funneled into one
	manyTalks       = 3 // exchanges over each connection while all are open
	manyFlows       = 16384
	manyOctets      = 1000
	manyPatience    = 10 * time.Second // with one answer
)

// manyResult is what became of many connections at once.
type manyResult struct {
	mode      string
	broken    int
	fault     error // of one of the broken
	exchanged int   // whose source port the server saw changed: they were funneled
	ports     int   // that there are for them
	took      time.Duration
}

// measureMany opens all connections, then talks over each, several times, natively
// and inline. The server is a process of its own: one alone may not have enough
// descriptors.
func measureMany(ctx context.Context) ([]*manyResult, error) {
	var all []*manyResult
	for _, name := range []string{native, inline} {
		result, err := measureManyIn(ctx, modeNamed(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, result)
	}
	return all, nil
}

func measureManyIn(ctx context.Context, m mode) (*manyResult, error) {
	l, err := openLab(mode{name: native}, false)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if m.name != native {
		if err := attachFlows(l, m, manyFlows); err != nil {
			return nil, err
		}
	}
	stop, err := startServer(ctx, l.server)
	if err != nil {
		return nil, err
	}
	defer stop()
	result := &manyResult{mode: m.name}
	err = inNamespace(l.client, func() error { return result.run(ctx) })
	return result, err
}

// attachFlows attaches a mode with a flow table of another size than usual.
func attachFlows(l *lab, m mode, flows int) error {
	for namespace, s := range map[string]side{l.client: m.client, l.server: m.server} {
		if err := inNamespace(namespace, func() error { return s.attach(flows) }); err != nil {
			return err
		}
	}
	return nil
}

func (s side) attach(flows int) error {
	device, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	config := datapath.Config{
		Flows:     flows,
		Interface: datapath.Interface{Index: device.Index, MTU: device.MTU, Ethernet: true},
	}
	for text, table := range map[string]**classifier.Table{s.ingress: &config.Ingress, s.egress: &config.Egress} {
		parsed, err := rules.Parse(text)
		if err != nil {
			return err
		}
		if *table, err = classifier.Compile(parsed); err != nil {
			return err
		}
	}
	programs, err := datapath.Load(config)
	if err != nil {
		return err
	}
	defer programs.Close()
	return attachHooks("bench", programs.Ingress, programs.Egress)
}

func (m *manyResult) run(ctx context.Context) error {
	begin := time.Now()
	var err error
	if m.ports, err = exchangePorts(); err != nil {
		return err
	}
	all := make([]*manyClient, 0, manyConnections)
	defer func() {
		for _, c := range all {
			c.close()
		}
	}()
	for i := range manyConnections {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c := &manyClient{id: i, port: innerTCP + i%manyPorts}
		all = append(all, c)
		c.open()
	}
	for talk := range manyTalks {
		for _, c := range all {
			c.say(talk)
		}
		for _, c := range all {
			c.hear(talk)
		}
	}
	m.count(all)
	m.took = time.Since(begin)
	return nil
}

func (m *manyResult) count(all []*manyClient) {
	for _, c := range all {
		if c.fault != nil {
			m.broken++
			m.fault = c.fault
		}
		if c.exchanged {
			m.exchanged++
		}
	}
}

// exchangePorts counts the source ports that inline has for one client's address.
func exchangePorts() (int, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, err
	}
	var first, last int
	_, err = fmt.Sscan(string(text), &first, &last)
	return max(0, first-1024) + 65535 - last, err
}

// manyClient is the client's end of one connection. After its first fault it does
// nothing more.
type manyClient struct {
	id, port  int
	conn      net.Conn
	exchanged bool
	fault     error
}

// open connects, and checks the greeting: who was reached, and from where.
func (c *manyClient) open() {
	remote := net.JoinHostPort(serviceAddress, strconv.Itoa(c.port))
	if c.conn, c.fault = net.DialTimeout("tcp4", remote, manyPatience); c.fault != nil {
		return
	}
	var greeting [4]byte
	if c.fault = c.read(greeting[:]); c.fault != nil {
		return
	}
	if port := int(binary.BigEndian.Uint16(greeting[:])); port != c.port {
		c.fault = fmt.Errorf("reached port %d instead of %d", port, c.port)
		return
	}
	c.exchanged = int(binary.BigEndian.Uint16(greeting[2:])) != c.conn.LocalAddr().(*net.TCPAddr).Port
}

func (c *manyClient) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

func (c *manyClient) say(talk int) {
	if c.fault == nil {
		_, c.fault = c.conn.Write(c.text(talk))
	}
}

func (c *manyClient) hear(talk int) {
	if c.fault != nil {
		return
	}
	back := make([]byte, manyOctets)
	if c.fault = c.read(back); c.fault == nil && !bytes.Equal(back, c.text(talk)) {
		c.fault = errors.New("the data of another connection came back")
	}
}

// text is what no other connection says, nor this one another time.
func (c *manyClient) text(talk int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%07d%03d", c.id, talk), manyOctets/10)
}

func (c *manyClient) read(all []byte) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(manyPatience)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, all); err != nil {
		return fmt.Errorf("read from port %d: %w", c.port, err)
	}
	return nil
}

// serverCommand is the first argument of the process that startServer starts.
const serverCommand = "run-server"

// startServer starts this program again as the server of a namespace, and
// returns when it listens.
func startServer(ctx context.Context, namespace string) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, self, serverCommand, namespace)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	stop = func() { cancel(); _ = cmd.Wait() }
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		stop()
		return nil, fmt.Errorf("the server of %s does not listen: %w", namespace, err)
	}
	return stop, nil
}

// runServer is that process. It ends when it is killed.
func runServer(namespace string) error {
	for port := innerTCP; port < innerTCP+manyPorts; port++ {
		err := inNamespace(namespace, func() error {
			listener, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", serverAddress, port))
			if err == nil {
				go serve(listener, port)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	fmt.Println("listening")
	select {}
}

// serve greets with its own port and the client's, then returns what it is sent.
func serve(listener net.Listener, port int) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			continue
		}
		go func() {
			defer conn.Close()
			greeting := binary.BigEndian.AppendUint16(nil, uint16(port))
			greeting = binary.BigEndian.AppendUint16(greeting, uint16(conn.RemoteAddr().(*net.TCPAddr).Port))
			buffer := make([]byte, manyOctets)
			for _, err := conn.Write(greeting); err == nil; _, err = conn.Write(buffer) {
				if _, err := io.ReadFull(conn, buffer); err != nil {
					return
				}
			}
		}()
	}
}

// describeMany is the section of the page.
func describeMany(text *strings.Builder, all []*manyResult) {
	fmt.Fprintf(text, "\n## Many connections\n\n%d connections from one client address to %d ports, inline all funneled through one port, open at once;\n"+
		"%d exchanges of %d octets over each while all are open. One address suffices: %d source ports lie outside its ip_local_port_range.\n"+
		"The flow tables have room for %d flows instead of %d. Funneled are those whose source port the server saw exchanged.\n\n"+
		"| mode | broken | target | funneled | took |\n|---|---:|---|---:|---:|\n",
		manyConnections, manyPorts, manyTalks, manyOctets, all[0].ports, manyFlows, datapath.DefaultFlows)
	for _, m := range all {
		target := ""
		if g, ok := m.goal(); ok {
			target = g.String()
		}
		fmt.Fprintf(text, "| %s | %d | %s | %d | %.1f s |\n", m.mode, m.broken, target, m.exchanged, m.took.Seconds())
	}
	for _, m := range all {
		if m.fault != nil {
			fmt.Fprintf(text, "\nOne fault of %s: %v.\n", m.mode, m.fault)
		}
	}
}
