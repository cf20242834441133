// SPDX-License-Identifier: Apache-2.0

// Command echo is both ends of the end-to-end tests: a server that answers with the
// name of its pod, and a client that asks which pod answers on which port.
//
//	echo serve -tcp 8081,8080 -udp 2055,4739
//	echo client -listen :7070        GET /ask?target=tcp://ADDR:PORT&target=udp://…
//	                                 GET /stream?target=udp://ADDR:PORT
//	                                 GET /mtu?target=udp://ADDR:PORT
//	echo ask [-source ADDR,…] [-bytes N] [-datagram N] TARGET…
//	echo tally -listen ADDR:PORT
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

const usage = `usage:
  echo serve [-name NAME] [-tcp PORT,…] [-udp PORT,…] [-linger TIME]
                     answer on these ports with the name (default: the host's, a pod's); told to
                     end, go on until no message of a load came for that time
  echo client [-listen ADDR] [-tally URL TARGET[/CONTAINERPORT]…]
                     ask on demand: GET /ask?target=tcp://ADDR:PORT&target=…[&bytes=N][&datagram=N], with
                     &tries=N no more often; send numbered datagrams, and tell who answers: GET /stream?target=udp://ADDR:PORT&…;
                     the largest packet: GET /mtu?target=udp://ADDR:PORT; forge funneled packets to a
                     host's ports inside another one, and tell which answer until the last does:
                     GET /forge?kind=udp-in-tcp|…|inline&host=ADDR&through=PORT&port=N&… With targets, send each of
                     them messages at a steady pace, as the tally orders
  echo ask [-source ADDR,…] [-bytes N] [-datagram N] TARGET…
                     ask each target once from each source and print the answers as JSON; with
                     -bytes, TCP connections carry N bytes both ways, and each is compared; with
                     -datagram, datagrams have N bytes and are not fragmented
  echo tally [-listen ADDR:PORT]
                     print what clients under load report, and give them the orders that are read:
                     go, pause
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit status: 0 done, 1 failed, 2
// not understood.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	hostname, _ := os.Hostname()
	name := flags.String("name", hostname, "")
	tcp := flags.String("tcp", "", "")
	udp := flags.String("udp", "", "")
	listen := flags.String("listen", ":7070", "")
	source := flags.String("source", "", "")
	tally := flags.String("tally", "", "")
	linger := flags.Duration("linger", 0, "")
	var size amount
	flags.Int64Var(&size.transfer, "bytes", 0, "")
	flags.Int64Var(&size.datagram, "datagram", 0, "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	var err error
	switch args[0] {
	case "serve":
		err = serve(*name, *tcp, *udp, *linger)
	case "client":
		err = serveQuestions(*listen, *name, *tally, flags.Args())
	case "ask":
		err = printAnswers(stdout, *source, size, flags.Args())
	case "tally":
		err = serveTally(*listen, os.Stdin, stdout)
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, "echo:", err)
		return 1
	}
	return 0
}

// printAnswers asks all targets from each of the sources (comma-separated; empty: the
// kernel's choice), all sources at the same time, and prints what each was told.
func printAnswers(w io.Writer, sources string, size amount, targets []string) error {
	if len(targets) == 0 {
		return errors.New("no target; want tcp://ADDR:PORT or udp://ADDR:PORT")
	}
	names := strings.Split(sources, ",")
	clients := make([]survey.Client, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		var source netip.Addr
		if name != "" {
			var err error
			if source, err = netip.ParseAddr(name); err != nil {
				return err
			}
		}
		all.Go(func() { clients[i] = ask(name, source, size, targets) })
	}
	all.Wait()
	return json.NewEncoder(w).Encode(clients)
}

// ports parses a comma-separated list of port numbers; empty is none.
func ports(list string) ([]uint16, error) {
	var numbers []uint16
	for text := range strings.SplitSeq(list, ",") {
		if text == "" {
			continue
		}
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: %w", text, err)
		}
		numbers = append(numbers, uint16(number))
	}
	return numbers, nil
}
