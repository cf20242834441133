// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// connections measures short TCP connections per second, one after the other:
// connect, accept, one byte there, one back, and closed by the server first, so
// that the client's port is free again at once.
func connections() measure {
	return func(l *lab, d time.Duration) (float64, error) {
		listener, err := listen(l)
		if err != nil {
			return 0, err
		}
		defer unix.Close(listener)
		var rate float64
		err = inNamespace(l.client, func() (err error) {
			pin()
			rate, err = perSecondHere(d, func() (int, error) { return 1, oneConnection(listener) })
			return err
		})
		return rate, err
	}
}

func oneConnection(listener int) error {
	pair, err := dial(listener)
	if err != nil {
		return err
	}
	defer unix.Close(pair.client)
	defer unix.Close(pair.server)
	var octet [1]byte
	for _, way := range [][2]int{{pair.client, pair.server}, {pair.server, pair.client}} {
		if _, err := unix.Write(way[0], octet[:]); err != nil {
			return err
		}
		if _, err := unix.Read(way[1], octet[:]); err != nil {
			return err
		}
	}
	return nil
}
