// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

func TestObserve(t *testing.T) {
	cutOff := string(report.Report{Result: report.Attached, Omitted: 1}.Marshal(0))
	oomKilled := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}
	for _, test := range []struct {
		name   string
		pod    *corev1.Pod
		state  State
		detail string
	}{
		{"current digest", pod("a", current), Attached, ""},
		{"another digest", pod("a", outdated), Outdated, ""},
		{"success for other policies only", pod("a", reporting(string(report.Report{Result: report.Attached, Digests: map[string]string{"other": currentDigest}}.Marshal(0)))), Outdated, ""},
		{"success, but the digest was cut off", pod("a", reporting(cutOff)), Outdated, "its report was cut off before this policy's digest"},
		{"crash loop: the last end counts", pod("a", failing("eth0: no such device")), Failed, "eth0: no such device"},
		{"running again after a failure", pod("a", initStatus(running, ended(1, failedWith("boom")))), Failed, "boom"},
		{"ended now: the end before does not count", pod("a", initStatus(ended(0, attachedWith(currentDigest)), ended(1, failedWith("boom")))), Attached, ""},
		{"running, no report", pod("a", initStatus(running, none)), Pending, ""},
		{"waiting for its image", pod("a", initStatus(waiting("ImagePullBackOff"), none)), Pending, "ImagePullBackOff"},
		{"its image is pulled once more", pod("a", initStatus(waiting("ErrImagePull"), none)), Pending, "ImagePullBackOff"},
		{"waiting as every pod does", pod("a", initStatus(waiting("PodInitializing"), none)), Pending, ""},
		{"no status at all", pod("a", injectedPod, phase(corev1.PodPending)), Pending, ""},
		{"killed", pod("a", initStatus(oomKilled, none)), Failed, "exit code 137, OOMKilled, no report"},
		{"ended well without a report", pod("a", reporting("")), Failed, "exit code 0, no report"},
		{"another program", pod("a", reporting("hello\nworld")), Failed, "exit code 0, the termination message holds no report: hello world"},
		{"exit code and report disagree", pod("a", initStatus(ended(1, attachedWith(currentDigest)), none)), Failed, "exit code 1"},
		{"not injected", pod("a"), Missing, ""},
		{"the label by hand, without the container", pod("a", label(v1alpha1.LabelInjected, "true")), Missing, ""},
		{"opted out", pod("a", label(v1alpha1.LabelInject, "false")), OptedOut, ""},
		{"required is not opted out", pod("a", label(v1alpha1.LabelInject, "required")), Missing, ""},
		{"terminating", pod("a", current, terminating), Gone, ""},
		{"succeeded", pod("a", current, phase(corev1.PodSucceeded)), Gone, ""},
		{"failed for good", pod("a", current, phase(corev1.PodFailed)), Gone, ""},
		{"opted out and finished", pod("a", label(v1alpha1.LabelInject, "false"), phase(corev1.PodSucceeded)), Gone, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := observe(test.pod, testPolicy, currentDigest)
			if got.state != test.state || got.detail != test.detail {
				t.Errorf("got %v %q, want %v %q", got.state, got.detail, test.state, test.detail)
			}
		})
	}
}

func TestWithoutDigestNothingIsAttached(t *testing.T) {
	if got := observe(pod("a", reporting(attachedWith(""))), testPolicy, "").state; got != Outdated {
		t.Errorf("got %v, want %v", got, Outdated)
	}
}

func TestRenew(t *testing.T) {
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"Deployment", pod("a"), "kubectl -n shop rollout restart deployment/web"},
		{"Deployment with dashes", pod("a", owner("ReplicaSet", "web-api-5d4f8")), "kubectl -n shop rollout restart deployment/web-api"},
		{"ReplicaSet of its own", pod("a", owner("ReplicaSet", "web")), "kubectl -n shop delete pod a"},
		{"ReplicaSet without a hash label", pod("a", label("pod-template-hash", "")), "kubectl -n shop delete pod a"},
		{"StatefulSet", pod("a", owner("StatefulSet", "db")), "kubectl -n shop rollout restart statefulset/db"},
		{"StatefulSet of another group", pod("a", owner("StatefulSet", "db"), func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "apps.kruise.io/v1beta1" }), "kubectl -n shop delete pod a"},
		{"DaemonSet", pod("a", owner("DaemonSet", "agent")), "kubectl -n shop rollout restart daemonset/agent"},
		{"Job", pod("a", owner("Job", "batch")), "kubectl -n shop delete pod a"},
		{"nobody's pod", pod("a", bare), "kubectl -n shop replace --force -f FILE (the file that pod a was made from)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := renew(test.pod); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
