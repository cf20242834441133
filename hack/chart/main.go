// SPDX-License-Identifier: Apache-2.0

// Command chart writes the Helm chart from config/, which stays the one truth: it
// builds the install and its overlays with marks for what values decide, and puts
// template expressions in their places.
//
//	go run ./hack/chart [-manager IMAGE] [-attacher IMAGE] [-o charts/funnel-operator]
//
// "make build-installer" runs it, from the top of the checkout. What no manifest
// holds (Chart.yaml, the comments of values.yaml, its schema, the notes) lies in
// static/.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// run executes one command line and returns the exit status.
func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("chart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	manager := flags.String("manager", "funnel-operator/manager:dev", "image of the manager in values.yaml")
	attacher := flags.String("attacher", "funnel-operator/attacher:dev", "image of the attacher in values.yaml")
	output := flags.String("o", "charts/funnel-operator", "folder of the chart; replaced")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	files, err := chart(*manager, *attacher)
	if err == nil {
		err = write(*output, files)
	}
	if err != nil {
		fmt.Fprintln(stderr, "chart:", err)
		return 1
	}
	return 0
}

// chart is the files of the chart by their paths.
func chart(manager, attacher string) (map[string][]byte, error) {
	variants, err := build()
	if err != nil {
		return nil, err
	}
	values := takeValues(variants, manager, attacher)
	files := templates(variants)
	if err := addStatic(files, values); err != nil {
		return nil, err
	}
	return files, nil
}
