// SPDX-License-Identifier: Apache-2.0

// Package faults breaks things around the manager, the real process on a real
// kube-apiserver and etcd, while pods roll and policies change, and looks whether
// everything is as it should be in the end. There are no nodes: it plays the kubelet and the
// workloads' controllers, which try again what fails.
package faults
