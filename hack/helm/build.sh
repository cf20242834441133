#!/usr/bin/env bash
# Builds helm at the version of this folder, once, and prints the directory that
# holds it, outside the checkout as hack/kube/build.sh does.
set -euo pipefail
cd "$(dirname "$0")"
dir=${FUNNEL_CACHE:-$HOME/.cache/funnel-operator}/helm-$(cat go.mod go.sum build.sh | sha256sum | cut -c1-12)
if [[ ! -e $dir/helm ]]; then
	echo "building helm (once; some minutes) …" >&2
	mkdir -p "$dir"
	tmp=$(mktemp -d "$dir/.build-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$tmp/helm" helm.sh/helm/v4/cmd/helm >&2
	mv "$tmp/helm" "$dir/helm"
fi
echo "$dir"
