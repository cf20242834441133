// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// content is what is written to a ConfigMap.
type content struct {
	data map[string]string
	// releasedFor is the value of v1alpha1.AnnotationReleased, empty for none.
	releasedFor string
	// owned makes it go with its policy.
	owned bool
}

// publish makes the policy's ConfigMap hold its program and returns what it holds
// in the end. Without a program the last good rules stay; a client that was never
// given any, or may no longer have them, gets an empty rule set.
//
// refused is why a write failed, which is also in what it returns, for the status; it asks
// for another try. With err nothing is known of what there is.
func (r *FunnelPolicyReconciler) publish(ctx context.Context, facts status.Facts, known *known) (_ status.ConfigMap, refused, err error) {
	p, program := facts.Policy, facts.Program
	want, after := content{program.Data, program.ReleasedFor, false}, current(program)
	have, err := r.configMap(ctx, rulesName(client.ObjectKeyFromObject(p)), &known.configMap)
	stays := program.Data == nil || len(facts.Conflicts) > 0
	if err == nil && stays && !isEmpty(facts, have) {
		have, err = r.whole(ctx, have)
	}
	if err != nil {
		return status.ConfigMap{}, nil, err
	}
	if have != nil && !owned(have) {
		return status.ConfigMap{Failure: notOwned(p)}, nil, nil
	}
	if stays {
		if !startsEmpty(facts, have) {
			return held(have), nil, nil
		}
		want, after = empty(p)
	}
	refused = r.write(ctx, p, v1alpha1.ConfigMapName(p.Name), have, want, &known.configMap)
	switch {
	case refused == nil:
		return after, nil, nil
	case known.configMap.hidden:
		return r.publish(ctx, facts, known) // which looks live
	}
	if have, err = r.whole(ctx, have); err != nil {
		return status.ConfigMap{}, nil, errors.Join(refused, err)
	}
	before := held(have)
	before.Failure = applyFailed(p, refused)
	return before, refused, nil
}

// current is a ConfigMap that holds the program.
func current(program *policy.Program) status.ConfigMap {
	return status.ConfigMap{
		Exists: true, Current: true, Digest: program.Digest,
		Ingress: program.Ingress, Egress: program.Egress, Overhead: program.Overhead,
	}
}

// startsEmpty reports whether the pods of a client start without rules: it never
// had any, of another form neither, or may no longer have them.
func startsEmpty(facts status.Facts, have *corev1.ConfigMap) bool {
	if !mayStartEmpty(facts) {
		return false
	}
	return facts.Program.Revoked || have == nil || have.Data[v1alpha1.FileIngress]+have.Data[v1alpha1.FileEgress] == ""
}

// mayStartEmpty reports whether the policy is a client's without a fault: the last good
// rules of others stay.
func mayStartEmpty(facts status.Facts) bool {
	return facts.Policy.Spec.Client != nil && len(facts.Faults) == 0
}

// isEmpty reports whether the ConfigMap, cut or not, is known to hold what the pods of a
// client start with: there are no rules in it to be read.
func isEmpty(facts status.Facts, have *corev1.ConfigMap) bool {
	if !mayStartEmpty(facts) {
		return false
	}
	nothing, _ := empty(facts.Policy)
	return holds(have, nothing)
}

func empty(p *v1alpha1.FunnelPolicy) (content, status.ConfigMap) {
	digest, data := policy.Empty(p)
	return content{data: data}, status.ConfigMap{Exists: true, Empty: true, Digest: digest}
}

// held is what a whole ConfigMap of ours holds, nil for none. What can't be read in it,
// because somebody else wrote there, counts as nothing.
func held(c *corev1.ConfigMap) status.ConfigMap {
	if c == nil {
		return status.ConfigMap{}
	}
	ingress, _ := rules.Parse(c.Data[v1alpha1.FileIngress])
	egress, _ := rules.Parse(c.Data[v1alpha1.FileEgress])
	var settings struct{ Digest string }
	_ = json.Unmarshal([]byte(c.Data[v1alpha1.FileSettings]), &settings)
	return status.ConfigMap{
		Exists: true, Digest: settings.Digest, Ingress: ingress, Egress: egress,
		Overhead: rules.Overhead(slices.Concat(ingress, egress)),
	}
}

// rulesName is that of the ConfigMap with the rules of a policy.
func rulesName(of types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Namespace: of.Namespace, Name: v1alpha1.ConfigMapName(of.Name)}
}

// configMap returns the ConfigMap of that name, from the cache without its data; nil when
// there is none that is known of. It looks live when the cache is behind our last write, or
// when the last write met one that the cache does not show, as a foreign one.
func (r *FunnelPolicyReconciler) configMap(ctx context.Context, name types.NamespacedName, last *written) (*corev1.ConfigMap, error) {
	have, err := r.configMaps.get(name)
	if err != nil {
		return nil, err
	}
	version := ""
	if have != nil {
		version, last.hidden = have.ResourceVersion, false
	}
	if !last.hidden && !last.stale(version) {
		return have, nil
	}
	if have, err = r.liveConfigMap(ctx, name); have == nil && err == nil {
		*last = written{} // what it made is gone
	}
	return have, err
}

// whole returns the ConfigMap with its data, of that version or later; nil when there is
// none any more.
func (r *FunnelPolicyReconciler) whole(ctx context.Context, c *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	if c == nil || !isCut(c) {
		return c, nil
	}
	name := client.ObjectKeyFromObject(c)
	if kept := r.memory.keptWhole(name, c.ResourceVersion); kept != nil {
		return kept, nil
	}
	live, err := r.liveConfigMap(ctx, name)
	if live != nil {
		live.ManagedFields = nil
		r.memory.keepWhole(live)
	}
	return live, err
}

// liveConfigMap is the ConfigMap of that name, nil when there is none.
func (r *FunnelPolicyReconciler) liveConfigMap(ctx context.Context, name types.NamespacedName) (*corev1.ConfigMap, error) {
	have := &corev1.ConfigMap{}
	err := r.Live.Get(ctx, name, have)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get ConfigMap %s: %w", name.Name, err)
	}
	return have, nil
}

// holds reports whether what we write is there. What others added stays, but keeps a
// ConfigMap that was cut from being recognised: then an apply tells (written.kept).
func holds(c *corev1.ConfigMap, want content) bool {
	return c != nil && holdsData(c, want.data) && c.Annotations[v1alpha1.AnnotationReleased] == want.releasedFor &&
		(isCut(c) || c.Labels[labelManagedBy] == FieldManager)
}

// holdsData is holds for the data alone.
func holdsData(c *corev1.ConfigMap, data map[string]string) bool {
	if isCut(c) {
		return heldPrint(c) == contentPrint(FieldManager, data)
	}
	for key, value := range data {
		if c.Data[key] != value {
			return false
		}
	}
	return true
}

// hasData is holdsData for a ConfigMap that may be cut, or gone, and looks live where the
// fingerprint does not tell.
func (r *FunnelPolicyReconciler) hasData(ctx context.Context, c *corev1.ConfigMap, data map[string]string) (bool, error) {
	if c != nil && holdsData(c, data) {
		return true, nil
	}
	c, err := r.whole(ctx, c)
	return c != nil && holdsData(c, data), err
}

// labelManagedBy tells people and tools who writes an object.
const labelManagedBy = "app.kubernetes.io/managed-by"

// neverWritten is a version that no object has: an apply that names it makes an
// object, and is refused with a conflict where there is one.
const neverWritten = "1"

// write applies a ConfigMap of the policy unless it holds that already.
func (r *FunnelPolicyReconciler) write(ctx context.Context, p *v1alpha1.FunnelPolicy, name string, have *corev1.ConfigMap, want content, last *written) error {
	if holds(have, want) || last.kept(have, want) {
		return nil
	}
	return countFailure("configmap", r.apply(ctx, p, name, have, want, last))
}

// apply writes a ConfigMap of the policy. One that is there is only replaced while
// it is the one that was seen to be ours; where none was seen, one that is there
// nevertheless is left alone, and last says so.
func (r *FunnelPolicyReconciler) apply(ctx context.Context, p *v1alpha1.FunnelPolicy, name string, have *corev1.ConfigMap, c content, last *written) error {
	want := applycorev1.ConfigMap(name, p.Namespace).
		WithLabels(map[string]string{v1alpha1.LabelPolicy: p.Name, labelManagedBy: FieldManager}).
		WithData(maps.Clone(c.data))
	if c.releasedFor != "" {
		want = want.WithAnnotations(map[string]string{v1alpha1.AnnotationReleased: c.releasedFor})
	}
	if c.owned {
		want = want.WithOwnerReferences(ownedBy(p))
	}
	opts := []client.ApplyOption{client.FieldOwner(FieldManager)}
	before := ""
	if have != nil {
		before = have.ResourceVersion
		opts = append(opts, client.ForceOwnership)
	}
	want = want.WithResourceVersion(cmp.Or(before, neverWritten))
	err := r.Client.Apply(ctx, want, opts...)
	last.hidden = have == nil && apierrors.IsConflict(err)
	if err != nil {
		return err
	}
	if want.ResourceVersion != nil {
		last.from, last.to, last.content = fingerprintOf(before), fingerprintOf(*want.ResourceVersion), contentPrint(c.releasedFor, c.data)
		r.memory.wrote(types.NamespacedName{Namespace: p.Namespace, Name: name}, *want.ResourceVersion)
	}
	return nil
}

func notOwned(p *v1alpha1.FunnelPolicy) status.Failure {
	name := v1alpha1.ConfigMapName(p.Name)
	return status.Failure{Reason: v1alpha1.ReasonConfigMapNotOwned, Message: fmt.Sprintf(
		"ConfigMap %s belongs to somebody else and is left as it is: it lacks the label %s=%s. Rename the policy, or hand the ConfigMap over: kubectl -n %s label configmap %s %s=%s --overwrite.",
		name, v1alpha1.LabelPolicy, p.Name, p.Namespace, name, v1alpha1.LabelPolicy, p.Name)}
}

func applyFailed(p *v1alpha1.FunnelPolicy, err error) status.Failure {
	return status.Failure{Reason: v1alpha1.ReasonApplyFailed, Message: fmt.Sprintf(
		"Writing ConfigMap %s failed: %v.", v1alpha1.ConfigMapName(p.Name), err)}
}

// lookAgain is when to look whether a foreign ConfigMap is gone, that for pods or the
// external one: it is not watched.
func (r *FunnelPolicyReconciler) lookAgain(facts status.Facts) time.Duration {
	const foreign = v1alpha1.ReasonConfigMapNotOwned
	if facts.ConfigMap.Failure.Reason == foreign ||
		slices.ContainsFunc(facts.Program.Warnings, func(w policy.Warning) bool { return w.Reason == foreign }) {
		return r.LookAgain
	}
	return 0
}
