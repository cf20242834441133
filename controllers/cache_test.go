// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

func TestCutPodKeepsWhatIsRead(t *testing.T) {
	at := metav1.Unix(1, 0)
	ended := &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "report", FinishedAt: at}
	ephemeral := func(name string, env ...corev1.EnvVar) corev1.EphemeralContainer {
		return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Env: env}}
	}
	await, most, other := corev1.EnvVar{Name: "SFUNNEL_AWAIT", Value: "web=1"}, corev1.EnvVar{Name: "SFUNNEL_REPORT_MAX", Value: "1"}, corev1.EnvVar{Name: "X", Value: "y"}
	rulesOf, selinux := corev1.LocalObjectReference{Name: "web-funnel"}, &corev1.SELinuxOptions{Type: "spc_t"}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-1", Namespace: "shop", UID: "1", ResourceVersion: "2",
			Labels:      map[string]string{"app": "web"},
			Annotations: map[string]string{"large": "text"},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "kubelet", Subresource: "status", Time: &at},
				{Manager: "funnel-operator", Subresource: "ephemeralcontainers", Time: &at, FieldsV1: metav1.NewFieldsV1("{}")},
			},
			Finalizers: []string{"x"},
			OwnerReferences: []metav1.OwnerReference{
				{Kind: "Other", Name: "other", UID: "7"},
				{Kind: "ReplicaSet", Name: "web-5d", UID: "8", Controller: ptr.To(true)},
			},
		},
		Spec: corev1.PodSpec{
			NodeName:       "node",
			InitContainers: []corev1.Container{{Name: "istio-proxy", Image: "i"}, {Name: v1alpha1.InitContainerName, Image: "i", ImagePullPolicy: "Never", Env: []corev1.EnvVar{other, most}, Command: []string{"x"}, SecurityContext: &corev1.SecurityContext{RunAsUser: ptr.To[int64](0), SELinuxOptions: selinux.DeepCopy()}}},
			Containers:     []corev1.Container{{Name: "web", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 1}, {Name: "http", ContainerPort: 80, Protocol: "TCP"}}}},
			Volumes: []corev1.Volume{{Name: "other"}, {Name: v1alpha1.VolumeName, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources:     []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: rulesOf, Items: []corev1.KeyToPath{{Key: "k"}}}}, {Secret: &corev1.SecretProjection{}}},
				DefaultMode: ptr.To[int32](1),
			}}}},
			EphemeralContainers: []corev1.EphemeralContainer{ephemeral("debug", other), ephemeral("sfunnel-refresh-1", most, await)},
			HostNetwork:         true,
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "x", LastTransitionTime: at}},
			InitContainerStatuses: []corev1.ContainerStatus{
				{Name: "other"},
				{Name: v1alpha1.InitContainerName, Image: "i", RestartCount: 3,
					State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "long"}},
					LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "report", ContainerID: "c", FinishedAt: at, StartedAt: at}}},
			},
			EphemeralContainerStatuses: []corev1.ContainerStatus{
				{Name: "debug"},
				{Name: "sfunnel-refresh-1", Image: "i", State: corev1.ContainerState{Terminated: ended.DeepCopy()}},
			},
		},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-1", Namespace: "shop", UID: "1", ResourceVersion: "2",
			Labels:          map[string]string{"app": "web"},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Subresource: "ephemeralcontainers", Time: &at}},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-5d", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			NodeName:       "node",
			InitContainers: []corev1.Container{{Name: v1alpha1.InitContainerName, Image: "i", ImagePullPolicy: "Never", Env: []corev1.EnvVar{most}, SecurityContext: &corev1.SecurityContext{SELinuxOptions: selinux}}},
			Containers:     []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, Protocol: "TCP"}}}, {Name: "istio-proxy"}},
			HostNetwork:    true,
			Volumes: []corev1.Volume{{Name: v1alpha1.VolumeName, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: rulesOf}}},
			}}}},
			EphemeralContainers: []corev1.EphemeralContainer{ephemeral("debug"), ephemeral("sfunnel-refresh-1", await)},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
			InitContainerStatuses: []corev1.ContainerStatus{{
				Name:                 v1alpha1.InitContainerName,
				State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
				LastTerminationState: corev1.ContainerState{Terminated: ended},
			}},
			EphemeralContainerStatuses: []corev1.ContainerStatus{{Name: "sfunnel-refresh-1", State: corev1.ContainerState{Terminated: ended}}},
		},
	}
	var seen any = pod
	for range 2 { // a transform may see an object again
		var err error
		if seen, err = packPod(&alike{})(seen); err != nil {
			t.Fatal(err)
		}
		unpacked, err := unpackPod(seen.(*packed))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, unpacked); diff != "" {
			t.Fatal(diff)
		}
	}
}

// What runs in a pod that is updated in place does not depend on who saw the pod whole.
func TestRefreshOfCutPodIsThatOfTheWhole(t *testing.T) {
	whole := webPod()
	if err := inject.Pod(whole, []string{"web"}, inject.Options{Image: "attacher:1", PullPolicy: corev1.PullAlways, SELinuxType: "spc_t"}); err != nil {
		t.Fatal(err)
	}
	whole.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	refresh := func(pod *corev1.Pod) corev1.EphemeralContainer {
		t.Helper()
		c, err := inject.Refresh(pod, map[string]string{"web": "sha256:2"}, inject.KeepFlows, false)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := refresh(whole)
	if got := want.SecurityContext.SELinuxOptions; got == nil || got.Type != "spc_t" {
		t.Errorf("of the whole pod it has the label %v", got)
	}
	cut := whole.DeepCopy()
	cutPod(cut)
	if diff := cmp.Diff(want, refresh(cut)); diff != "" {
		t.Error(diff)
	}
}

// What is kept of pods for updates in place is kept of no others: it changes often.
func TestCutPodKeepsLittleOfMostPods(t *testing.T) {
	at := metav1.Unix(1, 0)
	whole := func(edit func(*corev1.Pod)) *corev1.Pod {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web-1", ManagedFields: []metav1.ManagedFieldsEntry{{Subresource: "ephemeralcontainers", Time: &at}}},
			Spec:       corev1.PodSpec{NodeName: "node", EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}},
		}
		edit(pod)
		return pod
	}
	for name, edit := range map[string]func(*corev1.Pod){
		"ready":    func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionTrue },
		"starting": func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending },
		"ending":   func(p *corev1.Pod) { p.DeletionTimestamp = &at },
	} {
		pod := whole(edit)
		cutPod(pod)
		if pod.Spec.NodeName != "" || pod.ManagedFields != nil || pod.Status.Conditions != nil {
			t.Errorf("%s: kept %+v", name, pod)
		}
	}
}

func TestPodsAreFoundInTheCache(t *testing.T) {
	indexer := newIndexer(podIndexers)
	all := pods{packedObjects{indexer}}
	for _, pod := range []*corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", Labels: map[string]string{"app": "web"}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}},
		{ObjectMeta: metav1.ObjectMeta{Name: "db-1", Namespace: "shop", Labels: map[string]string{"app": "db"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "other", Labels: map[string]string{"app": "web"}}},
	} {
		addTo(t, indexer, packPod(&alike{}), pod)
	}
	found, err := all.selected("shop", labels.SelectorFromSet(labels.Set{"app": "web"}))
	if err != nil || len(found) != 1 || found[0].Name != "web-1" || found[0].Namespace != "shop" || found[0].Status.Phase != corev1.PodRunning {
		t.Errorf("selected %v, %v", found, err)
	}
	if pod, err := all.get(types.NamespacedName{Namespace: "shop", Name: "db-1"}); err != nil || pod == nil || pod.Labels["app"] != "db" {
		t.Errorf("got %v, %v", pod, err)
	}
	if pod, err := all.get(types.NamespacedName{Namespace: "other", Name: "db-1"}); err != nil || pod != nil {
		t.Errorf("got %v, %v of a pod that is not there", pod, err)
	}
	if err := indexer.Add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "whole", Namespace: "unpacked", Labels: map[string]string{"app": "web"}}}); err != nil {
		t.Fatal(err)
	}
	for _, selector := range []labels.Selector{labels.Everything(), labels.SelectorFromSet(labels.Set{"app": "web"})} {
		if _, err := all.selected("unpacked", selector); !errors.Is(err, errNotPacked) {
			t.Errorf("selected %q from a cache of another kind: %v", selector, err)
		}
	}
	if _, err := all.get(types.NamespacedName{Namespace: "unpacked", Name: "whole"}); !errors.Is(err, errNotPacked) {
		t.Errorf("got from a cache of another kind: %v", err)
	}
	broken := &packed{Object: nothing, Namespace: "shop", Name: "broken", Text: "\xff"}
	if _, err := unpackPod(broken); err == nil || !strings.Contains(err.Error(), "shop/broken") {
		t.Errorf("a pod that can't be unpacked: %v", err)
	}
}

// Whatever the index has at one place, and whichever label finds it, those are selected
// that the selector matches.
func TestPodsAreSelectedAsBySelector(t *testing.T) {
	indexer := newIndexer(podIndexers)
	all := pods{packedObjects{indexer}}
	want := map[string][]string{}
	selectors := []string{
		"", "app=a1", "app==a2,tier=t0", "app in (a3)", "app in (a1,a2)", "app notin (a1)", "app", "!app", "tier=t1,app!=a1",
		"tier=none", v1alpha1.LabelInjected + "=true", v1alpha1.LabelInjected + "=true,tier=t2",
		"pod-template-hash=h1", "pod-template-hash=h1,tier=t2", "controller-revision-hash=h1",
	}
	for i := range 2000 {
		set := labels.Set{v1alpha1.LabelInjected: v1alpha1.InjectedTrue, "tier": fmt.Sprint("t", i%3), "unlike": fmt.Sprint(i)}
		set[[]string{"pod-template-hash", "controller-revision-hash"}[i/2%2]] = fmt.Sprint("h", i%3)
		if i%5 > 0 {
			set["app"] = fmt.Sprint("a", i%7)
		}
		name := fmt.Sprintf("pod-%04d", i)
		addTo(t, indexer, packPod(&alike{}), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: fmt.Sprint("shop-", i%2), Labels: set}})
		for _, text := range selectors {
			if selector, err := labels.Parse(text); i%2 == 0 && err == nil && selector.Matches(set) {
				want[text] = append(want[text], name)
			}
		}
	}
	for _, text := range selectors {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		found, err := all.selected("shop-0", selector)
		var names []string
		for _, pod := range found {
			names = append(names, pod.Name)
		}
		slices.Sort(names)
		if diff := cmp.Diff(want[text], names); err != nil || diff != "" {
			t.Errorf("selected by %q: %v\n%s", text, err, diff)
		}
	}
}

func TestCutServiceKeepsHowItIsReachedAndBalances(t *testing.T) {
	internal := corev1.ServiceInternalTrafficPolicyLocal
	kept := corev1.ServiceSpec{
		Type:                  corev1.ServiceTypeLoadBalancer,
		Ports:                 []corev1.ServicePort{{Port: 80}},
		Selector:              map[string]string{"app": "web"},
		ClusterIP:             "10.0.0.1",
		ClusterIPs:            []string{"10.0.0.1", "fd00::1"},
		ExternalIPs:           []string{"192.0.2.2"},
		SessionAffinity:       corev1.ServiceAffinityClientIP,
		SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](60)}},
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
		InternalTrafficPolicy: &internal,
	}
	balancer := corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "1", ResourceVersion: "2", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"}},
		Spec:       *kept.DeepCopy(),
		Status:     corev1.ServiceStatus{Conditions: []metav1.Condition{{Type: "x"}}, LoadBalancer: balancer},
	}
	service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	want := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "1", ResourceVersion: "2"},
		Spec:       kept,
		Status:     corev1.ServiceStatus{LoadBalancer: balancer},
	}
	indexer := newIndexer(serviceIndexers)
	addTo(t, indexer, packService, service)
	all := services{packedObjects{indexer}}
	got, err := all.get(types.NamespacedName{Namespace: "shop", Name: "web"})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	leading, err := all.leadingTo("shop", labels.Set{"app": "web", "tier": "db"})
	if diff := cmp.Diff([]*corev1.Service{want}, leading); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, set := range []labels.Set{{"app": "db"}, {"tier": "web"}, nil} {
		if leading, err := all.leadingTo("shop", set); err != nil || leading != nil {
			t.Errorf("%v: lead there %v, %v", set, leading, err)
		}
	}
	if none, err := all.get(types.NamespacedName{Namespace: "shop", Name: "db"}); none != nil || err != nil {
		t.Errorf("got %v, %v of a Service that is not there", none, err)
	}
}

func TestCutNamespaceKeepsLabels(t *testing.T) {
	n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Annotations: map[string]string{"a": "b"}, Labels: map[string]string{"team": "x"}, Finalizers: []string{"x"},
	}}
	if _, err := cut(cutNamespace)(n); err != nil {
		t.Fatal(err)
	}
	want := metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "x"}}
	if diff := cmp.Diff(want, n.ObjectMeta); diff != "" {
		t.Error(diff)
	}
}

func TestCutEndpointSliceKeepsPodsThatAreReadyOrEnd(t *testing.T) {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-x", Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "web", "a": "b"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr.To[int32](80)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, NodeName: ptr.To("n"), Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web-1", UID: "1"}},
			{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
			{Addresses: []string{"10.0.0.3"}},
			{Addresses: []string{"10.0.0.4"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}},
			{Addresses: []string{"10.0.0.5"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "other", Name: "web-1"}},
		},
	}
	named := func(name string, endpoints ...discoveryv1.Endpoint) []discoveryv1.EndpointSlice {
		return []discoveryv1.EndpointSlice{{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Endpoints: endpoints}}
	}
	want := named("web-x",
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web-1"}},
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.3"}},
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.4"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}},
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.5"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "other", Name: "web-1"}},
	)
	indexer := newIndexer(endpointSliceIndexers)
	addTo(t, indexer, packEndpointSlice, s)
	for i := range 1000 { // some stand at the same place of the index
		other := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("other-", i), Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprint("web-", i)}}}
		addTo(t, indexer, packEndpointSlice, other)
	}
	all := endpointSlices{packedObjects{indexer}}
	for service, want := range map[string][]discoveryv1.EndpointSlice{"web": want, "other": nil, "web-7": named("other-7")} {
		found, err := all.of(types.NamespacedName{Namespace: "shop", Name: service})
		if diff := cmp.Diff(want, found); err != nil || diff != "" {
			t.Errorf("%s: %v %s", service, err, diff)
		}
	}
}

// newIndexer is a store like that of the manager's cache, with more indexes.
func newIndexer(more toolscache.Indexers) toolscache.Indexer {
	all := toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc}
	maps.Copy(all, more)
	return toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, all)
}

// addTo puts there what a transform makes of an object; transforms may see one again.
func addTo(t *testing.T, indexer toolscache.Indexer, transform toolscache.TransformFunc, obj any) {
	t.Helper()
	for range 2 {
		var err error
		if obj, err = transform(obj); err != nil {
			t.Fatal(err)
		}
	}
	if err := indexer.Add(obj); err != nil {
		t.Fatal(err)
	}
}

func TestCutConfigMapKeepsASumOfItsData(t *testing.T) {
	whole := func() *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Name: "p-funnel", Namespace: "shop", UID: "1", ResourceVersion: "7",
				Labels:      map[string]string{v1alpha1.LabelPolicy: "p", labelManagedBy: FieldManager, "theirs": "x"},
				Annotations: map[string]string{v1alpha1.AnnotationReleased: "shop/b sha256:0", "theirs": "x"},
			},
			Data: map[string]string{v1alpha1.FileIngress: "tcp dport 22 drop\n", v1alpha1.FileEgress: ""},
		}
	}
	indexer := newIndexer(nil)
	all := cutConfigMaps{packedObjects{indexer}}
	seen := func(c *corev1.ConfigMap) *corev1.ConfigMap {
		addTo(t, indexer, packConfigMap, c)
		cut, err := all.get(types.NamespacedName{Namespace: "shop", Name: "p-funnel"})
		if err != nil || cut == nil {
			t.Fatalf("got %v, %v", cut, err)
		}
		return cut
	}
	want := content{data: whole().Data, releasedFor: "shop/b sha256:0"}
	c := seen(whole())
	if c.Name != "p-funnel" || c.UID != "1" || c.ResourceVersion != "7" || len(c.Data)+len(c.Labels) > 0 {
		t.Errorf("kept %+v", c)
	}
	if !holds(whole(), want) || !holds(c, want) || !owned(c) || releasedFor(c) != want.releasedFor {
		t.Errorf("what is there is not recognised in %+v", c)
	}
	for name, change := range map[string]func(*corev1.ConfigMap){
		"a value": func(c *corev1.ConfigMap) { c.Data[v1alpha1.FileIngress] = "tcp dport 23 drop\n" },
		"values exchanged": func(c *corev1.ConfigMap) {
			c.Data = map[string]string{v1alpha1.FileEgress: "tcp dport 22 drop\n", v1alpha1.FileIngress: ""}
		},
		"a key more":    func(c *corev1.ConfigMap) { c.Data["note"] = "" },
		"a key less":    func(c *corev1.ConfigMap) { delete(c.Data, v1alpha1.FileEgress) },
		"who writes it": func(c *corev1.ConfigMap) { delete(c.Labels, labelManagedBy) },
		"for whom":      func(c *corev1.ConfigMap) { c.Annotations[v1alpha1.AnnotationReleased] = "shop/b sha256:1" },
	} {
		other := whole()
		change(other)
		if holds(seen(other), want) {
			t.Errorf("%s: looks the same", name)
		}
	}
	foreign := whole()
	foreign.Labels[v1alpha1.LabelPolicy] = "q"
	if owned(seen(foreign)) {
		t.Error("one of another policy is owned")
	}
}

// A client's ConfigMap may be gone when it is looked at for the second time.
func TestHasDataOfNoConfigMap(t *testing.T) {
	has, err := (&FunnelPolicyReconciler{}).hasData(t.Context(), nil, map[string]string{v1alpha1.FileIngress: ""})
	if has || err != nil {
		t.Errorf("got %v, %v", has, err)
	}
}
