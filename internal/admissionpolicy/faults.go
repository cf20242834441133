// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// fault is a property with which a pod can't be injected.
type fault struct {
	// present is an expression about object: does the pod have it?
	present string
	// messages is a list expression: what to say about it. It may use variables.
	messages string
}

const (
	initContainers = "object.spec.?initContainers.orValue([])"
	volumes        = "object.spec.?volumes.orValue([])"
)

var injected = fmt.Sprintf("object.metadata.?labels[?%s].orValue('') == %s", quoted(v1alpha1.LabelInjected), quoted(v1alpha1.InjectedTrue))

// faults are those of internal/inject, in its order.
func faults() []fault {
	container, volume := v1alpha1.InitContainerName, v1alpha1.VolumeName
	return []fault{
		taken("spec.initContainers", initContainers, container, " && !("+injected+")", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: container}}
		}),
		taken("spec.containers", "object.spec.containers", container, "", func(p *corev1.Pod) { p.Spec.Containers[0].Name = container }),
		taken("spec.volumes", volumes, volume, " && !("+injected+")", func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: volume}} }),
		property("object.spec.?hostNetwork.orValue(false)", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		property("!object.spec.?hostUsers.orValue(true)", func(p *corev1.Pod) { p.Spec.HostUsers = new(bool) }),
		property(fmt.Sprintf("object.spec.?os.?name.orValue('') == %[1]s || object.spec.?nodeSelector[?%[2]s].orValue('') == %[1]s",
			quoted(string(corev1.Windows)), quoted(corev1.LabelOSStable)), func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
	}
}

// taken is the fault of a list that holds something with a name of ours; foreign
// is what else tells that it is not.
func taken(field, list, name, foreign string, provoke func(*corev1.Pod)) fault {
	said := refusal([]string{policyMark}, provoke)
	message, found := strings.CutPrefix(said, field+"[0]")
	if !found {
		panic(fmt.Sprintf("inject.Pod no longer names the field: %s", said))
	}
	isOurs := fmt.Sprintf("item.name == %s%s", quoted(name), foreign)
	return fault{
		present:  fmt.Sprintf("%s.exists(item, %s)", list, isOurs),
		messages: fmt.Sprintf("%s.transformList(i, item, %s, %s + string(i) + %s)", list, isOurs, quoted(field+"["), quoted("]"+message)),
	}
}

// property is the fault of a pod as a whole.
func property(present string, provoke func(*corev1.Pod)) fault {
	return fault{present: present, messages: fmt.Sprintf("(%s ? [%s] : [])", present, quoted(refusal([]string{policyMark}, provoke)))}
}

// injectable says that the pod has none of the faults.
func injectable() string {
	var conditions []string
	for _, f := range faults() {
		conditions = append(conditions, "!("+f.present+")")
	}
	return strings.Join(conditions, " &&\n")
}

// messages lists what is to be said about the pod's faults.
func messages() string {
	var lists []string
	for _, f := range faults() {
		lists = append(lists, f.messages)
	}
	return strings.Join(lists, " +\n")
}

// notSelected is what is said to a pod that requires a policy.
func notSelected() string {
	return refusal(nil, func(p *corev1.Pod) { p.Labels = map[string]string{v1alpha1.LabelInject: v1alpha1.InjectRequired} })
}
