// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

// Build is the release's build of a checkout's manager, into dir. It returns the
// program's path.
func Build(ctx context.Context, checkout, dir string) (string, error) {
	binary := filepath.Join(dir, "manager")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/manager")
	command.Dir = checkout
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	return binary, nil
}

// Replica says what a manager's process is made of.
type Replica struct {
	Binary string
	// Deployment has its arguments and its environment.
	Deployment *appsv1.Deployment
	// Environment is more of that, and wins.
	Environment map[string]string
	// API is for clients of the API server with all rights.
	API *rest.Config
	// Dir holds its files.
	Dir string
	// Nice is added to the nice value of this process. Less than 0 takes root, and is
	// nothing without it.
	Nice int
}

// Run starts it with the rights of its ServiceAccount, and with more arguments. The caller
// ends it.
func (r Replica) Run(ctx context.Context, more ...string) (*Manager, error) {
	token, err := Token(ctx, r.API)
	if err != nil {
		return nil, err
	}
	m := &Manager{token: token, log: &kubetest.Log{}, ended: make(chan struct{})}
	for _, port := range []*string{&m.webhook, &m.metrics, &m.probes} {
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	kubeconfig := filepath.Join(r.Dir, "kubeconfig-"+m.webhook)
	if err := writeKubeconfig(r.API, token, kubeconfig); err != nil {
		return nil, err
	}
	args := []string{
		"--kubeconfig=" + kubeconfig,
		"--webhook-port=" + m.webhook,
		"--metrics-bind-address=127.0.0.1:" + m.metrics,
		"--health-probe-bind-address=127.0.0.1:" + m.probes,
	}
	container := r.Deployment.Spec.Template.Spec.Containers[0]
	variables := environment(container)
	maps.Copy(variables, r.Environment)
	args = append(append(args, arguments(container, variables)...), more...)
	command := append([]string{r.Binary}, args...)
	if r.Nice != 0 {
		command = append([]string{"nice", "-n", strconv.Itoa(r.Nice)}, command...)
	}
	return m, m.start(command, variables)
}

// Token is one of the manager's ServiceAccount.
func Token(ctx context.Context, api *rest.Config) (string, error) {
	clients, err := kubernetes.NewForConfig(api)
	if err != nil {
		return "", err
	}
	request, err := clients.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, "sfunnel-manager", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

func freePort() (string, error) {
	port, err := kubetest.FreePort()
	return strconv.Itoa(port), err
}

// writeKubeconfig writes a file with which clients have that token.
func writeKubeconfig(api *rest.Config, token, file string) error {
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: api.Host, CertificateAuthorityData: api.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
}

func environment(container corev1.Container) map[string]string {
	values := map[string]string{"POD_NAMESPACE": Namespace}
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			values[variable.Name] = variable.Value
		}
	}
	if limit := container.Resources.Limits.Memory().Value(); limit > 0 {
		values["GOMEMLIMIT"] = strconv.FormatInt(limit/5*4, 10) // what it would read in its cgroup
	}
	return values
}

// arguments are the container's, with $(VARIABLES) expanded as the kubelet does.
func arguments(container corev1.Container, variables map[string]string) []string {
	args := make([]string, len(container.Args))
	for i, arg := range container.Args {
		for name, value := range variables {
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		args[i] = arg
	}
	return args
}
