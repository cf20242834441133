// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestABuildEndsWithAllThatItStarted: the compiler, not only the script that waits for it.
// Both hold the pipe open.
func TestABuildEndsWithAllThatItStarted(t *testing.T) {
	t.Chdir(t.TempDir())
	script := "#!/bin/bash\nexec 3>alive\necho started >&3\nsleep 100\n"
	err := errors.Join(os.MkdirAll("hack/kube", 0o755), os.WriteFile("hack/kube/build.sh", []byte(script), 0o755), syscall.Mkfifo("alive", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	built := make(chan error)
	go func() {
		_, err := buildKubernetes(ctx, io.Discard)
		built <- err
	}()
	alive, err := os.Open("alive")
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if err := alive.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(alive).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-built; err == nil {
		t.Error("a build that was ended is no error")
	}
	if _, err := io.ReadAll(alive); err != nil {
		t.Error("something of it goes on: ", err)
	}
}
