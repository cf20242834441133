#!/usr/bin/env bash
# Builds the combined Kubernetes binary of this folder, once per version, and
# prints the directory that holds it and its symlinks (etcd, kube-apiserver, …).
# Everything that tests on a real API server or real nodes calls this first.
#
# The result lies outside the checkout: $FUNNEL_CACHE, by default
# ~/.cache/funnel-operator. A finished build is never touched again.
set -euo pipefail
cd "$(dirname "$0")"

programs="etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl"
version=$(awk '$1 == "k8s.io/kubernetes" && NF == 2 || $2 == "k8s.io/kubernetes" {print $NF}' go.mod)
sources=$(cat go.mod go.sum main.go build.sh | sha256sum | cut -c1-12)
cache=${FUNNEL_CACHE:-$HOME/.cache/funnel-operator}
dir=$cache/kube-$version-$sources

if [[ ! -e $dir/kubectl ]]; then
	echo "building Kubernetes $version (once; about 12 minutes on 2 cores) …" >&2
	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/.kube-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	ldflags="-s -w"
	for pkg in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		ldflags+=" -X $pkg.gitVersion=$version -X $pkg.gitMajor=1 -X $pkg.gitMinor=$(cut -d. -f2 <<<"$version")"
	done
	CGO_ENABLED=0 go build -trimpath -ldflags "$ldflags" -o "$tmp/kube" . >&2
	for p in $programs; do ln -s kube "$tmp/$p"; done
	chmod 755 "$tmp"
	# Whoever comes second finds the directory there and drops its own.
	mv -T "$tmp" "$dir" 2>/dev/null || [[ -e $dir/kubectl ]]
fi
echo "$dir"
