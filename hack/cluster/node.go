// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// pauseImage holds a pod's namespaces. It must be among the images that are loaded.
const pauseImage = "localhost/pause:dev"

// nodeSysctls are those that a kubelet or kube-proxy may change for the whole
// machine; they are restored.
var nodeSysctls = []string{
	"/proc/sys/vm/overcommit_memory",
	"/proc/sys/vm/panic_on_oom",
	"/proc/sys/kernel/panic",
	"/proc/sys/kernel/panic_on_oops",
	"/proc/sys/kernel/keys/root_maxkeys",
	"/proc/sys/kernel/keys/root_maxbytes",
	"/proc/sys/net/netfilter/nf_conntrack_max",
	"/proc/sys/net/bridge/bridge-nf-call-iptables",
	"/proc/sys/net/bridge/bridge-nf-call-ip6tables",
}

// node describes the machine that is the node of that number.
func (c *cluster) node(number int) machine {
	interfaces, routes := c.nodeNetwork(number)
	sysctls := map[string]string{
		// Replies between pods of one node cross only the bridge; NAT must see them.
		"net/bridge/bridge-nf-call-iptables":  "1",
		"net/bridge/bridge-nf-call-ip6tables": "1",
	}
	for name, value := range routerSysctls {
		sysctls[name] = value
	}
	return machine{
		Name:       nodeName(number),
		Interfaces: interfaces,
		Routes:     routes,
		Sysctls:    sysctls,
		Private:    []string{"/run", "/var/lib", "/var/log"},
		Programs:   []program{c.containerd(number), c.kubelet(number), c.kubeProxy(number)},
	}
}

func (c *cluster) containerd(number int) program {
	// containerd finds its shim, and the shim runc, by name.
	path := filepath.Join(c.packages, "usr/bin") + ":" + filepath.Join(c.packages, "usr/sbin") + ":" + os.Getenv("PATH")
	return program{
		Name: "containerd",
		Args: []string{filepath.Join(c.packages, "usr/bin/containerd"), "--config=" + c.file(nodeName(number)+".containerd.toml")},
		Env:  []string{"PATH=" + path},
	}
}

func (c *cluster) kubelet(number int) program {
	addresses := c.each(func(f family) string { return f.node(number).String() })
	name := nodeName(number)
	return c.kube("kubelet",
		"--config="+c.file(name+".kubelet.json"), "--kubeconfig="+c.file(name+".kubeconfig"),
		"--hostname-override="+name, "--node-ip="+addresses)
}

// writeNodeConfig writes the files that a node's programs read.
func (c *cluster) writeNodeConfig(number int) error {
	name := nodeName(number)
	network := c.file(name + ".cni")
	if err := os.MkdirAll(network, 0o755); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(network, "10-bridge.conflist"), c.podNetwork(number)); err != nil {
		return err
	}
	if err := writeJSON(c.file(name+".kubelet.json"), c.kubeletConfig(name)); err != nil {
		return err
	}
	if err := writeJSON(c.file(name+proxyConfigSuffix), c.proxyConfig(name)); err != nil {
		return err
	}
	config := fmt.Sprintf(containerdConfig, pauseImage, filepath.Join(c.packages, "usr/lib/cni"), network)
	return os.WriteFile(c.file(name+".containerd.toml"), []byte(config), 0o644)
}

// podNetwork is a bridge with a part of the pod addresses, without masquerading: pods
// reach each other, and clients see them, by their own addresses. Hairpin lets a
// pod reach itself through its Service.
func (c *cluster) podNetwork(number int) map[string]any {
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for _, f := range c.families {
		ranges = append(ranges, []object{{"subnet": f.podRange(number).String()}})
		routes = append(routes, object{"dst": f.everywhere().String()})
	}
	return object{
		"cniVersion": "1.0.0", "name": "pods",
		"plugins": []object{{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
			"ipam": object{"type": "host-local", "ranges": ranges, "routes": routes},
		}},
	}
}

func (c *cluster) kubeletConfig(name string) map[string]any {
	type object = map[string]any
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication":           object{"x509": object{"clientCAFile": c.file("ca.crt")}},
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"volumePluginDir":          "/var/lib/kubelet/plugins",
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + cgroupFolder(c.Name) + "/" + name,
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"resolvConf":               "",
		// Tests kill containers more often than is their turn.
		"crashLoopBackOff": object{"maxContainerRestartPeriod": "5s"},
		// The disk is the host's business: no image is collected, no pod evicted.
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
	}
}

// containerdConfig takes the pause image, and the directories of CNI's plugins and
// of its configuration. It asks for nothing that needs CAP_SYS_RESOURCE or AppArmor,
// which a container that this runs in may lack.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
disable_apparmor = true
restrict_oom_score_adj = true
tolerate_missing_hugetlb_controller = true
disable_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %q
conf_dir = %q

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`
