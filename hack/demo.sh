#!/usr/bin/env bash
# The operator's main job on a real Kubernetes, which is started here and removed
# again: a client's flows reach different pods without a policy, one pod with it.
# Ends with status 0 only if all of that was seen, and the host is as it was before.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/env.sh

nodes=2 mode=${PROXY_MODE:-nftables} outside=12 balancer=10.94.0.1
work=$(mktemp -d)
patient= # what patiently runs
ours= # set while the cluster that may be up is this demo's, not somebody else's

cleanup() {
	trap - EXIT INT TERM
	[[ -z $patient ]] || { kill -- "-$patient" && wait "$patient"; } 2>/dev/null || true
	[[ -z $ours ]] || "$work/cluster" down || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

bold=$([[ -t 1 ]] && tput bold 2>/dev/null || true) plain=$([[ -t 1 ]] && tput sgr0 2>/dev/null || true)
step() { printf '\n%s%s%s   [%d:%02d]\n' "$bold" "$*" "$plain" $((SECONDS / 60)) $((SECONDS % 60)); }
show() { printf '\n$ %s\n' "$*"; "$@"; }

# patiently COMMAND…: runs it, with a dot every ten seconds. It has a process group, so
# that it ends with us and with all that it started.
patiently() {
	set -m
	"$@" </dev/null &
	set +m
	patient=$!
	local seconds=0
	while kill -0 "$patient" 2>/dev/null; do
		sleep 1
		((++seconds % 10)) || printf . >&2
	done
	((seconds < 10)) || echo >&2
	wait "$patient"
	patient=
}

# survey EXPECTATION: the table, or failure.
survey() {
	echo
	"$work/survey" -expect "$1" \
		"$work/cluster" exec outside -- "$work/echo" ask -source "$(seq -s, -f 10.93.0.%g $outside)"
}

# settled: new pods run, old ones are gone, and every node's kube-proxy knows it.
settled() {
	local deployment addresses
	for deployment in echo client; do
		kubectl -n demo rollout status "deployment/$deployment" --timeout=20m >/dev/null
	done
	until [[ $(kubectl -n demo get pods -l app=echo -o name | wc -l) == 4 && $(kubectl -n demo get pods -l app=client -o name | wc -l) == 12 ]]; do
		sleep 0.5
	done
	read -ra addresses <<<"$(kubectl -n demo get pods -l app=echo -o jsonpath='{.items[*].status.podIP}')"
	"$work/cluster" settled demo/echo "${addresses[@]}"
}

# roll: replaces servers, then clients. A client that funnels needs a server that
# unfunnels.
roll() {
	show kubectl -n demo rollout restart deployment/echo
	settled
	[[ ${1:-} != with-policies ]] || show kubectl -n demo wait --for=condition=ResolvedRefs fp/client --timeout=20m
	show kubectl -n demo rollout restart deployment/client
	settled
}

# attach_gateway: the router of the clients outside the cluster gets the rules that the
# operator made for it, by the same attacher, and funnels what it forwards.
attach_gateway() {
	local direction
	mkdir -p "$work/rules"
	for direction in ingress egress; do
		kubectl -n demo get configmap echo-external -o jsonpath="{.data.$direction\\.rules}" >"$work/rules/$direction.rules"
	done
	printf '\n$ attacher attach --interface eth0 --rules %s   (on the outside clients'"'"' gateway)\n' "$work/rules"
	"$work/cluster" exec gateway -- "$work/attacher" attach --interface eth0 --rules "$work/rules"
}

step "0. One flow, without Kubernetes"
hack/demo-netns.sh

step "1. Build what is missing"
patiently hack/kube/build.sh >"$work/kubernetes"
echo "building operator, attacher and test images …"
export IMG=localhost/funnel-operator/manager:demo ATTACHER_IMG=localhost/funnel-operator/attacher:demo
patiently hack/images.sh "$work" test
CGO_ENABLED=0 go build -o "$work/" ./hack/cluster ./hack/survey
PATH=$(<"$work/kubernetes"):$PATH
ls -sh "$work"/{manager,attacher}{,.tar}

step "2. Start a Kubernetes of $nodes nodes (kube-proxy: $mode)"
"$work/cluster" snapshot >"$work/host"
ours=yes
"$work/cluster" up -nodes $nodes -proxy-mode "$mode" -outside $outside "$work"/{pause,echo,manager,attacher}.tar || {
	ours= # it has taken back what it did
	exit 1
}
KUBECONFIG=$("$work/cluster" kubeconfig)
export KUBECONFIG
show kubectl get nodes -o wide

step "3. Deploy 4 servers behind a Service with sessionAffinity: ClientIP, 12 client pods, $outside clients outside"
show kubectl apply -f hack/demo/workload.yaml
# The load balancer's part: an address, which is routed to the nodes already.
kubectl -n demo patch service echo --subresource=status -p '{"status":{"loadBalancer":{"ingress":[{"ip":"'$balancer'"}]}}}' >/dev/null
settled
show kubectl -n demo get service echo

step "4. The problem: affinity is kept per port, so a client's flows reach different pods"
survey some

step "5. Install the operator, apply policies, roll the workloads"
hack/render.sh "$(<"$work/manager.digest")" "$(<"$work/attacher.digest")" >"$work/install.yaml"
show kubectl apply --server-side -f "$work/install.yaml" | tail -n 3
kubectl -n sfunnel-system rollout status deployment/sfunnel-manager --timeout=20m >/dev/null
show kubectl apply -f hack/demo/policies.yaml
kubectl -n demo wait --for=condition=Ready fp/echo --timeout=20m >/dev/null
kubectl -n demo wait --for=jsonpath='{.status.conditions[?(@.type=="ResolvedRefs")].reason}'=BackendNotAttached fp/client --timeout=20m >/dev/null
printf '\nthe rules of clients wait for the servers:\n'
kubectl -n demo get fp
roll with-policies
attach_gateway
kubectl -n demo wait --for=condition=Attached fp/echo fp/client --timeout=20m >/dev/null
show kubectl -n demo get pods -L sfunnel.io/injected
show kubectl -n demo get fp
for policy in echo client; do
	printf '\nconditions of %s:\n' $policy
	kubectl -n demo get fp $policy -o jsonpath='{range .status.conditions[*]}{.type}{"="}{.status}{" "}{.reason}{"\n"}{end}' | sed 's/^/  /'
done
printf '\nwhat the operator made of the client policy:\n'
rules=$(kubectl -n demo get configmap client-funnel -o jsonpath='{.data.egress\.rules}')
sed 's/^/  /' <<<"$rules"
[[ $rules == *funnel* ]] || { echo "the clients' rules funnel nothing" >&2; exit 1; }

step "6. The cure: all flows travel as TCP port 80, and every client has one pod"
survey none

step "   …and without the policies it is as before"
printf '\n$ attacher detach   (on the gateway)\n'
"$work/cluster" exec gateway -- "$work/attacher" detach
show kubectl -n demo delete fp client echo
roll
survey some

step "Take everything away"
"$work/cluster" down
for ((try = 0; try < 60; try++)); do
	if "$work/cluster" snapshot -since "$work/host" >"$work/left" 2>"$work/notes"; then
		cat "$work/notes"
		step "Done: the host is as it was."
		exit 0
	fi
	sleep 1
done
echo "still there, and not before:" >&2
cat "$work/left" >&2
exit 1
