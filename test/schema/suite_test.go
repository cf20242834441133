// SPDX-License-Identifier: Apache-2.0

// Package schema holds the tests of the FunnelPolicy schema on a real API
// server: what it refuses and with which words, what it fills in, and that the
// largest object is accepted.
package schema

import (
	"context"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

var (
	ctx = context.Background()
	// server is shared by all cases; its objects are in namespaces or have names
	// of their own.
	server *kubetest.Server
	api    client.Client
	scheme = runtime.NewScheme()
)

func TestSchema(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "FunnelPolicy schema on a real API server")
}

var _ = BeforeSuite(func() {
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	var err error
	server, err = kubetest.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(server.Stop)
	api, err = client.New(server.Config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
})
