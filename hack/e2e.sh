#!/usr/bin/env bash
# Runs the end-to-end tests: real nodes, once per mode of kube-proxy. Arguments go
# to the test binary, such as -ginkgo.focus=nftables.
set -euo pipefail
cd "$(dirname "$0")/.."
exec go test ./test/e2e -count=1 -timeout=80m -v -ginkgo.v -ginkgo.timeout=75m "$@"
