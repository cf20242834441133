// SPDX-License-Identifier: Apache-2.0

// Package rules is the rule language: it parses rule text, prints it in one
// canonical form and decides which rule a packet matches.
//
// RuleSet.Match is the definition of the language. Compiled tables and the
// kernel program are tested against it. The package does no I/O and imports
// the standard library only.
package rules
