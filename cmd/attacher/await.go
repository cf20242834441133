// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// awaitAtMost is for how many seconds attach waits for rules, unless it is told
// otherwise. The kubelet brings a changed ConfigMap into a running pod when it
// looks at the pod next: at once when a container was added, else within a minute
// or one and a half.
const awaitAtMost = "120"

// lookEvery is how often the folders are looked at meanwhile.
const lookEvery = 200 * time.Millisecond

// awaited maps policies to the digests that their folders must hold before
// anything is attached.
type awaited map[string]string

// parseAwaited reads "policy=digest,policy=digest".
func parseAwaited(text string) (awaited, error) {
	w := awaited{}
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		policy, digest, _ := strings.Cut(field, "=")
		if policy == "" || digest == "" || policy != filepath.Base(policy) {
			return nil, fmt.Errorf("rules to wait for %q: want POLICY=DIGEST", field)
		}
		w[policy] = digest
	}
	return w, nil
}

// read reads the rules when every folder holds what is awaited, or something else
// than at first: newer rules yet, which replaced the awaited ones on their way.
// What is read is of one state of the folders, which the kubelet exchanges as a
// whole. pause returns an error when there is no more time.
func (w awaited) read(from source, pause func() error) (input, error) {
	if len(w) == 0 {
		return from.read()
	}
	first := from.held(w)
	for {
		held := from.held(w)
		if w.arrived(held, first) {
			if in, err := from.read(); maps.Equal(from.held(w), held) {
				return in, err
			}
		}
		if err := pause(); err != nil {
			return input{}, fmt.Errorf("%w: %s; what was attached before stays", err, w.lacks(held))
		}
	}
}

// arrived reports whether no folder holds what is to be waited out.
func (w awaited) arrived(held, first map[string]string) bool {
	for policy, digest := range w {
		now := held[policy]
		if now != digest && (now == "" || now == first[policy]) {
			return false
		}
	}
	return true
}

// lacks says which folders hold other rules.
func (w awaited) lacks(held map[string]string) string {
	var texts []string
	for _, policy := range slices.Sorted(maps.Keys(w)) {
		switch now := held[policy]; now {
		case w[policy]:
		case "":
			texts = append(texts, fmt.Sprintf("there is no folder of policy %s", policy))
		default:
			texts = append(texts, fmt.Sprintf("the folder of policy %s holds %s, not %s", policy, now, w[policy]))
		}
	}
	return strings.Join(texts, ", ")
}

// held are the digests in the folders of these policies, without those that can't
// be read.
func (s source) held(policies awaited) map[string]string {
	held := map[string]string{}
	for policy := range policies {
		if set, err := readSettings(filepath.Join(s.folder, policy, settingsFile)); err == nil {
			held[policy] = set.Digest
		}
	}
	return held
}

// timer returns a pause that lasts until it is time to look again, and fails when
// that much time has gone.
func timer(ctx context.Context, atMost time.Duration) func() error {
	end := time.Now().Add(atMost)
	return func() error {
		if !time.Now().Before(end) {
			return fmt.Errorf("the rules did not come within %v", atMost)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
			return nil
		}
	}
}
