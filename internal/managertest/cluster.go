// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/checkout"
	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

// Namespace is the operator's own in the install.
const Namespace = "sfunnel-system"

// User is who the manager is to the API server.
const User = "system:serviceaccount:" + Namespace + ":sfunnel-manager"

// AttacherImage is what pods are injected with.
const AttacherImage = "registry.example/attacher@sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"

// Cluster is an API server with the install of dist/install.yaml.
type Cluster struct {
	// Client may do everything.
	client.Client
	// Server is the API server and etcd.
	Server *kubetest.Server
	// Audit is what the manager's replicas asked of it.
	Audit Audit

	install []unstructured.Unstructured
	binary  string // the manager
	dir     string
}

// Start makes one. The caller stops it.
func Start(ctx context.Context, options ...kubetest.Option) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "managertest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, Audit: Audit{path: filepath.Join(dir, "audit.log")}}
	if err := c.start(ctx, options); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, options []kubetest.Option) (err error) {
	if c.binary, err = build(ctx, c.dir); err != nil {
		return err
	}
	audited, err := c.Audit.of(User)
	if err != nil {
		return err
	}
	if c.Server, err = kubetest.Start(append(options, audited)...); err != nil {
		return err
	}
	if c.Client, err = client.New(c.Server.Config, client.Options{Scheme: Scheme()}); err != nil {
		return err
	}
	if err := c.Install(ctx, "dist", "install.yaml"); err != nil {
		return err
	}
	if err := c.leadHere(ctx); err != nil {
		return err
	}
	return c.letItselfScrape(ctx)
}

// Scheme knows the built-in kinds and FunnelPolicy.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // kinds that the program was built with
		}
	}
	return scheme
}

// build is the release's build.
func build(ctx context.Context, dir string) (string, error) {
	root, err := checkout.Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "manager")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/manager")
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	return binary, nil
}

// Install is kubectl apply --server-side of a file of the repository.
func (c *Cluster) Install(ctx context.Context, path ...string) error {
	root, err := checkout.Root()
	if err != nil {
		return err
	}
	file := filepath.Join(path...)
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var object unstructured.Unstructured
		switch err := decoder.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", file, err)
		}
		c.install = append(c.install, object)
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("kubectl")); err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

// leadHere makes the webhook's Service lead to this machine, as there are no nodes.
func (c *Cluster) leadHere(ctx context.Context) error {
	name := metav1.ObjectMeta{Namespace: Namespace, Name: "sfunnel-webhook"}
	if err := c.Delete(ctx, &corev1.Service{ObjectMeta: name}); err != nil {
		return err
	}
	return c.Create(ctx, &corev1.Service{ObjectMeta: name, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}})
}

// letItselfScrape lets the manager's own ServiceAccount read metrics.
func (c *Cluster) letItselfScrape(ctx context.Context) error {
	return c.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "managertest-scrape"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sfunnel-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: Namespace, Name: "sfunnel-manager"}},
	})
}

// Stop ends the server and removes all files. Managers must have ended.
func (c *Cluster) Stop() error {
	var err error
	if c.Server != nil {
		err = c.Server.Stop()
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// Installed reads the object of that kind and name of what was installed.
func (c *Cluster) Installed(kind, name string, into any) error {
	for i := range c.install {
		if c.install[i].GetKind() == kind && c.install[i].GetName() == name {
			return runtime.DefaultUnstructuredConverter.FromUnstructured(c.install[i].Object, into)
		}
	}
	return fmt.Errorf("the install has no %s %s", kind, name)
}

// AskAt makes the API server ask the replica about pods.
func (c *Cluster) AskAt(ctx context.Context, m *Manager) error {
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/service/port","value":%s}]`, m.webhook)
	configuration := &unstructured.Unstructured{}
	configuration.SetAPIVersion("admissionregistration.k8s.io/v1")
	configuration.SetKind("MutatingWebhookConfiguration")
	configuration.SetName("sfunnel")
	return c.Patch(ctx, configuration, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// token is one of the manager's ServiceAccount.
func (c *Cluster) token(ctx context.Context) (string, error) {
	clients, err := kubernetes.NewForConfig(c.Server.Config)
	if err != nil {
		return "", err
	}
	request, err := clients.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, "sfunnel-manager", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

// kubeconfig writes a file with which clients have that token.
func (c *Cluster) kubeconfig(token, name string) (string, error) {
	file := filepath.Join(c.dir, name)
	config := c.Server.Config
	return file, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
}

// deployment is the manager's.
func (c *Cluster) deployment() (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	return &d, c.Installed("Deployment", "sfunnel-manager", &d)
}
