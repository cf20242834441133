// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FunnelPolicy selects pods of its namespace and declares how their packets are
// funneled: disguised as one Service port before the load balancer, or restored
// behind it. A pod takes up the rules when it is created; a running pod keeps
// those that it started with.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fp,categories=network
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods.matched`
// +kubebuilder:printcolumn:name="Attached",type=integer,JSONPath=`.status.pods.attached`
// +kubebuilder:printcolumn:name="MTU",type=integer,JSONPath=`.status.mtu.minimum`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS label of at most 52 characters: it becomes part of ConfigMap and volume names"
type FunnelPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which pods are meant and what is done to their packets.
	// +required
	Spec FunnelPolicySpec `json:"spec"`

	// status is written by the controller only.
	// +optional
	// +default={"observedGeneration":-1}
	Status FunnelPolicyStatus `json:"status,omitempty"`
}

// FunnelPolicyList is a list of FunnelPolicies.
//
// +kubebuilder:object:root=true
type FunnelPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FunnelPolicy `json:"items"`
}

// FunnelPolicySpec is the wish of the user.
type FunnelPolicySpec struct {
	// podSelector selects the pods, in the policy's own namespace, that these
	// rules are for. An empty selector selects every pod of the namespace.
	// +required
	PodSelector metav1.LabelSelector `json:"podSelector"`

	// rules lists, per direction, what is done to the pods' packets.
	// +required
	Rules Rules `json:"rules"`

	// interfaces names the pod's interfaces that the rules hold on. When it is
	// absent they hold on every interface that is up and has an address, lo
	// excepted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=15
	// +kubebuilder:validation:items:Pattern=`^[^\s/:]+$`
	Interfaces []string `json:"interfaces,omitempty"`

	// mtu says what happens about the bytes that a pushed header adds. Warn: the
	// condition MTUWarning tells where there is no room.
	// +optional
	// +kubebuilder:default=Warn
	MTU MTUMode `json:"mtu,omitempty"`

	// priority orders the policies that select one pod: the rules of the higher
	// one come first. Policies of equal priority follow by name.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority,omitempty"`
}

// MTUMode says what is done about the bytes that a pushed header adds.
//
// +kubebuilder:validation:Enum=Warn
type MTUMode string

// MTUWarn reports missing room and changes nothing.
const MTUWarn MTUMode = "Warn"

// Rules holds, per direction, either a list of rules or text in the rule
// language. The first rule that matches a packet decides; a packet that none
// matches is left untouched.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.egress) && size(self.egress) > 0 && has(self.text) && has(self.text.egress))",message="give the egress rules either as the list rules.egress or as rules.text.egress, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.ingress) && size(self.ingress) > 0 && has(self.text) && has(self.text.ingress))",message="give the ingress rules either as the list rules.ingress or as rules.text.ingress, not both"
// +kubebuilder:validation:XValidation:rule="(has(self.egress) && size(self.egress) > 0) || (has(self.ingress) && size(self.ingress) > 0) || (has(self.text) && (has(self.text.egress) || has(self.text.ingress)))",message="rules is empty: give at least one rule in rules.egress, rules.ingress or rules.text"
type Rules struct {
	// egress holds for packets that leave the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Egress []Rule `json:"egress,omitempty"`

	// ingress holds for packets that reach the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Ingress []Rule `json:"ingress,omitempty"`

	// text gives the rules of a direction in the rule language (docs/rules.md)
	// instead of as a list.
	// +optional
	Text *RulesText `json:"text,omitempty"`
}

// RulesText is rules in the rule language, at most 4,096 per direction.
type RulesText struct {
	// egress holds for packets that leave the pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	Egress string `json:"egress,omitempty"`

	// ingress holds for packets that reach the pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	Ingress string `json:"ingress,omitempty"`
}

// Rule is a match and what is done to the packets that it matches.
//
// +kubebuilder:validation:XValidation:rule="(has(self.accept) ? 1 : 0) + (has(self.drop) ? 1 : 0) + (has(self.funnel) ? 1 : 0) + (has(self.unfunnel) ? 1 : 0) == 1",message="a rule has exactly one of accept, drop, funnel and unfunnel"
type Rule struct {
	// name is for people; messages about the rule quote it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// match says which packets the rule is for: those for which every field
	// that is given holds.
	// +required
	Match Match `json:"match"`

	// accept leaves the packet untouched and ends the search.
	// +optional
	Accept *Accept `json:"accept,omitempty"`

	// drop discards the packet.
	// +optional
	Drop *Drop `json:"drop,omitempty"`

	// funnel pushes a header in front of the packet's own TCP or UDP header.
	// +optional
	Funnel *Funnel `json:"funnel,omitempty"`

	// unfunnel takes the pushed header off again.
	// +optional
	Unfunnel *Unfunnel `json:"unfunnel,omitempty"`
}

// Match says which packets a rule is for. A field that is absent holds for all.
type Match struct {
	// family is the IP family. Absent: both, or the one of the addresses given.
	// +optional
	Family IPFamily `json:"family,omitempty"`

	// protocol is the transport protocol of the packet as it arrives at the
	// rule: the outer one where the packet is funneled.
	// +required
	Protocol Protocol `json:"protocol"`

	// source is the sender.
	// +optional
	Source *Peer `json:"source,omitempty"`

	// destination is the receiver.
	// +optional
	Destination *Peer `json:"destination,omitempty"`

	// sourcePorts are the sender's ports.
	// +optional
	SourcePorts *Ports `json:"sourcePorts,omitempty"`

	// destinationPorts are the receiver's ports.
	// +optional
	DestinationPorts *Ports `json:"destinationPorts,omitempty"`

	// pushed holds for packets whose outer TCP header carries the marks of a
	// pushed one, whatever its source port: right where masquerading re-draws
	// source ports. It needs protocol TCP.
	// +optional
	Pushed bool `json:"pushed,omitempty"`
}

// IPFamily is an IP version.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type IPFamily string

// The IP families.
const (
	IPv4 IPFamily = "IPv4"
	IPv6 IPFamily = "IPv6"
)

// Protocol is a transport protocol.
//
// +kubebuilder:validation:Enum=TCP;UDP
type Protocol string

// The transport protocols.
const (
	TCP Protocol = "TCP"
	UDP Protocol = "UDP"
)

// Peer is one side of a packet: addresses, or those of a Service.
//
// +kubebuilder:validation:XValidation:rule="has(self.cidrs) != has(self.service)",message="name the addresses by exactly one of cidrs and service"
type Peer struct {
	// cidrs are addresses (10.0.0.1) and prefixes (10.0.0.0/8), all of one IP
	// family or of both.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=49
	CIDRs []string `json:"cidrs,omitempty"`

	// service stands for the addresses of a Service: its cluster IPs,
	// load-balancer ingress IPs and external IPs. The rules follow when they
	// change.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`

	// not inverts: every address but these.
	// +optional
	Not bool `json:"not,omitempty"`
}

// ServiceReference names a Service.
type ServiceReference struct {
	// name of the Service.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// namespace of the Service. Absent: that of the policy.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// Ports is a set of ports.
type Ports struct {
	// values are ports ("443") and ranges ("8000-8100", both ends included),
	// from 1 to 65535.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Values []PortRange `json:"values"`

	// not inverts: every port but these.
	// +optional
	Not bool `json:"not,omitempty"`
}

// PortRange is a port ("443") or a range of ports ("8000-8100", both ends
// included), from 1 to 65535.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=11
// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$`
type PortRange string

// Accept has no settings.
type Accept struct{}

// Drop has no settings.
type Drop struct{}

// Funnel says what the pushed header looks like.
type Funnel struct {
	// protocol of the pushed header.
	// +required
	Protocol Protocol `json:"protocol"`

	// destinationPort of the pushed header: the Service port that everything
	// travels through.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	DestinationPort int32 `json:"destinationPort"`

	// sourcePorts of the pushed header: a port, or a range that the sender moves
	// through with time, so that a stream follows when its backend is replaced.
	// +required
	SourcePorts PortRange `json:"sourcePorts"`
}

// Unfunnel says what is expected under the pushed header.
type Unfunnel struct {
	// protocol under the pushed header.
	// +required
	Protocol Protocol `json:"protocol"`

	// destinationPorts are the inner destination ports that are accepted; a
	// packet to any other is dropped and counted. Absent: all, and the condition
	// Warnings says so, since whoever may send to the outer port then reaches
	// every port of the pod.
	// +optional
	DestinationPorts *Ports `json:"destinationPorts,omitempty"`
}
