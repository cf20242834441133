// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/manifest"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// renderCommand prints the rule sets that the policies of the input give.
func renderCommand(args []string, o outside) int {
	flags := pflag.NewFlagSet("render", pflag.ContinueOnError)
	files, namespace := fileFlags(flags)
	addresses := flags.StringArray("address", nil, "")
	output := flags.StringP("output", "o", "", "")
	rest, err := parse(flags, args)
	switch {
	case err != nil:
	case len(rest) > 0:
		err = fmt.Errorf("render: unexpected %q; files are named by -f", rest)
	case *output != "" && *output != "configmap":
		err = fmt.Errorf("render: output %q: want configmap", *output)
	}
	if err != nil {
		return o.wrong("%v", err)
	}
	_, w, err := o.world(*files, *namespace)
	if err == nil {
		err = allocate(w, *addresses, *namespace)
	}
	if err == nil && len(w.Policies) == 0 {
		err = errors.New("render: the input has no FunnelPolicy")
	}
	if err != nil {
		return o.fail(err)
	}
	return o.render(w, *output)
}

// allocate reads --address.
func allocate(w *manifest.World, addresses []string, namespace string) error {
	var faults []error
	for _, text := range addresses {
		service, ip, _ := strings.Cut(text, "=")
		address, err := netip.ParseAddr(ip)
		if err != nil {
			faults = append(faults, fmt.Errorf("--address %q: want [NAMESPACE/]SERVICE=IP", text))
			continue
		}
		name := types.NamespacedName{Namespace: namespace, Name: service}
		if ns, plain, ok := strings.Cut(service, "/"); ok {
			name = types.NamespacedName{Namespace: ns, Name: plain}
		}
		if err := w.Allocate(name, address); err != nil {
			faults = append(faults, fmt.Errorf("--address %q: %w", text, err))
		}
	}
	return errors.Join(faults...)
}

// render prints the rules of each policy, or says why there are none. ConfigMaps are for
// a server: there are none while one is missing.
func (o outside) render(w *manifest.World, output string) int {
	programs, code := make([]*policy.Program, len(w.Policies)), exitDone
	for i, p := range w.Policies {
		if programs[i] = o.compile(w, p); programs[i] == nil {
			code = exitFound
		}
	}
	if output == "configmap" && code != exitDone {
		return code
	}
	for i, p := range w.Policies {
		switch program := programs[i]; {
		case program == nil:
		case output == "configmap":
			o.printConfigMap(p.FunnelPolicy, program)
		default:
			o.printRules(p.FunnelPolicy, program)
		}
	}
	return code
}

// compile returns one policy's program, or says why there is none.
func (o outside) compile(w *manifest.World, p manifest.Policy) *policy.Program {
	program, faults := w.Compile(p)
	for _, f := range faults {
		fmt.Fprintln(o.stderr, f)
	}
	for _, u := range program.Unresolved {
		fmt.Fprintf(o.stderr, "%v: %s: %s\n", p.Object, u.Reason, u.Message)
	}
	if program.Data == nil || len(faults) > 0 {
		return nil
	}
	return program
}

func (o outside) printRules(p *v1alpha1.FunnelPolicy, program *policy.Program) {
	fmt.Fprintf(o.stdout, "# FunnelPolicy %s/%s: ConfigMap %s, %s, adds at most %d bytes\n",
		p.Namespace, p.Name, v1alpha1.ConfigMapName(p.Name), program.Digest, program.Overhead)
	for _, file := range []string{v1alpha1.FileIngress, v1alpha1.FileEgress} {
		fmt.Fprintf(o.stdout, "## %s\n%s", file, program.Data[file])
	}
	for _, file := range slices.Sorted(maps.Keys(program.External)) {
		fmt.Fprintf(o.stdout, "## for clients outside the cluster: %s\n%s", file, program.External[file])
	}
}

// printConfigMap prints what pods mount. The operator takes over one that carries
// its label, so that both can be applied.
func (o outside) printConfigMap(p *v1alpha1.FunnelPolicy, program *policy.Program) {
	text, err := yaml.Marshal(&corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: v1alpha1.ConfigMapName(p.Name),
			Labels: map[string]string{v1alpha1.LabelPolicy: p.Name},
		},
		Data: program.Data,
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	fmt.Fprintf(o.stdout, "---\n%s", text)
}
