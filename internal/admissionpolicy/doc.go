// SPDX-License-Identifier: Apache-2.0

// Package admissionpolicy is the injection as policies that the API server runs
// by itself (MutatingAdmissionPolicy, ValidatingAdmissionPolicy: Kubernetes 1.36
// and later), for clusters that want no webhook. They make the pods that
// internal/inject makes, and refuse those that it refuses, in the same words:
// what they add and say is read off inject.Pod, never written twice.
//
// The API server evaluates a policy once per FunnelPolicy of the pod's namespace,
// in no promised order, each evaluation on the pod that the others left. So every
// one that selects the pod sets container, volume and label anew and adds its own
// source to the volume. Which sources stay is a question of when they came: those
// that an earlier evaluation of the same request added. The first evaluation
// leaves a mark, in the one part of a pod that the API server drops when it
// creates it: its status.
//
// What they can't do is what needs all FunnelPolicies at once: docs/install.md
// lists it.
package admissionpolicy
