// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"os"
	"path/filepath"
	"testing"
)

// A line that the server is writing at a mark is one after it.
func TestAuditMarksWholeLines(t *testing.T) {
	const line = `{"stage":"ResponseComplete","verb":"get","objectRef":{"resource":"pods","name":"web"}}` + "\n"
	a := Audit{filepath.Join(t.TempDir(), "audit.log")}
	for written, want := range map[string]int{"": 1, line[:20]: 1, line: 0, line + line[:20]: 1, line + line: 0} {
		if err := os.WriteFile(a.path, []byte(written), 0o600); err != nil {
			t.Fatal(err)
		}
		mark, err := a.Now()
		if err != nil {
			t.Fatal(err)
		}
		whole := line
		if len(written) > len(line) {
			whole += line
		}
		if err := os.WriteFile(a.path, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		if calls, err := a.Since(mark); err != nil || len(calls) != want {
			t.Errorf("after %q: %v, %v", written, calls, err)
		}
	}
}
