// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// addresses are those of one side of a match. Nil stands for any address.
type addresses struct {
	prefixes []netip.Prefix
	not      bool
}

func (a *addresses) has(f rules.Family) bool {
	return a == nil || len(a.of(f).Prefixes) > 0
}

// of are the addresses of one family.
func (a *addresses) of(f rules.Family) rules.AddrSet {
	if a == nil {
		return rules.AddrSet{}
	}
	set := rules.AddrSet{Not: a.not}
	for _, p := range a.prefixes {
		if rules.FamilyOf(p.Addr()) == f {
			set.Prefixes = append(set.Prefixes, p)
		}
	}
	return set
}

// peer returns the addresses of one side; nil when it is not given.
func (c *compiler) peer(path *field.Path, p *v1alpha1.Peer, family v1alpha1.IPFamily) *addresses {
	switch {
	case p == nil:
		return nil
	case (p.Service != nil) == (len(p.CIDRs) > 0):
		c.fail(field.Forbidden(path, "name the addresses by exactly one of cidrs and service"))
		return nil
	case p.Service != nil:
		return &addresses{c.service(path.Child("service"), p.Service, family), p.Not}
	}
	a := &addresses{not: p.Not}
	for i, text := range p.CIDRs {
		a.prefixes = append(a.prefixes, c.cidr(path.Child("cidrs").Index(i), text, family))
	}
	return a
}

func (c *compiler) cidr(path *field.Path, text string, family v1alpha1.IPFamily) netip.Prefix {
	p, fault := parseCIDR(text)
	if fault == "" && !wantedFamily(family, rules.FamilyOf(p.Addr())) {
		fault = fmt.Sprintf("not an %s address, which match.family asks for: write one rule for each family, or leave match.family out", family)
	}
	if fault != "" {
		c.fail(field.Invalid(path, text, fault))
	}
	return p
}

// parseCIDR reads an address or a prefix. The fault is what to write instead,
// empty when there is none.
func parseCIDR(text string) (p netip.Prefix, fault string) {
	p, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var a netip.Addr
		a, err = netip.ParseAddr(text)
		p = netip.PrefixFrom(a, a.BitLen()) // drops a zone
	}
	switch {
	case err != nil || strings.Contains(text, "%"):
		return p, "write an address (10.0.0.1, 2001:db8::1) or a prefix (10.0.0.0/8, 2001:db8::/32)"
	case p.Addr().Is4In6():
		return p, "an IPv4 address written as IPv6: write " + p.Addr().Unmap().String()
	}
	return p, ""
}

// service returns the addresses that a reference stands for.
func (c *compiler) service(path *field.Path, ref *v1alpha1.ServiceReference, family v1alpha1.IPFamily) []netip.Prefix {
	name := serviceName(c.policy, ref)
	s := c.usableService(path, name)
	if s == nil {
		return nil
	}
	usable, _ := serviceAddresses(s)
	var prefixes []netip.Prefix
	for _, a := range usable {
		if wantedFamily(family, rules.FamilyOf(a)) {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	if len(prefixes) == 0 {
		c.unresolved(v1alpha1.ReasonAddressPending, path, name, fmt.Sprintf("has no %s address yet", orIP(family)))
	}
	return prefixes
}

// usableService is the Service of that name, nil when there is none or it has no
// addresses of its own.
func (c *compiler) usableService(path *field.Path, name types.NamespacedName) *corev1.Service {
	s := c.in.Services[name]
	if s == nil {
		c.unresolved(v1alpha1.ReasonServiceNotFound, path, name, "does not exist")
		return nil
	}
	if why := unsupported(s); why != "" {
		detail := fmt.Sprintf("Service %s %s; name a Service with a cluster IP", name, why)
		if c.policy.Spec.Backend == nil {
			detail += ", or give cidrs"
		}
		c.fail(field.Forbidden(path, detail).WithOrigin(v1alpha1.ReasonUnsupportedServiceType))
		return nil
	}
	return s
}

func orIP(family v1alpha1.IPFamily) string {
	if family == "" {
		return "IP"
	}
	return string(family)
}

func (c *compiler) unresolved(reason string, path *field.Path, name types.NamespacedName, what string) {
	c.program.Unresolved = append(c.program.Unresolved, Unresolved{Reason: reason, Message: fmt.Sprintf("%s: Service %s %s", path, name, what)})
}
