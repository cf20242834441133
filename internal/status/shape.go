// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// shapesAtMost bounds how many kinds of pods a census tells apart.
const shapesAtMost = 32

// podShape is what a Service sees of pods: their labels, without those that differ
// from pod to pod or from one rollout to the next, and their named ports.
type podShape struct {
	Labels labels.Set
	// Ports holds port numbers by "protocol/name".
	Ports map[string]int32
}

// PassingLabels are labels that controllers write to tell pods or revisions apart.
var PassingLabels = []string{
	appsv1.DefaultDeploymentUniqueLabelKey,
	appsv1.ControllerRevisionHashLabelKey,
	appsv1.StatefulSetPodNameLabel,
	appsv1.PodIndexLabel,
}

func (c *Census) addShape(pod *corev1.Pod) {
	shape := podShape{Labels: maps.Clone(pod.Labels), Ports: map[string]int32{}}
	for _, key := range PassingLabels {
		delete(shape.Labels, key)
	}
	for key, number := range policy.NamedPorts(pod) {
		shape.Ports[key] = int32(number)
	}
	c.keepShape(shape.key(), shape)
}

// allShapes returns the kinds of pods that were counted, in no order.
func (c *Census) allShapes() []podShape { return slices.Collect(maps.Values(c.shapes)) }

// declares reports whether pods that were counted have that named port and the Service leads to
// them, as of policy.LeadsTo: the numbers of others never count.
func (c *Census) declares(port string, s *corev1.Service) bool {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	return slices.ContainsFunc(c.allShapes(), func(shape podShape) bool {
		_, declared := shape.Ports[port]
		return declared && selector.Matches(shape.Labels)
	})
}

// Labels are those of the kinds of pods that were counted, in no order.
func (c *Census) Labels() []labels.Set {
	var all []labels.Set
	for _, shape := range c.shapes {
		all = append(all, shape.Labels)
	}
	return all
}

// keepShape keeps the shapes whose keys come first, so that the order of pods
// does not matter.
func (c *Census) keepShape(key string, shape podShape) {
	c.shapes[key] = shape
	if len(c.shapes) > shapesAtMost {
		delete(c.shapes, slices.Max(slices.Collect(maps.Keys(c.shapes))))
	}
}

func (s podShape) key() string {
	ports := make([]string, 0, len(s.Ports))
	for name, number := range s.Ports {
		ports = append(ports, fmt.Sprintf("%s=%d", name, number))
	}
	slices.Sort(ports)
	return s.Labels.String() + "|" + strings.Join(ports, ",")
}
