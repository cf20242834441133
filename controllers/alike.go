// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"reflect"
	"sync"
)

// alike holds one copy of what many objects have in common. Who takes it from there must
// not change it, as nobody changes what is in a cache.
type alike struct {
	mutex sync.Mutex
	known map[string]any // by type and JSON
}

// mostAlike is how many values are held. It forgets all when there are more: objects keep
// what they have.
const mostAlike = 1024

// share returns a value that is equal to this one, by its JSON, the same for all who ask.
func share[T any](a *alike, value T) T {
	text, err := json.Marshal(value)
	if err != nil {
		return value
	}
	key := reflect.TypeFor[T]().String() + string(text)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if known, ok := a.known[key]; ok {
		return known.(T)
	}
	if a.known == nil || len(a.known) >= mostAlike {
		a.known = map[string]any{}
	}
	a.known[key] = value
	return value
}
