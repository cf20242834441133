// SPDX-License-Identifier: Apache-2.0

package inject_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/internal/golden"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

const image = "registry.example/attacher@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"

var options = inject.Options{Image: image}

// Each testdata/<name>.yaml is a pod as it is sent, <name>.injected.yaml what
// Pod makes of it with these policies (by default the one named "web").
var goldens = map[string][]string{
	"besteffort":      nil,
	"burstable":       nil,
	"guaranteed":      nil,
	"init-containers": nil,
	"many-containers": nil,
	"already":         nil,
	"two-policies":    {"web", "metrics", "web"},
}

func TestInjectGoldens(t *testing.T) {
	for name, policies := range goldens {
		t.Run(name, func(t *testing.T) {
			pod := mustPod(t, "testdata/"+name+".yaml")
			mustInject(t, pod, policies)
			mustEqualFile(t, "testdata/"+name+".injected.yaml", pod)
		})
	}
}

func TestEveryGoldenIsTested(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if _, known := goldens[name]; !known {
			t.Errorf("%s belongs to no test", file)
		}
	}
}

func TestInjectIsIdempotent(t *testing.T) {
	for name, policies := range goldens {
		t.Run(name, func(t *testing.T) {
			once := mustPod(t, "testdata/"+name+".yaml")
			mustInject(t, once, policies)
			twice := once.DeepCopy()
			mustInject(t, twice, policies)
			if diff := cmp.Diff(once, twice); diff != "" {
				t.Errorf("the second injection changed the pod:\n%s", diff)
			}
		})
	}
}

func TestOrderOfPoliciesMeansNothing(t *testing.T) {
	a, b := podWith(), podWith()
	mustInject(t, a, []string{"metrics", "web"})
	mustInject(t, b, []string{"web", "metrics"})
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

func TestPodsThatStayAsTheyAre(t *testing.T) {
	rows := []struct {
		name     string
		pod      *corev1.Pod
		policies []string
	}{
		{"no policy selects it", podWith(), nil},
		{"it opted out", podWith(label("sfunnel.io/inject", "false")), []string{"web"}},
		{"it opted out and could not be injected", podWith(label("sfunnel.io/inject", "false"), hostNetwork), []string{"web"}},
		{"on the host's network, and no policy selects it", podWith(hostNetwork), nil},
		{"a hand-written init container, and no policy selects it", podWith(initContainer("sfunnel-attach")), nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			before := row.pod.DeepCopy()
			if err := inject.Pod(row.pod, row.policies, options); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, row.pod); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDenials(t *testing.T) {
	const optOut = `, or opt the pod out with the label sfunnel.io/inject: "false"`
	rows := []struct {
		name     string
		pod      *corev1.Pod
		policies []string
		want     []string
	}{
		{"required and not selected", podWith(label("sfunnel.io/inject", "required")), nil,
			[]string{`the label sfunnel.io/inject is "required" and no FunnelPolicy of the namespace selects the pod yet: create the policy, or remove the label`}},
		{"init container of our name", podWith(initContainer("setup"), initContainer("sfunnel-attach")), []string{"web"},
			[]string{"spec.initContainers[1]: the name sfunnel-attach is that of the injected one: rename it" + optOut}},
		{"container of our name", podWith(container("sfunnel-attach")), []string{"web"},
			[]string{"spec.containers[1]: the name sfunnel-attach is that of the injected one: rename it" + optOut}},
		{"container of our name, in spite of our label", podWith(container("sfunnel-attach"), label("sfunnel.io/injected", "true")), []string{"web"},
			[]string{"spec.containers[1]: the name sfunnel-attach is that of the injected one: rename it" + optOut}},
		{"volume of our name", podWith(volume("sfunnel-rules")), []string{"web"},
			[]string{"spec.volumes[0]: the name sfunnel-rules is that of the injected one: rename it" + optOut}},
		{"host network", podWith(hostNetwork), []string{"web"},
			[]string{"spec.hostNetwork: a FunnelPolicy selects the pod, and its rules would hold for the whole node: use the pod network" + optOut}},
		{"user namespace", podWith(hostUsers(false)), []string{"web"},
			[]string{"spec.hostUsers: a FunnelPolicy selects the pod, and the kernel refuses to load programs from a user namespace: set hostUsers to true" + optOut}},
		{"Windows by os", podWith(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), []string{"web"},
			[]string{"spec.os.name: a FunnelPolicy selects the pod, and rules need a Linux kernel: narrow the policy's podSelector" + optOut}},
		{"Windows by node selector", podWith(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} }), []string{"web"},
			[]string{"spec.os.name: a FunnelPolicy selects the pod, and rules need a Linux kernel: narrow the policy's podSelector" + optOut}},
		{"all faults at once", podWith(hostNetwork, hostUsers(false)), []string{"web"},
			[]string{
				"spec.hostNetwork: a FunnelPolicy selects the pod, and its rules would hold for the whole node: use the pod network" + optOut,
				"spec.hostUsers: a FunnelPolicy selects the pod, and the kernel refuses to load programs from a user namespace: set hostUsers to true" + optOut,
			}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			before := row.pod.DeepCopy()
			var denied *inject.DeniedError
			if err := inject.Pod(row.pod, row.policies, options); !errors.As(err, &denied) {
				t.Fatalf("want a denial, got %v", err)
			}
			if diff := cmp.Diff(row.want, denied.Faults); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, row.pod); diff != "" {
				t.Errorf("a denied pod was changed:\n%s", diff)
			}
		})
	}
}

func TestPodsThatAreInjected(t *testing.T) {
	rows := map[string]*corev1.Pod{
		"required and selected":          podWith(label("sfunnel.io/inject", "required")),
		"hostUsers true":                 podWith(hostUsers(true)),
		"our label without our parts":    podWith(label("sfunnel.io/injected", "true")),
		"Linux by os and node selector":  podWith(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }),
		"a volume and container besides": podWith(volume("data"), initContainer("setup")),
	}
	for name, pod := range rows {
		t.Run(name, func(t *testing.T) {
			mustInject(t, pod, nil)
			if got := pod.Spec.InitContainers[0].Name; got != "sfunnel-attach" {
				t.Errorf("first init container is %q", got)
			}
			if pod.Labels["sfunnel.io/injected"] != "true" {
				t.Errorf("labels are %v", pod.Labels)
			}
		})
	}
}

func TestOptionsReachTheContainer(t *testing.T) {
	pod := mustPod(t, "testdata/burstable.yaml")
	opts := inject.Options{Image: "attacher:dev", PullPolicy: corev1.PullNever, CPU: quantity("10m"), Memory: quantity("1Gi"), SELinuxType: "spc_t"}
	if err := inject.Pod(pod, []string{"web"}, opts); err != nil {
		t.Fatal(err)
	}
	got := pod.Spec.InitContainers[0]
	want := resourcesOf("10m", "1Gi", "10m", "1Gi")
	label := corev1.SELinuxOptions{Type: "spc_t"}
	if got.Image != "attacher:dev" || got.ImagePullPolicy != corev1.PullNever || cmp.Diff(want, got.Resources) != "" || cmp.Diff(&label, got.SecurityContext.SELinuxOptions) != "" {
		t.Errorf("got %+v", got)
	}
}

func TestWithoutImageNothingIsInjected(t *testing.T) {
	pod := podWith()
	var denied *inject.DeniedError
	if err := inject.Pod(pod, []string{"web"}, inject.Options{}); err == nil || errors.As(err, &denied) {
		t.Errorf("want an error that is no denial, got %v", err)
	}
}

// What another injector did between two of ours: a container in front, an
// environment variable and a mount in ours.
func TestReinjectionRestoresOurPartsAndKeepsOthers(t *testing.T) {
	pod := podWith()
	mustInject(t, pod, nil)
	want := pod.DeepCopy()

	extraEnv, extraMount := corev1.EnvVar{Name: "NODE", Value: "a"}, corev1.VolumeMount{Name: "token", MountPath: "/token"}
	ours := &pod.Spec.InitContainers[0]
	ours.Env = append([]corev1.EnvVar{extraEnv, {Name: "SFUNNEL_POD", Value: "0"}}, ours.Env[1:]...)
	ours.VolumeMounts = append(ours.VolumeMounts, extraMount)
	ours.Image, ours.SecurityContext = "attacher:old", nil
	pod.Spec.InitContainers = append([]corev1.Container{{Name: "mesh"}}, pod.Spec.InitContainers...)
	mustInject(t, pod, nil)

	first := &want.Spec.InitContainers[0]
	first.Env = append(first.Env, extraEnv)
	first.VolumeMounts = append(first.VolumeMounts, extraMount)
	want.Spec.InitContainers = append(want.Spec.InitContainers, corev1.Container{Name: "mesh"})
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Error(diff)
	}
}

func mustInject(t *testing.T, pod *corev1.Pod, policies []string) {
	t.Helper()
	if policies == nil {
		policies = []string{"web"}
	}
	if err := inject.Pod(pod, policies, options); err != nil {
		t.Fatal(err)
	}
}

func mustPod(t *testing.T, file string) *corev1.Pod {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(text, pod); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return pod
}

func mustEqualFile(t *testing.T, file string, pod *corev1.Pod) {
	t.Helper()
	got, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, file, string(got))
}
