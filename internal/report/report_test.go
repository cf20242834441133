// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const digest = "sha256:0f343b0931126a20f133d67c2b018a3b1f0f343b0931126a20f133d67c2b018a"

// full is a report that uses every field.
func full() Report {
	return Report{
		Version: Version, Result: Attached,
		Digests: map[string]string{"nfacctd": digest, "web": digest[:20]},
		Kernel:  "6.12.43+deb13-cloud-amd64",
		Interfaces: []Interface{
			{Name: "eth0", MTU: 1500, Overhead: 20, Headroom: 0, IngressRules: 2, EgressRules: 5, InFront: []string{"ingress: tcx program 7"}},
			{Name: "net1", MTU: 9000, Overhead: 20, Headroom: 7500, IngressRules: 2, EgressRules: 5},
		},
	}
}

func failure(text string) Report {
	return Report{Version: Version, Result: Failed, Digests: map[string]string{"web": digest}, Error: text}
}

func many(policies int) Report {
	r := full()
	r.Digests = map[string]string{}
	for i := range policies {
		r.Digests[fmt.Sprintf("policy-%03d", i)] = digest
	}
	return r
}

func mustParse(t *testing.T, message string) Report {
	t.Helper()
	r, err := Parse(message)
	if err != nil {
		t.Fatalf("Parse(%q): %v", message, err)
	}
	return r
}

func TestParseReturnsWhatMarshalWrote(t *testing.T) {
	for name, want := range map[string]Report{
		"attached": full(),
		"failed":   failure("attach eth0: program load: permission denied\n<&> \"quoted\" \u2028 ümläut"),
		"flat":     {Version: Version, Result: Attached, Digests: map[string]string{"": digest}},
		"no rules": {Version: Version, Result: Attached},
	} {
		line := string(want.Marshal(0))
		if strings.Contains(line, "\n") {
			t.Errorf("%s: more than one line: %q", name, line)
		}
		if got := mustParse(t, line); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if got := mustParse(t, "runtime says: "+line+"\n"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s, other text in front: got %+v, want %+v", name, got, want)
		}
	}
}

func TestMarshalStaysBelowTheLimit(t *testing.T) {
	long := strings.Repeat("line 1 column 2: unknown “word” ", 300)
	for name, r := range map[string]Report{"full": full(), "error": failure(long), "digests": many(40)} {
		for size := MinSize; size <= MaxSize; size += 7 {
			line := r.Marshal(size)
			if len(line) > size {
				t.Fatalf("%s: %d bytes, limit %d", name, len(line), size)
			}
			got := mustParse(t, string(line))
			if got.Result != r.Result || got.Omitted != len(r.Digests)-len(got.Digests) {
				t.Fatalf("%s, limit %d: %+v", name, size, got)
			}
			if got.Truncated != (got.Omitted > 0) {
				t.Fatalf("%s, limit %d: truncated %v, omitted %d", name, size, got.Truncated, got.Omitted)
			}
		}
	}
}

func TestMarshalLeavesOutWhatMattersLeast(t *testing.T) {
	length := func(r Report) int { return len(r.Marshal(MaxSize)) }
	r := full()
	noKernel := r
	noKernel.Kernel = ""
	tight := noKernel
	tight.Interfaces = r.Interfaces[:1]
	none := noKernel
	none.Interfaces = nil
	for _, step := range []struct {
		want  Report
		limit int
	}{
		{r, length(r)}, {noKernel, length(r) - 1}, {noKernel, length(noKernel)},
		{tight, length(noKernel) - 1}, {none, length(tight) - 1},
	} {
		if got := mustParse(t, string(r.Marshal(step.limit))); !reflect.DeepEqual(got, step.want) {
			t.Errorf("limit %d: got %+v, want %+v", step.limit, got, step.want)
		}
	}
}

func TestMarshalShortensErrorsBeforeDigests(t *testing.T) {
	r := many(3)
	r.Result, r.Error = Failed, strings.Repeat("é", 500)
	got := mustParse(t, string(r.Marshal(600)))
	if len(got.Digests) != 3 || len(got.Error) < shortError-4 || !strings.HasSuffix(got.Error, "é"+ellipsis) {
		t.Errorf("%d digests, error of %d bytes: %q", len(got.Digests), len(got.Error), got.Error)
	}
	got = mustParse(t, string(r.Marshal(300)))
	if got.Omitted == 0 || len(got.Error) < shortError-4 {
		t.Errorf("omitted %d, error of %d bytes", got.Omitted, len(got.Error))
	}
}

func TestRunsNeedsResultAndDigest(t *testing.T) {
	r := full()
	failed := failure("x")
	for name, c := range map[string]struct{ got, want bool }{
		"current":        {r.Runs("nfacctd", digest), true},
		"other digest":   {r.Runs("nfacctd", "sha256:1"), false},
		"other policy":   {r.Runs("another", digest), false},
		"no digest":      {r.Runs("another", ""), false},
		"failed":         {failed.Runs("web", digest), false},
		"nothing at all": {Report{}.Runs("", ""), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", name, c.got)
		}
	}
}

func TestACutLineHoldsNothingWrong(t *testing.T) {
	for _, r := range []Report{full(), many(5), failure("a text with \"escapes\" \u0001 and ümläuts 😀")} {
		line := string(r.Marshal(0))
		for n := range len(line) {
			checkCut(t, r, line[:n])
		}
	}
}

// checkCut parses a line that was cut off and compares it with the report that
// it was.
func checkCut(t *testing.T, whole Report, line string) {
	t.Helper()
	got, err := Parse(line)
	if err != nil {
		return
	}
	if !got.Truncated {
		t.Fatalf("%q is not seen to be cut", line)
	}
	for name, d := range got.Digests {
		if whole.Digests[name] != d {
			t.Fatalf("%q: digest of %q is %q, was %q", line, name, d, whole.Digests[name])
		}
	}
	for i, f := range got.Interfaces {
		if !reflect.DeepEqual(whole.Interfaces[i], f) {
			t.Fatalf("%q: interface %+v, was %+v", line, f, whole.Interfaces[i])
		}
	}
	if got.Result != whole.Result || !strings.HasPrefix(whole.Error, strings.TrimRight(got.Error, "\ufffd")) {
		t.Fatalf("%q: result %q, error %q", line, got.Result, got.Error)
	}
}

func TestACutLineKeepsTheStartOfTheError(t *testing.T) {
	line := string(failure("attach eth0: permission denied").Marshal(0))
	got := mustParse(t, line[:strings.Index(line, " denied")])
	if got.Error != "attach eth0: permission" || got.Result != Failed {
		t.Errorf("got %+v", got)
	}
}

func TestParseRefusesWhatIsNoReport(t *testing.T) {
	for message, want := range map[string]string{
		"":                                    ErrNoReport.Error(),
		"OOMKilled":                           ErrNoReport.Error(),
		`ersion":1,"result":"attached"}`:      ErrNoReport.Error(),
		`{"version":1,"resu`:                  "parse report: it ends before the result",
		`{"version":2,"result":"attached"}`:   "report has version 2, want 1",
		`{"version":1,"result":"done"}`:       `report has result "done", want "attached" or "failed"`,
		`{"version":1,"result":"attached"]`:   "parse report: invalid character",
		`{"version":"1","result":"attached"}`: "parse report: json: cannot unmarshal string",
		`{"version":1,"result":"attached","digests":["a"]}`:   "parse report: found [, want {",
		`{"version":1,"result":"attached","digests":{"a":1}}`: "parse report: json: cannot unmarshal number",
	} {
		_, err := Parse(message)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %s", message, err, want)
		}
	}
	if _, err := Parse("x"); !errors.Is(err, ErrNoReport) {
		t.Errorf("%v is not ErrNoReport", err)
	}
}

func TestParseSkipsUnknownKeys(t *testing.T) {
	got := mustParse(t, `{"version":1,"new":{"a":[1]},"result":"attached","digests":{"a":"b"}}`)
	if !got.Runs("a", "b") || got.Truncated {
		t.Errorf("got %+v", got)
	}
}

func TestWriteReplacesTheFileInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 9000)), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	if err := Write(path, full(), 4096); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	after, _ := os.Stat(path)
	if !os.SameFile(before, after) {
		t.Error("another file took its place")
	}
	if got := mustParse(t, string(text)); !reflect.DeepEqual(got, full()) {
		t.Errorf("got %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range []Report{full(), many(3), failure("x\u0001\"y")} {
		line := r.Marshal(0)
		f.Add(string(line))
		f.Add(string(line[:len(line)/2]))
	}
	f.Add(`{"version":1,"result":"attached","digests":{"a":null}}`)
	f.Fuzz(func(t *testing.T, message string) {
		r, err := Parse(message)
		if err != nil {
			return
		}
		again, err := Parse(string(r.Marshal(0)))
		if err != nil {
			t.Fatalf("%q parsed, but not what was made of it: %v", message, err)
		}
		for name, d := range again.Digests {
			if r.Digests[name] != d {
				t.Fatalf("digest of %q changed from %q to %q", name, r.Digests[name], d)
			}
		}
	})
}

func FuzzMarshal(f *testing.F) {
	f.Add("nfacctd", digest, "permission denied", 512, 90)
	f.Add("", "", "\xff\x00\"", 1, 3)
	f.Fuzz(func(t *testing.T, name, digest, text string, size, cut int) {
		name, digest, text = strings.ToValidUTF8(name, "?"), strings.ToValidUTF8(digest, "?"), strings.ToValidUTF8(text, "?")
		r := Report{Version: Version, Result: Failed, Digests: map[string]string{name: digest}, Error: text}
		line := r.Marshal(size)
		if len(line) > limit(size) {
			t.Fatalf("%d bytes, limit %d", len(line), limit(size))
		}
		got := mustParse(t, string(line))
		if got.Omitted == 0 && got.Digests[name] != digest {
			t.Fatalf("digest %q became %q", digest, got.Digests[name])
		}
		if cut > 0 && cut < len(line) {
			r.Error = got.Error
			checkCut(t, r, string(line[:cut]))
		}
	})
}
