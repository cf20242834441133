// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// protobuf is an object as the API server sends it.
type protobuf interface {
	client.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// What the cache holds of one object, in bytes, is much less than what is decoded.
func TestTheCacheHoldsLittle(t *testing.T) {
	for _, row := range []struct {
		of   protobuf
		most int64
	}{
		{injectedPod(), 700},
		{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelPolicy: "web", labelManagedBy: FieldManager}}, Data: map[string]string{"ingress": "ip tcp dport 22 drop"}}, 250},
		{&corev1.Service{Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, Selector: map[string]string{"app": "web"},
			Ports:           []corev1.ServicePort{{Name: "bgp", Port: 179, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(1179)}},
			SessionAffinity: corev1.ServiceAffinityClientIP, InternalTrafficPolicy: ptr.To(corev1.ServiceInternalTrafficPolicyCluster),
		}}, 350},
		{&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web-1"}}},
		}, 270},
	} {
		each := heldOfEach(t, row.of)
		t.Logf("%T: %d bytes", row.of, each)
		if each > row.most {
			t.Errorf("%T: %d bytes, at most %d should be", row.of, each, row.most)
		}
	}
}

// heldOfEach is the part of the heap that the cache holds of one such object, of many with
// names and labels of their own.
func heldOfEach(t *testing.T, like protobuf) int64 {
	t.Helper()
	var transform func(any) (any, error)
	for kind, by := range CacheOptions().ByObject {
		if reflect.TypeOf(kind) == reflect.TypeOf(like) {
			transform = by.Transform
		}
	}
	held := make([]any, 5000)
	before := heapInUse()
	for i := range held {
		one := like.DeepCopyObject().(protobuf)
		one.SetNamespace("shop")
		one.SetName(fmt.Sprintf("p%05d-0", i))
		one.SetUID("5f3f9d0e-8f3b-4b8e-9d6e-2f3a1b4c5d6e")
		one.SetResourceVersion(fmt.Sprint(100000 + i))
		if set := one.GetLabels(); set["app"] != "" {
			set["app"] = fmt.Sprintf("p%05d", i)
		}
		text, err := one.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		decoded := reflect.New(reflect.TypeOf(like).Elem()).Interface().(protobuf)
		if err := decoded.Unmarshal(text); err != nil {
			t.Fatal(err)
		}
		if held[i], err = transform(decoded); err != nil {
			t.Fatal(err)
		}
	}
	each := (heapInUse() - before) / int64(len(held))
	runtime.KeepAlive(held)
	return each
}

// injectedPod is one of a Deployment that has attached.
func injectedPod() *corev1.Pod {
	rules := corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "p00001-funnel"}}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Labels:          map[string]string{"app": "web", "app.kubernetes.io/version": "1.2.3", "pod-template-hash": "5d4f8c7b9", v1alpha1.LabelInjected: v1alpha1.InjectedTrue},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "p00001-5d4f8c7b9", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: v1alpha1.InitContainerName, Image: "registry.example/attacher@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", ImagePullPolicy: corev1.PullIfNotPresent}},
			Containers:     []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{Name: "bgp", ContainerPort: 1179}, {Name: "http", ContainerPort: 8080}}}},
			Volumes:        []corev1.Volume{{Name: v1alpha1.VolumeName, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{rules}}}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning,
			InitContainerStatuses: []corev1.ContainerStatus{{
				Name: v1alpha1.InitContainerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
					Reason: "Completed", FinishedAt: metav1.Unix(1<<30, 0),
					Message: `{"policies":{"p00001":"sha256:0123456789abcdef"},"interfaces":[{"name":"eth0","mtu":1500,"headroom":64}]}`,
				}},
			}},
		},
	}
}
