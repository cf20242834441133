// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// lab is a cluster of one size, and the manager in it.
type lab struct {
	*managertest.Cluster
	size
	opts    options
	seen    cache.Cache // policies and rules ConfigMaps, as they change
	manager *managertest.Manager
	pods    []placed // that policies select
	close   context.CancelFunc
}

// placed is a pod of a policy.
type placed struct {
	place
	pod string
}

// niceness is that of the API server, etcd and the load, as that of ours.
const niceness = 10

// giveWay lets the manager go first on the CPUs, as if it were alone there: its own
// times are not to be those of a queue behind what runs on other machines elsewhere.
func giveWay() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads { // later ones, and processes, begin with what theirs had
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, niceness); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("set the nice value: %w", err)
		}
	}
	return nil
}

func openLab(ctx context.Context, s size, opts options) (*lab, error) {
	ctx, cancel := context.WithCancel(ctx)
	cluster, err := managertest.Start(ctx, manyServices)
	if err != nil {
		cancel()
		return nil, err
	}
	cluster.Nice = -niceness
	l := &lab{Cluster: cluster, size: s, opts: opts, close: cancel}
	for _, step := range []func(context.Context) error{l.queueUp, l.follow} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, l.end())
		}
	}
	return l, nil
}

// queueUp makes the load's requests those of a user with all rights. Those of the
// group system:masters, which clients of a test server have, are exempt from the API
// server's priority and fairness, and the manager's are not: however many of them are
// under way, it waits behind all.
func (l *lab) queueUp(ctx context.Context) error {
	const load = "load"
	if err := l.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: load},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: load}},
	}); err != nil {
		return err
	}
	user, err := l.Server.AddUser(envtest.User{Name: load}, &rest.Config{QPS: -1})
	if err != nil {
		return err
	}
	l.Client, err = client.New(user.Config(), client.Options{Scheme: managertest.Scheme()})
	return err
}

// manyServices makes room for a cluster IP for each.
func manyServices(e *envtest.Environment) {
	e.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/14")
}

// follow keeps a copy of what the manager writes.
func (l *lab) follow(ctx context.Context) (err error) {
	ours, err := labels.NewRequirement(v1alpha1.LabelPolicy, selection.Exists, nil)
	if err != nil {
		return err
	}
	l.seen, err = cache.New(l.Server.Config, cache.Options{
		Scheme:           managertest.Scheme(),
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Label: labels.NewSelector().Add(*ours)}},
	})
	if err != nil {
		return err
	}
	go func() { _ = l.seen.Start(ctx) }()
	for _, kind := range []client.Object{&v1alpha1.FunnelPolicy{}, &corev1.ConfigMap{}} {
		if _, err := l.seen.GetInformer(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// end ends everything, and removes its files.
func (l *lab) end() error {
	l.close()
	if l.manager != nil {
		l.manager.Kill()
	}
	return l.Stop()
}

// run starts the manager.
func (l *lab) run(ctx context.Context) (err error) {
	args := []string{"--log-level=error"}
	if l.opts.profiles != "" {
		args = append(args, "--pprof-bind-address="+profilesAddress)
	}
	if l.manager, err = l.Run(ctx, args...); err != nil {
		return err
	}
	return nil
}

// explain adds what the manager wrote, where it has ended: nothing starts it again here.
func (l *lab) explain(err error) error {
	if l.manager == nil || !l.manager.Ended() {
		return err
	}
	return fmt.Errorf("%w\nthe manager ended:\n%s", err, l.manager.Log())
}

// untilAll waits until every policy is as it should be.
func (l *lab) untilAll(ctx context.Context, what string, holds func(*v1alpha1.FunnelPolicy) bool) error {
	for {
		var list v1alpha1.FunnelPolicyList
		if err := l.seen.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		left := l.Policies - len(list.Items)
		var example *v1alpha1.FunnelPolicy
		for i := range list.Items {
			if p := &list.Items[i]; !holds(p) {
				left++
				example = p
			}
		}
		if left == 0 {
			return nil
		}
		if l.manager.Ended() {
			return fmt.Errorf("waiting for all policies: %s", what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %d policies are not, such as %s: %w", what, left, brief(example), ctx.Err())
		case <-time.After(time.Duration(max(l.Policies, 1000)) * 50 * time.Microsecond): // looking takes time of others
		}
	}
}

// brief is a policy with its status, for a message; nil is one that was never seen.
func brief(p *v1alpha1.FunnelPolicy) string {
	if p == nil {
		return "one not seen"
	}
	return fmt.Sprintf("%s/%s %+v", p.Namespace, p.Name, p.Status)
}

// untilQuiet waits until the manager's queues are empty and it has asked nothing of the API
// server for a while, and returns when it asked last.
func (l *lab) untilQuiet(ctx context.Context) (time.Time, error) {
	const quiet = 3 * time.Second
	mark, err := l.Audit.Now()
	if err != nil {
		return time.Time{}, err
	}
	last := time.Now()
	for {
		calls, err := l.Audit.Since(mark)
		if err != nil {
			return last, err
		}
		if mark, err = l.Audit.Now(); err != nil {
			return last, err
		}
		if ours(calls).total() > 0 {
			last = time.Now()
		}
		depth, err := l.queued(ctx)
		switch {
		case err != nil:
			return last, err
		case depth > 0:
			last = time.Now()
		case time.Since(last) > quiet:
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// queued is how many policies wait for the manager.
func (l *lab) queued(ctx context.Context) (float64, error) {
	families, err := l.manager.Scrape(ctx)
	if err != nil {
		return 0, err
	}
	return gauge(families, "workqueue_depth", "name", "funnelpolicy"), nil
}

// during notes how long do takes and what the manager asks of the API server
// meanwhile.
func (l *lab) during(do func() error) (phase, error) {
	mark, err := l.Audit.Now()
	if err != nil {
		return phase{}, err
	}
	begin := time.Now()
	if err := do(); err != nil {
		return phase{}, err
	}
	took := time.Since(begin)
	made, err := l.Audit.Since(mark)
	return phase{Seconds: took.Seconds(), Calls: ours(made)}, err
}

// ours counts calls but for the lease, and for reviews of who reads metrics, which
// is us.
func ours(made []managertest.Call) calls {
	counts := calls{}
	for _, call := range made {
		if call.Resource != "leases" && !strings.HasSuffix(call.Resource, "reviews") {
			counts[call.What()]++
		}
	}
	return counts
}

func writes(made calls) int {
	n := 0
	for what, count := range made {
		verb, _, _ := strings.Cut(what, " ")
		if (managertest.Call{Verb: verb}).Writes() {
			n += count
		}
	}
	return n
}

// memory is what the manager has now.
func (l *lab) memory(ctx context.Context) (memory, error) {
	resident, _, err := l.manager.Memory()
	if err != nil {
		return memory{}, err
	}
	families, err := l.manager.Scrape(ctx)
	return memory{Resident: float64(resident) / (1 << 20), Live: gauge(families, "go_gc_heap_live_bytes") / (1 << 20)}, err
}

// profilesAddress is where the manager serves profiles when they are wanted.
const profilesAddress = "127.0.0.1:6061"

// profile saves one of the manager's profiles, and the API server's of the same
// time: a latency may be that of either. seconds are those of a CPU profile.
func (l *lab) profile(ctx context.Context, name, kind string, seconds int) {
	if l.opts.profiles == "" {
		return
	}
	server, err := rest.HTTPClientFor(l.Server.Config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		return
	}
	var both sync.WaitGroup
	for of, from := range map[string]source{
		"manager":   {http.DefaultClient, "http://" + profilesAddress},
		"apiserver": {server, strings.TrimSuffix(l.Server.Config.Host, "/")},
	} {
		url := fmt.Sprintf("%s/debug/pprof/%s", from.url, kind)
		if seconds > 0 {
			url += fmt.Sprintf("?seconds=%d", seconds)
		}
		file := filepath.Join(l.opts.profiles, fmt.Sprintf("%d-%s-%s.pprof", l.Policies, of, name))
		both.Go(func() {
			if err := download(ctx, from.client, url, file); err != nil {
				fmt.Fprintln(os.Stderr, "profile:", err)
			}
		})
	}
	both.Wait()
}

// source is a server with profiles.
type source struct {
	client *http.Client
	url    string
}

// namespace makes one; opted in, its pods are asked about.
func (l *lab) namespace(ctx context.Context, name string) error {
	return l.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}
