// SPDX-License-Identifier: Apache-2.0

// Package managertest runs the real manager as processes of their own, on a real
// kube-apiserver and etcd to which the install was applied, with the rights of its
// ServiceAccount and no others. There are no nodes: whoever uses it plays the
// kubelet. What the manager asks of the API server can be read from an audit log.
package managertest
