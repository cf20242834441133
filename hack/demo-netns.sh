#!/usr/bin/env bash
# Shows one UDP flow before, on and after the wire: two network namespaces, our
# attacher on both ends, no Kubernetes. Takes seconds; root only. Leaves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/env.sh

client=funnel-demo-client-$$ server=funnel-demo-server-$$
work=$(mktemp -d)
view=
cleanup() {
	trap - EXIT INT TERM
	[[ -z $view ]] || kill "$view" 2>/dev/null || true
	ip netns del "$client" 2>/dev/null || true
	ip netns del "$server" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

[[ $(id -u) == 0 ]] || { echo "needs root: network namespaces and BPF" >&2; exit 1; }
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$work/attacher" ./cmd/attacher
CGO_ENABLED=0 go build -trimpath -o "$work/packetview" ./hack/packetview

# Two hosts and a wire.
ip netns add "$client"
ip netns add "$server"
ip -n "$client" link add eth0 type veth peer name eth0 netns "$server"
ip -n "$client" addr add 10.0.0.1/24 dev eth0
ip -n "$server" addr add 10.0.0.2/24 dev eth0
for host in "$client" "$server"; do
	ip -n "$host" link set lo up
	ip -n "$host" link set eth0 up
done

watch_server() {
	: >"$work/seen" # the last one's "ready" is not this one's
	ip netns exec "$server" "$work/packetview" -interface eth0 -udp 2055 >"$work/seen" 2>&1 &
	view=$!
	until grep -q ready "$work/seen" 2>/dev/null; do
		kill -0 "$view" 2>/dev/null || { cat "$work/seen" >&2; exit 1; }
		sleep 0.05
	done
}

# send TEXT: one datagram to the server's port 2055; what the server sees goes
# to $work/seen.
send() {
	watch_server
	ip netns exec "$client" bash -c 'printf %s "$1" >/dev/udp/10.0.0.2/2055' _ "$1"
	wait "$view" || { cat "$work/seen" >&2; exit 1; }
	view=
}

wire_length() { sed -n 's/^on the wire .* \([0-9]*\) bytes.*/\1/p' "$work/seen"; }

echo "A datagram from a client (10.0.0.1) to UDP port 2055 of a server (10.0.0.2), no rules anywhere:"
send "flow record 1"
sed -n 's/^on the wire/before     /; 2,3s/^/  /p' "$work/seen"
plain=$(wire_length)
echo
echo "The next one with rules: it travels as TCP 540 > 179, the port that a load balancer keeps on one backend."
mkdir -p "$work/client" "$work/server"
echo "udp dport 2055 funnel tcp dport 179 sport 540" >"$work/client/egress.rules"
echo "tcp dport 179 sport 540 unfunnel udp dport 2055" >"$work/server/ingress.rules"
for host in client server; do
	sed "s/^/  $host: /" "$work/$host"/*.rules
done
"$work/attacher" --netns "$client" --rules "$work/client" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$work/attacher" --netns "$server" --rules "$work/server" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
send "flow record 2"
grep -v ready "$work/seen" | sed 's/^/  /'
grep -q "TCP 540 > 179" "$work/seen" || { echo "the datagram was not funneled" >&2; exit 1; }
port=$(sed -n 's/^on the wire .*| UDP \([0-9]*\) > 2055 .*/\1/p' "$work/seen")
grep -q "^socket *\"flow record 2\" from 10.0.0.1:$port\$" "$work/seen" || { echo "the datagram did not arrive from 10.0.0.1:$port" >&2; exit 1; }
[[ $(wire_length) == $((plain + 20)) ]] || { echo "$(wire_length) bytes on the wire, $plain before" >&2; exit 1; }
echo
echo "20 bytes more on the wire; the socket sees no difference, source address and port included."
