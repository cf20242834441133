// SPDX-License-Identifier: Apache-2.0

// Command pause is the first process of each pod of the test cluster: it holds the
// pod's namespaces and does nothing until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
