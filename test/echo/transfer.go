// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// transferLimit ends a transfer that hangs.
const transferLimit = 5 * time.Minute

// A transfer is a question of one line, after which both ends send size bytes at the
// same time and compare each byte that arrives with the one that must.
type transfer struct {
	size int64
	seed uint64 // the client's content; the server's is the next
}

const transferLine = "transfer %d %d\n"

// parseTransfer reads the line that announces a transfer.
func parseTransfer(line string) (t transfer, ok bool) {
	_, err := fmt.Sscanf(line, transferLine, &t.size, &t.seed)
	return t, err == nil && t.size > 0
}

// serve is the server's part. It returns what to tell the client.
func (t transfer) serve(conn net.Conn, from io.Reader) string {
	conn.SetDeadline(time.Now().Add(transferLimit))
	if err := exchange(conn, from, t.size, t.seed+1, t.seed); err != nil {
		return err.Error()
	}
	return transferred
}

// transferred is a server's word that all it received was right.
const transferred = "transferred"

// ask is the client's part.
func (t transfer) ask(conn net.Conn) (survey.Answer, error) {
	conn.SetDeadline(time.Now().Add(transferLimit))
	if _, err := fmt.Fprintf(conn, transferLine, t.size, t.seed); err != nil {
		return survey.Answer{}, err
	}
	from := bufio.NewReaderSize(conn, 64<<10)
	if err := exchange(conn, from, t.size, t.seed, t.seed+1); err != nil {
		return survey.Answer{}, err
	}
	line, err := from.ReadBytes('\n')
	if err != nil {
		return survey.Answer{}, fmt.Errorf("after the transfer: %w", err)
	}
	var answer survey.Answer
	if err := json.Unmarshal(line, &answer); err != nil {
		return survey.Answer{}, fmt.Errorf("after the transfer: %w", err)
	}
	if answer.Said != transferred {
		return survey.Answer{}, fmt.Errorf("%s says: %s", answer.Pod, answer.Said)
	}
	return answer, nil
}

// exchange sends one content and compares what it receives with another.
func exchange(to io.Writer, from io.Reader, size int64, sends, wants uint64) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(to, content(sends), size)
		sent <- err
	}()
	if err := compare(from, size, wants); err != nil {
		return err
	}
	return <-sent
}

// content is an endless stream that no other seed has.
func content(seed uint64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// compare reads size bytes, which must be the content of that seed.
func compare(from io.Reader, size int64, seed uint64) error {
	want, got, expected := content(seed), make([]byte, 64<<10), make([]byte, 64<<10)
	for offset := int64(0); offset < size; {
		n := min(int64(len(got)), size-offset)
		read, err := io.ReadFull(from, got[:n])
		io.ReadFull(want, expected[:read])
		if !bytes.Equal(got[:read], expected[:read]) {
			return fmt.Errorf("wrong bytes in the transfer, %d to %d of %d", offset, offset+int64(read), size)
		}
		if err != nil {
			return fmt.Errorf("transfer ends after %d of %d bytes: %w", offset+int64(read), size, err)
		}
		offset += n
	}
	return nil
}
