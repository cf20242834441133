// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
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
	// Nice is Replica.Nice.
	Nice int

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
	root, err := checkout.Root()
	if err != nil {
		return err
	}
	if c.binary, err = Build(ctx, root, c.dir); err != nil {
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
	if err := LeadHere(ctx, c.Client); err != nil {
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

// LeadHere makes the webhook's Service lead to this machine, as there are no nodes.
func LeadHere(ctx context.Context, api client.Client) error {
	name := metav1.ObjectMeta{Namespace: Namespace, Name: "sfunnel-webhook"}
	if err := api.Delete(ctx, &corev1.Service{ObjectMeta: name}); err != nil {
		return err
	}
	return api.Create(ctx, &corev1.Service{ObjectMeta: name, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}})
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

// Run starts a replica with the arguments and the environment of the Deployment,
// and more arguments. The caller ends it.
func (c *Cluster) Run(ctx context.Context, more ...string) (*Manager, error) {
	return c.RunWith(ctx, nil, more...)
}

// RunWith is Run with variables of the environment besides.
func (c *Cluster) RunWith(ctx context.Context, extra map[string]string, more ...string) (*Manager, error) {
	r := Replica{
		Binary: c.binary, Deployment: &appsv1.Deployment{}, API: c.Server.Config, Dir: c.dir, Nice: c.Nice,
		Environment: map[string]string{"ATTACHER_IMAGE": AttacherImage},
	}
	maps.Copy(r.Environment, extra)
	if err := c.Installed("Deployment", "sfunnel-manager", r.Deployment); err != nil {
		return nil, err
	}
	return r.Run(ctx, more...)
}
