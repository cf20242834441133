// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sfunnel-io/funnel-operator/hack/kernels/plan"
)

// suite is what every kernel runs: the guest's init and the test binaries of
// some packages, all static.
type suite struct {
	on    architecture
	names []string // packages with tests, as import paths
	files initramfs
	tests []plan.Test
}

// options of one run of the harness.
type options struct {
	on       architecture
	patterns []string // of packages
	run      string   // regular expression of test names, empty for the chosen ones
	all      bool     // every test, not only the chosen ones
	seconds  int      // how long one test binary may take
}

// buildSuite compiles the tests of all packages that match and have some.
func buildSuite(ctx context.Context, opts options) (*suite, error) {
	work, err := os.MkdirTemp("", "funnel-kernels-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)

	built := &suite{on: opts.on, files: initramfs{}}
	if err := built.compile(ctx, "/init", filepath.Join(work, "init"),
		"build", "-trimpath", "-ldflags", "-s -w", "./hack/kernels/guest"); err != nil {
		return nil, err
	}
	packages, err := opts.on.listPackages(ctx, opts.patterns)
	if err != nil {
		return nil, err
	}
	for _, pkg := range packages {
		if err := built.add(ctx, work, pkg, opts); err != nil {
			return nil, err
		}
	}
	if len(built.tests) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(opts.patterns, " "))
	}
	return built, nil
}

type goPackage struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
	Module                    struct{ Path string }
}

func (a architecture) listPackages(ctx context.Context, patterns []string) ([]goPackage, error) {
	output, err := a.goTool(ctx, append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,Module"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var found []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var pkg goPackage
		if err := decoder.Decode(&pkg); err != nil {
			return nil, err
		}
		if len(pkg.TestGoFiles)+len(pkg.XTestGoFiles) > 0 {
			found = append(found, pkg)
		}
	}
	return found, nil
}

// add compiles one package's tests; they run in a folder that holds its testdata.
func (s *suite) add(ctx context.Context, work string, pkg goPackage, opts options) error {
	short := strings.TrimPrefix(pkg.ImportPath, pkg.Module.Path+"/")
	binary := "/tests/" + strings.ReplaceAll(short, "/", "-") + ".test"
	dir := path.Join("/src", short)
	file := filepath.Join(work, filepath.Base(binary))
	err := s.compile(ctx, binary, file,
		"test", "-c", "-trimpath", "-ldflags", "-s -w", pkg.ImportPath)
	if err != nil {
		return err
	}
	s.files[path.Join(dir, "package")] = []byte(pkg.ImportPath + "\n")
	if err := s.files.addTree(path.Join(dir, "testdata"), filepath.Join(pkg.Dir, "testdata")); err != nil {
		return err
	}
	args := []string{"-test.v=test2json", "-test.paniconexit0", "-test.short", "-test.timeout=" + strconv.Itoa(opts.seconds) + "s"}
	run := opts.run
	if run == "" && !opts.all {
		if run, err = choose(short, pkg); err != nil {
			return err
		}
	}
	if run != "" {
		args = append(args, "-test.run="+run)
	}
	s.names = append(s.names, pkg.ImportPath)
	s.tests = append(s.tests, plan.Test{
		Name: pkg.ImportPath, Binary: binary, Dir: dir, Args: args,
		// The test binary's own timeout says where it hangs, so it goes first.
		Seconds: opts.seconds + 10,
	})
	return nil
}

// compile runs a go command that writes one binary and puts that into the tree.
func (s *suite) compile(ctx context.Context, target, output string, args ...string) error {
	last := len(args) - 1
	args = append(append(append([]string{}, args[:last]...), "-o", output), args[last])
	if _, err := s.on.goTool(ctx, args...); err != nil {
		return err
	}
	content, err := os.ReadFile(output)
	s.files[target] = content
	return err
}

// goTool runs the go command for a machine without a C library.
func (a architecture) goTool(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+a.name)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return output, nil
}

// initramfs returns the archive for one kernel and the modules that it lacks.
func (s *suite) initramfs(k kernel, wanted []string) (archive []byte, missing []string, err error) {
	tree, err := openModules(k.modules)
	if err != nil {
		return nil, nil, err
	}
	modules, missing, err := tree.closure(wanted)
	if err != nil {
		return nil, nil, err
	}
	files := initramfs{}
	for name, content := range s.files {
		files[name] = content
	}
	todo := plan.Plan{Report: s.on.device, Tests: s.tests}
	for _, m := range modules {
		name := "/modules/" + m.name + ".ko"
		files[name] = m.image
		todo.Modules = append(todo.Modules, name)
	}
	text, err := json.Marshal(todo)
	files[plan.Path] = text
	return files.archive(), missing, err
}
