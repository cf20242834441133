// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// refreshCommand brings the current rules to pods that run without them. It fails
// when one of them has not got them in the end.
func refreshCommand(ctx context.Context, args []string, o outside) int {
	flags := pflag.NewFlagSet("refresh", pflag.ContinueOnError)
	config := clusterFlags(flags)
	var r refresh
	atMost := flags.String("max-unavailable", "", "")
	flows := flags.String("flows", string(inject.KeepFlows), "")
	timeout := flags.Duration("timeout", 10*time.Minute, "")
	flags.BoolVar(&r.dry, "dry-run", false, "")
	names, err := parse(flags, args)
	if err == nil {
		err = r.choose(names, *atMost, *flows)
	}
	if err != nil {
		return o.wrong("%v", err)
	}
	r.outside = o
	if r.cluster, err = connect(config()); err != nil {
		return o.wrong("%v", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done after %v", *timeout))
	defer cancel()
	if err := r.find(ctx, names); err != nil {
		return o.wrong("%v", err)
	}
	return r.run(ctx)
}

// choose understands what flags and arguments say.
func (r *refresh) choose(names []string, atMost, flows string) error {
	if len(names) == 0 {
		return errors.New("refresh: name a POLICY, or pods as pod/NAME")
	}
	for _, name := range names {
		if _, _, known := named(name); !known {
			return fmt.Errorf("refresh: %q: want POLICY or pod/NAME", name)
		}
	}
	if r.flows = inject.Flows(flows); !slices.Contains([]inject.Flows{inject.KeepFlows, inject.RefuseFlows, inject.DropFlows}, r.flows) {
		return fmt.Errorf("refresh: --flows %q: want keep, refuse or drop", flows)
	}
	if atMost == "" {
		return nil
	}
	limit := intstr.Parse(atMost)
	if n, err := intstr.GetScaledValueFromIntOrPercent(&limit, 100, false); err != nil || n < 1 {
		return fmt.Errorf("refresh: --max-unavailable %q: want a number from 1, or a percentage", atMost)
	}
	r.maxUnavailable = &limit
	return nil
}

// named splits NAME, POLICY-KIND/NAME or pod/NAME; kind is empty, "fp" or "pod".
func named(arg string) (kind, name string, known bool) {
	kind, name, typed := strings.Cut(arg, "/")
	switch {
	case !typed:
		return "", arg, true
	case slices.Contains([]string{"po", "pod", "pods"}, kind):
		return "pod", name, true
	case slices.Contains([]string{"fp", "funnelpolicy", "funnelpolicies"}, strings.TrimSuffix(kind, "."+v1alpha1.GroupVersion.Group)):
		return "fp", name, true
	}
	return "", "", false
}

// permission explains a refusal of the API server.
func permission(err error, namespace string) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	text := err.Error()
	if strings.Contains(text, "pods/ephemeralcontainers") {
		text += fmt.Sprintf("\nrefresh needs the permission to patch pods/ephemeralcontainers in namespace %s, as kubectl debug does", namespace)
	}
	return errors.New(text)
}
