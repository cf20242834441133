// SPDX-License-Identifier: Apache-2.0

// Package classifier turns a rule set into tables that find the first rule
// that matches a packet at a cost that hardly grows with the number of rules.
//
// The encoding is a bit vector. Each dimension of a packet (what kind of
// packet it is, source and destination address, source and destination port)
// is looked up on its own and gives a class; a class stands for the set of
// rules that this dimension satisfies. The first bit that is set in all sets
// is the first rule that matches. "Any" and negation are folded into the sets,
// so the look-up knows neither.
//
// Table.Lookup follows the tables step by step as bpf/classify.h does;
// rules.RuleSet.Match is what both are tested against.
package classifier
