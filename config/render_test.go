// SPDX-License-Identifier: Apache-2.0

// Package config_test renders the install, reads it, and runs it on a real API
// server as the ServiceAccount that it makes.
package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// The images that install renders.
const (
	managerImage  = "registry.example/manager@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
	attacherImage = "registry.example:5000/attacher@sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
)

var setImages = []string{"set", "image", "manager=" + managerImage, "attacher=" + attacherImage}

// objects are those of an install.
type objects []unstructured.Unstructured

// render does to a copy of config/default what a user does, and builds the folder
// of config/ (default, or an overlay). Each edit is the arguments of one "kustomize
// edit".
func render(t *testing.T, folder string, edits ...[]string) objects {
	t.Helper()
	key := fmt.Sprint(folder, edits)
	if _, done := rendered[key]; !done {
		rendered[key] = renderFrom(t, ".", folder, edits...)
	}
	return parse(t, rendered[key])
}

// rendered is what render built before.
var rendered = map[string][]byte{}

// renderFrom does the same with another config/.
func renderFrom(t *testing.T, config, folder string, edits ...[]string) []byte {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(config)); err != nil {
		t.Fatal(err)
	}
	for _, edit := range edits {
		kustomize(t, filepath.Join(copied, "default"), append([]string{"edit"}, edit...)...)
	}
	return kustomize(t, copied, "build", folder)
}

// install is the install with images by digest.
func install(t *testing.T) objects {
	t.Helper()
	return overlay(t, "default")
}

// overlay is the folder's install with images by digest.
func overlay(t *testing.T, folder string) objects {
	t.Helper()
	return render(t, folder, setImages)
}

func kustomize(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	path, err := kustomizePath()
	if err != nil {
		t.Fatalf("go tool -n kustomize: %v", err)
	}
	command := exec.Command(path, args...)
	command.Dir = dir
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("kustomize %v: %v\n%s", args, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// kustomizePath is where the Go command keeps the program; it is asked once.
var kustomizePath = sync.OnceValues(func() (string, error) {
	path, err := exec.Command("go", "tool", "-n", "kustomize").Output()
	return string(bytes.TrimSpace(path)), err
})

func parse(t *testing.T, stream []byte) objects {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	var list objects
	for {
		var object unstructured.Unstructured
		switch err := decoder.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatal(err)
		}
		list = append(list, object)
	}
}

// object is the one of that kind and name.
func (o objects) object(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for i := range o {
		if o[i].GetKind() == kind && o[i].GetName() == name {
			return o[i].DeepCopy()
		}
	}
	t.Fatalf("the install has no %s %s", kind, name)
	return nil
}

// into reads the one object of that kind and name.
func (o objects) into(t *testing.T, kind, name string, into any) {
	t.Helper()
	object := o.object(t, kind, name)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
		t.Fatalf("%s %s: %v", kind, name, err)
	}
}
