#!/usr/bin/env bash
# Checks the promises about who imports whom (docs/architecture.md) against what
# is really linked, including indirect imports.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m)
failed=0

# forbid WHO PATTERN WHY: no package that WHO depends on may match PATTERN.
forbid() {
	local linked found
	linked=$(go list -deps "$1") # what can't be listed proves nothing
	found=$(grep -E "$2" <<<"$linked" || true)
	[[ -z $found ]] && return
	failed=1
	printf '%s must not depend on %s\n' "$1" "$3" >&2
	sed 's/^/  /' <<<"$found" | head -n 5 >&2
}

# only_standard WHO ALLOWED: WHO depends on the standard library and ALLOWED only.
only_standard() {
	local linked found
	linked=$(go list -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' "$1")
	found=$(grep -vE "^$module/($2)$" <<<"$linked" || true)
	[[ -z $found ]] && return
	failed=1
	printf '%s may depend on the standard library and on %s only\n' "$1" "$2" >&2
	sed 's/^/  /' <<<"$found" | head -n 5 >&2
}

forbid ./cmd/attacher '^(sigs\.)?k8s\.io/' 'Kubernetes packages'
forbid ./cmd/manager '^github\.com/(cilium/ebpf|vishvananda/netlink)' 'the kernel side (cilium/ebpf, netlink)'
forbid ./cmd/kubectl-funnel '^github\.com/(cilium/ebpf|vishvananda/netlink)' 'the kernel side (cilium/ebpf, netlink)'
server='^(k8s\.io/apiserver|k8s\.io/apiextensions-apiserver/pkg/apiserver|github\.com/google/cel-go)(/|$)'
for who in ./cmd/manager ./cmd/attacher ./api/... ./config/crd; do
	forbid "$who" "$server" "the API server's code (CEL, structural schemas)"
done
forbid ./api/v1alpha1 '^(sigs\.k8s\.io/controller-runtime|k8s\.io/client-go)' 'anything heavier than apimachinery'
imports=$(go list -f '{{join .Imports "\n"}}{{"\n"}}{{join .TestImports "\n"}}' ./test/example)
others=$(grep "^$module/.*internal" <<<"$imports" || true)
[[ -z $others ]] || { failed=1; echo "./test/example must import nothing that other modules can't: $others" >&2; }
only_standard ./internal/rules 'internal/rules'
only_standard ./internal/report 'internal/report'
only_standard ./internal/version 'internal/version'
only_standard ./internal/classifier 'internal/(rules|classifier)'
uses=$(go list -f '{{$who := .ImportPath}}{{range .Deps}}{{$who}} {{.}}{{"\n"}}{{end}}' ./api/... ./internal/... ./bpf/...)
found=$(grep -E " $module/(controllers|cmd)(/|$)" <<<"$uses" || true)
[[ -z $found ]] || { failed=1; echo "nothing may depend on controllers or cmd:" >&2; sed 's/^/  /' <<<"$found" | head -n 5 >&2; }
exit $failed
