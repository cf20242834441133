// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const (
	portMessage      = `write a port from 1 to 65535 ("443") or a range of them ("8000-8100")`
	cidrMessage      = "write an address (10.0.0.1, 2001:db8::1) or a prefix (10.0.0.0/8, 2001:db8::/32)"
	reversedMessage  = `the range of ports is reversed: write the lower port first ("8000-8100")`
	interfaceMessage = "write the name of an interface, which ip link shows up to the @: 1 to 15 characters, without space, /, : or @"
	formsMessage     = "give exactly one of backend (in front of these pods stands a Service), client (these pods are clients of such a Service) and rules"
	throughMessage   = "write the number of a Service port (1 to 65535) or its name"
	inlineMessage    = "encapsulation Inline carries TCP in TCP only: make through and all ports TCP, or use Auto, which pushes the others"
	nameMessage      = "metadata.name must be a DNS label of at most 52 characters: it becomes part of ConfigMap and volume names"
)

var _ = DescribeTable("refused, with the message",
	func(object manifest, want string) {
		refused := refusals(object)
		Expect(short(refused)).To(ConsistOf(HaveSuffix(want)))
		Expect(offline(object.object())).To(ConsistOf(refused), "without a server")
		lintAgrees(object, refused)
	},

	Entry("name too long", named(strings.Repeat("x", 53), "podSelector: {}\nrules: {text: {egress: udp drop}}"), nameMessage),
	Entry("name with a dot", named("web.shop", "podSelector: {}\nrules: {text: {egress: udp drop}}"), nameMessage),

	Entry("no selector", spec("rules: {text: {egress: udp drop}}"), "spec.podSelector: Required value"),
	Entry("selector with an unknown operator", selecting("{matchExpressions: [{key: app, operator: Equals, values: [web]}]}"),
		"spec.podSelector: operator of a matchExpression must be In, NotIn, Exists or DoesNotExist"),
	Entry("selector In without values", selecting("{matchExpressions: [{key: app, operator: In}]}"),
		"spec.podSelector: a matchExpression has values with the operators In and NotIn, and none with Exists and DoesNotExist"),
	Entry("selector NotIn with empty values", selecting("{matchExpressions: [{key: app, operator: NotIn, values: []}]}"),
		"a matchExpression has values with the operators In and NotIn, and none with Exists and DoesNotExist"),
	Entry("selector Exists with values", selecting("{matchExpressions: [{key: app, operator: Exists, values: [web]}]}"),
		"a matchExpression has values with the operators In and NotIn, and none with Exists and DoesNotExist"),

	Entry("pacing without an update in place", with("inPlace: {maxUnavailable: 1}"), "spec: inPlace needs updateStrategy InPlace: set that, or leave inPlace out"),
	Entry("an unknown update strategy", with("updateStrategy: Restart"), `spec.updateStrategy: Unsupported value: "Restart": supported values: "OnRecreate", "InPlace"`),
	Entry("no pod at a time", with("updateStrategy: InPlace\ninPlace: {maxUnavailable: 0}"), "spec.inPlace.maxUnavailable: write a number from 1, or a percentage from 1% to 100%"),
	Entry("more than all pods", with("updateStrategy: InPlace\ninPlace: {maxUnavailable: 101%}"), "spec.inPlace.maxUnavailable: write a number from 1, or a percentage from 1% to 100%"),

	Entry("no form", spec("podSelector: {}"), "spec: "+formsMessage),
	Entry("two forms", spec("podSelector: {}\nrules: {text: {egress: udp drop}}\nclient: {policyRef: {name: web}}"), "spec: "+formsMessage),
	Entry("three forms", spec("podSelector: {}\nrules: {text: {egress: udp drop}}\nclient: {policyRef: {name: web}}\nbackend: {service: web, through: {port: 80}, ports: [{port: 8080}]}"), "spec: "+formsMessage),

	Entry("backend without Service", backend("service: null"), "spec.backend.service: Required value"),
	Entry("backend behind a Service with its domain", backend("service: web.shop"),
		"spec.backend.service: write the name of a Service of this namespace: lower-case letters, digits and dashes"),
	Entry("backend without through", backend("through: null"), "spec.backend.through: Required value"),
	Entry("through no port", backend("through: {protocol: TCP}"), "spec.backend.through.port: Required value"),
	Entry("through port 0", backend("through: {port: 0}"), "spec.backend.through.port: "+throughMessage),
	Entry("through port 65536", backend("through: {port: 65536}"), "spec.backend.through.port: "+throughMessage),
	Entry("through a name in capitals", backend("through: {port: HTTP}"), "spec.backend.through.port: "+throughMessage),
	Entry("through SCTP", backend("through: {port: 80, protocol: SCTP}"), `spec.backend.through.protocol: Unsupported value: "SCTP": supported values: "TCP", "UDP"`),
	Entry("backend without ports", backend("ports: null"), "spec.backend.ports: Required value"),
	Entry("no funneled port", backend("ports: []"), "spec.backend.ports: spec.backend.ports in body should have at least 1 items"),
	Entry("funneled port twice", backend("ports: [{port: 8080}, {port: 8080, protocol: TCP}]"), `spec.backend.ports[1]: Duplicate value: {"port":8080,"protocol":"TCP"}`),
	Entry("funneled port 0", backend("ports: [{port: 0}]"), "spec.backend.ports[0].port in body should be greater than or equal to 1"),
	Entry("funneled port 65536", backend("ports: [{port: 65536}]"), "spec.backend.ports[0].port in body should be less than or equal to 65535"),
	Entry("the through port funneled", backend("ports: [{port: 8080}, {port: 80}]"),
		"spec.backend: the port that everything travels through is not funneled itself: take it out of ports"),
	Entry("unknown encapsulation", backend("encapsulation: Magic"), `spec.backend.encapsulation: Unsupported value: "Magic": supported values: "Auto", "Push", "Inline"`),
	Entry("UDP inline, in a backend", backend("encapsulation: Inline\nports: [{port: 443, protocol: UDP}]"), "spec.backend: "+inlineMessage),
	Entry("inline through UDP", backend("encapsulation: Inline\nthrough: {port: 80, protocol: UDP}"), "spec.backend: "+inlineMessage),
	Entry("overlapping source ports", backend("ports: [{port: 8080}, {port: 443, protocol: UDP}]\nsourcePorts: {tcp: 540-548}"),
		"spec.backend.sourcePorts: sourcePorts.tcp and sourcePorts.udp overlap: they tell apart what is inside, so give each ports of its own; unless given, tcp is 540-547 and udp 548-555"),
	Entry("source port within the others", backend("ports: [{port: 443, protocol: UDP}, {port: 8080, protocol: TCP}]\nsourcePorts: {tcp: 500-600, udp: '550'}"),
		"spec.backend.sourcePorts: sourcePorts.tcp and sourcePorts.udp overlap: they tell apart what is inside, so give each ports of its own; unless given, tcp is 540-547 and udp 548-555"),
	Entry("source ports reversed", backend(`sourcePorts: {udp: "555-548"}`), "spec.backend.sourcePorts.udp: "+reversedMessage),
	Entry("sources that are no addresses", backend("sourceCIDRs: [web]"), "spec.backend.sourceCIDRs[0]: "+cidrMessage),
	Entry("clients with an unknown operator", backend("clients: {namespaceSelector: {matchExpressions: [{key: app, operator: Equals, values: [web]}]}}"),
		"spec.backend.clients.namespaceSelector: operator of a matchExpression must be In, NotIn, Exists or DoesNotExist"),
	Entry("clients In nothing", backend("clients: {namespaceSelector: {matchExpressions: [{key: app, operator: In}]}}"),
		"spec.backend.clients.namespaceSelector: a matchExpression has values with the operators In and NotIn, and none with Exists and DoesNotExist"),

	Entry("client of nobody", spec("podSelector: {}\nclient: {}"), "spec.client.policyRef: Required value"),
	Entry("client of no name", refers("{namespace: shop}"), "spec.client.policyRef.name: Required value"),
	Entry("client of a name with a dot", refers("{name: web.shop}"),
		"spec.client.policyRef.name: write the name of a FunnelPolicy: lower-case letters, digits and dashes"),
	Entry("client in an empty namespace", refers(`{name: web, namespace: ""}`),
		"spec.client.policyRef.namespace: write the name of a namespace, or leave it out for that of the policy"),

	Entry("empty rules", holding("{}"), "spec.rules: rules is empty: give at least one rule in rules.egress, rules.ingress or rules.text"),
	Entry("empty lists", holding("{egress: [], ingress: []}"), "rules is empty: give at least one rule in rules.egress, rules.ingress or rules.text"),
	Entry("empty text", holding("text: {}"), "spec.rules.text: text is empty: give the rules in text.egress or text.ingress, or leave text out"),
	Entry("text of no length", holding(`text: {egress: ""}`), "spec.rules.text.egress: spec.rules.text.egress in body should be at least 1 chars long"),
	Entry("egress as list and as text", holding("egress: [{match: {protocol: UDP}, drop: {}}]\ntext: {egress: udp drop}"),
		"spec.rules: give the egress rules either as the list rules.egress or as rules.text.egress, not both"),
	Entry("ingress as list and as text", holding("ingress: [{match: {protocol: UDP}, drop: {}}]\ntext: {ingress: udp drop}"),
		"spec.rules: give the ingress rules either as the list rules.ingress or as rules.text.ingress, not both"),
	Entry("too many rules", holding("egress: ["+strings.Repeat("{match: {protocol: TCP}, drop: {}}, ", 129)+"]"),
		"spec.rules.egress: Too many: 129: must have at most 128 items"),
	Entry("text too long", holding("text: {ingress: '"+strings.Repeat("#", 262145)+"'}"),
		"spec.rules.text.ingress: Too long: may not be more than 262144 bytes"),
	Entry("text too long in bytes", holding("text: {egress: '# "+strings.Repeat("ü", 131072)+"'}"),
		"spec.rules.text.egress: the text of a direction has at most 262144 bytes: shorten its comments, or divide the rules between several policies, which have at most 4096 rules per direction together on one interface"),
	Entry("text too long in bytes, ingress", holding("text: {ingress: '# "+strings.Repeat("ü", 131072)+"'}"),
		"spec.rules.text.ingress: the text of a direction has at most 262144 bytes: shorten its comments, or divide the rules between several policies, which have at most 4096 rules per direction together on one interface"),
	Entry("two egress rules of one name", holding("egress: [{name: web, match: {protocol: TCP}, drop: {}}, {match: {protocol: TCP}, drop: {}}, {name: web, match: {protocol: UDP}, drop: {}}]"),
		"spec.rules: two rules of egress have the same name: give each its own, or none"),
	Entry("two ingress rules of one name", holding("ingress: [{name: web, match: {protocol: TCP}, drop: {}}, {name: web, match: {protocol: UDP}, drop: {}}]"),
		"spec.rules: two rules of ingress have the same name: give each its own, or none"),

	Entry("rule name in capitals", rule("name: Web\nmatch: {protocol: TCP}\ndrop: {}"),
		"spec.rules.egress[0].name: write a rule's name in lower-case letters, digits and dashes, beginning and ending with a letter or digit"),
	Entry("rule without match", rule("drop: {}"), "spec.rules.egress[0].match: Required value"),
	Entry("rule without action", rule("match: {protocol: TCP}"),
		"spec.rules.egress[0]: a rule has exactly one of accept, drop, funnel and unfunnel"),
	Entry("rule with two actions", action("accept: {}\ndrop: {}"),
		"spec.rules.egress[0]: a rule has exactly one of accept, drop, funnel and unfunnel"),

	Entry("match without protocol", match("{}"), "spec.rules.egress[0].match.protocol: Required value"),
	Entry("match of another protocol", match("{protocol: SCTP}"),
		`spec.rules.egress[0].match.protocol: Unsupported value: "SCTP": supported values: "TCP", "UDP"`),
	Entry("match of another family", match("{protocol: TCP, family: ipv4}"),
		`spec.rules.egress[0].match.family: Unsupported value: "ipv4": supported values: "IPv4", "IPv6"`),
	Entry("pushed UDP", match("{protocol: UDP, pushed: true}"),
		"spec.rules.egress[0].match: pushed needs protocol TCP: a UDP header has no room for the marks of a pushed one; tell pushed packets apart by sourcePorts"),
	Entry("IPv6 source in an IPv4 rule", match(`{protocol: TCP, family: IPv4, source: {cidrs: [10.0.0.1, "::/0"]}}`),
		"spec.rules.egress[0].match: source.cidrs has an address that is not of match.family: write one rule for each family, or leave family out"),
	Entry("IPv4 destination in an IPv6 rule", match("{protocol: TCP, family: IPv6, destination: {cidrs: [10.0.0.1]}}"),
		"spec.rules.egress[0].match: destination.cidrs has an address that is not of match.family: write one rule for each family, or leave family out"),
	Entry("from IPv4 to IPv6", match(`{protocol: TCP, source: {cidrs: [10.0.0.1]}, destination: {cidrs: ["::1"]}}`),
		"spec.rules.egress[0].match: source.cidrs and destination.cidrs have no IP family in common, so that no packet matches: give both sides addresses of one family"),

	Entry("no addresses", source("{}"), "spec.rules.egress[0].match.source: name the addresses by exactly one of cidrs and service"),
	Entry("addresses twice", source("{cidrs: [10.0.0.1], service: {name: web}}"),
		"spec.rules.egress[0].match.source: name the addresses by exactly one of cidrs and service"),
	Entry("empty cidrs", source("{cidrs: []}"), "spec.rules.egress[0].match.source.cidrs: spec.rules.egress[0].match.source.cidrs in body should have at least 1 items"),
	Entry("too many cidrs", source("{cidrs: ["+strings.Repeat("10.0.0.1, ", 33)+"]}"), "spec.rules.egress[0].match.source.cidrs: Too many: 33: must have at most 32 items"),
	Entry("host name as address", source("{cidrs: [10.0.0.1, web.example]}"), "spec.rules.egress[0].match.source.cidrs[1]: "+cidrMessage),
	Entry("prefix too long", source("{cidrs: [10.0.0.0/33]}"), cidrMessage),
	Entry("address with leading zeros", source("{cidrs: [010.0.0.1]}"), cidrMessage),
	Entry("IPv4 written as IPv6", source(`{cidrs: ["::ffff:10.0.0.1"]}`), cidrMessage),
	Entry("address with zone", source(`{cidrs: ["fe80::1%eth0"]}`), cidrMessage),
	Entry("empty address", source(`{cidrs: [""]}`), cidrMessage),
	Entry("Service without name", source("{service: {namespace: shop}}"), "spec.rules.egress[0].match.source.service.name: Required value"),
	Entry("Service with its domain", source("{service: {name: web.shop}}"),
		"spec.rules.egress[0].match.source.service.name: write the name of a Service: lower-case letters, digits and dashes"),
	Entry("Service in an empty namespace", source(`{service: {name: web, namespace: ""}}`),
		"spec.rules.egress[0].match.source.service.namespace: write the name of a namespace, or leave it out for that of the policy"),

	Entry("no ports", ports("[]"), "spec.rules.egress[0].match.destinationPorts.values: spec.rules.egress[0].match.destinationPorts.values in body should have at least 1 items"),
	Entry("too many ports", ports("["+strings.Repeat(`"80", `, 33)+"]"), "spec.rules.egress[0].match.destinationPorts.values: Too many: 33: must have at most 32 items"),
	Entry("port as number", ports("[443]"), `spec.rules.egress[0].match.destinationPorts.values[0]: spec.rules.egress[0].match.destinationPorts.values[0] in body must be of type string: "integer"`),
	Entry("port 0", ports(`["80", "0"]`), "spec.rules.egress[0].match.destinationPorts.values[1]: "+portMessage),
	Entry("port 65536", ports(`["65536"]`), portMessage),
	Entry("range to 65536", ports(`["1-65536"]`), portMessage),
	Entry("port by name", ports("[https]"), portMessage),
	Entry("port with leading zero", ports(`["080"]`), portMessage),
	Entry("negative port", ports(`["-1"]`), portMessage),
	Entry("open range", ports(`["1024-"]`), portMessage),
	Entry("range with spaces", ports(`["65000 - 65100"]`), portMessage),
	Entry("several ports in one string", ports(`["80,443"]`), portMessage),
	Entry("reversed range", ports(`["8100-8000"]`),
		"spec.rules.egress[0].match.destinationPorts.values[0]: "+reversedMessage),

	Entry("funnel without protocol", action(`funnel: {destinationPort: 80, sourcePorts: "540"}`), "spec.rules.egress[0].funnel.protocol: Required value"),
	Entry("funnel without through port", action(`funnel: {protocol: TCP, sourcePorts: "540"}`), "spec.rules.egress[0].funnel.destinationPort: Required value"),
	Entry("funnel through port 0", action(`funnel: {protocol: TCP, destinationPort: 0, sourcePorts: "540"}`),
		"spec.rules.egress[0].funnel.destinationPort: spec.rules.egress[0].funnel.destinationPort in body should be greater than or equal to 1"),
	Entry("funnel through port 65536", action(`funnel: {protocol: TCP, destinationPort: 65536, sourcePorts: "540"}`),
		"spec.rules.egress[0].funnel.destinationPort in body should be less than or equal to 65535"),
	Entry("push without source ports", action(`funnel: {protocol: TCP, destinationPort: 80}`), "spec.rules.egress[0].funnel: "+
		`mode Push needs the source port of the pushed header: add sourcePorts ("540", or "540-547" for a range that is moved through with time), or use mode Inline`),
	Entry("inline with source ports", action(`funnel: {protocol: TCP, destinationPort: 80, mode: Inline, sourcePorts: "540"}`),
		"spec.rules.egress[0].funnel: mode Inline chooses source ports itself: leave sourcePorts out, or use mode Push"),
	Entry("inline in UDP", action(`funnel: {protocol: UDP, destinationPort: 80, mode: Inline}`),
		"spec.rules.egress[0].funnel: mode Inline carries TCP in TCP only: write protocol TCP, or use mode Push"),
	Entry("UDP inline", rule("match: {protocol: UDP}\nfunnel: {protocol: TCP, destinationPort: 80, mode: Inline}"),
		"spec.rules.egress[0]: mode Inline carries TCP in TCP only: match protocol TCP, or use mode Push"),
	Entry("out of UDP inline", rule("match: {protocol: UDP}\nunfunnel: {protocol: TCP, mode: Inline}"),
		"spec.rules.egress[0]: mode Inline carries TCP in TCP only: match protocol TCP, or use mode Push"),
	Entry("UDP out of inline", action("unfunnel: {protocol: UDP, mode: Inline}"),
		"spec.rules.egress[0].unfunnel: mode Inline carries TCP in TCP only: write protocol TCP, or use mode Push"),
	Entry("pushed inline", rule("match: {protocol: TCP, pushed: true}\nunfunnel: {protocol: TCP, mode: Inline}"),
		"spec.rules.egress[0]: a pushed packet is not inline: leave match.pushed out, or use mode Push"),
	Entry("inline with reply", action("funnel: {protocol: TCP, destinationPort: 80, mode: Inline, reply: true}"),
		"spec.rules.egress[0].funnel: mode Inline answers in kind already: leave reply out"),
	Entry("unfunnel inline with reply", action("unfunnel: {protocol: TCP, mode: Inline, reply: true}"),
		"spec.rules.egress[0].unfunnel: mode Inline answers in kind already: leave reply out"),
	Entry("unknown mode", action("unfunnel: {protocol: TCP, mode: inline}"),
		`spec.rules.egress[0].unfunnel.mode: Unsupported value: "inline": supported values: "Push", "Inline"`),
	Entry("funnel with reversed source ports", action(`funnel: {protocol: TCP, destinationPort: 80, sourcePorts: "547-540"}`),
		"spec.rules.egress[0].funnel.sourcePorts: "+reversedMessage),
	Entry("funnel with source port 70000", action(`funnel: {protocol: TCP, destinationPort: 80, sourcePorts: "70000"}`), portMessage),
	Entry("unfunnel without protocol", action("unfunnel: {}"), "spec.rules.egress[0].unfunnel.protocol: Required value"),
	Entry("unfunnel with bad ports", action(`unfunnel: {protocol: TCP, destinationPorts: {values: ["8100-8000"]}}`),
		"spec.rules.egress[0].unfunnel.destinationPorts.values[0]: "+reversedMessage),

	Entry("interface with a slash", with("interfaces: [eth0, eth/1]"),
		"spec.interfaces[1]: "+interfaceMessage),
	Entry("interface name of 16 characters", with("interfaces: [abcdefghijklmnop]"), interfaceMessage),
	Entry("interface with what ip link shows behind its name", with("interfaces: [eth0@if12]"), interfaceMessage),
	Entry("interface without name", with(`interfaces: [""]`), interfaceMessage),
	Entry("interface twice", with("interfaces: [eth0, eth0]"), `spec.interfaces[1]: Duplicate value: "eth0"`),
	Entry("too many interfaces", with("interfaces: [a1, a2, a3, a4, a5, a6, a7, a8, a9, b1, b2, b3, b4, b5, b6, b7, b8]"), "spec.interfaces: Too many: 17: must have at most 16 items"),
	Entry("unknown mtu", with("mtu: Ignore"), `spec.mtu: Unsupported value: "Ignore": supported values: "Warn", "Reserve"`),
	Entry("too few flows", with("flows: 63"), "spec.flows in body should be greater than or equal to 64"),
	Entry("too many flows", with("flows: 1048577"), "spec.flows in body should be less than or equal to 1048576"),
	Entry("priority too high", with("priority: 1000001"), "spec.priority in body should be less than or equal to 1000000"),
	Entry("priority too low", with("priority: -1000001"), "spec.priority in body should be greater than or equal to -1000000"),
)
