// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Two checkouts of one commit in different folders, built by different people, one of
// whom builds other things for another system, give the same files: archives, digests,
// lists, statements.
func TestSameCommitGivesSameImages(t *testing.T) {
	if err := exec.Command("git", "rev-parse", "--git-dir").Run(); err != nil && os.Getenv("CI") != "true" {
		t.Skip("needs a git repository, to clone it")
	}
	one := buildFrom(t, "a", "umask 022; export TZ=Asia/Tokyo LANG=C")
	two := buildFrom(t, "a/folder/elsewhere", "umask 077; export TZ=America/Lima LANG=C.UTF-8 GOOS=darwin")
	for _, name := range []string{
		"manager.tar", "manager.digest", "manager.cdx.json", "manager.provenance.json",
		"attacher.tar", "attacher.digest", "attacher.cdx.json", "attacher.provenance.json",
	} {
		first, second := mustRead(t, filepath.Join(one, name)), mustRead(t, filepath.Join(two, name))
		if !bytes.Equal(first, second) {
			t.Errorf("%s differs between two builds", name)
		}
	}
	t.Logf("%s%s", mustRead(t, filepath.Join(one, "manager.digest")), mustRead(t, filepath.Join(one, "attacher.digest")))
	listsWhatIsLinked(t, one)
	statesWhatWasBuilt(t, one)
	saysWhatItIs(t, one)
}

// saysWhatItIs asks a program which build it is.
func saysWhatItIs(t *testing.T, dir string) {
	t.Helper()
	said, err := exec.Command(filepath.Join(dir, "attacher"), "version").Output()
	if want := "attacher " + headOf(t, dir) + "\n"; string(said) != want || err != nil {
		t.Errorf("it says %q, %v, want %q", said, err, want)
	}
}

// headOf is the commit of the checkout that a folder is in.
func headOf(t *testing.T, dir string) string {
	t.Helper()
	commit, err := exec.Command("git", "-C", dir, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(commit))
}

// buildFrom clones the checkout into a folder and runs hack/images.sh there. It returns
// the folder of the results.
func buildFrom(t *testing.T, folder, environment string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), folder)
	script := environment + ` HOME="$2"
hack/clone.sh "$1"
cd "$1" && git init -q && git add -A && git -c user.name=x -c user.email=x -c core.hooksPath=/dev/null commit -q --date="2000-01-01T00:00:00Z" -m x
hack/images.sh`
	command := exec.Command("bash", "-euo", "pipefail", "-c", script, "_", dir, t.TempDir())
	command.Dir = "../.."
	// The Go command's own folders stay those of the machine: what is built is what
	// counts here, not what it is built into.
	command.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2000-01-01T00:00:00Z", "IMG=funnel-operator/manager:v1", "ATTACHER_IMG=funnel-operator/attacher:v1")
	for _, variable := range []string{"GOMODCACHE", "GOCACHE", "GOPATH"} {
		value, err := exec.Command("go", "env", variable).Output()
		if err != nil {
			t.Fatal(err)
		}
		command.Env = append(command.Env, variable+"="+strings.TrimSpace(string(value)))
	}
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "bin")
}

// listsWhatIsLinked compares the list with what the linker was given.
func listsWhatIsLinked(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}", "../../cmd/attacher").Output()
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(mustRead(t, filepath.Join(dir, "attacher.cdx.json"))), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, component := range *bom.Components {
		listed[component.Name+"@"+component.Version] = true
	}
	linked := map[string]bool{}
	for _, name := range strings.Fields(string(out)) {
		linked[name] = true
		if !listed[name] {
			t.Errorf("%s is linked and not listed", name)
		}
	}
	if len(linked) < 3 || len(listed) != len(linked)+2 { // our own module, and the standard library
		t.Errorf("%d modules are linked, %d components listed", len(linked), len(listed))
	}
	digest := strings.TrimSpace(string(mustRead(t, filepath.Join(dir, "attacher.digest"))))
	if image := bom.Metadata.Component; "funnel-operator/attacher@"+image.Version != digest {
		t.Errorf("the list is of %s, the image is %s", image.Version, digest)
	}
}

func statesWhatWasBuilt(t *testing.T, dir string) {
	t.Helper()
	var statement struct {
		Type    string `json:"_type"`
		Subject []struct {
			Name   string
			Digest map[string]string
		}
		PredicateType string
		Predicate     struct {
			BuildDefinition struct {
				ExternalParameters   map[string]string
				ResolvedDependencies []resource
			}
		}
	}
	mustDecode(t, mustRead(t, filepath.Join(dir, "manager.provenance.json")), &statement)
	digest := strings.TrimSpace(string(mustRead(t, filepath.Join(dir, "manager.digest"))))
	subject := statement.Subject[0]
	if got := subject.Name + "@sha256:" + subject.Digest["sha256"]; got != digest {
		t.Errorf("the statement is about %s, the image is %s", got, digest)
	}
	definition := statement.Predicate.BuildDefinition
	if got := definition.ResolvedDependencies[0].Digest["gitCommit"]; got != headOf(t, dir) {
		t.Errorf("built from %q, want %s", got, headOf(t, dir))
	}
	for _, dependency := range definition.ResolvedDependencies[1:] {
		if len(dependency.Digest["dirHash"]) != 64 || !strings.HasPrefix(dependency.URI, "pkg:golang/"+dependency.Name+"@v") {
			t.Errorf("a dependency is %+v", dependency)
		}
	}
	if !strings.HasSuffix(definition.ExternalParameters["package"], "/cmd/manager") || statement.Type != typeStatement || statement.PredicateType != typeProvenance {
		t.Errorf("the statement is %+v", statement)
	}
}

func TestModifiedCheckoutHasNoDigest(t *testing.T) {
	built := binaryOfThisTest(t)
	for commit, want := range map[string]string{"abc": "abc", "abc-modified": "", "": ""} {
		text, err := provenance([]*debug.BuildInfo{built}, "team/x:v1", "sha256:00", commit)
		if err != nil {
			t.Fatal(err)
		}
		stated := strings.Contains(string(text), `"gitCommit"`)
		if stated != (want != "") || stated && !strings.Contains(string(text), `"gitCommit": "`+want+`"`) {
			t.Errorf("%q: %s", commit, text)
		}
		if !json.Valid(text) {
			t.Errorf("%q: not JSON", commit)
		}
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func binaryOfThisTest(t *testing.T) *debug.BuildInfo {
	t.Helper()
	built, err := buildinfo.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	return built
}
