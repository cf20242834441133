// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
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
		c.webhookLeadsHere(t)
	}
}

// webhookLeadsHere makes the Service of the webhook lead to this machine.
func (c *cluster) webhookLeadsHere(t *testing.T) {
	t.Helper()
	must(t, c.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-webhook"}}))
	must(t, c.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-webhook"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}))
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
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
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
	built.Do(func() { built.manager, built.err = build(built.dir, "..") })
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

// build builds the manager of a checkout into dir, as it is released.
func build(dir, checkout string) (string, error) {
	binary := filepath.Join(dir, "manager")
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/manager")
	command.Dir, command.Env = checkout, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	return binary, nil
}

// askAt makes the API server ask the replica about pods.
func (c *cluster) askAt(t *testing.T, m *manager) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/service/port","value":%s}]`, m.webhook)
	object := c.install.object(t, "MutatingWebhookConfiguration", "sfunnel")
	must(t, c.Patch(t.Context(), object, client.RawPatch(types.JSONPatchType, []byte(patch))))
}

// controllers runs those of Kubernetes that make the pods of Deployments, and that
// remove what was deleted.
func (c *cluster) controllers(t *testing.T) {
	t.Helper()
	dir, err := kubetest.Assets()
	must(t, err)
	output := &kubetest.Log{}
	command := exec.Command(filepath.Join(dir, "kube-controller-manager"), "--kubeconfig="+c.admin, "--leader-elect=false",
		"--secure-port="+freePort(t), "--bind-address=127.0.0.1", "--cert-dir="+t.TempDir(),
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

// token is one of the manager's ServiceAccount.
func (c *cluster) token(t *testing.T) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(c.config)
	must(t, err)
	request, err := clients.CoreV1().ServiceAccounts(own).CreateToken(t.Context(), "sfunnel-manager", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	return request.Status.Token
}

// kubeconfig is a file with which clients are the manager's ServiceAccount.
func (c *cluster) kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: c.config.Host, CertificateAuthorityData: c.config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: c.token(t)}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file))
	return file
}

// manager is one replica, a process of its own, started as the Deployment says.
type manager struct {
	command                  *exec.Cmd
	webhook, metrics, probes string // ports
	log                      *kubetest.Log
	ended                    chan struct{}
}

// run starts a replica that lives until the test's end at most, with more
// arguments than the Deployment's.
func (c *cluster) run(t *testing.T, more ...string) *manager {
	t.Helper()
	var deployment appsv1.Deployment
	c.install.into(t, "Deployment", "sfunnel-manager", &deployment)
	container := deployment.Spec.Template.Spec.Containers[0]
	variables := environment(container)
	variables["POD_NAMESPACE"] = own

	m := &manager{webhook: freePort(t), metrics: freePort(t), probes: freePort(t), log: &kubetest.Log{}, ended: make(chan struct{})}
	args := []string{
		"--kubeconfig=" + c.kubeconfig(t),
		"--webhook-port=" + m.webhook,
		"--metrics-bind-address=127.0.0.1:" + m.metrics,
		"--health-probe-bind-address=127.0.0.1:" + m.probes,
	}
	for _, arg := range container.Args {
		args = append(args, os.Expand(strings.ReplaceAll(strings.ReplaceAll(arg, "$(", "${"), ")", "}"), func(name string) string { return variables[name] }))
	}
	m.command = exec.Command(c.binary, append(args, more...)...)
	for name, value := range variables {
		m.command.Env = append(m.command.Env, name+"="+value)
	}
	m.command.Stderr = m.log
	must(t, m.command.Start())
	go func() {
		defer close(m.ended)
		_ = m.command.Wait()
	}()
	t.Cleanup(func() {
		m.stop(t)
		if t.Failed() {
			t.Logf("replica with the webhook on port %s:\n%s", m.webhook, m.log)
		}
	})
	return m
}

// stop ends the replica as the kubelet does, and waits.
func (m *manager) stop(t *testing.T) {
	t.Helper()
	_ = m.command.Process.Signal(syscall.SIGTERM)
	<-m.ended
	if code := m.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the manager ended with %d", code)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := kubetest.FreePort()
	must(t, err)
	return strconv.Itoa(port)
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
