#!/usr/bin/env bash
# Removes the operator from the cluster of the current kubeconfig. First the
# webhook configuration, so that no pod waits for an answer; then the manager.
# Running pods and their traffic are not touched. What users made stays: the CRD
# with its policies, and the rules ConfigMaps that pods mount.
set -euo pipefail
cd "$(dirname "$0")/.."

kubectl delete mutatingwebhookconfiguration sfunnel --ignore-not-found
# Everything of the install but the CRD.
go tool kustomize build config/default |
	awk 'BEGIN {RS = "---\n"; ORS = "---\n"} !/\nkind: CustomResourceDefinition\n/' |
	kubectl delete --ignore-not-found -f -

cat <<'TEXT'

Kept: the policies, and the rules ConfigMaps, without which pods that were
injected can't start again. To remove them once no injected pod is left:

  kubectl get pods -A -l sfunnel.io/injected=true
  kubectl delete configmaps -A -l sfunnel.io/policy
  kubectl delete crd funnelpolicies.sfunnel.io
TEXT
