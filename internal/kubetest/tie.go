// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tied returns the path of a command in dir that runs the program and ties its
// life to ours: the kernel kills it when we end without stopping it, for instance
// because go test ran out of time. Without setpriv it is the program itself.
//
// To the kernel, we are the thread that started the command. Go's threads last as
// long as the process, but for those that a goroutine locked and did not unlock.
func Tied(dir, program string) (string, error) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return program, nil
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s --pdeathsig KILL %s \"$@\"\n", quoted(setpriv), quoted(program))
	path := filepath.Join(dir, filepath.Base(program))
	return path, os.WriteFile(path, []byte(script), 0o700)
}

// quoted is one word of a shell's command line.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
