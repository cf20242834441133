// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// server knows one token, "good", whose owner may get /metrics.
type server struct {
	*fake.Clientset
	asked int
	err   error
}

func newServer() *server {
	s := &server{Clientset: fake.NewClientset()}
	s.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		s.asked++
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		review.Status.Authenticated = review.Spec.Token == "good" || review.Spec.Token == "weak"
		review.Status.User.Username = review.Spec.Token
		return true, review, s.err
	})
	s.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		asked := review.Spec.NonResourceAttributes
		review.Status.Allowed = review.Spec.User == "good" && asked.Verb == "get" && asked.Path == "/metrics"
		return true, review, nil
	})
	return s
}

func TestMetricsAreForThoseWhoMay(t *testing.T) {
	rows := []struct {
		name, header, method, path string
		err                        error
		want                       int
	}{
		{"who may", "Bearer good", "GET", "/metrics", nil, 200},
		{"who may, another verb", "Bearer good", "POST", "/metrics", nil, 403},
		{"who may, another path", "Bearer good", "GET", "/debug", nil, 403},
		{"who may not", "Bearer weak", "GET", "/metrics", nil, 403},
		{"a token nobody knows", "Bearer bad", "GET", "/metrics", nil, 401},
		{"no token", "", "GET", "/metrics", nil, 401},
		{"an empty token", "Bearer ", "GET", "/metrics", nil, 401},
		{"another scheme", "Basic good", "GET", "/metrics", nil, 401},
		{"the server fails", "Bearer good", "GET", "/metrics", errors.New("down"), 500},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			api := newServer()
			api.err = row.err
			if got := ask(newGate(api), row.header, row.method, row.path); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

func TestPermissionsAreRememberedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newServer()
		gate := newGate(api)
		scrape := func(header string) int { return ask(gate, header, "GET", "/metrics") }
		for range 3 {
			scrape("Bearer good")
		}
		if api.asked != 1 {
			t.Errorf("the server was asked %d times for a permission that it gave", api.asked)
		}
		scrape("Bearer weak")
		scrape("Bearer weak")
		if api.asked != 3 {
			t.Errorf("a refusal was remembered")
		}
		time.Sleep(remembered + time.Second)
		scrape("Bearer good")
		if api.asked != 4 {
			t.Errorf("a permission was remembered for more than %s", remembered)
		}
		if len(gate.open) != 1 {
			t.Errorf("%d permissions are kept", len(gate.open))
		}
	})
}

func newGate(api *server) *gate {
	return &gate{api: api, open: map[pass]time.Time{}}
}

// ask is the status of a request that, let through, is answered with 200.
func ask(g *gate, header, method, path string) int {
	req := httptest.NewRequest(method, path, nil)
	req.Header.Set("Authorization", header)
	answer := httptest.NewRecorder()
	g.around(logr.Discard(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(answer, req)
	return answer.Code
}
