#!/usr/bin/env bash
# Prints the complete install with the given images:
#
#   hack/render.sh IMG ATTACHER_IMG
#
# The images are set in a copy of config/, so that the checkout is not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# == 2 ]] || { echo "usage: $0 IMG ATTACHER_IMG" >&2; exit 2; }

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
kustomize=$(go tool -n kustomize)
cp -r config "$copy/"
(cd "$copy/config/default" && "$kustomize" edit set image "manager=$1" "attacher=$2")
"$kustomize" build "$copy/config/default"
