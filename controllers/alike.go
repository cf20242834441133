// SPDX-License-Identifier: Apache-2.0

package controllers

import "sync"

// alike holds one copy of texts that many objects have in common.
type alike struct {
	mutex sync.Mutex
	known map[string]string
}

// mostAlike is how many texts are held. It forgets all when there are more: objects keep
// what they have.
const mostAlike = 1024

// share returns a text that is equal to this one, the same for all who ask.
func (a *alike) share(text string) string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if known, ok := a.known[text]; ok {
		return known
	}
	if len(a.known) >= mostAlike {
		a.known = nil
	}
	put(&a.known, text, text)
	return text
}
