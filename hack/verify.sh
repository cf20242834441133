#!/usr/bin/env bash
# Checks that what is generated is current, that imports keep their promises and
# that the code is formatted and vetted. Works on a copy: the checkout is not
# changed, and a difference is shown as a diff.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/env.sh

if ! git rev-parse --git-dir >/dev/null 2>&1; then
	echo "not verified: there is no git repository here, which says what belongs to the checkout" >&2
	[[ ${CI:-} == true ]] && exit 1
	exit 0
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
hack/clone.sh "$copy"
make -C "$copy" --no-print-directory generate build-installer >/dev/null
for generated in api bpf config charts dist docs/api.md; do
	diff -r -u "$generated" "$copy/$generated" || { echo "$generated is not current: run 'make generate build-installer'" >&2; exit 1; }
done

unformatted=$(gofmt -l $(git ls-files '*.go'))
[[ -z $unformatted ]] || { printf 'not formatted:\n%s\n' "$unformatted" >&2; exit 1; }
go mod tidy -diff >/dev/null || { echo "go.mod is not tidy: run 'go mod tidy'" >&2; exit 1; }
go vet ./...
for module in hack/kube hack/tools hack/helm; do
	(cd "$module" && go mod tidy -diff >/dev/null) || { echo "$module/go.mod is not tidy" >&2; exit 1; }
done
hack/verify-imports.sh
echo "verified: generated files, formatting, go vet, imports"
