#!/usr/bin/env bash
# Lists the test packages of one layer: pure (no root, no API server), privileged (root
# and the real kernel), envtest (a real kube-apiserver). test/e2e belongs to none.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m)
privileged="^$module/(bpf|internal/datapath|internal/attach|internal/testnet|cmd/attacher|hack/kernels/smoke)(/|$)"
envtest="^$module/(controllers|test/schema|test/faults|test/example|internal/kubetest|internal/managertest|config)(/|$)"
e2e="^$module/test/e2e(/|$)"

case ${1:-} in
pure) go list ./... | grep -vE "$privileged|$envtest|$e2e" ;;
privileged) go list ./... | grep -E "$privileged" ;;
envtest) go list ./... | grep -E "$envtest" ;;
*) echo "usage: $0 pure|privileged|envtest" >&2; exit 2 ;;
esac
