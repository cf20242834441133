#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (default 30s) each.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do
	for target in $(grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' "$package"/*_test.go | awk '{print $2}'); do
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}"
	done
done
