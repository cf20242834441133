// SPDX-License-Identifier: Apache-2.0

// Package certs decides about the certificates of a TLS server whose clients are
// told whom to trust: when to issue, announce, present and retire them. It is
// pure but for the random numbers of new keys; who keeps the state and tells the
// clients is up to the caller.
//
// Each certificate signs itself and is its own root. There is no authority whose
// key somebody could find and sign with, and a replacement works without a
// moment in which a client trusts too little: the new certificate is announced
// first, presented once the clients trust it, and the old one is retired after.
package certs
