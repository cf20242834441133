#!/usr/bin/env bash
# Runs the end-to-end tests: real nodes, both modes of kube-proxy (root). Arguments go
# to the test binary, such as -ginkgo.label-filter=in-place. The specs of a label build
# on each other: a focus on some of them leaves out what they need.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/env.sh
export FUNNEL_REQUIRE_ROOT=1 # what did not run has not passed
exec go test ./test/e2e -count=1 -timeout=80m -v -ginkgo.v -ginkgo.timeout=75m -ginkgo.fail-on-empty "$@"
