// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Media types and names of the OCI image specification, version 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"

	annotationTag  = "org.opencontainers.image.ref.name"
	annotationName = "io.containerd.image.name"
)

// A descriptor refers to a blob of the archive.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// A platform is what a binary runs on, by Go's names, which are those of OCI.
type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// An archive is an OCI image layout being written as a tar file, without times and
// owners, so that it depends on its content only.
type archive struct {
	*tar.Writer
}

// A program is one binary, for one platform.
type program struct {
	name    string // of the file in the image
	on      platform
	content []byte
}

// write writes the archive of an image that contains one file and runs it: a program,
// built for one or several platforms. It returns the digest of the manifest, or of the
// index of the manifests for several platforms.
func write(w io.Writer, name, user string, builds []program) (digest string, err error) {
	a := archive{tar.NewWriter(w)}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return "", err
	}
	var manifests []descriptor
	for _, p := range builds {
		manifest, err := a.manifest(p, user)
		if err != nil {
			return "", err
		}
		manifests = append(manifests, manifest)
	}
	image := manifests[0]
	if len(manifests) > 1 {
		for i := range manifests {
			manifests[i].Platform = &builds[i].on
		}
		if image, err = a.json(typeIndex, indexOf(manifests)); err != nil {
			return "", err
		}
	}
	index, err := json.Marshal(indexOf(named(image, name)))
	if err != nil {
		return "", err
	}
	if err := a.file("index.json", index); err != nil {
		return "", err
	}
	return image.Digest, a.Close()
}

func indexOf(manifests []descriptor) map[string]any {
	return map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": manifests}
}

// manifest writes the blobs of an image for one platform.
func (a archive) manifest(p program, user string) (descriptor, error) {
	layer, diffID, err := packLayer(p.name, p.content)
	if err != nil {
		return descriptor{}, err
	}
	layerBlob, err := a.blob(typeLayer, layer)
	if err != nil {
		return descriptor{}, err
	}
	configBlob, err := a.json(typeConfig, map[string]any{
		"architecture": p.on.Architecture, "os": p.on.OS,
		"config": map[string]any{"Entrypoint": []string{"/" + p.name}, "User": user},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diffID}},
	})
	if err != nil {
		return descriptor{}, err
	}
	return a.json(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": configBlob, "layers": []descriptor{layerBlob},
	})
}

// named lists an image under its name with the tag and under its name with the
// digest, so that either finds it without asking a registry.
func named(manifest descriptor, name string) []descriptor {
	repository, tag := split(name)
	byTag, byDigest := manifest, manifest
	byTag.Annotations = map[string]string{annotationTag: tag, annotationName: repository + ":" + tag}
	byDigest.Annotations = map[string]string{annotationName: repository + "@" + manifest.Digest}
	return []descriptor{byTag, byDigest}
}

// split returns repository and tag of a name.
func split(name string) (repository, tag string) {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, "latest"
}

// packLayer returns the compressed layer, and the digest that it has uncompressed.
func packLayer(name string, content []byte) (layer []byte, diffID string, err error) {
	var plain, compressed bytes.Buffer
	files := tar.NewWriter(&plain)
	header := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR}
	if err := files.WriteHeader(header); err != nil {
		return nil, "", err
	}
	if _, err := files.Write(content); err != nil {
		return nil, "", err
	}
	if err := files.Close(); err != nil {
		return nil, "", err
	}
	zip := gzip.NewWriter(&compressed)
	if _, err := zip.Write(plain.Bytes()); err != nil {
		return nil, "", err
	}
	if err := zip.Close(); err != nil {
		return nil, "", err
	}
	return compressed.Bytes(), digestOf(plain.Bytes()), nil
}

func (a archive) file(name string, content []byte) error {
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatUSTAR}
	if err := a.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}

func (a archive) blob(mediaType string, content []byte) (descriptor, error) {
	digest := digestOf(content)
	err := a.file("blobs/"+strings.Replace(digest, ":", "/", 1), content)
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(content)}, err
}

func (a archive) json(mediaType string, value any) (descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, content)
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
