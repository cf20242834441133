// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
	"github.com/sfunnel-io/funnel-operator/internal/version"
)

// applyErrors counts failed writes by what was to be written.
var applyErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "sfunnel_apply_errors_total",
	Help: "Failed writes of rules ConfigMaps, of FunnelPolicy statuses, and of refresh containers of pods.",
}, []string{"object"})

// countFailure counts a write that failed, and passes on the error. It is none when the object has
// gone, when somebody was faster (it is tried again at once), or when all of the namespace goes.
func countFailure(object string, err error) error {
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !ending(err) {
		applyErrors.WithLabelValues(object).Inc()
	}
	return err
}

// refreshes counts what was done to bring running pods new rules.
var refreshes = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "sfunnel_refreshes_total",
	Help: "Ephemeral containers added to running pods, to bring them the current rules.",
})

// droppedEvents counts Events for which the recorder had no room.
var droppedEvents = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "sfunnel_events_dropped_total",
	Help: "Events about FunnelPolicies that were not made, because too many waited already.",
})

func init() {
	metrics.Registry.MustRegister(applyErrors, refreshes, droppedEvents, buildInfo())
	applyErrors.WithLabelValues("refresh")
	applyErrors.WithLabelValues("configmap")
	applyErrors.WithLabelValues("status")
}

// buildInfo is a constant with the labels that tell builds apart.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "sfunnel_build_info",
		Help:        "Always 1; its labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": version.String(), "revision": version.Revision(), "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

var (
	policiesDesc = prometheus.NewDesc("sfunnel_policies",
		"FunnelPolicies by the status of each of their conditions.", []string{"condition", "status"}, nil)
	podsDesc = prometheus.NewDesc("sfunnel_policy_pods",
		"Pods that FunnelPolicies select, by namespace and state; a pod counts once for each policy.", []string{"namespace", "state"}, nil)
	unrefreshedDesc = prometheus.NewDesc("sfunnel_policies_not_refreshed",
		"FunnelPolicies that should update running pods in place and don't, by the reason of their condition Attached.", []string{"namespace", "reason"}, nil)
)

// collectTimeout bounds how long a scrape waits for the cache.
const collectTimeout = 5 * time.Second

// statusCollector sums up the statuses in the cache when it is scraped. The
// manager starts it on the replica that leads only, so that sums over replicas
// are right.
type statusCollector struct{ policies policies }

// Start implements manager.Runnable. A second manager in one process, as test
// suites have, leaves the metrics to the first.
func (c statusCollector) Start(ctx context.Context) error {
	var taken prometheus.AlreadyRegisteredError
	switch err := metrics.Registry.Register(c); {
	case errors.As(err, &taken):
	case err != nil:
		return err
	default:
		defer metrics.Registry.Unregister(c)
	}
	<-ctx.Done()
	return nil
}

// Describe implements prometheus.Collector.
func (c statusCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- policiesDesc
	descs <- podsDesc
	descs <- unrefreshedDesc
}

// Collect implements prometheus.Collector.
func (c statusCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	if err := c.policies.await(ctx); err != nil {
		out <- prometheus.NewInvalidMetric(policiesDesc, err)
		return
	}
	sum(c.policies.all(), out)
}

type conditionStatus struct {
	condition string
	status    metav1.ConditionStatus
}

type namespaceState struct{ namespace, state string }

type namespaceReason struct{ namespace, reason string }

// notRefreshing are the reasons of Attached that end an update in place, of all pods or of some.
var notRefreshing = []string{v1alpha1.ReasonRefreshFailed, v1alpha1.ReasonRefreshForbidden, v1alpha1.ReasonRefreshStalled}

func sum(policies []*v1alpha1.FunnelPolicy, out chan<- prometheus.Metric) {
	byCondition, byState, byReason := map[conditionStatus]int{}, map[namespaceState]int32{}, map[namespaceReason]int{}
	for _, p := range policies {
		attached := "" // or why not
		for c := range conditionsOf(p) {
			byCondition[conditionStatus{c.Type, c.Status}]++
			if c.Type == v1alpha1.ConditionAttached {
				attached = c.Reason
			}
		}
		for _, reason := range notRefreshing {
			n := 0
			if attached == reason {
				n = 1
			}
			byReason[namespaceReason{p.Namespace, reason}] += n
		}
		for _, c := range states(p.Status.Pods) {
			byState[namespaceState{p.Namespace, c.state.String()}] += c.pods
		}
	}
	for k, n := range byCondition {
		out <- prometheus.MustNewConstMetric(policiesDesc, prometheus.GaugeValue, float64(n), k.condition, string(k.status))
	}
	for k, n := range byReason {
		out <- prometheus.MustNewConstMetric(unrefreshedDesc, prometheus.GaugeValue, float64(n), k.namespace, k.reason)
	}
	for k, n := range byState {
		out <- prometheus.MustNewConstMetric(podsDesc, prometheus.GaugeValue, float64(n), k.namespace, k.state)
	}
}

// inState is how many pods are in a state.
type inState struct {
	state status.State
	pods  int32
}

// states is no map: a scrape asks for one of each policy.
func states(n v1alpha1.PodCounts) [6]inState {
	return [...]inState{
		{status.Attached, n.Attached},
		{status.Pending, n.Pending},
		{status.Outdated, n.Outdated},
		{status.Missing, n.Missing},
		{status.Failed, n.Failed},
		{status.OptedOut, n.OptedOut},
	}
}
