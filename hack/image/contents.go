// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// contents is the image's bill of materials: the main module, every module linked
// into the program on any platform, and Go's standard library. It holds no time and no
// serial number.
func contents(builds []*debug.BuildInfo, name, digest string) ([]byte, error) {
	built := builds[0]
	image := cdx.Component{
		BOMRef: name, Type: cdx.ComponentTypeContainer, Name: name, Version: digest,
		PackageURL: imageURL(name, digest),
		Components: &[]cdx.Component{{BOMRef: built.Path, Type: cdx.ComponentTypeApplication, Name: built.Path}},
	}
	main := module(built.Main)
	main.Type = cdx.ComponentTypeApplication
	standard := module(debug.Module{Path: "std", Version: strings.TrimPrefix(built.GoVersion, "go")})
	parts := []cdx.Component{main, standard}
	refs := []string{standard.BOMRef}
	for _, dependency := range linked(builds) {
		part := module(*dependency)
		parts, refs = append(parts, part), append(refs, part.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &image}
	bom.Components = &parts
	bom.Dependencies = &[]cdx.Dependency{
		{Ref: image.BOMRef, Dependencies: &[]string{main.BOMRef}},
		{Ref: main.BOMRef, Dependencies: &refs},
	}
	var out bytes.Buffer
	encoder := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.Encode(bom); err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	return out.Bytes(), nil
}

// linked are the modules in any of the builds, each once.
func linked(builds []*debug.BuildInfo) []*debug.Module {
	var all []*debug.Module
	seen := map[string]bool{}
	for _, b := range builds {
		for _, m := range b.Deps {
			if !seen[m.Path] {
				seen[m.Path] = true
				all = append(all, m)
			}
		}
	}
	return all
}

// module describes what was linked: the replacement, where there is one.
func module(m debug.Module) cdx.Component {
	if m.Replace != nil {
		m = *m.Replace
	}
	purl := "pkg:golang/" + m.Path
	if m.Version != "" {
		purl += "@" + url.PathEscape(m.Version)
	}
	component := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
	if m.Sum != "" {
		// The hash that go.sum keeps: of the module's file list, not of one file.
		component.Properties = &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}
	}
	return component
}

// imageURL is the package URL of an image, as the type oci has it.
func imageURL(name, digest string) string {
	repository, tag := split(name)
	return fmt.Sprintf("pkg:oci/%s@%s?repository_url=%s&tag=%s",
		path.Base(repository), url.QueryEscape(digest), url.QueryEscape(repository), url.QueryEscape(tag))
}
