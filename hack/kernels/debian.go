// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kernel is one unpacked kernel package.
type kernel struct {
	release string // as uname -r says it
	image   string // path of vmlinuz
	modules string // path of lib/modules/RELEASE
	version string // of the package
}

// cacheDir is where kernels are kept between runs: $FUNNEL_CACHE/kernels, by
// default ~/.cache/funnel-operator/kernels.
func cacheDir() (string, error) {
	cache := os.Getenv("FUNNEL_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "funnel-operator")
	}
	dir := filepath.Join(cache, "kernels")
	return dir, os.MkdirAll(dir, 0o755)
}

// fetchKernel returns Debian's newest kernel of a series such as "6.1", cloud
// flavour. It is downloaded and unpacked into dir, once per version; nothing is
// installed.
func (a architecture) fetchKernel(ctx context.Context, dir, series string) (kernel, error) {
	name, version, err := a.newestKernel(ctx, series)
	if err != nil {
		return kernel{}, err
	}
	root := filepath.Join(dir, name+"_"+version)
	if _, err := os.Stat(root); os.IsNotExist(err) {
		err = a.unpack(ctx, dir, root, name+"="+version)
		if err != nil {
			return kernel{}, fmt.Errorf("fetch %s: %w", name, err)
		}
	}
	return openKernel(root, version)
}

// openKernel finds the parts of an unpacked kernel package.
func openKernel(root, version string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("%s/boot holds %d kernel images, want 1", root, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return kernel{
		release: release, image: images[0], version: version,
		modules: filepath.Join(root, "lib", "modules", release),
	}, nil
}

// newestKernel asks the series' own metapackage, or the release's default one
// when that is of this series, which image it stands for. Old package lists are
// renewed once.
func (a architecture) newestKernel(ctx context.Context, series string) (name, version string, err error) {
	for attempt := 0; ; attempt++ {
		for _, meta := range []string{"linux-image-" + series + "-cloud-" + a.name, "linux-image-cloud-" + a.name} {
			text, _ := a.apt(ctx, "", "apt-cache", "show", "--no-all-versions", meta) // fails where there is none
			if name, version, ok := dependsOnImage(string(text), series); ok {
				return name, version, nil
			}
		}
		if attempt > 0 {
			return "", "", fmt.Errorf("no Debian package of a %s kernel, cloud flavour, in this machine's package lists", series)
		}
		if _, err := a.apt(ctx, "", "apt-get", "update", "-qq"); err != nil {
			return "", "", err
		}
	}
}

var imageDependency = regexp.MustCompile(`(?m)^Depends:.*?\b(linux-image-\S+-cloud-\w+) \(= ([^)]+)\)`)

func dependsOnImage(control, series string) (name, version string, ok bool) {
	match := imageDependency.FindStringSubmatch(control)
	if match == nil || !strings.HasPrefix(match[2], series+".") {
		return "", "", false
	}
	return match[1], match[2], true
}

// unpack makes root in one step, so that an interrupted run leaves no half of it.
func (a architecture) unpack(ctx context.Context, dir, root, packageVersion string) error {
	work, err := os.MkdirTemp(dir, ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	fmt.Fprintln(os.Stderr, "downloading", packageVersion, "…")
	if _, err := a.apt(ctx, work, "apt-get", "download", "-qq", packageVersion); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("apt-get left %d packages, want 1", len(packages))
	}
	tree := filepath.Join(work, "tree")
	if _, err := run(ctx, work, nil, "dpkg-deb", "-x", packages[0], tree); err != nil {
		return err
	}
	return os.Rename(tree, root)
}

// requireTools installs the packages of missing commands (Debian, as root), or
// names them.
func requireTools(ctx context.Context, packages map[string]string) error {
	var missing []string
	for tool, name := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("missing: %s (Debian's package names); install them and run again", strings.Join(missing, " "))
	}
	fmt.Fprintln(os.Stderr, "installing", strings.Join(missing, " "), "…")
	if _, err := run(ctx, "", nil, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, err := run(ctx, "", nil, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...)
	return err
}

// run runs a program to its end, with more variables, and returns what it printed; that
// is part of the error, too.
func run(ctx context.Context, dir string, environment []string, name string, args ...string) (output []byte, err error) {
	if name == "apt-get" {
		// It does not wait for another one that reads lists: hack/deps.sh has the same lock.
		lock, err := filepath.Abs("hack/deps.sh")
		if err != nil {
			return nil, err
		}
		name, args = "flock", append([]string{lock, "apt-get", "-o", "DPkg::Lock::Timeout=600"}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "DEBIAN_FRONTEND=noninteractive"), environment...)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	if output, err = cmd.Output(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, output, errors.Bytes())
	}
	return output, nil
}
