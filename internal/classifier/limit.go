// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// MaxRules is the largest number of rules that a table holds: 64 words of 64
// bits, so that one more word tells which of them are not empty.
const MaxRules = rules.MaxRules

// maxNumber is the largest class, page or block number: they are stored in 16
// bits.
const maxNumber = 1<<16 - 1

// LimitError says that a rule set is too large for the tables.
type LimitError struct {
	// Limit is the largest number allowed, Wanted the number that the rule set
	// needs, or at least needs.
	Limit, Wanted int
	// What is counted, in the plural.
	What string
}

// Error names what is too much, how much there is and how much is allowed.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%d %s, at most %d fit", e.Wanted, e.What, e.Limit)
}
