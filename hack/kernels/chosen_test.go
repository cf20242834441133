// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestExpressionRefusesTestsThatAreGone(t *testing.T) {
	have := []string{"TestA", "TestB", "TestAB"}
	if run, err := expression("p", []string{"TestA", "TestB"}, have); run != "^(TestA|TestB)$" || err != nil {
		t.Errorf("got %q, %v", run, err)
	}
	if _, err := expression("p", []string{"TestA", "TestC"}, have); err == nil || !strings.Contains(err.Error(), "p has no TestC") {
		t.Errorf("got %v", err)
	}
}

func TestFunctionsOfTestFiles(t *testing.T) {
	names, err := goPackage{Dir: ".", TestGoFiles: []string{"chosen_test.go"}}.functions()
	if got := strings.Join(names, " "); err != nil || got != "TestExpressionRefusesTestsThatAreGone TestFunctionsOfTestFiles" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := (goPackage{Dir: ".", XTestGoFiles: []string{"gone_test.go"}}).functions(); err == nil {
		t.Error("a file that is not there is no error")
	}
}
