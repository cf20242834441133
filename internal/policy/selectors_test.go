// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSelectorsMeet(t *testing.T) {
	for _, test := range []struct {
		name, a, b string
		meet       bool
	}{
		{"all and all", "", "", true},
		{"all and some", "", "app=web", true},
		{"the same", "app=web", "app=web", true},
		{"different values", "app=web", "app=db", false},
		{"different keys", "app=web", "tier=front", true},
		{"one of several", "app in (web, db)", "app in (db, cache)", true},
		{"none of several", "app in (web, db)", "app in (mq, cache)", false},
		{"excluded", "app=web", "app notin (web, db)", false},
		{"not excluded", "app in (web, db)", "app notin (web)", true},
		{"excluded together", "app in (web, db), app notin (db)", "app notin (web)", false},
		{"excluded twice", "app notin (web)", "app notin (db)", true},
		{"present and absent", "app", "!app", false},
		{"value and absent", "app=web", "!app", false},
		{"excluded and absent", "app notin (web)", "!app", true},
		{"excluded and present", "app notin (web)", "app", true},
		{"contradictory by itself", "app in (web), app in (db)", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := mustSelector(t, test.a), mustSelector(t, test.b)
			if got := selectorsMeet(a, b); got != test.meet {
				t.Errorf("got %v", got)
			}
			if got := selectorsMeet(b, a); got != test.meet {
				t.Errorf("the other way round: got %v", got)
			}
		})
	}
}

func mustSelector(t *testing.T, text string) *metav1.LabelSelector {
	t.Helper()
	s, err := metav1.ParseToLabelSelector(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
