// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// lagging is a cache that shows no ConfigMap yet.
type lagging struct{ client.Client }

func (l lagging) Get(ctx context.Context, name client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if _, ok := obj.(*corev1.ConfigMap); ok {
		return apierrors.NewNotFound(corev1.Resource("configmaps"), name.Name)
	}
	return l.Client.Get(ctx, name, obj, opts...)
}

// Nobody tells of what the operator wrote itself: it must not take it for missing.
var _ = Describe("A ConfigMap that was just written, and is not in the cache yet", func() {
	var o *FunnelPolicyReconciler
	BeforeEach(func() {
		o = &FunnelPolicyReconciler{
			Client: lagging{api}, Live: api, Clock: clock.RealClock{}, KeepDeleted: time.Minute,
			pods: pods{packedObjects{newIndexer(podIndexers)}},
		}
	})

	It("is removed when its policy is a backend's no more", func() {
		p := newShop().policy("collector")
		known := o.memory.of(keyOf(p))
		rules := content{data: map[string]string{v1alpha1.FileEgress: "tcp dport 22 drop"}, owned: true}
		Expect(o.apply(suite, p, v1alpha1.ExternalName(p.Name), nil, rules, &known.external)).To(Succeed())
		Expect(externalOf(p)).NotTo(BeNil())

		facts := status.Facts{Policy: p, Program: &policy.Program{}}
		Expect(o.publishExternal(suite, &facts, known)).To(BeNil())
		Expect(externalOf(p)).To(BeNil())

		By("and not looked for again")
		Expect(o.publishExternal(suite, &facts, known)).To(BeNil())
		Expect(known.external).To(BeZero())
	})

	It("is kept in mind when its policy is deleted", func() {
		p := newShop().policy("collector")
		known := o.memory.of(keyOf(p))
		Expect(o.apply(suite, p, v1alpha1.ConfigMapName(p.Name), nil, content{}, &known.configMap)).To(Succeed())
		Expect(api.Delete(suite, p)).To(Succeed())

		result, err := o.reconcileDeleted(suite, keyOf(p), known)
		Expect(err).NotTo(HaveOccurred())
		Expect(result.RequeueAfter).NotTo(BeZero())
		Expect(known.orphanedAt).NotTo(BeZero())
	})
})
