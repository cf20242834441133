#!/usr/bin/env bash
# Prints the complete install with the given images:
#
#   hack/render.sh IMG ATTACHER_IMG [OVERLAY]
#
# OVERLAY is a folder of config/overlays; without it config/default is printed.
# The images are set in a copy of config/, so that the checkout is not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# == 2 || $# == 3 ]] || { echo "usage: $0 IMG ATTACHER_IMG [OVERLAY]" >&2; exit 2; }
folder=config/default
if [[ -n ${3:-} ]]; then
	folder=config/overlays/$3
	[[ -d $folder ]] || { echo "$0: there is no overlay $3: choose one of $(ls config/overlays | xargs)" >&2; exit 2; }
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
kustomize=$(go tool -n kustomize)
cp -r config "$copy/"
(cd "$copy/config/default" && "$kustomize" edit set image "manager=$1" "attacher=$2")
"$kustomize" build "$copy/$folder"
