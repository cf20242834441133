// SPDX-License-Identifier: Apache-2.0

// Package datapath loads the TC programs of package bpf with the tables of a
// rule set, and reads their counters.
//
// What Load returns does not change any more: a new rule set is a new set of
// programs and maps that replaces the old one on its hooks in one step.
// Nothing is pinned and nothing is attached here.
package datapath
