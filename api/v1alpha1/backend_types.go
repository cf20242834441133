// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Backend says that a Service stands in front of the pods, and which of their
// ports are reached through one port of that Service.
//
// +kubebuilder:validation:XValidation:rule="type(self.through.port) != int || !self.ports.exists(p, p.port == self.through.port && p.protocol == self.through.protocol)",message="the port that everything travels through is not funneled itself: take it out of ports"
// +kubebuilder:validation:XValidation:rule="self.encapsulation != 'Inline' || self.through.protocol == 'TCP' && self.ports.all(p, p.protocol == 'TCP')",message="encapsulation Inline carries TCP in TCP only: make through and all ports TCP, or use Auto, which pushes the others"
// +kubebuilder:validation:XValidation:rule="!self.ports.exists(p, p.protocol == 'TCP') || !self.ports.exists(p, p.protocol == 'UDP') || !self.sourcePorts.tcp.matches('^[0-9]{1,5}(-[0-9]{1,5})?$') || !self.sourcePorts.udp.matches('^[0-9]{1,5}(-[0-9]{1,5})?$') || int(self.sourcePorts.tcp.split('-')[size(self.sourcePorts.tcp.split('-')) - 1]) < int(self.sourcePorts.udp.split('-')[0]) || int(self.sourcePorts.udp.split('-')[size(self.sourcePorts.udp.split('-')) - 1]) < int(self.sourcePorts.tcp.split('-')[0])",fieldPath=".sourcePorts",message="sourcePorts.tcp and sourcePorts.udp overlap: they tell apart what is inside, so give each ports of its own; unless given, tcp is 540-547 and udp 548-555"
type Backend struct {
	// service is the name of the Service, in the policy's namespace, that leads to
	// the pods. It must have a cluster IP and sessionAffinity ClientIP.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a Service of this namespace: lower-case letters, digits and dashes"
	Service string `json:"service,omitempty"`

	// through is the port of the Service on which everything travels. Clients send
	// to its port, and pods receive on its targetPort.
	// +required
	Through ThroughPort `json:"through,omitzero"`

	// ports are funneled: the ports that the container listens on, which clients
	// dial at the Service's address. The Service need not list them; where it does,
	// then with the same number as targetPort, since nobody translates them.
	// +required
	// +listType=map
	// +listMapKey=port
	// +listMapKey=protocol
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Ports []FunneledPort `json:"ports,omitempty"`

	// encapsulation is what clients emit. Auto: Inline for TCP through TCP, and Push
	// for everything else; the pods accept both for TCP. Push and Inline narrow
	// that. Absent: Auto.
	// +optional
	// +default="Auto"
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`

	// sourcePorts are the source ports of pushed headers. Where ports has both
	// protocols, those of the one and of the other have none in common. Absent:
	// 540-547 around TCP and 548-555 around UDP.
	// +optional
	// +default={"tcp":"540-547","udp":"548-555"}
	SourcePorts OuterSourcePorts `json:"sourcePorts,omitzero"`

	// sourceCIDRs are addresses ("10.0.0.1") and prefixes ("10.0.0.0/8") from which
	// funneled packets are accepted; pushed ones from elsewhere are dropped. Absent:
	// from everywhere.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self)",message="write an address (10.0.0.1, 2001:db8::1) or a prefix (10.0.0.0/8, 2001:db8::/32)"
	SourceCIDRs []string `json:"sourceCIDRs,omitempty"`

	// clients says whose client policies may refer to this one. Those of its own
	// namespace always may. Absent: no others.
	// +optional
	Clients *BackendClients `json:"clients,omitempty"`
}

// ThroughPort names a port of a Service.
type ThroughPort struct {
	// port is the number or the name of a port that the Service lists.
	// +required
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 1 && int(self) <= 65535 : size(string(self)) <= 63 && string(self).matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the number of a Service port (1 to 65535) or its name"
	// +kubebuilder:validation:MaxLength=63
	Port intstr.IntOrString `json:"port"`

	// protocol of that port. Absent: TCP.
	// +optional
	// +default="TCP"
	Protocol Protocol `json:"protocol,omitempty"`
}

// FunneledPort is a port that is funneled.
type FunneledPort struct {
	// port is the number that the container listens on and that clients dial.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// protocol of the port. Absent: TCP.
	// +optional
	// +default="TCP"
	Protocol Protocol `json:"protocol,omitempty"`
}

// Encapsulation is what clients of a backend emit.
//
// +kubebuilder:validation:Enum=Auto;Push;Inline
type Encapsulation string

const (
	// EncapsulationAuto is Inline for TCP through TCP and Push for the rest.
	EncapsulationAuto Encapsulation = "Auto"
	// EncapsulationPush puts a header in front of every packet.
	EncapsulationPush Encapsulation = "Push"
	// EncapsulationInline rewrites TCP in place, and does nothing else.
	EncapsulationInline Encapsulation = "Inline"
)

// OuterSourcePorts are the source ports of pushed headers by the protocol that
// travels inside. In-cluster clients move through a range with time, so that a
// stream follows when its backend is replaced; external rule sets use its first
// port.
type OuterSourcePorts struct {
	// tcp are those around TCP.
	// +optional
	// +default="540-547"
	TCP PortRange `json:"tcp,omitempty"`

	// udp are those around UDP.
	// +optional
	// +default="548-555"
	UDP PortRange `json:"udp,omitempty"`
}

// The default source ports of pushed headers.
const (
	DefaultSourcePortsTCP PortRange = "540-547"
	DefaultSourcePortsUDP PortRange = "548-555"
)

// BackendClients says who may refer to a backend policy.
type BackendClients struct {
	// namespaceSelector selects namespaces by their labels; an empty selector ({})
	// selects all. Absent: none besides the policy's own.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="operator of a matchExpression must be In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : !(e.operator in ['Exists', 'DoesNotExist']) || !has(e.values) || size(e.values) == 0)",message="a matchExpression has values with the operators In and NotIn, and none with Exists and DoesNotExist"
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
}

// Client says that the pods are clients of a Service whose backend policy it
// names.
type Client struct {
	// policyRef names the backend policy.
	// +required
	PolicyRef PolicyReference `json:"policyRef,omitzero"`
}

// PolicyReference names a FunnelPolicy.
type PolicyReference struct {
	// name of the policy.
	// +required
	// +kubebuilder:validation:MaxLength=52
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a FunnelPolicy: lower-case letters, digits and dashes"
	Name string `json:"name,omitempty"`

	// namespace of the policy. Absent: that of this one.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a namespace, or leave it out for that of the policy"
	Namespace string `json:"namespace,omitempty"`
}
