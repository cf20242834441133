// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

func TestShareReturnsOneCopy(t *testing.T) {
	var a alike
	first, again := a.share(strings.Clone("app=web")), a.share(strings.Clone("app=web"))
	if first != "app=web" || unsafe.StringData(first) != unsafe.StringData(again) {
		t.Errorf("equal texts are two: %q, %q", first, again)
	}
	if other := a.share("app=db"); other != "app=db" {
		t.Errorf("another text is %q", other)
	}
}

func TestShareForgets(t *testing.T) {
	var a alike
	for i := range 3 * mostAlike {
		a.share(fmt.Sprint(i))
	}
	if len(a.known) > mostAlike {
		t.Errorf("%d texts are held, at most %d should be", len(a.known), mostAlike)
	}
}
