// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// What the webhook answered about a pod.
const (
	answerInjected = "injected"
	answerLeft     = "left" // it concerns no policy
	answerDenied   = "denied"
	answerFailed   = "failed" // it could not decide
)

var (
	webhookSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "sfunnel_webhook_duration_seconds",
		Help:    "How long the pod webhook takes for an answer, from when it has read the question.",
		Buckets: []float64{.00025, .0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5},
	})
	webhookPods = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sfunnel_webhook_pods_total",
		Help: "Pods that the webhook was asked about, by its answer: injected, left as they are, denied, failed (it could not decide).",
	}, []string{"answer"})
)

func init() {
	metrics.Registry.MustRegister(webhookSeconds, webhookPods)
	for _, answer := range []string{answerInjected, answerLeft, answerDenied, answerFailed} {
		webhookPods.WithLabelValues(answer)
	}
}

// timed observes how long answers take. A busy API server sends a question's head long
// before its body: that is not our time.
func timed(next http.Handler, seconds prometheus.Observer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body := &noting{ReadCloser: req.Body, last: time.Now()}
		req.Body = body
		defer func() { seconds.Observe(time.Since(body.last).Seconds()) }()
		next.ServeHTTP(w, req)
	})
}

// noting notes when something was read last.
type noting struct {
	io.ReadCloser
	last time.Time
}

func (n *noting) Read(into []byte) (int, error) {
	defer func() { n.last = time.Now() }()
	return n.ReadCloser.Read(into)
}

// counted counts answers.
func counted(next admission.Handler) admission.Handler {
	return admission.HandlerFunc(func(ctx context.Context, req admission.Request) admission.Response {
		response := next.Handle(ctx, req)
		webhookPods.WithLabelValues(answerOf(response)).Inc()
		return response
	})
}

func answerOf(r admission.Response) string {
	switch {
	case r.Allowed && len(r.Patches) > 0:
		return answerInjected
	case r.Allowed:
		return answerLeft
	case r.Result != nil && r.Result.Code == http.StatusForbidden:
		return answerDenied
	}
	return answerFailed
}
