// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// chosen are the tests that run in emulation, by package; all others run on the
// host's kernel only. They are those whose outcome depends most on the kernel:
// what its verifier takes, what its helpers make of packets and checksums, how
// filters are attached and replaced, and the shortest way through real sockets.
// Loading programs is what takes long here, so none loads many. All tests of a
// package that is not listed run. -all and -run take others.
var chosen = map[string][]string{
	"internal/datapath": {
		"TestKernelAgreesWithMatch",
		"TestClassifierIsFrozen",
		"TestLoadTakesAnyRuleSet",
		"TestMagicIsExact",
		"TestPushIsByteExact",
		"TestPopIsByteExact",
		"TestTruncatedPacketsStayUntouched",
		"TestRandomPacketsChangeOnlyWhenTheyShould",
		"TestRandomPacketsComeBack",
		"TestRandomPushedPacketsPopRight",
		"TestRandomSegmentsComeBack",
		"TestInlineClientRewrites",
		"TestInlineBackendRewrites",
		"TestMatrix",
	},
	"internal/attach": {
		"TestAttachTwiceIsOneProgramPerHook",
		"TestAFailureWhileReplacingPutsTheOldProgramsBack",
		"TestDetachRemovesOnlyOurs",
		"TestPutTwiceIsOneFilter",
		"TestOthersFiltersStay",
		"TestAnIngressQdiscIsNamed",
		"TestInFrontNamesWhatRunsBefore",
		"TestOursRunsBeforeThoseThatAreThere",
		"TestEachPacketMeetsOneProgramMeanwhile",
		"TestOthersBehindAreSpared",
		"TestDetachTakesOursOutOfTheMiddle",
		"TestSegmentDeviceIsSilentAndWithoutOffloads",
		"TestReplaceUnderLoadLosesNothing",
	},
}

// choose returns the -test.run expression of a package's chosen tests. A test
// that the package does not have is an error: it was renamed, and would silently
// run no more.
func choose(ctx context.Context, pkg, importPath string) (run string, err error) {
	names, found := chosen[pkg]
	if !found {
		return "", nil
	}
	listing, err := exec.CommandContext(ctx, "go", "test", "-list", ".", importPath).Output()
	if err != nil {
		return "", fmt.Errorf("list the tests of %s: %w", pkg, err)
	}
	return expression(pkg, names, strings.Fields(string(listing)))
}

func expression(pkg string, names, have []string) (run string, err error) {
	for _, name := range names {
		if !slices.Contains(have, name) {
			return "", fmt.Errorf("%s has no %s, which hack/kernels/chosen.go lists", pkg, name)
		}
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}
