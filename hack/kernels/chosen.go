// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// chosen are the tests that run in emulation, by package; all others run on the
// host's kernel only. They are those whose outcome depends most on the kernel:
// what its verifier takes, what its helpers make of packets, checksums and tables, how
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
		"TestDatagramsGoTheShortWayAsTheWholeOne",
		"TestInlineClientRewrites",
		"TestInlineBackendRewrites",
		"TestInlineFastPathIsTheWholeWay",
		"TestInlineThereAndBack",
		"TestInlineLives",
		"TestInlineClosedFlowsMakeRoom",
		"TestFlowsKeepTheirPlacesInTime",
		"TestASYNThatIsSentAgainGoesOn",
		"TestBackendAnswersInKind",
		"TestClientTakesAnswersInKind",
		"TestFlowsThatLookTheSame",
		"TestErrorsAboutInlineFlows",
		"TestErrorsAboutPushedPackets",
		"TestErrorsAboutFlowsInKind",
		"TestErrorsThatQuoteLittle",
		"TestErrorsWithExtensions",
		"TestErrorsDontGrowTooLong",
		"TestErrorsAboutWhatIsBehindExtensionHeaders",
		"TestTooBigIsAnsweredByteExact",
		"TestTooBigIPv6IsAnsweredByteExact",
		"TestMSSIsLoweredToWhatFits",
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
		"TestAProcessThatEndedMeanwhileLeavesNothingToTheNext",
		"TestAnIngressQdiscIsNoObstacle",
		"TestHardwareInAPodGetsFilters",
		"TestFiltersOfOursAreReplacedByFilters",
		"TestWhatStaysKeepsItsDevice",
		"TestDetachTakesOursOutOfTheMiddle",
		"TestSegmentDeviceIsSilentAndWithoutOffloads",
		"TestReplaceUnderLoadLosesNothing",
		"TestInlineTakesBothHooks",
		"TestReplyTakesBothHooks",
		"TestAFlowThatBeginsWhileProgramsLoadIsKept",
		"TestConnectionsBeginWhileRulesAreReplaced",
	},
}

// choose returns the -test.run expression of a package's chosen tests, short for the
// package's path in the module. A test that the package does not have is an error: it was
// renamed, and would silently run no more.
func choose(short string, pkg goPackage) (run string, err error) {
	names, found := chosen[short]
	if !found {
		return "", nil
	}
	have, err := pkg.functions()
	if err != nil {
		return "", fmt.Errorf("list the tests of %s: %w", short, err)
	}
	return expression(short, names, have)
}

// functions names those of the package's test files. Test binaries for other processors
// can't be asked.
func (p goPackage) functions() (names []string, err error) {
	for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, declared := range parsed.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names, nil
}

func expression(pkg string, names, have []string) (run string, err error) {
	for _, name := range names {
		if !slices.Contains(have, name) {
			return "", fmt.Errorf("%s has no %s, which hack/kernels/chosen.go lists", pkg, name)
		}
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}
