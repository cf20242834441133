// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/certs"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// The variables that say how often something happens, and with which seed chance begins.
const (
	TimesVariable = "FAULTS_TIMES"
	SeedVariable  = "FAULTS_SEED"
)

// Number is that of a variable of the environment, where it is set.
func Number(variable string, otherwise uint64) (uint64, error) {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", variable, err)
	}
	return n, nil
}

// CertificateSecret holds the webhook's certificate in its key tls.crt.
var CertificateSecret = types.NamespacedName{Namespace: managertest.Namespace, Name: "sfunnel-webhook-certificate"}

// SpoilCertificate makes the manager issue another certificate. It returns the old one.
func SpoilCertificate(ctx context.Context, api client.Client) (old []byte, err error) {
	err = editCertificate(ctx, api, func(secret *corev1.Secret) {
		old = secret.Data["tls.crt"]
		secret.Data["tls.crt"], secret.Data["next.crt"] = []byte("spoiled"), nil
	})
	return old, err
}

func editCertificate(ctx context.Context, api client.Client, edit func(*corev1.Secret)) error {
	secret := &corev1.Secret{}
	if err := api.Get(ctx, CertificateSecret, secret); err != nil {
		return err
	}
	before := secret.DeepCopy()
	edit(secret)
	return api.Patch(ctx, secret, client.MergeFrom(before))
}

// Succession is what a certificate is replaced by in order: one that is to be renewed by now,
// and its successor, which was announced an hour ago. Both are for the names of the one that
// is presented.
type Succession struct{ Presented, Ending, Successor certs.Pair }

// NewSuccession makes one for the webhook's certificate.
func NewSuccession(ctx context.Context, api client.Client) (s Succession, err error) {
	secret := &corev1.Secret{}
	if err := api.Get(ctx, CertificateSecret, secret); err != nil {
		return s, err
	}
	s.Presented = certs.FromData(secret.Data).Serving
	pair, err := tls.X509KeyPair(s.Presented.Certificate, s.Presented.Key)
	if err != nil {
		return s, err
	}
	if s.Ending, err = issuedAgo(80*24*time.Hour, pair.Leaf.DNSNames); err != nil {
		return s, err
	}
	s.Successor, err = issuedAgo(time.Hour, pair.Leaf.DNSNames)
	return s, err
}

// issuedAgo is the certificate of a server that had none so long ago.
func issuedAgo(age time.Duration, names []string) (certs.Pair, error) {
	state, _, err := certs.Step(certs.State{}, nil, names, time.Now().Add(-age))
	return state.Serving, err
}

// Trust has the managers tell clients to trust the ending certificate, as if it had been
// presented before.
func (s Succession) Trust(ctx context.Context, api client.Client) error {
	return write(ctx, api, certs.State{Serving: s.Presented, Retired: s.Ending.Certificate})
}

// Begin has the managers present the ending certificate, and renew it.
func (s Succession) Begin(ctx context.Context, api client.Client) error {
	return write(ctx, api, certs.State{Serving: s.Ending, Next: s.Successor, Retired: s.Presented.Certificate})
}

func write(ctx context.Context, api client.Client, state certs.State) error {
	return editCertificate(ctx, api, func(secret *corev1.Secret) { secret.Data = state.Data() })
}

// Meddle edits the ingress rules that a policy publishes, as somebody may by hand. It returns
// what was published.
func Meddle(ctx context.Context, api client.Client, policy types.NamespacedName, ingress string) (published map[string]string, err error) {
	rules := &corev1.ConfigMap{}
	if err := api.Get(ctx, types.NamespacedName{Namespace: policy.Namespace, Name: v1alpha1.ConfigMapName(policy.Name)}, rules); err != nil {
		return nil, err
	}
	before := rules.DeepCopy()
	rules.Data[v1alpha1.FileIngress] = ingress
	return before.Data, api.Patch(ctx, rules, client.MergeFrom(before))
}
