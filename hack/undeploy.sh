#!/usr/bin/env bash
# Removes the operator, whatever overlay it was installed from, from the cluster of
# the current kubeconfig:
#
#   hack/undeploy.sh [--keep-policies]
#
# First what the API server asks about pods, so that none waits for an answer; then
# the manager and its permissions; then the FunnelPolicy kind with all policies (not
# with --keep-policies). Running pods are not touched and keep their rules. New ones
# start without, in spite of the label sfunnel.io/inject: required.
#
# The ConfigMaps that injected pods mount stay: without them those pods could not
# start again after a reboot of their node. They are listed at the end.
set -euo pipefail

[[ $# == 0 || $# == 1 && $1 == --keep-policies ]] || { echo "usage: $0 [--keep-policies]" >&2; exit 2; }
. "$(dirname "$0")/admission.sh"

for kind in "${admission[@]}"; do
	kubectl delete "$kind.admissionregistration.k8s.io" --selector="$ours"
done
kubectl delete deployments --all-namespaces --selector="$ours"
kubectl delete namespaces,clusterrolebindings,clusterroles --selector="$ours"
[[ $# == 1 ]] && exit
kubectl delete customresourcedefinitions --selector="$ours"

# mounted prints NAMESPACE/NAME of all ConfigMaps that are volumes of unfinished pods,
# or sources of projected ones.
mounted() {
	kubectl get pods --all-namespaces --output=go-template='
		{{- range .items}}{{$namespace := .metadata.namespace}}
		{{- if and (ne .status.phase "Succeeded") (ne .status.phase "Failed")}}
		{{- range .spec.volumes}}{{if .configMap}}
		{{- $namespace}}/{{.configMap.name}}{{"\n"}}
		{{- end}}{{if .projected}}{{range .projected.sources}}{{if .configMap}}
		{{- $namespace}}/{{.configMap.name}}{{"\n"}}
		{{- end}}{{end}}{{end}}{{end}}{{end}}{{end}}' | sort -u
}

rules() {
	kubectl get configmaps --all-namespaces --selector=sfunnel.io/policy \
		--output=go-template='{{range .items}}{{.metadata.namespace}}/{{.metadata.name}}{{"\n"}}{{end}}' | sort
}

# Both lists are whole before any ConfigMap goes: the script ends here if one can't be had.
rules=$(rules)
mounted=$(mounted)
kept=$(comm -12 <(echo "$rules") <(echo "$mounted"))
for map in $(comm -23 <(echo "$rules") <(echo "$mounted")); do
	kubectl delete configmap --namespace="${map%/*}" "${map#*/}"
done
[[ -n $kept ]] || exit 0
printf '\nKept, since pods mount them. Once these workloads were restarted:\n\n'
for map in $kept; do
	echo "  kubectl delete configmap --namespace=${map%/*} ${map#*/}"
done
