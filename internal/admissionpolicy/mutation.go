// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// injecting is the type of the pod condition that marks a pod as changed in this
// request. It is never stored: the API server drops the status of pods that it
// creates.
const injecting = "sfunnel.io/Injecting"

// Policy is the injection.
func Policy() *admissionregistrationv1.MutatingAdmissionPolicy {
	return &admissionregistrationv1.MutatingAdmissionPolicy{
		TypeMeta:   typeOf("MutatingAdmissionPolicy"),
		ObjectMeta: named(Name),
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			ParamKind:          paramKind(),
			MatchConstraints:   newPods(notOptedOut()),
			MatchConditions:    conditions(selected(), admissionregistrationv1.MatchCondition{Name: "injectable", Expression: injectable()}),
			Variables:          variables(),
			Mutations:          mutations(),
			FailurePolicy:      ptr.To(admissionregistrationv1.Fail),
			ReinvocationPolicy: admissionregistrationv1.IfNeededReinvocationPolicy,
		},
	}
}

// variables of the mutation. The first five are the operator's options, there to
// be patched. All others are evaluated when one asks for them, once.
func variables() []admissionregistrationv1.Variable {
	container, volume := added()
	resources, source := container["resources"], sources(volume)[0]
	container["resources"] = expression("variables.resources")
	security := container["securityContext"].(map[string]any)
	security["seLinuxOptions"] = optional("(variables.seLinuxType == '' ? optional.none() : optional.of(dyn(" + literal(security["seLinuxOptions"], marks) + ")))")
	for _, env := range container["env"].([]any) {
		if env := env.(map[string]any); env["name"] == inject.EnvReportMax {
			env["value"] = expression("string(variables.reportMax)")
		}
	}
	sources(volume)[0] = expression("variables.source")

	return []admissionregistrationv1.Variable{
		{Name: "image", Expression: quoted("attacher")},
		{Name: "pullPolicy", Expression: quoted(string(corev1.PullIfNotPresent))},
		{Name: "cpu", Expression: quoted(inject.DefaultCPU.String())},
		{Name: "memory", Expression: quoted(inject.DefaultMemory.String())},
		{Name: "seLinuxType", Expression: quoted("")},

		{Name: "policy", Expression: "string(params.metadata.name)"},
		{Name: "initContainers", Expression: initContainers},
		{Name: "at", Expression: fmt.Sprintf("variables.initContainers.map(c, c.name).indexOf(%s)", quoted(v1alpha1.InitContainerName))},
		{Name: "decidedByPod", Expression: fmt.Sprintf("has(object.spec.resources) && (%s)", requested("object.spec.resources"))},
		{Name: "bestEffort", Expression: fmt.Sprintf("!(variables.initContainers + object.spec.containers).exists(c,\n  c.name != %s && has(c.resources) && (%s))",
			quoted(v1alpha1.InitContainerName), requested("c.resources"))},
		{Name: "resources", Expression: "variables.decidedByPod || variables.bestEffort ? dyn({}) :\ndyn(" + literal(resources, marks) + ")"},
		{Name: "reportMax", Expression: reportMax()},
		{Name: "container", Expression: literal(container, marks)},

		{Name: "volumes", Expression: volumes},
		{Name: "volumeAt", Expression: fmt.Sprintf("variables.volumes.map(v, v.name).indexOf(%s)", quoted(v1alpha1.VolumeName))},
		{Name: "source", Expression: literal(source, marks)},
		{Name: "volume", Expression: literal(volume, marks)},
		{Name: "marked", Expression: fmt.Sprintf("object.?status.?conditions.orValue([]).exists(c, c.type == %s)", quoted(injecting))},
		// The policies whose sources earlier evaluations of this request added, in their order.
		{Name: "others", Expression: fmt.Sprintf("variables.marked && variables.volumeAt >= 0 ?\n"+
			"variables.volumes[variables.volumeAt].projected.sources.map(s, string(s.configMap.name).substring(0, size(s.configMap.name) - %d)) : []",
			len(v1alpha1.ConfigMapName("")))},
	}
}

func sources(volume map[string]any) []any {
	return volume["projected"].(map[string]any)["sources"].([]any)
}

// requested says whether an amount decides the QoS class.
func requested(resources string) string {
	var amounts []string
	for _, list := range []string{"requests", "limits"} {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			amounts = append(amounts, fmt.Sprintf("sign(quantity(string(%s.?%s[?%s].orValue('0')))) != 0", resources, list, quoted(string(name))))
		}
	}
	return strings.Join(amounts, " || ")
}

// reportMax is the report's size limit, once ours is among the init containers.
func reportMax() string {
	containers := "size(variables.initContainers) + (variables.at < 0 ? 1 : 0) + size(object.spec.containers) + size(object.spec.?ephemeralContainers.orValue([]))"
	return fmt.Sprintf("[%d, %d / (%s)].min()", inject.ContainerMessageMax, inject.PodMessageMax, containers)
}

// patch is the mutation: what inject.Pod does to the pod for one policy. It moves
// what others made, as values of a patch may hold no parts of the object.
func patch() string {
	operations := []string{
		`// ours is the first init container
(size(variables.initContainers) > 0 ?
  [JSONPatch{op: 'add', path: '/spec/initContainers/0', value: variables.container}] :
  [JSONPatch{op: 'add', path: '/spec/initContainers', value: [variables.container]}])`,
		fmt.Sprintf(`// an earlier one goes; what others added to it stays
(variables.at < 0 ? [] :
  %s +
  %s +
  [JSONPatch{op: 'remove', path: '/spec/initContainers/' + string(variables.at + 1)}])`,
			moved("env", environment()), moved("volumeMounts", []any{v1alpha1.VolumeName})),
		`// the volume takes the place of an earlier one, or gets one more source
(variables.volumeAt < 0 ?
  [JSONPatch{op: 'add', path: size(variables.volumes) > 0 ? '/spec/volumes/-' : '/spec/volumes',
    value: size(variables.volumes) > 0 ? dyn(variables.volume) : dyn([variables.volume])}] :
  size(variables.others) == 0 ?
  [JSONPatch{op: 'replace', path: '/spec/volumes/' + string(variables.volumeAt), value: variables.volume}] :
  [JSONPatch{op: variables.policy in variables.others ? 'replace' : 'add', value: variables.source,
    path: '/spec/volumes/' + string(variables.volumeAt) + '/projected/sources/' + string(size(variables.others.filter(o, o < variables.policy)))}])`,
		"// the mark, which is not stored\n" +
			fmt.Sprintf("(variables.marked ? [] : [JSONPatch{op: 'add', path: '/status', value: %s}])",
				literal(map[string]any{"conditions": []any{map[string]any{"type": injecting, "status": "True"}}}, nil)),
		"(has(object.metadata.labels) ? [] : [JSONPatch{op: 'add', path: '/metadata/labels', value: {}}])",
		fmt.Sprintf("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey(%s), value: %s}]",
			quoted(v1alpha1.LabelInjected), quoted(v1alpha1.InjectedTrue)),
	}
	return strings.Join(operations, " +\n")
}

// moved copies the elements of the earlier container's list, but for those of ours,
// to the end of the new one's.
func moved(list string, ours []any) string {
	return fmt.Sprintf("variables.initContainers[variables.at].?%[1]s.orValue([]).transformList(i, item, !(item.name in %[2]s), JSONPatch{op: 'copy',\n"+
		"    from: '/spec/initContainers/' + string(variables.at + 1) + '/%[1]s/' + string(i), path: '/spec/initContainers/0/%[1]s/-'})",
		list, literal(ours, nil))
}

// environment names the variables that are ours.
func environment() []any {
	container, _ := added()
	var names []any
	for _, env := range container["env"].([]any) {
		names = append(names, env.(map[string]any)["name"])
	}
	return names
}

func mutations() []admissionregistrationv1.Mutation {
	return []admissionregistrationv1.Mutation{{
		PatchType: admissionregistrationv1.PatchTypeJSONPatch,
		JSONPatch: &admissionregistrationv1.JSONPatch{Expression: patch()},
	}}
}
