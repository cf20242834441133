#!/usr/bin/env bash
# Installs the Debian packages that building and testing use, when a command of
# theirs is missing. Elsewhere, or without root, it names what is missing.
#
#   hack/deps.sh [COMMAND…]      only what these commands are in
set -euo pipefail

declare -A package=(
	[clang-14]=clang-14 [llvm-strip-14]=llvm-14 [ip]=iproute2 [iptables]=iptables
	[nft]=nftables [ethtool]=ethtool [conntrack]=conntrack [modprobe]=kmod [git]=git
)
wanted=("${!package[@]}") missing=()
[[ $# == 0 ]] || wanted=("$@")
for command in "${wanted[@]}"; do
	command -v "$command" >/dev/null || missing+=("${package[$command]}")
done
[[ $# -gt 0 || -e /usr/include/bpf/bpf_helpers.h ]] || missing+=(libbpf-dev)
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]} (Debian's package names); install them and run again" >&2
	exit 1
fi
echo "installing ${missing[*]} …" >&2
exec 9<"$0" && flock 9 # make may run two of us, and hack/kernels; apt-get does not wait for lists
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
