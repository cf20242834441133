// SPDX-License-Identifier: Apache-2.0

// Package report is the line that the attacher leaves in a container's
// termination message, and its parser: the only channel from a pod to the
// controller.
//
// The kubelet keeps the last 4096 bytes of the message file and then the
// first 12288/n bytes of the message, n being the number of the pod's
// containers of all kinds. So the writer keeps below a limit that it is told,
// leaving out first what matters least, and the parser reads what is left of a
// line that was cut all the same. What is missing is never taken for success.
package report
