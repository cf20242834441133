// SPDX-License-Identifier: Apache-2.0

package status

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// started is when the init container of the tests ended, seconds after it the
// refresh containers.
var started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func endedAfter(seconds int, code int32, message string) corev1.ContainerState {
	s := ended(code, message)
	s.Terminated.FinishedAt = metav1.NewTime(started.Add(time.Duration(seconds) * time.Second))
	return s
}

// mounts makes the pod mount the rules of these policies.
func mounts(policies ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		var sources []corev1.VolumeProjection
		for _, policy := range policies {
			sources = append(sources, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: v1alpha1.ConfigMapName(policy)}}})
		}
		p.Spec.Volumes = []corev1.Volume{{Name: v1alpha1.VolumeName, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}}}
	}
}

// startedWith is a pod whose init container attached those rules and that mounts
// the policy's.
func startedWith(digest string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		initStatus(endedAfter(0, 0, attachedWith(digest)), none)(p)
		mounts(testPolicy)(p)
	}
}

// refreshing adds a refresh container that awaits these rules and is in that state.
func refreshing(await string, state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		name := fmt.Sprintf("%s%d", v1alpha1.RefreshPrefix, len(p.Spec.EphemeralContainers)+1)
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: name, Env: []corev1.EnvVar{{Name: inject.EnvAwait, Value: await}}}})
		p.Status.EphemeralContainerStatuses = append(p.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
	}
}

// noon is when the census of the tests is taken.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// added is that somebody added the refresh container so long before noon.
func added(before time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{Subresource: EphemeralContainers, Time: &metav1.Time{Time: noon.Add(-before)}})
	}
}

// on says which node the pod runs on.
func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// unready is what a pod is whose node is down.
func unready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse}, {Type: corev1.PodReady, Status: corev1.ConditionFalse}}
}

const awaitNew = testPolicy + "=" + currentDigest

// gotNew, gotOld and failedTo are refreshes that ended that many seconds later.
func gotNew(seconds int) func(*corev1.Pod) {
	return refreshing(awaitNew, endedAfter(seconds, 0, attachedWith(currentDigest)))
}

func gotOld(seconds int) func(*corev1.Pod) {
	return refreshing(testPolicy+"=old", endedAfter(seconds, 0, attachedWith("old")))
}

func failedTo(text string) func(*corev1.Pod) {
	return refreshing(awaitNew, endedAfter(9, 1, failedWith(text)))
}

func TestTheNewestSuccessSaysWhatAPodRuns(t *testing.T) {
	inSandbox := func(second int, digest string) func(*corev1.Pod) {
		return initStatus(endedAfter(second, 0, attachedWith(digest)), none)
	}
	for _, test := range []struct {
		name   string
		pod    *corev1.Pod
		state  State
		detail string
	}{
		{"refreshed", pod("a", startedWith("old"), gotNew(9)), Attached, ""},
		{"within the same second", pod("a", startedWith("old"), gotNew(0)), Attached, ""},
		{"twice", pod("a", startedWith("older"), gotOld(4), gotNew(9)), Attached, ""},
		{"twice within a second: the second counts", pod("a", startedWith("older"), gotNew(4), gotOld(4)), Outdated, ""},
		{"refreshed with rules that are no longer current", pod("a", startedWith("older"), gotOld(9)), Outdated, ""},
		{"a failed one leaves the success before", pod("a", startedWith("old"), gotNew(4), failedTo("boom")), Attached, ""},
		{"a failed one leaves the rules before", pod("a", startedWith("old"), failedTo("boom")), Outdated, "refresh failed: boom"},
		{"killed", pod("a", startedWith("old"), refreshing(awaitNew, endedAfter(9, 137, ""))), Outdated, "refresh failed: exit code 137, no report"},
		{"one for other rules failed", pod("a", startedWith("old"), refreshing("web=older", endedAfter(9, 1, failedWith("boom")))), Outdated, ""},
		{"one for another policy failed", pod("a", startedWith("old"), refreshing("dns=new", endedAfter(9, 1, failedWith("boom")))), Outdated, ""},
		{"not seen by the kubelet", pod("a", startedWith("old"), refreshing(awaitNew, none)), Outdated, "being refreshed"},
		{"running", pod("a", startedWith("old"), refreshing(awaitNew, running)), Outdated, "being refreshed"},
		{"starting", pod("a", startedWith("old"), refreshing(awaitNew, waiting("ContainerCreating"))), Outdated, "being refreshed"},
		{"without its image", pod("a", startedWith("old"), refreshing(awaitNew, waiting("ImagePullBackOff"))), Outdated, "being refreshed, ImagePullBackOff"},
		{"pulling its image once more", pod("a", startedWith("old"), refreshing(awaitNew, waiting("ErrImagePull"))), Outdated, "being refreshed, ImagePullBackOff"},
		{"again after a failure", pod("a", startedWith("old"), failedTo("boom"), refreshing(awaitNew, running)), Outdated, "being refreshed"},
		{"in a new sandbox the init container counts", pod("a", startedWith("old"), gotNew(9), inSandbox(20, "other")), Outdated, ""},
		{"in a new sandbox, after rules that are current", pod("a", startedWith("old"), gotOld(9), inSandbox(20, currentDigest)), Attached, ""},
		{"while the init container runs again", pod("a", startedWith("old"), gotNew(9), initStatus(running, endedAfter(0, 0, attachedWith("old")))), Outdated, ""},
		{"without a successful start", pod("a", startedWith("old"), initStatus(endedAfter(20, 1, failedWith("boom")), none), gotNew(9)), Failed, "boom"},
		{"somebody's debugger", pod("a", startedWith("old"), func(p *corev1.Pod) {
			p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", State: endedAfter(9, 0, attachedWith(currentDigest))}}
		}), Outdated, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := observe(test.pod, testPolicy, currentDigest)
			if got.state != test.state || got.detail != test.detail {
				t.Errorf("got %v %q, want %v %q", got.state, got.detail, test.state, test.detail)
			}
		})
	}
}

func TestRemembersFlows(t *testing.T) {
	remembering := string(report.Report{Result: report.Attached, KeepsFlows: true}.Marshal(0))
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"never":                  {pod("a", current), false},
		"from the start":         {pod("a", reporting(remembering)), true},
		"since a refresh":        {pod("a", startedWith("old"), refreshing(awaitNew, endedAfter(9, 0, remembering))), true},
		"not since a refresh":    {pod("a", initStatus(endedAfter(0, 0, remembering), none), gotNew(9)), false},
		"still, as that failed":  {pod("a", initStatus(endedAfter(0, 0, remembering), none), failedTo("boom")), true},
		"a pod without a report": {pod("a", injectedPod), false},
	} {
		if got := RemembersFlows(test.pod); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// fleet are pods named in the order a, b, c, …, each as these say.
func fleet(kinds ...func(*corev1.Pod)) []corev1.Pod {
	var pods []corev1.Pod
	for i, kind := range kinds {
		pods = append(pods, *pod(string(rune('a'+i)), kind))
	}
	return pods
}

func times(n int, kind func(*corev1.Pod)) (all []func(*corev1.Pod)) {
	for range n {
		all = append(all, kind)
	}
	return all
}

func both(edits ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, edit := range edits {
			edit(p)
		}
	}
}

var (
	stale     = startedWith("old")
	inFlight  = both(stale, refreshing(awaitNew, running))
	broken    = both(stale, failedTo("boom"))
	spent     = both(stale, gotOld(1), gotOld(2), gotOld(3), gotOld(4), gotOld(5))
	unmounted = both(stale, mounts("dns"))

	// These have had their refresh container for as long as one may take.
	unstarted = both(stale, on("n1"), unseen, added(refreshAtMost))
	unpulled  = both(stale, refreshing(awaitNew, waiting("ImagePullBackOff")), added(time.Hour))
	endless   = both(stale, failedTo("boom"), refreshing(awaitNew, running), added(time.Hour))
)

// unseen adds a refresh container that no kubelet has seen.
func unseen(p *corev1.Pod) {
	refreshing(awaitNew, none)(p)
	p.Status.EphemeralContainerStatuses = nil
}

func TestNextRefreshes(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit string // of spec.inPlace; "" for none
		pods  []corev1.Pod
		want  string
	}{
		{"one at a time where 10% is less", "", fleet(stale, stale, stale), "a"},
		{"10% of 20, rounded down", "", fleet(times(20, stale)...), "ab"},
		{"10% of those that are not finished", "", fleet(append(times(19, stale), terminating)...), "a"},
		{"less those in flight", "", fleet(append(times(19, stale), inFlight)...), "a"},
		{"none while as many are in flight", "1", fleet(inFlight, stale), ""},
		{"none while more are in flight", "1", fleet(inFlight, inFlight, stale), ""},
		{"more while one takes too long", "1", fleet(unpulled, stale, stale), "b"},
		{"more while one is not started for too long", "1", fleet(unstarted, stale), "b"},
		{"none while one has not taken too long", "1", fleet(both(inFlight, added(refreshAtMost-time.Second)), stale), ""},
		{"none while the last of several has not", "1", fleet(both(inFlight, added(time.Hour), added(time.Second)), stale), ""},
		{"those that are ready first", "2", fleet(both(stale, unready), stale, both(stale, unready), stale), "bd"},
		{"then the others", "3", fleet(both(stale, unready), stale, both(stale, unready)), "bac"},
		{"by number", "2", fleet(stale, stale, stale), "ab"},
		{"by percentage", "50%", fleet(stale, stale, stale), "a"},
		{"all at once", "100%", fleet(stale, stale, stale), "abc"},
		{"more than there are", "7", fleet(stale, startedWith(currentDigest)), "a"},
		{"none after a failure", "7", fleet(broken, stale), ""},
		{"none after the last refresh of a pod failed", "7", fleet(both(stale, gotOld(1), gotOld(2), gotOld(3), gotOld(4), failedTo("boom")), stale), ""},
		{"again when other rules failed", "7", fleet(both(stale, refreshing("web=older", endedAfter(9, 1, failedWith("boom")))), stale), "ab"},
		{"none after a failure of one that can't be refreshed again", "7", fleet(both(broken, mounts("dns")), stale), ""},
		{"not those that can't be", "7", fleet(spent, unmounted, injectedPod, failing("boom"), label("x", "y"), stale), "f"},
		{"nothing to do", "", fleet(startedWith(currentDigest), both(stale, gotNew(9))), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var limit *intstr.IntOrString
			if test.limit != "" {
				limit = ptr.To(intstr.Parse(test.limit))
			}
			census := NewCensus(testPolicy, currentDigest, 0)
			census.UpdateInPlace(noon)
			for i := range test.pods {
				census.Add(&test.pods[i])
			}
			var names strings.Builder
			for _, next := range census.NextRefreshes(limit) {
				names.WriteString(next.Name)
			}
			if names.String() != test.want {
				t.Errorf("got %q, want %q", names.String(), test.want)
			}
		})
	}
}

func TestAttachedOfPodsThatAreUpdatedInPlace(t *testing.T) {
	const restart = "Run: kubectl -n shop rollout restart deployment/web."
	const byHand = "Run: kubectl funnel refresh -n shop web."
	for _, test := range []struct {
		name    string
		refused string
		pods    []corev1.Pod
		want    verdict
	}{
		{"all refreshed", "", fleet(both(stale, gotNew(9)), startedWith(currentDigest)),
			yes("Attached", "2 pods with the current rules.")},
		{"about to begin", "", fleet(stale, stale), no("PodsRefreshing", "Being refreshed: 0 pods; waiting for it: 2.")},
		{"going on", "", fleet(inFlight, both(stale, refreshing(awaitNew, waiting("ImagePullBackOff"))), stale),
			no("PodsRefreshing", "Being refreshed: 2 pods: a, b (ImagePullBackOff); waiting for it: 1.")},
		{"stopped", "", fleet(broken, stale, startedWith(currentDigest)),
			no("RefreshFailed", "Refreshing failed in 1 pod: a (boom). It keeps its rules from before, and no other is refreshed (1 waiting) until the policy changes or they run the current rules. "+byHand)},
		{"stopped, and some still go on", "", fleet(broken, broken, inFlight),
			no("RefreshFailed", "Refreshing failed in 2 pods: a (boom), b (boom). They keep their rules from before, and no other is refreshed (0 waiting) until the policy changes or they run the current rules. "+byHand+" Being refreshed: 1 pod: c; waiting for it: 0.")},
		{"not permitted", "pods \"a\" is forbidden", fleet(stale, startedWith(currentDigest)),
			no("RefreshForbidden", "The operator may not refresh 1 pod: a: pods \"a\" is forbidden. Grant it with config/overlays/in-place, or refresh them yourself. "+byHand)},
		{"one is not started", "", fleet(unstarted, stale, startedWith(currentDigest)),
			no("RefreshStalled", "Not refreshed within 5 minutes: 1 pod: a (not started by node n1). It keeps its rules from before until the container ends; others are refreshed meanwhile. Run: kubectl -n shop describe pod a. Being refreshed: 0 pods; waiting for it: 1.")},
		{"some take too long", "", fleet(endless, both(stale, refreshing(awaitNew, waiting("ErrImagePull")), added(time.Hour)), inFlight),
			no("RefreshStalled", "Not refreshed within 5 minutes: 2 pods: a (still running), b (ImagePullBackOff). They keep their rules from before until the container ends; others are refreshed meanwhile. Run: kubectl -n shop describe pod a; kubectl -n shop describe pod b. Being refreshed: 1 pod: c; waiting for it: 0.")},
		{"some must be replaced", "", fleet(spent, unmounted, stale),
			no("PodsOutdated", "Without the current rules: 2 pods: a ("+inject.ErrSpent.Error()+"), b ("+inject.ErrNotMounted.Error()+"). "+restart+" Being refreshed: 0 pods; waiting for it: 1.")},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewCensus(testPolicy, currentDigest, 0)
			c.UpdateInPlace(noon)
			half := NewCensus(testPolicy, currentDigest, 0)
			half.UpdateInPlace(noon)
			for i := range test.pods {
				[]*Census{c, half}[i%2].Add(&test.pods[i])
			}
			c.Merge(half)
			if diff := cmp.Diff(test.want, c.attached(enabled, test.refused, ""), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A status that says "in time" must be looked at again when that is over, and not before.
func TestNextStall(t *testing.T) {
	for name, test := range map[string]struct {
		pods []corev1.Pod
		want time.Duration
	}{
		"nothing under way":  {fleet(stale, startedWith(currentDigest), broken), 0},
		"the first of two":   {fleet(both(inFlight, added(time.Minute)), both(inFlight, added(2*time.Minute))), refreshAtMost - 2*time.Minute},
		"in the other order": {fleet(both(inFlight, added(2*time.Minute)), both(inFlight, added(time.Minute))), refreshAtMost - 2*time.Minute},
		"one took too long":  {fleet(unpulled), 0},
		"and another not":    {fleet(unpulled, both(inFlight, added(time.Minute))), refreshAtMost - time.Minute},
		"since who knows":    {fleet(inFlight), refreshAtMost},
	} {
		c, half := NewCensus(testPolicy, currentDigest, 0), NewCensus(testPolicy, currentDigest, 0)
		c.UpdateInPlace(noon)
		half.UpdateInPlace(noon)
		for i := range test.pods {
			[]*Census{half, c}[i%2].Add(&test.pods[i])
		}
		c.Merge(half)
		if got := c.NextStall(); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestObserveTellsWhoRefreshesByHand(t *testing.T) {
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want Seen
	}{
		"outdated":  {pod("a", stale), Seen{State: Outdated}},
		"in flight": {pod("a", inFlight), Seen{State: Outdated, Detail: "being refreshed", Refreshing: true}},
		"failed":    {pod("a", broken), Seen{State: Outdated, Detail: "refresh failed: boom", Failure: "boom"}},
		"spent":     {pod("a", spent), Seen{State: Outdated, Barrier: inject.ErrSpent}},
		"current":   {pod("a", startedWith(currentDigest)), Seen{State: Attached}},
	} {
		got := Observe(test.pod, testPolicy, currentDigest)
		if got.State != test.want.State || got.Detail != test.want.Detail || got.Refreshing != test.want.Refreshing || got.Failure != test.want.Failure || !errors.Is(got.Barrier, test.want.Barrier) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}
