// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

func TestServerKnowsPoliciesAndStopsInSpiteOfWatches(t *testing.T) {
	t.Parallel()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = s.Stop()
		}
	}()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(s.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := c.Watch(context.Background(), &v1alpha1.FunnelPolicyList{}, &client.ListOptions{Namespace: metav1.NamespaceAll})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()

	begin := time.Now()
	stopped = true
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	// A minute is what the API server would take by itself.
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files are left in %s: %v", s.dir, err)
	}
}
