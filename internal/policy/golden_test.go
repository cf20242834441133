// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

// Each testdata/*.yaml holds policies and Services; beside it stands what the
// policies compile to. The samples that users apply are cases, too.
func TestCompileGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range append(inputs, samples...) {
		name := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(name, func(t *testing.T) {
			golden.Compare(t, filepath.Join("testdata", name+".golden"), compileAll(t, input))
		})
	}
	if t.Failed() {
		t.Log("if that is what you meant: go test ./internal/policy -run Golden -update")
	}
}

func TestNoGoldenIsStale(t *testing.T) {
	goldens, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, golden := range goldens {
		name := strings.TrimSuffix(filepath.Base(golden), ".golden") + ".yaml"
		_, here := os.Stat(filepath.Join("testdata", name))
		_, sample := os.Stat(filepath.Join("../../config/samples", name))
		if here != nil && sample != nil {
			t.Errorf("%s belongs to no input", golden)
		}
	}
}

func compileAll(t *testing.T, input string) string {
	t.Helper()
	w := mustRead(t, input)
	if filepath.Dir(input) != "testdata" {
		allocate(w.services)
	}
	var b strings.Builder
	for _, p := range w.policies {
		program, errs := Compile(p, w.cluster(p))
		fmt.Fprintf(&b, "===== %s/%s\n", p.Namespace, p.Name)
		describeProgram(&b, program, errs)
	}
	return b.String()
}

// describeProgram writes all of it but what is empty.
func describeProgram(b *strings.Builder, program *Program, errs field.ErrorList) {
	for _, file := range []string{v1alpha1.FileIngress, v1alpha1.FileEgress, v1alpha1.FileSettings} {
		if program.Data != nil {
			fmt.Fprintf(b, "--- %s\n%s", file, program.Data[file])
		}
	}
	for _, file := range slices.Sorted(maps.Keys(program.External)) {
		fmt.Fprintf(b, "--- external %s\n%s", file, program.External[file])
	}
	fmt.Fprintf(b, "--- overhead %d\n", program.Overhead)
	if program.Front != (types.NamespacedName{}) {
		fmt.Fprintf(b, "front %s\n", program.Front)
	}
	if program.Revoked {
		fmt.Fprintln(b, "revoked")
	}
	for _, name := range program.Services {
		fmt.Fprintf(b, "service %s: %v\n", name, program.Addresses[name])
	}
	for _, w := range program.Warnings {
		fmt.Fprintf(b, "warning %s: %s\n", w.Reason, w.Message)
	}
	for _, u := range program.Unresolved {
		fmt.Fprintf(b, "unresolved %s: %s\n", u.Reason, u.Message)
	}
	if len(errs) > 0 {
		fmt.Fprintf(b, "reason %s\n", Reason(errs))
	}
	for _, err := range errs {
		fmt.Fprintf(b, "error %s\n", err)
	}
}
