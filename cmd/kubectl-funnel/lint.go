// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/sfunnel-io/funnel-operator/internal/manifest"
)

// lintCommand prints what is wrong or doubtful in the input. Only faults make
// it fail.
func lintCommand(args []string, o outside) int {
	flags := pflag.NewFlagSet("lint", pflag.ContinueOnError)
	files, namespace := fileFlags(flags)
	rest, err := parse(flags, args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("lint: unexpected %q; files are named by -f", rest)
	}
	if err != nil {
		return o.wrong("%v", err)
	}
	streams, err := o.read(*files)
	if err != nil {
		return o.fail(err)
	}
	code := exitDone
	for _, f := range manifest.Read(streams, *namespace).Lint() {
		fmt.Fprintln(o.stdout, f)
		if f.Severity == manifest.Fault {
			code = exitFound
		}
	}
	return code
}
