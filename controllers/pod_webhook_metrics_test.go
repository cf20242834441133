// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowly is a sender whose next part comes after a while.
type slowly struct{ io.Reader }

func (s slowly) Read(into []byte) (int, error) {
	time.Sleep(time.Minute)
	return s.Reader.Read(into)
}

type observed []float64

func (o *observed) Observe(seconds float64) { *o = append(*o, seconds) }

func TestTimeOfAnAnswerBeginsWhenTheQuestionIsRead(t *testing.T) {
	for name, test := range map[string]struct {
		read int64 // octets of the body that the handler reads
		want float64
	}{
		"all of it":  {100, 2},
		"nothing":    {0, 2},
		"a part":     {3, 2},
		"its length": {5, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got observed
				answer := timed(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
					if _, err := io.ReadAll(io.LimitReader(req.Body, test.read)); err != nil {
						t.Error(err)
					}
					time.Sleep(2 * time.Second)
				}), &got)
				question := httptest.NewRequest(http.MethodPost, "/", slowly{strings.NewReader("12345")})
				answer.ServeHTTP(httptest.NewRecorder(), question)
				if len(got) != 1 || got[0] != test.want {
					t.Errorf("observed %v seconds, want %v once", got, test.want)
				}
			})
		})
	}
}
