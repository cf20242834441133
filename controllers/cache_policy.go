// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// The cache holds the conditions of policies packed: nearly all that they say is said of
// thousands of policies. Who reads them unpacks.

// cutPolicy keeps spec and status, in less: conditions in the field selfLink, which the API
// server has left empty since Kubernetes 1.20. Of the rest, decoding leaves room in each list
// for four at least, and makes a copy of each word. What installers add to each object is not
// read, and a write of the status leaves it.
func cutPolicy(p *v1alpha1.FunnelPolicy) {
	if p.GetSelfLink() != "" { // cut already
		return
	}
	p.Labels, p.Finalizers, p.OwnerReferences = nil, nil, nil
	p.Spec.MTU, p.Spec.UpdateStrategy = shared(p.Spec.MTU), shared(p.Spec.UpdateStrategy)
	if b := p.Spec.Backend; b != nil {
		b.Encapsulation = shared(b.Encapsulation)
	}
	for i := range p.Status.Services {
		s := &p.Status.Services[i]
		s.Namespace, s.Affinity = shared(s.Namespace), shared(s.Affinity)
		s.ExternalTrafficPolicy, s.InternalTrafficPolicy = shared(s.ExternalTrafficPolicy), shared(s.InternalTrafficPolicy)
	}
	p.Kind, p.APIVersion = shared(p.Kind), shared(p.APIVersion)
	p.SetSelfLink(packConditions(p))
	p.Status.Conditions = nil
	*p = *p.DeepCopy() // whose lists have no such room
}

// unpackPolicy makes a policy of a copy of what the cache holds.
func unpackPolicy(p *v1alpha1.FunnelPolicy) {
	p.Status.Conditions = slices.Collect(conditionsOf(p))
	p.SetSelfLink("")
}

// packConditions makes the text that conditionsOf reads: of each condition four texts, its
// generation, and the second in which it turned. What names the policy or a Service is said of
// one alone, and written out.
func packConditions(p *v1alpha1.FunnelPolicy) string {
	var to []byte
	for _, c := range p.Status.Conditions {
		to = appendCommon(to, c.Type)
		to = appendCommon(to, string(c.Status))
		to = appendCommon(to, c.Reason)
		if strings.Contains(c.Message, p.Name) || strings.Contains(c.Message, p.Namespace+"/") {
			to = appendText(to, c.Message)
		} else {
			to = appendCommon(to, c.Message)
		}
		to = binary.AppendVarint(to, c.ObservedGeneration)
		to = binary.AppendVarint(to, c.LastTransitionTime.Unix())
	}
	return string(to)
}

// conditionsOf are those of a policy in the cache.
func conditionsOf(p *v1alpha1.FunnelPolicy) iter.Seq[metav1.Condition] {
	return func(yield func(metav1.Condition) bool) {
		rest, common := packedText(p.GetSelfLink()), commonTexts.all()
		for len(rest) > 0 {
			c := metav1.Condition{
				Type:               rest.text(common),
				Status:             metav1.ConditionStatus(rest.text(common)),
				Reason:             rest.text(common),
				Message:            rest.text(common),
				ObservedGeneration: rest.signed(),
				LastTransitionTime: metav1.Unix(rest.signed(), 0),
			}
			if !yield(c) {
				return
			}
		}
	}
}

// appendText writes out a text: 0, its length, and itself.
func appendText(to []byte, text string) []byte {
	to = binary.AppendUvarint(to, 0)
	to = binary.AppendUvarint(to, uint64(len(text)))
	return append(to, text...)
}

// appendCommon writes the number of a text that many policies have; the text, where it has none.
func appendCommon(to []byte, text string) []byte {
	if number := commonTexts.number(text); number > 0 {
		return binary.AppendUvarint(to, number)
	}
	return appendText(to, text)
}

// packedText is what is yet to be read.
type packedText string

func (p *packedText) text(common []string) string {
	if number := p.unsigned(); number > 0 {
		return common[number-1]
	}
	length := p.unsigned()
	text := (*p)[:length]
	*p = (*p)[length:]
	return string(text)
}

func (p *packedText) unsigned() uint64 {
	n, size := binary.Uvarint(p.head())
	*p = (*p)[size:]
	return n
}

func (p *packedText) signed() int64 {
	n, size := binary.Varint(p.head())
	*p = (*p)[size:]
	return n
}

// head is the part in which the next number is.
func (p *packedText) head() []byte { return []byte((*p)[:min(len(*p), binary.MaxVarintLen64)]) }

// numbered are texts that have a number, from 1 on. None is ever forgotten.
type numbered struct {
	mutex   sync.Mutex
	numbers map[string]uint64
	texts   []string
}

const (
	mostCommon    = 1024 // texts with a number
	longestCommon = 256  // bytes of each
)

// commonTexts are those of conditions.
var commonTexts numbered

// number is that of the text, which gets one while there is room; 0 for none.
func (n *numbered) number(text string) uint64 {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if known, ok := n.numbers[text]; ok || len(n.texts) >= mostCommon || len(text) > longestCommon {
		return known
	}
	text = strings.Clone(text)
	n.texts = append(n.texts, text)
	put(&n.numbers, text, uint64(len(n.texts)))
	return uint64(len(n.texts))
}

// all are the texts that have a number by now, in its order.
func (n *numbered) all() []string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.texts
}
