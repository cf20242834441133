// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
)

func TestShareReturnsOneCopy(t *testing.T) {
	var a alike
	first := share(&a, map[string]string{"app": "web"})
	again := share(&a, map[string]string{"app": "web"})
	first["seen"] = "yes"
	if again["seen"] != "yes" {
		t.Error("equal maps are two")
	}
	if other := share(&a, map[string]string{"app": "db"}); other["seen"] != "" {
		t.Error("other maps are one")
	}
	if text := share(&a, []string(nil)); text != nil {
		t.Errorf("got %v for nothing", text)
	}
}

func TestShareForgets(t *testing.T) {
	var a alike
	for i := range 3 * mostAlike {
		share(&a, fmt.Sprint(i))
	}
	if len(a.known) > mostAlike {
		t.Errorf("%d values are held, at most %d should be", len(a.known), mostAlike)
	}
}
