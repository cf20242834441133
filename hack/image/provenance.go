// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"runtime/debug"
	"strings"
)

// Types of the in-toto attestation framework and of SLSA, both version 1.
const (
	typeStatement  = "https://in-toto.io/Statement/v1"
	typeProvenance = "https://slsa.dev/provenance/v1"
)

// home is where the source is at home: names of builder and build type begin with it.
const home = "https://github.com/sfunnel-io/funnel-operator"

// resource is SLSA's descriptor of something by name or address.
type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// provenance is the statement that the image was built from the commit, with these
// flags and this version of Go, for each platform.
func provenance(builds []*debug.BuildInfo, name, digest, commit string) ([]byte, error) {
	repository, _ := split(name)
	var flags []map[string]string
	for _, b := range builds {
		of := map[string]string{"go": b.GoVersion}
		for _, setting := range b.Settings {
			of[setting.Key] = setting.Value
		}
		flags = append(flags, of)
	}
	statement := map[string]any{
		"_type":         typeStatement,
		"predicateType": typeProvenance,
		"subject":       []resource{{Name: repository, Digest: digestMap(digest)}},
		"predicate": map[string]any{
			"buildDefinition": map[string]any{
				"buildType":            home + "/hack/images.sh@v2",
				"externalParameters":   map[string]any{"package": builds[0].Path, "image": name},
				"internalParameters":   map[string]any{"builds": flags},
				"resolvedDependencies": sources(linked(builds), commit),
			},
			"runDetails": map[string]any{"builder": map[string]any{"id": home + "/hack/images.sh"}},
		},
	}
	out, err := json.MarshalIndent(statement, "", "  ")
	return append(out, '\n'), err
}

// sources is the commit, when it is known, and every module that was linked.
func sources(modules []*debug.Module, commit string) []resource {
	list := []resource{}
	if commit != "" {
		source := resource{URI: "git+" + home, Digest: map[string]string{"gitCommit": commit}}
		if at, modified := strings.CutSuffix(commit, "-modified"); modified {
			// Nothing vouches for what was changed: the address says so, and there is no digest.
			source = resource{Name: "a modified checkout", URI: "git+" + home + "@" + at}
		}
		list = append(list, source)
	}
	for _, dependency := range modules {
		part := module(*dependency)
		list = append(list, resource{Name: part.Name, URI: part.PackageURL, Digest: dirHash(dependency)})
	}
	return list
}

// dirHash is the hash that go.sum keeps of the module, as in-toto writes it: in
// hexadecimal. A module without one, such as a replacement by a folder, has none.
func dirHash(m *debug.Module) map[string]string {
	if m.Replace != nil {
		m = m.Replace
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
	if err != nil || len(sum) == 0 {
		return nil
	}
	return map[string]string{"dirHash": hex.EncodeToString(sum)}
}

// digestMap is {"sha256": "…"} of "sha256:…".
func digestMap(digest string) map[string]string {
	algorithm, value, _ := strings.Cut(digest, ":")
	return map[string]string{algorithm: value}
}
