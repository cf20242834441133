#!/usr/bin/env bash
# Builds our binaries and packs each as a container image, an OCI archive, without
# Docker:
#
#   hack/images.sh [DIR]         manager and attacher, into bin/ or DIR
#   hack/images.sh DIR test      also those of the test cluster: echo, pause
#
# IMG and ATTACHER_IMG are the images' names, ARCHES the processors that each of them is
# for, "amd64 arm64" for instance; this machine's if not set. VERSION is the release that
# programs say they are of; without it they name the commit. The images are for Linux, on
# whatever system they are built. DIR/NAME.digest has the name with the
# digest in place of the tag, which is what to deploy; DIR/NAME.cdx.json lists what is
# in it, DIR/NAME.provenance.json says from what it was built.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${1:-bin}
declare -A package=([manager]=./cmd/manager [attacher]=./cmd/attacher)
declare -A image=(
	[manager]=${IMG:-funnel-operator/manager:dev}
	[attacher]=${ATTACHER_IMG:-funnel-operator/attacher:dev}
)
declare -A user=([attacher]=0:0)
if [[ ${2:-} == test ]]; then
	package+=([echo]=./test/echo [pause]=./hack/cluster/pause)
	image+=([echo]=localhost/echo:dev [pause]=localhost/pause:dev)
fi

commit=$(git rev-parse HEAD 2>/dev/null || true)
[[ -z $commit || -z $(git status --porcelain) ]] || commit+=-modified

own=$(go env GOARCH)
system=$(go env GOHOSTOS) processor=$(go env GOHOSTARCH)
version=$(go list -m)/internal/version
# Nothing of the place or the time of the build goes into a binary, so that the same
# source gives the same digest.
for name in "${!package[@]}"; do
	binaries=()
	for arch in ${ARCHES:-$own}; do
		binary=$dir/$arch/$name
		[[ $arch != "$own" ]] || binary=$dir/$name
		mkdir -p "${binary%/*}"
		CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -o "$binary" \
			-ldflags "-s -w -X $version.release=${VERSION:-} -X $version.revision=$commit" "${package[$name]}"
		binaries+=("$binary")
	done
	digest=$(GOOS=$system GOARCH=$processor go run -trimpath ./hack/image -name "${image[$name]}" -user "${user[$name]:-65532:65532}" -commit "$commit" -o "$dir/$name.tar" "${binaries[@]}")
	repository=${image[$name]}
	[[ ${repository##*/} == *:* ]] && repository=${repository%:*}
	echo "$repository@$digest" >"$dir/$name.digest"
done
