// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

const own = managertest.Namespace

func TestInstallIsComplete(t *testing.T) {
	got := install(t).names()
	want := []string{
		"ClusterRole sfunnel-edit",
		"ClusterRole sfunnel-manager",
		"ClusterRole sfunnel-metrics-reader",
		"ClusterRole sfunnel-view",
		"ClusterRoleBinding sfunnel-manager",
		"CustomResourceDefinition funnelpolicies.sfunnel.io",
		"MutatingWebhookConfiguration sfunnel",
		"Namespace sfunnel-system",
		"ValidatingAdmissionPolicy sfunnel-manager",
		"ValidatingAdmissionPolicyBinding sfunnel-manager",
		"sfunnel-system/Deployment sfunnel-manager",
		"sfunnel-system/NetworkPolicy sfunnel-manager",
		"sfunnel-system/PodDisruptionBudget sfunnel-manager",
		"sfunnel-system/Role sfunnel-manager",
		"sfunnel-system/RoleBinding sfunnel-manager",
		"sfunnel-system/Service sfunnel-metrics",
		"sfunnel-system/Service sfunnel-webhook",
		"sfunnel-system/ServiceAccount sfunnel-manager",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// names are the objects, with their namespaces, in order.
func (o objects) names() []string {
	var names []string
	for _, object := range o {
		names = append(names, strings.TrimPrefix(object.GetNamespace()+"/", "/")+object.GetKind()+" "+object.GetName())
	}
	slices.Sort(names)
	return names
}

func TestTwoReplicasOfWhichOneMayGo(t *testing.T) {
	all := install(t)
	var manager appsv1.Deployment
	var budget policyv1.PodDisruptionBudget
	all.into(t, "Deployment", "sfunnel-manager", &manager)
	all.into(t, "PodDisruptionBudget", "sfunnel-manager", &budget)

	if manager.Spec.Replicas == nil || *manager.Spec.Replicas != 2 {
		t.Errorf("replicas: %v", manager.Spec.Replicas)
	}
	if budget.Spec.MinAvailable == nil || budget.Spec.MinAvailable.IntValue() != 1 {
		t.Errorf("minAvailable: %v", budget.Spec.MinAvailable)
	}
	mustSelect(t, "the budget", budget.Spec.Selector, manager.Spec.Template.Labels)
	mustSelect(t, "the Deployment", manager.Spec.Selector, manager.Spec.Template.Labels)
	mustSelect(t, "the spread", manager.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector, manager.Spec.Template.Labels)
}

func TestServicesReachTheManager(t *testing.T) {
	all := install(t)
	var manager appsv1.Deployment
	all.into(t, "Deployment", "sfunnel-manager", &manager)
	for name, port := range map[string]int32{"sfunnel-webhook": 443, "sfunnel-metrics": 8443} {
		var service corev1.Service
		all.into(t, "Service", name, &service)
		mustSelect(t, name, &metav1.LabelSelector{MatchLabels: service.Spec.Selector}, manager.Spec.Template.Labels)
		if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Port != port {
			t.Errorf("%s has ports %v", name, service.Spec.Ports)
		}
		if !slices.ContainsFunc(manager.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
			return p.Name == service.Spec.Ports[0].TargetPort.StrVal
		}) {
			t.Errorf("the manager has no port %s", service.Spec.Ports[0].TargetPort.StrVal)
		}
	}
}

func TestImagesAreSetInBothPlaces(t *testing.T) {
	var manager appsv1.Deployment
	install(t).into(t, "Deployment", "sfunnel-manager", &manager)
	container := manager.Spec.Template.Spec.Containers[0]
	if container.Image != managerImage {
		t.Errorf("the manager's image is %s", container.Image)
	}
	if got := environment(container)["ATTACHER_IMAGE"]; got != attacherImage {
		t.Errorf("the attacher's image is %s", got)
	}
	if !slices.Contains(container.Args, "--attacher-image=$(ATTACHER_IMAGE)") {
		t.Errorf("args are %q", container.Args)
	}
}

// The namespace enforces PodSecurity restricted; that the pods comply is asked of
// the API server, in TestInstallOnARealServer.
func TestNamespaceEnforcesRestricted(t *testing.T) {
	var namespace corev1.Namespace
	install(t).into(t, "Namespace", own, &namespace)
	if got := namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("enforces %q", got)
	}
}

func TestManagerIsNotRootAndWritesNothing(t *testing.T) {
	var manager appsv1.Deployment
	install(t).into(t, "Deployment", "sfunnel-manager", &manager)
	spec := manager.Spec.Template.Spec
	container := spec.Containers[0].SecurityContext
	if !*spec.SecurityContext.RunAsNonRoot {
		t.Error("may run as root")
	}
	if spec.SecurityContext.RunAsUser != nil || spec.SecurityContext.RunAsGroup != nil {
		t.Error("insists on a number, which OpenShift gives by namespace; the image has one")
	}
	if !*container.ReadOnlyRootFilesystem || *container.AllowPrivilegeEscalation {
		t.Errorf("security context is %+v", container)
	}
	if diff := cmp.Diff(&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, container.Capabilities); diff != "" {
		t.Error(diff)
	}
	if spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("seccomp is not RuntimeDefault")
	}
	if len(spec.Volumes) > 0 {
		t.Errorf("volumes: %v", spec.Volumes)
	}
}

func TestWebhookIsAskedAboutFewPods(t *testing.T) {
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	install(t).into(t, "MutatingWebhookConfiguration", "sfunnel", &configuration)
	hook := configuration.Webhooks[0]
	service := hook.ClientConfig.Service
	if service.Namespace != own || service.Name != "sfunnel-webhook" || *service.Path != "/inject-pod" {
		t.Errorf("asks %+v", service)
	}
	mustSelect(t, "opted in", hook.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": "shop", "sfunnel.io/injection": "enabled"})
	mustNotSelect(t, "not opted in", hook.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": "shop"})
	mustNotSelect(t, "kube-system", hook.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": "kube-system", "sfunnel.io/injection": "enabled"})
	mustNotSelect(t, "our own", hook.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": own, "sfunnel.io/injection": "enabled"})
	mustSelect(t, "any pod", hook.ObjectSelector, nil)
	mustSelect(t, "required", hook.ObjectSelector, map[string]string{"sfunnel.io/inject": "required"})
	mustNotSelect(t, "opted out", hook.ObjectSelector, map[string]string{"sfunnel.io/inject": "false"})
}

func TestAnotherNamespaceIsTakenOverEverywhere(t *testing.T) {
	all := render(t, "default", []string{"set", "namespace", "elsewhere"})
	for _, object := range all {
		if text := fmt.Sprint(object.Object); strings.Contains(text, own) {
			t.Errorf("%s %s still names %s", object.GetKind(), object.GetName(), own)
		}
	}
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	all.into(t, "MutatingWebhookConfiguration", "sfunnel", &configuration)
	mustNotSelect(t, "the own namespace", configuration.Webhooks[0].NamespaceSelector,
		map[string]string{"kubernetes.io/metadata.name": "elsewhere", "sfunnel.io/injection": "enabled"})
}

func TestManagerMayWriteThisAndNoMore(t *testing.T) {
	got := granted(t, writes)
	want := []string{
		"cluster: create authentication.k8s.io/tokenreviews", // who reads metrics; stores nothing
		"cluster: create authorization.k8s.io/subjectaccessreviews",
		"cluster: create configmaps",
		"cluster: create events.k8s.io/events",
		"cluster: delete configmaps",
		"cluster: patch admissionregistration.k8s.io/mutatingwebhookconfigurations[sfunnel]",
		"cluster: patch configmaps",
		"cluster: update sfunnel.io/funnelpolicies/status",
		"sfunnel-system: create coordination.k8s.io/leases",
		"sfunnel-system: create events", // of the lease
		"sfunnel-system: create secrets",
		"sfunnel-system: patch secrets[sfunnel-webhook-certificate]",
		"sfunnel-system: update coordination.k8s.io/leases[sfunnel-manager]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoPermissionIsAWildcard(t *testing.T) {
	for _, object := range install(t) {
		if strings.HasSuffix(object.GetKind(), "Role") && strings.Contains(fmt.Sprint(object.Object["rules"]), "*") {
			t.Errorf("%s %s has a wildcard", object.GetKind(), object.GetName())
		}
	}
}

// granted lists what the manager may, in order.
func granted(t *testing.T, wanted func(verb string) bool) []string {
	t.Helper()
	all := install(t)
	var cluster rbacv1.ClusterRole
	var namespaced rbacv1.Role
	all.into(t, "ClusterRole", "sfunnel-manager", &cluster)
	all.into(t, "Role", "sfunnel-manager", &namespaced)
	list := append(permissions("cluster", cluster.Rules, wanted), permissions(own, namespaced.Rules, wanted)...)
	slices.Sort(list)
	return list
}

func writes(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) }

// permissions lists "where: verb group/resource[name]" of the verbs wanted.
func permissions(where string, rules []rbacv1.PolicyRule, wanted func(verb string) bool) []string {
	var list []string
	for _, rule := range rules {
		names := ""
		if len(rule.ResourceNames) > 0 {
			names = fmt.Sprint(rule.ResourceNames)
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if wanted(verb) {
						list = append(list, fmt.Sprintf("%s: %s %s%s", where, verb, strings.TrimPrefix(group+"/"+resource, "/"), names))
					}
				}
			}
		}
	}
	return list
}

func environment(container corev1.Container) map[string]string {
	values := map[string]string{}
	for _, variable := range container.Env {
		values[variable.Name] = variable.Value
	}
	return values
}

func mustSelect(t *testing.T, what string, selector *metav1.LabelSelector, set map[string]string) {
	t.Helper()
	if !selects(t, selector, set) {
		t.Errorf("%s: %v does not select %v", what, selector, set)
	}
}

func mustNotSelect(t *testing.T, what string, selector *metav1.LabelSelector, set map[string]string) {
	t.Helper()
	if selects(t, selector, set) {
		t.Errorf("%s: %v selects %v", what, selector, set)
	}
}

func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Matches(labels.Set(set))
}
