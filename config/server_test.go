// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
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

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

// cluster is a real API server with the install applied. The Service of the
// webhook leads to this machine, as there are no nodes.
type cluster struct {
	client.Client
	config  *rest.Config
	install objects
	binary  string // the manager
}

// start is a cluster for the rest of the test.
func start(t *testing.T) *cluster {
	t.Helper()
	server, err := kubetest.Start()
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
	api, err := client.New(server.Config, client.Options{Scheme: scheme})
	must(t, err)

	c := &cluster{Client: api, config: server.Config, install: install(t), binary: build(t)}
	for i := range c.install {
		c.apply(t, &c.install[i])
	}
	must(t, c.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-webhook"}}))
	must(t, c.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-webhook"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}))
	return c
}

// apply is kubectl apply --server-side.
func (c *cluster) apply(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	must(t, c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("kubectl")))
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "manager")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/manager").CombinedOutput(); err != nil {
		t.Fatalf("build the manager: %v\n%s", err, out)
	}
	return binary
}

// askAt makes the API server ask the replica about pods.
func (c *cluster) askAt(t *testing.T, m *manager) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/service/port","value":%s}]`, m.webhook)
	object := c.install.object(t, "MutatingWebhookConfiguration", "sfunnel")
	must(t, c.Patch(t.Context(), object, client.RawPatch(types.JSONPatchType, []byte(patch))))
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
	log                      *log
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

	m := &manager{webhook: freePort(t), metrics: freePort(t), probes: freePort(t), log: &log{}, ended: make(chan struct{})}
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

// log collects what a process writes.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// eventually asks until the answer is no error, for half a minute at most.
func eventually(t *testing.T, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
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
