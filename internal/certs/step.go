// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"time"
)

// State is the certificates of one server, on all its replicas.
type State struct {
	// Serving is what the server presents.
	Serving Pair
	// Next is announced to the clients and not presented yet.
	Next Pair
	// Retired is the certificate presented before, in PEM: a replica that lags may
	// still present it.
	Retired []byte
}

const (
	// renewBefore is how long before its end a certificate's successor is announced.
	renewBefore = 30 * 24 * time.Hour
	// settle is how long clients take, at the very most, to trust what they were told.
	settle = 10 * time.Minute
)

// Trusted is the certificates that clients have to trust, in PEM.
func (s State) Trusted() []byte {
	return bytes.Join([][]byte{s.Serving.Certificate, s.Next.Certificate, s.Retired}, nil)
}

// Step says what the state has to become now, given what clients are told to
// trust and the DNS names that they connect to, and when to look again.
//
// Serving is usable in every state it returns. In orderly steps it is also
// trusted already; that is impossible only where there was no usable one before.
func Step(s State, trusted []byte, names []string, now time.Time) (State, time.Time, error) {
	if _, err := s.Serving.usable(names, now); err != nil {
		return replace(s, names, now)
	}
	next, err := announce(s, names, now)
	if err != nil {
		return s, time.Time{}, err
	}
	next = present(next, trusted, names, now)
	return retire(next, now), lookAgain(next, names, now), nil
}

// Equal says whether both hold the same certificates and keys.
func (s State) Equal(other State) bool {
	return maps.EqualFunc(s.Data(), other.Data(), bytes.Equal)
}

// replace makes up for a server without a usable certificate.
func replace(s State, names []string, now time.Time) (State, time.Time, error) {
	serving := s.Next
	if _, err := serving.usable(names, now); err != nil {
		if serving, err = issue(names, now); err != nil {
			return s, time.Time{}, err
		}
	}
	next := State{Serving: serving}
	return next, lookAgain(next, names, now), nil
}

// announce adds a successor when the time has come and there is none.
func announce(s State, names []string, now time.Time) (State, error) {
	if now.Before(renewal(s.Serving, names, now)) {
		s.Next = Pair{}
		return s, nil
	}
	if _, err := s.Next.usable(names, now); err == nil {
		return s, nil
	}
	next, err := issue(names, now)
	if err != nil {
		return s, fmt.Errorf("renew: %w", err)
	}
	s.Next = next
	return s, nil
}

// present makes the successor the serving one, once clients had time to trust it.
func present(s State, trusted []byte, names []string, now time.Time) State {
	at := announcedAt(s.Next, names, now)
	if at.IsZero() || now.Before(at.Add(settle)) || !bytes.Contains(trusted, s.Next.Certificate) {
		return s
	}
	return State{Serving: s.Next, Retired: s.Serving.Certificate}
}

// retire forgets a retired certificate that nobody accepts any more.
func retire(s State, now time.Time) State {
	block, _ := pem.Decode(s.Retired)
	if block == nil {
		s.Retired = nil
		return s
	}
	if old, err := x509.ParseCertificate(block.Bytes); err != nil || now.After(old.NotAfter) {
		s.Retired = nil
	}
	return s
}

// lookAgain is when the next step may be due.
func lookAgain(s State, names []string, now time.Time) time.Time {
	if at := announcedAt(s.Next, names, now); !at.IsZero() {
		return latest(at.Add(settle), now.Add(time.Minute))
	}
	return renewal(s.Serving, names, now)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// announcedAt is when the pair was issued, zero when it is not usable.
func announcedAt(p Pair, names []string, now time.Time) time.Time {
	certificate, err := p.usable(names, now)
	if err != nil {
		return time.Time{}
	}
	return certificate.NotBefore.Add(backdate)
}

// renewal is when the pair's successor is due: at once when it is not usable.
func renewal(p Pair, names []string, now time.Time) time.Time {
	certificate, err := p.usable(names, now)
	if err != nil {
		return now
	}
	return certificate.NotAfter.Add(-renewBefore)
}
