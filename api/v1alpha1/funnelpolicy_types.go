// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

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
	metav1.TypeMeta `json:",inline"`

	// metadata is that of every kind.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says which pods are meant and what is done to their packets.
	// +required
	Spec FunnelPolicySpec `json:"spec,omitzero"`

	// status is written by the controller only.
	// +optional
	// +default={"observedGeneration":-1}
	Status FunnelPolicyStatus `json:"status,omitzero"`
}

// FunnelPolicyList is a list of FunnelPolicies.
//
// +kubebuilder:object:root=true
type FunnelPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FunnelPolicy `json:"items"`
}

// FunnelPolicySpec is the desired state: which pods, and in exactly one of
// three forms what is done to their packets.
//
// +kubebuilder:validation:XValidation:rule="!has(self.inPlace) || self.updateStrategy == 'InPlace'",message="inPlace needs updateStrategy InPlace: set that, or leave inPlace out"
// +kubebuilder:validation:XValidation:rule="(has(self.backend) ? 1 : 0) + (has(self.client) ? 1 : 0) + (has(self.rules) ? 1 : 0) == 1",message="give exactly one of backend (in front of these pods stands a Service), client (these pods are clients of such a Service) and rules"
type FunnelPolicySpec struct {
	// podSelector selects the pods, in the policy's own namespace, that this policy
	// is for. An empty selector ({}) selects every pod of the namespace.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="operator of a matchExpression must be In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : !(e.operator in ['Exists', 'DoesNotExist']) || !has(e.values) || size(e.values) == 0)",message="a matchExpression has values with the operators In and NotIn, and none with Exists and DoesNotExist"
	PodSelector metav1.LabelSelector `json:"podSelector"`

	// backend says that a Service stands in front of these pods, and which of their
	// ports are reached through one port of it.
	// +optional
	Backend *Backend `json:"backend,omitempty"`

	// client says that these pods are clients of such a Service. Their rules follow
	// from the backend policy, and hold once all of its pods can undo them.
	// +optional
	Client *Client `json:"client,omitempty"`

	// rules lists, per direction, what is done to the pods' packets.
	// +optional
	Rules Rules `json:"rules,omitzero"`

	// interfaces names the pod's interfaces that the rules hold on. Of eth0@if12,
	// which ip link shows, the name is eth0. When it is absent or empty they hold on
	// every interface that is up and has an address, lo excepted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[^ \\t\\n/:@]{1,15}$') && self != '.' && self != '..'",message="write the name of an interface, which ip link shows up to the @: 1 to 15 characters, without space, /, : or @"
	Interfaces []string `json:"interfaces,omitempty"`

	// mtu says what happens about the bytes that a pushed header adds to a
	// packet. Warn: nothing is changed, and the condition MTUWarning tells where
	// there is no room. Reserve: room is made in each pod, which then sends
	// smaller packets. It does not help UDP that does not adapt: what a socket sends
	// beyond the smaller size is cut into fragments, which can't be funneled
	// (docs/mtu.md). Of several policies on one interface Reserve wins.
	// +optional
	// +default="Warn"
	MTU MTUMode `json:"mtu,omitempty"`

	// flows is for how many flows at a time each interface has room in its table
	// of flows that are rewritten in place or answered in kind. Beyond it: where pods
	// funnel, new connections are dropped, so that their SYN is sent again; on backends
	// they go on with less time to be silent; of flows that are answered in kind the one
	// that was silent longest gives its place. All of it is counted. Memory for all of
	// them is taken at once and counts as the pod's: about 300 bytes for a flow that is
	// funneled here, 150 for one that is unfunneled. It must fit into the init container's
	// memory limit, which is 128Mi (the manager's flag --attacher-memory): enough for about
	// 300,000. Of several policies on one interface the largest number holds.
	// Absent: 8192.
	// +optional
	// +kubebuilder:validation:Minimum=64
	// +kubebuilder:validation:Maximum=1048576
	Flows int32 `json:"flows,omitempty"`

	// updateStrategy says how changed rules reach pods that run. OnRecreate: a pod
	// keeps the rules that it started with until it is replaced. InPlace: the
	// operator adds an ephemeral container to each pod with other rules, which
	// attaches all rules that the pod mounts, those of its other policies too, and
	// ends; live flows go on. A pod takes 5 such updates in its life. It needs a
	// permission that the default install does not grant (config/overlays/in-place).
	// +optional
	// +default="OnRecreate"
	UpdateStrategy UpdateStrategy `json:"updateStrategy,omitempty"`

	// inPlace paces updateStrategy InPlace. Absent: maxUnavailable is 10%.
	// +optional
	InPlace *InPlaceUpdate `json:"inPlace,omitempty"`

	// priority orders the policies that select one pod: the rules of the higher
	// one come first. Policies of equal priority follow in the order of their
	// names.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority,omitempty"`
}

// UpdateStrategy says how changed rules reach pods that run.
//
// +kubebuilder:validation:Enum=OnRecreate;InPlace
type UpdateStrategy string

const (
	// UpdateOnRecreate leaves running pods as they are.
	UpdateOnRecreate UpdateStrategy = "OnRecreate"
	// UpdateInPlace brings running pods the current rules.
	UpdateInPlace UpdateStrategy = "InPlace"
)

// InPlaceUpdate paces the update of running pods.
type InPlaceUpdate struct {
	// maxUnavailable is how many pods are updated at a time, as a number or as a
	// percentage of the injected pods that the policy selects, rounded down, but at
	// least 1. Pods stay available meanwhile; it bounds how many a bad update can
	// reach, since none is begun after one that failed. Absent: 10%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 1 : string(self).matches('^([1-9][0-9]?|100)%$')",message="write a number from 1, or a percentage from 1% to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// DefaultMaxUnavailable is what an absent spec.inPlace.maxUnavailable stands for.
const DefaultMaxUnavailable = "10%"

// MTUMode says what is done about the bytes that a pushed header adds.
//
// +kubebuilder:validation:Enum=Warn;Reserve
type MTUMode string

const (
	// MTUWarn reports missing room and changes nothing.
	MTUWarn MTUMode = "Warn"
	// MTUReserve makes room in the pod.
	MTUReserve MTUMode = "Reserve"
)

// DefaultFlows is what an absent spec.flows stands for.
const DefaultFlows int32 = 8192

// Rules holds, per direction, either a list of rules or text in the rule
// language. The first rule that matches a packet decides; a packet that none
// matches is left untouched.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.egress) && size(self.egress) > 0 && has(self.text) && has(self.text.egress))",message="give the egress rules either as the list rules.egress or as rules.text.egress, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.ingress) && size(self.ingress) > 0 && has(self.text) && has(self.text.ingress))",message="give the ingress rules either as the list rules.ingress or as rules.text.ingress, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.egress) || self.egress.all(r, !has(r.name) || self.egress.exists_one(other, has(other.name) && other.name == r.name))",message="two rules of egress have the same name: give each its own, or none"
// +kubebuilder:validation:XValidation:rule="!has(self.ingress) || self.ingress.all(r, !has(r.name) || self.ingress.exists_one(other, has(other.name) && other.name == r.name))",message="two rules of ingress have the same name: give each its own, or none"
// +kubebuilder:validation:XValidation:rule="(has(self.egress) && size(self.egress) > 0) || (has(self.ingress) && size(self.ingress) > 0) || has(self.text)",message="rules is empty: give at least one rule in rules.egress, rules.ingress or rules.text"
type Rules struct {
	// egress holds for packets that leave the pod. The first rule that matches
	// decides; a packet that none matches is left untouched.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Egress []Rule `json:"egress,omitempty"`

	// ingress holds for packets that reach the pod. The first rule that matches
	// decides; a packet that none matches is left untouched.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Ingress []Rule `json:"ingress,omitempty"`

	// text gives the rules of a direction in the rule language instead of as a
	// list, one per line or semicolon, at most 4,096. For instance:
	// udp dport 4739 funnel tcp dport 179 sport 540
	// +optional
	Text *RulesText `json:"text,omitempty"`
}

// RulesText is rules in the rule language (docs/rules.md): one per line or
// semicolon, # begins a comment, at most 4,096 per direction.
//
// +kubebuilder:validation:XValidation:rule="has(self.egress) || has(self.ingress)",message="text is empty: give the rules in text.egress or text.ingress, or leave text out"
type RulesText struct {
	// egress has the rules for packets that leave the pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 262144",message="the text of a direction has at most 262144 bytes: shorten its comments, or divide the rules between several policies, which have at most 4096 rules per direction together on one interface"
	Egress string `json:"egress,omitempty"`

	// ingress has the rules for packets that reach the pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 262144",message="the text of a direction has at most 262144 bytes: shorten its comments, or divide the rules between several policies, which have at most 4096 rules per direction together on one interface"
	Ingress string `json:"ingress,omitempty"`
}

// Rule is a match and what is done to the packets that it matches.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.funnel) && has(self.funnel.mode) && self.funnel.mode == 'Inline' || has(self.unfunnel) && has(self.unfunnel.mode) && self.unfunnel.mode == 'Inline') || self.match.protocol == 'TCP'",message="mode Inline carries TCP in TCP only: match protocol TCP, or use mode Push"
// +kubebuilder:validation:XValidation:rule="!(has(self.match.pushed) && self.match.pushed) || !(has(self.funnel) && has(self.funnel.mode) && self.funnel.mode == 'Inline' || has(self.unfunnel) && has(self.unfunnel.mode) && self.unfunnel.mode == 'Inline')",message="a pushed packet is not inline: leave match.pushed out, or use mode Push"
// +kubebuilder:validation:XValidation:rule="(has(self.accept) ? 1 : 0) + (has(self.drop) ? 1 : 0) + (has(self.funnel) ? 1 : 0) + (has(self.unfunnel) ? 1 : 0) == 1",message="a rule has exactly one of accept, drop, funnel and unfunnel"
type Rule struct {
	// name is for people: messages about the rule quote it. No two rules of a
	// list have the same.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write a rule's name in lower-case letters, digits and dashes, beginning and ending with a letter or digit"
	Name string `json:"name,omitempty"`

	// match says which packets the rule is for: those for which every field
	// that is given holds.
	// +required
	Match Match `json:"match,omitzero"`

	// accept leaves the packet untouched and ends the search.
	// +optional
	Accept *Accept `json:"accept,omitempty"`

	// drop discards the packet.
	// +optional
	Drop *Drop `json:"drop,omitempty"`

	// funnel disguises the packet as one to another port: by a header pushed in
	// front of its own, or in place.
	// +optional
	Funnel *Funnel `json:"funnel,omitempty"`

	// unfunnel undoes what funnel did on the other side. The match is about the
	// disguise.
	// +optional
	Unfunnel *Unfunnel `json:"unfunnel,omitempty"`
}

// Match says which packets a rule is for. A field that is absent holds for all.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pushed) || !self.pushed || self.protocol == 'TCP'",message="pushed needs protocol TCP: a UDP header has no room for the marks of a pushed one; tell pushed packets apart by sourcePorts"
// +kubebuilder:validation:XValidation:rule="!has(self.family) || !has(self.source) || !has(self.source.cidrs) || self.source.cidrs.all(c, c.contains(':') == (self.family == 'IPv6'))",message="source.cidrs has an address that is not of match.family: write one rule for each family, or leave family out"
// +kubebuilder:validation:XValidation:rule="!has(self.family) || !has(self.destination) || !has(self.destination.cidrs) || self.destination.cidrs.all(c, c.contains(':') == (self.family == 'IPv6'))",message="destination.cidrs has an address that is not of match.family: write one rule for each family, or leave family out"
// +kubebuilder:validation:XValidation:rule="!has(self.source) || !has(self.source.cidrs) || !has(self.destination) || !has(self.destination.cidrs) || self.source.cidrs.exists(s, s.contains(':')) && self.destination.cidrs.exists(d, d.contains(':')) || self.source.cidrs.exists(s, !s.contains(':')) && self.destination.cidrs.exists(d, !d.contains(':'))",message="source.cidrs and destination.cidrs have no IP family in common, so that no packet matches: give both sides addresses of one family"
type Match struct {
	// family is the IP family. Absent: both, or the one of the addresses given.
	// +optional
	Family IPFamily `json:"family,omitempty"`

	// protocol is the transport protocol of the packet as it arrives at the
	// rule: the outer one where the packet is funneled.
	// +required
	Protocol Protocol `json:"protocol,omitempty"`

	// source is the sender's address. Absent: any.
	// +optional
	Source *Peer `json:"source,omitempty"`

	// destination is the receiver's address. Absent: any.
	// +optional
	Destination *Peer `json:"destination,omitempty"`

	// sourcePorts are the sender's ports. Absent: all.
	// +optional
	SourcePorts *Ports `json:"sourcePorts,omitempty"`

	// destinationPorts are the receiver's ports. A packet on its way to a Service
	// has the Service's port; one that reached a pod has the container's. Absent:
	// all.
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
	// cidrs are addresses ("10.0.0.1") and prefixes ("10.0.0.0/8"), of one IP
	// family or of both.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self)",message="write an address (10.0.0.1, 2001:db8::1) or a prefix (10.0.0.0/8, 2001:db8::/32)"
	CIDRs []string `json:"cidrs,omitempty"`

	// service stands for the addresses of a Service: its cluster IPs,
	// load-balancer ingress IPs and external IPs. The rules follow when they
	// change.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`

	// not inverts: every address but these, of the IP families that these are of.
	// +optional
	Not bool `json:"not,omitempty"`
}

// ServiceReference names a Service.
type ServiceReference struct {
	// name of the Service.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a Service: lower-case letters, digits and dashes"
	Name string `json:"name,omitempty"`

	// namespace of the Service. Absent: that of the policy.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a namespace, or leave it out for that of the policy"
	Namespace string `json:"namespace,omitempty"`
}

// Ports is a set of ports.
type Ports struct {
	// values are ports ("443") and ranges ("8000-8100", both ends included),
	// from 1 to 65535.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Values []PortRange `json:"values,omitempty"`

	// not inverts: every port but these.
	// +optional
	Not bool `json:"not,omitempty"`
}

// PortRange is a port ("443") or a range of ports ("8000-8100", both ends
// included), from 1 to 65535.
//
// +kubebuilder:validation:MaxLength=20
// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$') && self.split('-').all(p, int(p) <= 65535)",message="write a port from 1 to 65535 (\"443\") or a range of them (\"8000-8100\")"
// +kubebuilder:validation:XValidation:rule="!self.matches('^[0-9]{1,5}-[0-9]{1,5}$') || int(self.split('-')[0]) <= int(self.split('-')[1])",message="the range of ports is reversed: write the lower port first (\"8000-8100\")"
type PortRange string

// Accept has no settings.
type Accept struct{}

// Drop has no settings.
type Drop struct{}

// Mode says how a packet is disguised.
//
// +kubebuilder:validation:Enum=Push;Inline
type Mode string

const (
	// ModePush puts a TCP or UDP header in front of the packet's own. The packet
	// grows by 20 bytes (TCP) or 8 (UDP).
	ModePush Mode = "Push"
	// ModeInline rewrites the ports of TCP packets in place: nothing is added, and
	// bulk transfers keep their speed.
	ModeInline Mode = "Inline"
)

// Funnel says what the disguise looks like.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Inline' || self.protocol == 'TCP'",message="mode Inline carries TCP in TCP only: write protocol TCP, or use mode Push"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Inline' || !has(self.sourcePorts)",message="mode Inline chooses source ports itself: leave sourcePorts out, or use mode Push"
// +kubebuilder:validation:XValidation:rule="self.mode == 'Inline' || has(self.sourcePorts)",message="mode Push needs the source port of the pushed header: add sourcePorts (\"540\", or \"540-547\" for a range that is moved through with time), or use mode Inline"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Inline' || !has(self.reply) || !self.reply",message="mode Inline answers in kind already: leave reply out"
type Funnel struct {
	// protocol of the disguise.
	// +required
	Protocol Protocol `json:"protocol,omitempty"`

	// destinationPort of the disguise: the Service port that everything travels
	// through.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	DestinationPort int32 `json:"destinationPort,omitempty"`

	// mode is Push or Inline. Absent: Push.
	// +optional
	// +default="Push"
	Mode Mode `json:"mode,omitempty"`

	// sourcePorts of a pushed header: a port, or a range that the sender moves
	// through with time, so that a stream follows when its backend is replaced.
	// Required with mode Push; mode Inline chooses source ports itself.
	// +optional
	SourcePorts PortRange `json:"sourcePorts,omitempty"`

	// reply also unfunnels what answers these packets, so that no rule in the other
	// direction is needed. Inline does so always.
	// +optional
	Reply bool `json:"reply,omitempty"`
}

// Unfunnel says what is expected behind the disguise.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Inline' || self.protocol == 'TCP'",message="mode Inline carries TCP in TCP only: write protocol TCP, or use mode Push"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Inline' || !has(self.reply) || !self.reply",message="mode Inline answers in kind already: leave reply out"
type Unfunnel struct {
	// protocol behind the disguise.
	// +required
	Protocol Protocol `json:"protocol,omitempty"`

	// mode is Push or Inline, as the sender's. Absent: Push.
	// +optional
	// +default="Push"
	Mode Mode `json:"mode,omitempty"`

	// destinationPorts are the inner destination ports that are accepted; a
	// packet to any other is dropped and counted. Absent: all, and the condition
	// Warnings says so, since whoever may send to the outer port then reaches
	// every port of the pod.
	// +optional
	DestinationPorts *Ports `json:"destinationPorts,omitempty"`

	// reply also funnels what answers these packets, to the outer port that they
	// came from, and nothing else: probes and direct clients of the same port get
	// plain answers. Inline does so always.
	// +optional
	Reply bool `json:"reply,omitempty"`
}
