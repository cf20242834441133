// SPDX-License-Identifier: Apache-2.0

package controllers

import corev1 "k8s.io/api/core/v1"

// packService is a transform to what the cache holds of a Service, by the labels that it
// selects.
var packService = packing(func(s *corev1.Service) (*packed, error) {
	selected := labelTextOf(s.Spec.Selector)
	cutService(s)
	return pack(s, selected)
})

// unpackService makes a Service of what the cache holds.
func unpackService(o *packed) (*corev1.Service, error) {
	s := &corev1.Service{}
	if err := unpack(o, s); err != nil {
		return nil, err
	}
	s.Spec.Selector = o.Labels.set()
	return s, nil
}

// cutService keeps by what it is reached, and how it balances. Where it leads to is kept beside.
func cutService(s *corev1.Service) {
	*s = corev1.Service{
		ObjectMeta: cutMeta(s.ObjectMeta),
		Spec: corev1.ServiceSpec{
			Type:                  s.Spec.Type,
			Ports:                 s.Spec.Ports,
			ClusterIP:             s.Spec.ClusterIP,
			ClusterIPs:            s.Spec.ClusterIPs,
			ExternalIPs:           s.Spec.ExternalIPs,
			SessionAffinity:       s.Spec.SessionAffinity,
			SessionAffinityConfig: s.Spec.SessionAffinityConfig,
			ExternalTrafficPolicy: s.Spec.ExternalTrafficPolicy,
			InternalTrafficPolicy: s.Spec.InternalTrafficPolicy,
		},
		Status: corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer},
	}
	s.Labels = nil
}
