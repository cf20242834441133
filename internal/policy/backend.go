// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// backend compiles the form for pods behind a Service.
func (c *compiler) backend(path *field.Path) {
	f, through := c.funneling(path)
	if f == nil {
		return
	}
	if f.targets = c.targets(path.Child("through", "port"), through); len(f.targets) == 0 {
		return
	}
	c.program.Ingress = f.ingress()
	c.checkRules(path, c.program.Ingress)
	s := c.in.Services[c.program.Front]
	c.program.External = f.external(s, *through)
	c.warnAboutMistaken(path.Child("sourcePorts"), f, outside(s), through.NodePort)
}

// warnAboutMistaken says which source ports make UDP lost at addresses that
// masquerade, where it need not be.
func (c *compiler) warnAboutMistaken(path *field.Path, f *funneling, to reach, nodePort int32) {
	if !to.masqueraded || len(to.addresses) == 0 && nodePort == 0 || !f.mistaken(rules.UDP, f.outer[rules.UDP]) {
		return
	}
	c.program.Warnings = append(c.program.Warnings, Warning{v1alpha1.ReasonAddressesUnusable, fmt.Sprintf(
		"Service %s masquerades clients from outside the cluster, which may turn a source port of sourcePorts.udp (%v) into one of sourcePorts.tcp (%v): UDP would be taken for TCP, and is not funneled there; %s",
		c.program.Front, f.outer[rules.UDP], f.outer[rules.TCP], f.keepApart(path))})
}

// funneling reads spec.backend of the compiler's policy and finds its Service
// port; nil when there are faults, or something is missing.
func (c *compiler) funneling(path *field.Path) (*funneling, *corev1.ServicePort) {
	b, before := c.policy.Spec.Backend, len(c.errs)
	f := &funneling{
		protocol:      c.protocol(path.Child("through", "protocol"), orTCP(b.Through.Protocol)),
		inner:         c.innerPorts(path.Child("ports"), b.Ports),
		outer:         c.outerPorts(path.Child("sourcePorts"), b),
		encapsulation: c.encapsulation(path.Child("encapsulation"), b),
		sources:       c.sources(path.Child("sourceCIDRs"), b.SourceCIDRs),
	}
	c.clients(path.Child("clients"), b.Clients)
	c.program.Front = types.NamespacedName{Namespace: c.policy.Namespace, Name: b.Service}
	s := c.usableService(path.Child("service"), c.program.Front)
	if s == nil {
		return nil, nil
	}
	through := c.throughPort(path, s)
	if through == nil || len(c.errs) > before {
		return nil, nil
	}
	f.port = uint16(through.Port)
	return f, through
}

func orTCP(p v1alpha1.Protocol) v1alpha1.Protocol { return cmp.Or(p, v1alpha1.TCP) }

func (c *compiler) innerPorts(path *field.Path, ports []v1alpha1.FunneledPort) map[rules.Protocol]rules.PortSet {
	inner, seen := map[rules.Protocol]rules.PortSet{}, map[v1alpha1.FunneledPort]bool{}
	if len(ports) == 0 {
		c.fail(field.Required(path, "list at least one port that is funneled"))
	}
	for i, p := range ports {
		at := path.Index(i)
		p.Protocol = orTCP(p.Protocol)
		protocol := c.protocol(at.Child("protocol"), p.Protocol)
		switch {
		case p.Port < 1 || p.Port > 65535:
			c.fail(field.Invalid(at.Child("port"), p.Port, "write a port from 1 to 65535"))
			continue
		case seen[p]:
			c.fail(field.Duplicate(at, portText(p.Port, corev1.Protocol(p.Protocol))))
		}
		seen[p] = true
		set := inner[protocol]
		set.Ranges = append(set.Ranges, onePort(uint16(p.Port)).Ranges...)
		inner[protocol] = set
	}
	return inner
}

// outerPorts are the source ports of pushed headers. They tell apart what is
// inside, where there is more than one protocol.
func (c *compiler) outerPorts(path *field.Path, b *v1alpha1.Backend) map[rules.Protocol]rules.PortRange {
	tcp := c.portRange(path.Child("tcp"), cmp.Or(b.SourcePorts.TCP, v1alpha1.DefaultSourcePortsTCP))
	udp := c.portRange(path.Child("udp"), cmp.Or(b.SourcePorts.UDP, v1alpha1.DefaultSourcePortsUDP))
	if tcp.First != 0 && udp.First != 0 && tcp.Overlaps(udp) && anyPort(b, v1alpha1.TCP) && anyPort(b, v1alpha1.UDP) {
		c.fail(field.Invalid(path, fmt.Sprintf("%v, %v", tcp, udp), "sourcePorts.tcp and sourcePorts.udp overlap: they tell apart what is inside, so give each ports of its own; unless given, tcp is 540-547 and udp 548-555"))
	}
	return map[rules.Protocol]rules.PortRange{rules.TCP: tcp, rules.UDP: udp}
}

// anyPort reports whether a port of that protocol is funneled.
func anyPort(b *v1alpha1.Backend, of v1alpha1.Protocol) bool {
	return slices.ContainsFunc(b.Ports, func(p v1alpha1.FunneledPort) bool { return orTCP(p.Protocol) == of })
}

func (c *compiler) encapsulation(path *field.Path, b *v1alpha1.Backend) v1alpha1.Encapsulation {
	switch e := cmp.Or(b.Encapsulation, v1alpha1.EncapsulationAuto); e {
	case v1alpha1.EncapsulationAuto, v1alpha1.EncapsulationPush:
		return e
	case v1alpha1.EncapsulationInline:
		if anyPort(b, v1alpha1.UDP) || b.Through.Protocol == v1alpha1.UDP {
			c.fail(field.Forbidden(path, "Inline carries TCP in TCP only: make through and all ports TCP, or use Auto, which pushes the others"))
		}
		return e
	}
	c.fail(field.NotSupported(path, b.Encapsulation, []v1alpha1.Encapsulation{v1alpha1.EncapsulationAuto, v1alpha1.EncapsulationPush, v1alpha1.EncapsulationInline}))
	return v1alpha1.EncapsulationAuto
}

func (c *compiler) sources(path *field.Path, cidrs []string) []netip.Prefix {
	var prefixes []netip.Prefix
	for i, text := range cidrs {
		prefixes = append(prefixes, c.cidr(path.Index(i), text, ""))
	}
	return prefixes
}

func (c *compiler) clients(path *field.Path, clients *v1alpha1.BackendClients) {
	if clients == nil || clients.NamespaceSelector == nil {
		return
	}
	c.errs = append(c.errs, metav1validation.ValidateLabelSelector(clients.NamespaceSelector, metav1validation.LabelSelectorValidationOptions{}, path.Child("namespaceSelector"))...)
}

// quoted tells of a port number that was written as a name.
func quoted(port intstr.IntOrString) string {
	if _, err := strconv.ParseUint(port.StrVal, 10, 16); port.Type != intstr.String || err != nil {
		return ""
	}
	return "; in quotes it is a port's name: write the number without them"
}

// throughPort finds the Service's port that everything travels through, and
// checks the funneled ports against what else the Service lists.
func (c *compiler) throughPort(path *field.Path, s *corev1.Service) *corev1.ServicePort {
	want := c.policy.Spec.Backend.Through
	at := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		if !sameProtocol(p.Protocol, want.Protocol) {
			return false
		}
		if want.Port.Type == intstr.String {
			return p.Name == want.Port.StrVal
		}
		return p.Port == want.Port.IntVal
	})
	if at < 0 {
		c.unresolved(v1alpha1.ReasonPortNotFound, path.Child("through", "port"), c.program.Front,
			fmt.Sprintf("has no port %s/%s; it lists %s%s", want.Port.String(), orTCP(want.Protocol), listPorts(s.Spec.Ports), quoted(want.Port)))
		return nil
	}
	through := s.Spec.Ports[at]
	for i, p := range c.policy.Spec.Backend.Ports {
		c.checkMapping(path.Child("ports").Index(i), p, through, s)
	}
	return &through
}

func sameProtocol(a corev1.Protocol, b v1alpha1.Protocol) bool {
	return cmp.Or(a, corev1.ProtocolTCP) == corev1.Protocol(orTCP(b))
}

// checkMapping refuses a funneled port that is the through port, or that the
// Service leads to another port: nobody translates what is inside.
func (c *compiler) checkMapping(path *field.Path, funneled v1alpha1.FunneledPort, through corev1.ServicePort, s *corev1.Service) {
	for _, listed := range s.Spec.Ports {
		if listed.Port != funneled.Port || !sameProtocol(listed.Protocol, funneled.Protocol) {
			continue
		}
		if listed.Port == through.Port && listed.Protocol == through.Protocol {
			c.fail(field.Invalid(path, portText(funneled.Port, listed.Protocol), "the port that everything travels through is not funneled itself: take it out of ports"))
			return
		}
		for _, target := range c.targetNumbers(listed) {
			if int32(target) != funneled.Port {
				c.fail(field.Forbidden(path, fmt.Sprintf(
					"Service %s leads port %s to port %d of the pods, and a funneled port is not translated: list %d here and let clients dial that, or give the Service port the targetPort %d",
					c.program.Front, portText(listed.Port, listed.Protocol), target, target, funneled.Port)).WithOrigin(v1alpha1.ReasonPortMappingUnsupported))
				return
			}
		}
	}
}

// targets are the ports of the pods to which the Service leads a port.
func (c *compiler) targets(path *field.Path, through *corev1.ServicePort) []uint16 {
	targets := c.targetNumbers(*through)
	if len(targets) == 0 {
		c.program.Unresolved = append(c.program.Unresolved, Unresolved{
			Reason: v1alpha1.ReasonPortNotFound,
			Message: fmt.Sprintf("%s: Service %s leads to the container port named %s, which no injected pod behind it declares for %s yet; %s",
				path, c.program.Front, through.TargetPort.StrVal, cmp.Or(through.Protocol, corev1.ProtocolTCP), SaidOnceInjected),
			NamedPort: PortKey(through.Protocol, through.TargetPort.StrVal),
		})
	}
	return targets
}

// targetNumbers are those known; of a named port there are as many as pods
// disagree about it.
func (c *compiler) targetNumbers(p corev1.ServicePort) []uint16 {
	switch {
	case p.TargetPort.Type == intstr.String:
		return c.in.NamedPorts[PortKey(p.Protocol, p.TargetPort.StrVal)]
	case p.TargetPort.IntVal == 0:
		return []uint16{uint16(p.Port)}
	}
	return []uint16{uint16(p.TargetPort.IntVal)}
}

func portText(number int32, protocol corev1.Protocol) string {
	return fmt.Sprintf("%d/%s", number, cmp.Or(protocol, corev1.ProtocolTCP))
}

func listPorts(ports []corev1.ServicePort) string {
	if len(ports) == 0 {
		return "none"
	}
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = portText(p.Port, p.Protocol)
		if p.Name != "" {
			texts[i] += " (" + p.Name + ")"
		}
	}
	return strings.Join(texts, ", ")
}
