// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// statusCommand prints a screen per policy of the cluster, or what is on them as JSON. It
// fails when something is wrong with one.
func statusCommand(ctx context.Context, args []string, o outside) int {
	flags := pflag.NewFlagSet("status", pflag.ContinueOnError)
	config := clusterFlags(flags)
	all := flags.BoolP("all-namespaces", "A", false, "")
	output := flags.StringP("output", "o", "", "")
	rest, err := parse(flags, args)
	switch {
	case err != nil:
	case len(rest) > 1 || len(rest) == 1 && *all:
		err = errors.New("status: want at most one POLICY, and none with -A")
	case *output != "" && *output != "json":
		err = fmt.Errorf("status: output %q: want json", *output)
	}
	if err != nil {
		return o.wrong("%v", err)
	}
	policies, err := fetch(ctx, config(), append(rest, "")[0], *all)
	if err != nil {
		return o.wrong("%v", err)
	}
	findings, code := make([]finding, len(policies)), exitDone
	for i := range policies {
		if findings[i] = look(&policies[i]); findings[i].Next != "" {
			code = exitFound
		}
	}
	if *output == "json" {
		o.printJSON(findings)
	} else {
		o.printScreens(findings)
	}
	return code
}

func (o outside) printJSON(findings []finding) {
	encoder := json.NewEncoder(o.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(findings)
}

func (o outside) printScreens(findings []finding) {
	if len(findings) == 0 {
		fmt.Fprintln(o.stdout, "There is no FunnelPolicy here; -A looks in all namespaces.")
	}
	for i, f := range findings {
		if i > 0 {
			fmt.Fprintln(o.stdout)
		}
		fmt.Fprint(o.stdout, f)
	}
}

// clusterFlags adds kubectl's flags that say which cluster and namespace is meant and as
// whom, and returns how to get at it once they are parsed.
func clusterFlags(flags *pflag.FlagSet) func() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	var overrides clientcmd.ConfigOverrides
	flags.StringVar(&rules.ExplicitPath, clientcmd.RecommendedConfigPathFlag, "", "")
	clientcmd.BindOverrideFlags(&overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	return func() clientcmd.ClientConfig {
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &overrides)
	}
}

// fetch reads one policy, or all of the namespace or the cluster, by name.
func fetch(ctx context.Context, config clientcmd.ClientConfig, name string, all bool) ([]v1alpha1.FunnelPolicy, error) {
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, err
	}
	if all {
		namespace = metav1.NamespaceAll
	}
	rest, err := config.ClientConfig()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(rest)
	if err != nil {
		return nil, err
	}
	options := metav1.ListOptions{}
	if name != "" {
		options.FieldSelector = "metadata.name=" + name
	}
	got, err := client.Resource(policyResource).Namespace(namespace).List(ctx, options)
	if err != nil {
		return nil, installed(err)
	}
	var found v1alpha1.FunnelPolicyList
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(got.UnstructuredContent(), &found); err != nil {
		return nil, err
	}
	if name != "" && len(found.Items) == 0 {
		return nil, fmt.Errorf("namespace %s has no FunnelPolicy %s", namespace, name)
	}
	slices.SortFunc(found.Items, func(a, b v1alpha1.FunnelPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return found.Items, nil
}
