// SPDX-License-Identifier: Apache-2.0

// Command survey prints which pod answers each client of a Service on each of its
// ports, and fails unless the count of split clients is as expected.
//
//	go run ./hack/survey -expect none nsenter … echo ask -source 10.93.0.1,…
//
// What follows the flags is a command that runs "echo ask" outside the cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit status: 0 as expected, 1 not so
// or not to be found out, 2 not understood.
func run(args []string, stdout, stderr io.Writer) int {
	var question survey.Question
	flags := flag.NewFlagSet("survey", flag.ContinueOnError)
	flags.SetOutput(stderr)
	kubectl := flags.String("kubectl", "kubectl", "kubectl to use, with flags")
	flags.StringVar(&question.Namespace, "namespace", "demo", "namespace of Service and clients")
	flags.StringVar(&question.Service, "service", "echo", "Service whose ports are asked for")
	flags.StringVar(&question.Selector, "clients", "app=client", "label selector of the client pods")
	flags.IntVar(&question.Port, "port", 7070, "port on which client pods take questions")
	expect := flags.String("expect", "", "some: at least one client must be split; none: none may be, and all must be answered")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	question.Kubectl = strings.Fields(*kubectl)
	question.Outside = flags.Args()
	clients, err := survey.Ask(context.Background(), question)
	if err != nil {
		fmt.Fprintln(stderr, "survey:", err)
		return 1
	}
	survey.Print(stdout, clients)
	if err := check(*expect, survey.Count(clients)); err != nil {
		fmt.Fprintln(stderr, "survey:", err)
		return 1
	}
	return 0
}

// check compares what was found with what was expected. A client that got no answer
// proves nothing, so it is never as expected.
func check(expect string, found survey.Counts) error {
	switch {
	case expect == "":
		return nil
	case found.Clients == 0 || found.Mute > 0:
		return fmt.Errorf("%d clients, %d of them not answered on every port", found.Clients, found.Mute)
	case expect == "some" && found.Split == 0:
		return fmt.Errorf("expected split clients, found none among %d", found.Clients)
	case expect == "none" && found.Split > 0:
		return fmt.Errorf("expected no split client, found %d among %d", found.Split, found.Clients)
	}
	return nil
}
