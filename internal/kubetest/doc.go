// SPDX-License-Identifier: Apache-2.0

// Package kubetest starts a real kube-apiserver and etcd with this project's
// CRDs, for test suites. There is no kubelet, no scheduler and no controller.
package kubetest
