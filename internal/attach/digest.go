// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Digest identifies a rule set by its canonical text: the first 64 bits of the
// SHA-256 in hexadecimal. Rule sets that print alike have the same digest.
func Digest(rs rules.RuleSet) string {
	sum := sha256.New()
	var line []byte
	for i := range rs {
		line = rs[i].AppendLine(line[:0])
		sum.Write(line)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
