// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// A variant is one install that config/ can build.
type variant struct {
	folder  string
	objects []*unstructured.Unstructured
}

// The variants. One of the first three is chosen by the value "injection"; each of
// the others is the first one and more.
const (
	webhook = iota
	admissionPolicy
	noWebhook
	monitoring
	inPlace
)

var folders = []string{
	webhook:         "default",
	admissionPolicy: "overlays/admission-policy",
	noWebhook:       "overlays/no-webhook",
	monitoring:      "overlays/monitoring",
	inPlace:         "overlays/in-place",
}

// build renders all variants from a copy of config/, with marks for images and
// namespace.
func build() ([]variant, error) {
	copied, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(copied)
	if err := os.CopyFS(copied, os.DirFS("config")); err != nil {
		return nil, err
	}
	path, err := exec.Command("go", "tool", "-n", "kustomize").Output()
	if err != nil {
		return nil, fmt.Errorf("go tool -n kustomize: %w", err)
	}
	kustomize := string(bytes.TrimSpace(path))
	for _, edit := range [][]string{
		{"set", "image", "manager=" + managerMark, "attacher=" + attacherMark},
		{"set", "namespace", namespaceMark},
	} {
		if _, err := output(kustomize, filepath.Join(copied, "default"), append([]string{"edit"}, edit...)...); err != nil {
			return nil, err
		}
	}
	var variants []variant
	for _, folder := range folders {
		text, err := output(kustomize, copied, "build", folder)
		if err != nil {
			return nil, err
		}
		objects, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("config/%s: %w", folder, err)
		}
		variants = append(variants, variant{folder, objects})
	}
	return variants, nil
}

func output(program, dir string, args ...string) ([]byte, error) {
	command := exec.Command(program, args...)
	command.Dir, command.Stderr = dir, os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w", filepath.Base(program), args, err)
	}
	return out, nil
}

func parse(stream []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		}
		objects = append(objects, object)
	}
}

// find is the variant's object of that kind and name, or nil.
func (v variant) find(kind, name string) *unstructured.Unstructured {
	for _, object := range v.objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	return nil
}
