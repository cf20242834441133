#!/usr/bin/env bash
# Copies the checkout into a folder, as a clone would: what git tracks or would add,
# with the changes that are not committed.
#
#   hack/clone.sh DIR
set -euo pipefail
mkdir -p "$1"
to=$(realpath "$1")
cd "$(dirname "$0")/.."
. hack/env.sh
git ls-files -z --cached --others --exclude-standard |
	xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' _ | # those that were removed are listed, too
	tar --null -T - -cf - | tar -C "$to" -xf -
