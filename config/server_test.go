// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// cluster is a real API server with the install applied. The Service of the
// webhook leads to this machine, as there are no nodes.
type cluster struct {
	client.Client
	config  *rest.Config
	admin   string // path of a kubeconfig with all rights
	install objects
	binary  string // the manager
}

// start is a cluster for the rest of the test, with the install.
func start(t *testing.T) *cluster {
	t.Helper()
	c := empty(t)
	c.use(t, install(t))
	return c
}

// use applies the install, and goes on with it.
func (c *cluster) use(t *testing.T, objects objects) {
	t.Helper()
	c.install = objects
	for i := range c.install {
		c.apply(t, &c.install[i])
	}
	if slices.ContainsFunc(objects, func(o unstructured.Unstructured) bool { return o.GetName() == "sfunnel-webhook" }) {
		must(t, managertest.LeadHere(t.Context(), c))
	}
}

// withoutDefinition leaves the FunnelPolicy kind to the install.
func withoutDefinition(e *envtest.Environment) { e.CRDDirectoryPaths = nil }

// empty is a cluster with the FunnelPolicy kind and nothing else of ours.
func empty(t *testing.T, options ...kubetest.Option) *cluster {
	t.Helper()
	server, err := kubetest.Start(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := managertest.Scheme()
	must(t, apiextensionsv1.AddToScheme(scheme))
	api, err := client.New(server.Config, client.Options{Scheme: scheme})
	must(t, err)

	admin := filepath.Join(t.TempDir(), "admin.kubeconfig")
	must(t, os.WriteFile(admin, server.KubeConfig, 0o600))
	return &cluster{Client: api, config: server.Config, admin: admin, binary: current(t)}
}

// apply is kubectl apply --server-side.
func (c *cluster) apply(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	must(t, c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("kubectl")))
}

// current is the manager of this checkout. It is built once for all tests.
func current(t *testing.T) string {
	t.Helper()
	built.Do(func() { built.manager, built.err = managertest.Build(context.Background(), "..", built.dir) })
	must(t, built.err)
	return built.manager
}

var built struct {
	sync.Once
	dir     string // outlives each test
	manager string
	err     error
}

func TestMain(m *testing.M) {
	var err error
	if built.dir, err = os.MkdirTemp("", "config-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(built.dir)
	os.Exit(code)
}

// controllers runs those of Kubernetes that make the pods of Deployments, and that
// remove what was deleted.
func (c *cluster) controllers(t *testing.T) {
	t.Helper()
	dir, err := kubetest.Assets()
	must(t, err)
	port, err := kubetest.FreePort()
	must(t, err)
	output := &kubetest.Log{}
	program, err := kubetest.Tied(t.TempDir(), filepath.Join(dir, "kube-controller-manager"))
	must(t, err)
	command := exec.Command(program, "--kubeconfig="+c.admin, "--leader-elect=false",
		fmt.Sprint("--secure-port=", port), "--bind-address=127.0.0.1", "--cert-dir="+t.TempDir(),
		"--controllers=deployment-controller,replicaset-controller,namespace-controller,garbage-collector-controller")
	command.Stdout, command.Stderr = output, output
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("kube-controller-manager:\n%s", output)
		}
	})
}

// manager is one replica, a process of its own.
type manager struct{ *managertest.Manager }

// run starts a replica as the install's Deployment says, with more arguments. It lives
// until the test's end at most.
func (c *cluster) run(t *testing.T, more ...string) *manager {
	t.Helper()
	var deployment appsv1.Deployment
	c.install.into(t, "Deployment", "sfunnel-manager", &deployment)
	replica := managertest.Replica{Binary: c.binary, Deployment: &deployment, API: c.config, Dir: t.TempDir()}
	started, err := replica.Run(t.Context(), more...)
	must(t, err)
	m := &manager{started}
	t.Cleanup(func() {
		m.stop(t)
		if t.Failed() {
			t.Logf("replica %d:\n%s", m.PID(), m.Log())
		}
	})
	return m
}

// askAt makes the API server ask the replica about pods.
func (c *cluster) askAt(t *testing.T, m *manager) {
	t.Helper()
	must(t, m.AskedBy(t.Context(), c))
}

// stop ends the replica as the kubelet does, and waits.
func (m *manager) stop(t *testing.T) {
	t.Helper()
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
}

// patience is how long anything may take, on the slowest machine.
const patience = 2 * time.Minute

// eventually asks until the answer is no error, or patience ends.
func eventually(t *testing.T, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
