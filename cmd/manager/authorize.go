// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// The API server is asked who a client is and whether it may read.
//
// (controller-runtime's own filter does the same, and links 260 packages of
// k8s.io/apiserver and 20 MB for it.)

// remembered is how long a permission holds without being asked for again.
const remembered = time.Minute

// authorize is a metrics filter: it lets those through whose bearer token the API
// server knows, and who may use the verb on the path (nonResourceURLs).
func authorize(config *rest.Config, client *http.Client) (metricsserver.Filter, error) {
	api, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	gate := &gate{api: api, open: map[pass]time.Time{}}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return gate.around(log, next), nil
	}, nil
}

type gate struct {
	api kubernetes.Interface

	mu   sync.Mutex
	open map[pass]time.Time // until when
}

// pass is what was permitted. It does not hold the token itself.
type pass struct {
	token      [sha256.Size]byte
	verb, path string
}

var (
	errUnauthenticated = errors.New("a bearer token that the API server knows is needed")
	errForbidden       = errors.New("not permitted")
)

func (g *gate) around(log logr.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch err := g.check(req); {
		case err == nil:
			next.ServeHTTP(w, req)
		case errors.Is(err, errUnauthenticated):
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case errors.Is(err, errForbidden):
			http.Error(w, err.Error(), http.StatusForbidden)
		default:
			log.Error(err, "cannot tell whether the client may read metrics")
			http.Error(w, "cannot tell whether you may", http.StatusInternalServerError)
		}
	})
}

func (g *gate) check(req *http.Request) error {
	token, found := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !found || token == "" {
		return errUnauthenticated
	}
	pass := pass{token: sha256.Sum256([]byte(token)), verb: strings.ToLower(req.Method), path: req.URL.Path}
	if g.isOpen(pass) {
		return nil
	}
	user, err := g.authenticate(req.Context(), token)
	if err != nil {
		return err
	}
	if err := g.authorize(req.Context(), user, pass); err != nil {
		return err
	}
	g.remember(pass)
	return nil
}

func (g *gate) authenticate(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	review, err := g.api.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	if !review.Status.Authenticated {
		return authenticationv1.UserInfo{}, errUnauthenticated
	}
	return review.Status.User, nil
}

func (g *gate) authorize(ctx context.Context, user authenticationv1.UserInfo, pass pass) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:                  user.Username,
		UID:                   user.UID,
		Groups:                user.Groups,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: pass.verb, Path: pass.path},
	}}
	review, err := g.api.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if !review.Status.Allowed {
		return fmt.Errorf("%w: %s to %s %s", errForbidden, user.Username, pass.verb, pass.path)
	}
	return nil
}

func (g *gate) isOpen(pass pass) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.open[pass])
}

// remember opens the gate for a while, and forgets what has passed.
func (g *gate) remember(pass pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for known, until := range g.open {
		if now.After(until) {
			delete(g.open, known)
		}
	}
	g.open[pass] = now.Add(remembered)
}
