// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netns"
)

func TestRemoveLeftOverSparesTheNamespacesOfTheLiving(t *testing.T) {
	RequireRoot(t)
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("left%d", os.Getpid())
	for id, want := range map[int]bool{ended.Process.Pid: false, os.Getpid(): true} {
		name := fmt.Sprintf("%s-%d-1-x", prefix, id)
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { _ = netns.DeleteNamed(name) })
		RemoveLeftOver(prefix)
		if _, err := os.Stat("/run/netns/" + name); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", name, err == nil, want)
		}
	}
}
