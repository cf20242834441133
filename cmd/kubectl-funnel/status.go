// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// statusCommand prints a screen per policy of the cluster. It fails when
// something is wrong with one.
func statusCommand(ctx context.Context, args []string, o outside) int {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	config := clusterFlags(flags)
	all := flags.Bool("A", false, "")
	rest, err := parse(flags, args)
	if err == nil && (len(rest) > 1 || len(rest) == 1 && *all) {
		err = fmt.Errorf("status: want at most one POLICY, and none with -A")
	}
	if err != nil {
		return o.wrong("%v", err)
	}
	policies, err := fetch(ctx, config(), append(rest, "")[0], *all)
	if err != nil {
		return o.wrong("%v", err)
	}
	if len(policies) == 0 {
		fmt.Fprintln(o.stdout, "There is no FunnelPolicy here; -A looks in all namespaces.")
		return exitDone
	}
	code := exitDone
	for i := range policies {
		text, wrong := screen(&policies[i])
		if i > 0 {
			fmt.Fprintln(o.stdout)
		}
		fmt.Fprint(o.stdout, text)
		if wrong {
			code = exitFound
		}
	}
	return code
}

// clusterFlags adds the flags that say which cluster and namespace is meant, and
// returns how to get at it once they are parsed.
func clusterFlags(flags *flag.FlagSet) func() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	var overrides clientcmd.ConfigOverrides
	flags.StringVar(&rules.ExplicitPath, "kubeconfig", "", "")
	flags.StringVar(&overrides.CurrentContext, "context", "", "")
	flags.StringVar(&overrides.Context.Namespace, "n", "", "")
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
	got, err := client.Resource(v1alpha1.GroupVersion.WithResource("funnelpolicies")).Namespace(namespace).List(ctx, options)
	if err != nil {
		return nil, err
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
