// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
)

const apiPort = "6443"

// controlPlane describes the machine that runs etcd, API server, controller manager
// and scheduler.
func (c *cluster) controlPlane() machine {
	interfaces, routes := c.router()
	return machine{
		Name:       controlName,
		Interfaces: interfaces,
		Routes:     routes,
		Sysctls:    balancerSysctls(),
		Private:    []string{"/run"},
		Programs:   []program{c.etcd(), c.apiServer(), c.controllerManager(), c.scheduler()},
		Forward:    c.apiAddress(),
	}
}

// apiAddress is the API server's, as nodes and pods know it.
func (c *cluster) apiAddress() string {
	return net.JoinHostPort(c.families[0].control().String(), apiPort)
}

func (c *cluster) etcd() program {
	return c.kube("etcd",
		"--data-dir=/run/etcd", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380")
}

func (c *cluster) apiServer() program {
	return c.kube("kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address="+c.families[0].control().String(), "--secure-port="+apiPort,
		"--service-cluster-ip-range="+c.each(func(f family) string { return f.services.String() }),
		"--client-ca-file="+c.file("ca.crt"),
		"--tls-cert-file="+c.file("apiserver.crt"), "--tls-private-key-file="+c.file("apiserver.key"),
		"--kubelet-client-certificate="+c.file("apiserver.crt"), "--kubelet-client-key="+c.file("apiserver.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.file("tokens.key"), "--service-account-signing-key-file="+c.file("tokens.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		// To webhooks behind a Service: straight to the pods, since no kube-proxy runs here.
		"--enable-aggregator-routing",
		"--profiling=false")
}

func (c *cluster) controllerManager() program {
	return c.kube("kube-controller-manager",
		"--kubeconfig="+c.file("controller-manager.kubeconfig"), "--leader-elect=false",
		"--service-account-private-key-file="+c.file("tokens.key"), "--root-ca-file="+c.file("ca.crt"),
		"--kube-api-qps=200", "--kube-api-burst=400", // rollouts of dozens of pods
		"--use-service-account-credentials", "--flex-volume-plugin-dir=/run/flexvolume", "--profiling=false")
}

func (c *cluster) scheduler() program {
	return c.kube("kube-scheduler",
		"--kubeconfig="+c.file("scheduler.kubeconfig"), "--leader-elect=false", "--profiling=false")
}

// kube is one part of the combined Kubernetes binary.
func (c *cluster) kube(name string, args ...string) program {
	return program{Name: name, Args: append([]string{filepath.Join(c.kubernetes, name)}, args...)}
}

// issueCertificates writes the keys, certificates and kubeconfigs of everybody.
// hostPort is the host's own way to the API server.
func (c *cluster) issueCertificates(hostPort string) error {
	ca, err := newAuthority(c.dir)
	if err != nil {
		return err
	}
	if err := ca.issueSigningKey("tokens"); err != nil {
		return err
	}
	hosts := []string{"127.0.0.1", "kubernetes.default.svc"}
	for _, f := range c.families {
		hosts = append(hosts, f.control().String(), f.apiService().String())
	}
	// The same certificate makes the API server an administrator of the kubelets.
	if err := ca.issue("apiserver", "kube-apiserver", []string{"system:masters"}, hosts...); err != nil {
		return err
	}
	inside := "https://" + c.apiAddress()
	for _, client := range []struct{ name, server, user, group string }{
		{"admin", "https://" + hostPort, "admin", "system:masters"},
		{"controller-manager", inside, "system:kube-controller-manager", ""},
		{"scheduler", inside, "system:kube-scheduler", ""},
		{"proxy", inside, "system:kube-proxy", ""},
	} {
		if err := ca.kubeconfig(client.name, client.server, client.user, client.group); err != nil {
			return err
		}
	}
	for _, node := range c.nodeNames() {
		if err := ca.kubeconfig(node, inside, "system:node:"+node, "system:nodes"); err != nil {
			return err
		}
	}
	return nil
}
