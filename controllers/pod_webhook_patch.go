// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// patchPod answers with the difference between the pod as it was sent and as it
// was injected. Only what injection changes is taken from the injected pod: the
// API server may be newer than this program, and fields that it does not know
// have to stay with their containers.
func patchPod(sent []byte, injected *corev1.Pod) admission.Response {
	whole := map[string]any{}
	if err := utiljson.Unmarshal(sent, &whole); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	part := touched(whole)
	before, err := json.Marshal(part)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if err := graft(part, injected); err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	after, err := json.Marshal(part)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(before, after)
}

// touched is the part of the pod that injection changes: nothing else needs to be
// compared.
func touched(whole map[string]any) map[string]any {
	part := map[string]any{}
	for field, inner := range map[string][]string{"metadata": {"labels"}, "spec": {"initContainers", "volumes"}} {
		all, ok := whole[field].(map[string]any)
		if !ok {
			continue
		}
		kept := map[string]any{}
		for _, name := range inner {
			if value, ok := all[name]; ok {
				kept[name] = value
			}
		}
		part[field] = kept
	}
	return part
}

// graft puts our init container, our volume and our label of the injected pod
// into the part of the sent one, each where the injected pod has it.
func graft(part map[string]any, injected *corev1.Pod) error {
	if err := unstructured.SetNestedField(part, v1alpha1.InjectedTrue, "metadata", "labels", v1alpha1.LabelInjected); err != nil {
		return err
	}
	if err := graftList(part, "initContainers", v1alpha1.InitContainerName, injected.Spec.InitContainers); err != nil {
		return err
	}
	return graftList(part, "volumes", v1alpha1.VolumeName, injected.Spec.Volumes)
}

// graftList gives the part's list spec.<field> the order of the injected one. The
// item named ours comes from there, all others stay what they are.
func graftList[T corev1.Container | corev1.Volume](part map[string]any, field, ours string, injected []T) error {
	sent, _, err := unstructured.NestedSlice(part, "spec", field)
	if err != nil {
		return err
	}
	var list []any
	for i := range injected {
		item, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&injected[i])
		if err != nil {
			return fmt.Errorf("spec.%s[%d]: %w", field, i, err)
		}
		if item["name"] != ours {
			item = named(sent, item["name"])
		}
		list = append(list, item)
	}
	return unstructured.SetNestedSlice(part, list, "spec", field)
}

// named is the item of that name.
func named(list []any, name any) map[string]any {
	for _, item := range list {
		if item, ok := item.(map[string]any); ok && item["name"] == name {
			return item
		}
	}
	return nil
}
