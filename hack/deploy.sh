#!/usr/bin/env bash
# Installs the operator with the given images on the cluster of the current kubeconfig,
# over whatever overlay is there:
#
#   hack/deploy.sh IMG ATTACHER_IMG [OVERLAY]
#
# When injection goes over to another way, nobody is asked who does not answer: a webhook
# that goes is forgotten before its managers are, one that comes is asked once they run.
# At the end, cluster-scoped objects of ours that the overlay does not hold are deleted;
# never the FunnelPolicy kind or a namespace.
set -euo pipefail
cd "$(dirname "$0")/.."

. hack/admission.sh
webhook='^MutatingWebhookConfiguration$'
policies='AdmissionPolicy(Binding)?$'
rendered=$(hack/render.sh "$@")

# part prints the objects whose kind matches; with "but", all others.
part() {
	awk -v want="$1" -v but="${2:-}" '
		function flush() { if (kind != "" && (kind ~ want) == (but == "")) printf "---\n%s", doc; doc = kind = "" }
		/^---$/ { flush(); next }
		/^kind: / { kind = $2 }
		{ doc = doc $0 "\n" }
		END { flush() }' <<<"$rendered"
}

# apply applies what it reads, and nothing is fine.
apply() {
	local objects
	objects=$(cat)
	[[ -z $objects ]] || kubectl apply --server-side -f - <<<"$objects"
}

there=$(kubectl get mutatingwebhookconfigurations --selector="$ours" --output=name)
wanted=$(part "$webhook")
if [[ -n $wanted && -z $there ]]; then
	part "$webhook" but | apply
	namespace=$(part '^Deployment$' | awk '/^  namespace: / {print $2; exit}')
	kubectl rollout status --namespace="$namespace" deployment/sfunnel-manager --timeout=10m
	apply <<<"$wanted"
	# Policies inject until the API server can trust the webhook.
	kubectl wait mutatingwebhookconfiguration/sfunnel --for=jsonpath='{.webhooks[0].clientConfig.caBundle}' --timeout=5m
elif [[ -z $wanted && -n $there ]]; then
	part "$policies" | apply
	kubectl delete mutatingwebhookconfigurations --selector="$ours"
	part . | apply
else
	part . | apply
fi

for kind in "${admission[@]}" clusterrolebindings clusterroles; do
	found=$(kubectl get "$kind" --selector="$ours" --output=jsonpath='{range .items[*]}{.kind}/{.metadata.name}{"\n"}{end}')
	for object in $found; do
		part "^${object%/*}$" | grep -x "  name: ${object#*/}" >/dev/null || kubectl delete "$kind" "${object#*/}"
	done
done
