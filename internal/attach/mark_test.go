// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

const altNameLength = 127 // ALTIFNAMSIZ - 1

func TestAMarkSaysWhatTheNameSays(t *testing.T) {
	long := Name{
		Hook: Segment, Version: strings.Repeat("v", 64), Digest: strings.Repeat("d", 16),
		Flows: unfunnelsFlows, Generation: 1<<20 - 2, Reserved: 65535,
	}
	for _, n := range []Name{
		{Hook: Ingress, Version: "v1.2.3", Digest: "0a"},
		{Hook: Egress, Version: "v1", Digest: "0b", Flows: keepsFlows, Generation: 7, Reserved: 20},
		long,
	} {
		mark := n.mark(ebpf.ProgramID(1<<31 - 1))
		got, id, ok := parseMark(mark)
		if n.Version == long.Version {
			n.Version = long.Version[:markVersion]
		}
		if !ok || got != n || id != 1<<31-1 {
			t.Errorf("%s: %+v, %d, %v, want %+v", mark, got, id, ok, n)
		}
		if len(mark) > altNameLength || strings.ContainsAny(mark, "/: ") {
			t.Errorf("%s (%d bytes) is no alternative name", mark, len(mark))
		}
	}
}

func TestOtherAlternativeNamesAreNoMarks(t *testing.T) {
	for _, s := range []string{
		"", "eth0", "enp0s1", "sfunnel", "sfunnel,ingress,v1,0a", "sfunnel,ingress,v1,0a,program-", "sfunnel,ingress,v1,0a,program-x",
		"sfunnel,nowhere,v1,0a,program-1", "other,ingress,v1,0a,program-1", "sfunnel,ingress,v1,0a,1",
	} {
		if name, id, ok := parseMark(s); ok {
			t.Errorf("%q is %+v, %d", s, name, id)
		}
	}
}
