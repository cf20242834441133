// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// operator is a running manager with the reconciler.
type operator struct {
	*FunnelPolicyReconciler
	clock    *skewedClock
	requests *requestLog
}

// startOperator runs one until stop, or the end of the case or container. It has
// no other rights than those that are installed with it.
func startOperator(edits ...func(*FunnelPolicyReconciler)) (o *operator, stop func()) {
	GinkgoHelper()
	o, mgr := newOperator(edits...)
	return o, o.startWith(mgr)
}

// startWith starts the manager of an operator that stood by.
func (o *operator) startWith(mgr ctrl.Manager) (stop func()) {
	GinkgoHelper()
	stop = startManager(mgr)
	Expect(mgr.GetCache().WaitForCacheSync(suite)).To(BeTrue())
	Eventually(o.started.Load).ShouldNot(BeNil())
	return stop
}

// newOperator sets one up, and leaves it standing by.
func newOperator(edits ...func(*FunnelPolicyReconciler)) (*operator, ctrl.Manager) {
	GinkgoHelper()
	o := &operator{clock: &skewedClock{}, requests: &requestLog{}}
	o.FunnelPolicyReconciler = &FunnelPolicyReconciler{
		Clock:        o.clock,
		StatusAtMost: 50 * time.Millisecond,
		SettleFor:    50 * time.Millisecond,
		ListAtMost:   100 * time.Millisecond,
		LookAgain:    200 * time.Millisecond,
	}
	for _, edit := range edits {
		edit(o.FunnelPolicyReconciler)
	}
	cached := CacheOptions()
	(&WebhookCertificate{Configuration: o.WebhookConfiguration}).LimitCache(&cached)
	logged := rest.CopyConfig(operatorUser())
	logged.Wrap(o.requests.wrap)
	anyName := true
	mgr, err := ctrl.NewManager(logged, ctrl.Options{
		Scheme:     scheme,
		Cache:      cached,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &anyName},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(o.SetupWithManager(mgr)).To(Succeed())
	return o, mgr
}

// startManager starts a manager, which ends with the spec or when stop is called.
func startManager(mgr ctrl.Manager) (stop func()) {
	ctx, cancel := context.WithCancel(suite)
	ended := make(chan struct{})
	go func() {
		defer GinkgoRecover()
		defer close(ended)
		Expect(mgr.Start(ctx)).To(Succeed())
	}()
	stop = func() { cancel(); <-ended }
	DeferCleanup(stop)
	return stop
}

// withoutPolling leaves the operator with nothing but events, so that a case
// fails when one is not heard.
func withoutPolling(r *FunnelPolicyReconciler) { r.ListAtMost = time.Hour }

// remembers reports whether the operator remembers anything of the policy.
func (o *operator) remembers(p *v1alpha1.FunnelPolicy) bool {
	o.memory.Lock()
	defer o.memory.Unlock()
	return o.memory.policies[keyOf(p)] != nil
}

// ofNamespace names what the operator remembers of the namespace, besides its policies.
func (o *operator) ofNamespace(s shop) (kinds []string) {
	o.memory.Lock()
	defer o.memory.Unlock()
	if o.memory.sweeps[string(s)] != nil {
		kinds = append(kinds, "sweep")
	}
	if o.memory.looks[string(s)] != nil {
		kinds = append(kinds, "look")
	}
	o.policies.keys.mutex.Lock()
	defer o.policies.keys.mutex.Unlock()
	if o.policies.keys.known[string(s)] != nil {
		kinds = append(kinds, "keys")
	}
	return kinds
}

// orphanedAt is since when the operator knows that the policy is gone, and its
// ConfigMap is not.
func (o *operator) orphanedAt(p *v1alpha1.FunnelPolicy) moment {
	known := o.memory.of(keyOf(p))
	known.Lock()
	defer known.Unlock()
	return known.orphanedAt
}

func (o *operator) orphaned(p *v1alpha1.FunnelPolicy) bool { return o.orphanedAt(p) != 0 }

func keyOf(obj client.Object) types.NamespacedName { return client.ObjectKeyFromObject(obj) }

// operatorUser may do what the generated ClusterRole says, with what the component
// in-place adds to it, and nothing else.
var operatorUser = sync.OnceValue(func() *rest.Config {
	GinkgoHelper()
	const name = "operator-under-test"
	role := firstRole("rbac", "role.yaml")
	role.Rules = append(role.Rules, firstRole("components", "in-place", "role.yaml").Rules...)
	role.Name = name
	Expect(api.Create(suite, role)).To(Succeed())
	Expect(api.Create(suite, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})).To(Succeed())
	user, err := server.AddUser(envtest.User{Name: name}, cfg)
	Expect(err).NotTo(HaveOccurred())
	return user.Config()
})

// firstRole is the ClusterRole with which a file of config/ begins.
func firstRole(path ...string) *rbacv1.ClusterRole {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{}
	text, err := os.ReadFile(filepath.Join(append([]string{"..", "config"}, path...)...))
	Expect(err).NotTo(HaveOccurred())
	first, _, _ := strings.Cut(strings.TrimPrefix(string(text), "---\n"), "\n---\n")
	Expect(yaml.UnmarshalStrict([]byte(first), role)).To(Succeed())
	return role
}

// skewedClock runs as the real one does, ahead of it by what a case adds.
type skewedClock struct{ ahead atomic.Int64 }

func (c *skewedClock) Now() time.Time {
	return time.Now().Add(time.Duration(c.ahead.Load()))
}

func (c *skewedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *skewedClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// requestLog notes the requests of a client.
type requestLog struct {
	sync.Mutex
	writes, reads []string
}

func (w *requestLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		w.note(r)
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *requestLog) note(r *http.Request) {
	w.Lock()
	defer w.Unlock()
	if r.Method == http.MethodGet {
		w.reads = append(w.reads, r.URL.Path)
		return
	}
	w.writes = append(w.writes, fmt.Sprintf("%s %s", r.Method, r.URL.Path))
}

// writing are the writes so far whose path holds all of the texts.
func (w *requestLog) writing(texts ...string) []string {
	w.Lock()
	defer w.Unlock()
	return filtered(w.writes, texts)
}

// reading are the reads so far whose path holds all of the texts.
func (w *requestLog) reading(texts ...string) []string {
	w.Lock()
	defer w.Unlock()
	return filtered(w.reads, texts)
}

func filtered(requests, texts []string) []string {
	var found []string
	for _, request := range requests {
		if holdsAll(request, texts) {
			found = append(found, request)
		}
	}
	return found
}

// untilQuiet waits until the operator has not written for a while.
func (o *operator) untilQuiet() {
	GinkgoHelper()
	last, since := -1, time.Now()
	Eventually(func() bool {
		if n := len(o.requests.writing()); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond
	}).Should(BeTrue())
}

func holdsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
