// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/manifest"
)

// injectCommand prints the input with its pods injected, or its faults.
func injectCommand(args []string, o outside) int {
	flags := pflag.NewFlagSet("inject", pflag.ContinueOnError)
	files, namespace := fileFlags(flags)
	policies := flags.StringArray("policy", nil, "")
	image, pull := flags.String("image", "", ""), flags.String("image-pull-policy", "", "")
	cpu := flags.String("cpu", inject.DefaultCPU.String(), "")
	memory := flags.String("memory", inject.DefaultMemory.String(), "")
	label := flags.String("selinux-type", "", "")
	rest, err := parse(flags, args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("inject: unexpected %q; files are named by -f", rest)
	}
	opts, optErr := injectOptions(*image, *pull, *cpu, *memory)
	opts.SELinuxType = *label
	if err := cmp.Or(err, errors.Join(optErr, checkPolicies(*policies))); err != nil {
		return o.wrong("%v", err)
	}
	streams, w, err := o.world(*files, *namespace)
	switch {
	case err != nil || len(*policies) > 0:
	case len(w.Policies) == 0:
		err = errors.New("inject: the input has no FunnelPolicy: name the policies' files by -f, or policies by --policy")
	default:
		err = asFaults(w.Refused()) // whom they select is not known
	}
	count := tally{policies: selector(w, *policies, *namespace)}
	if err == nil {
		err = asFaults(manifest.Inject(streams, count.of, opts))
	}
	if err != nil {
		return o.fail(err)
	}
	write(o.stdout, streams)
	fmt.Fprintf(o.stderr, "kubectl funnel: inject: %d of %d workloads injected\n", count.injected, count.pods)
	return exitDone
}

// tally counts the pods, and those that are injected.
type tally struct {
	policies       func(*corev1.Pod) []string
	pods, injected int
}

// of names the policies of a pod.
func (t *tally) of(pod *corev1.Pod) []string {
	names := t.policies(pod)
	t.pods++
	if len(names) > 0 && !inject.OptedOut(pod) {
		t.injected++
	}
	return names
}

// injectOptions checks all of them.
func injectOptions(image, pull, cpu, memory string) (inject.Options, error) {
	opts := inject.Options{Image: image, PullPolicy: corev1.PullPolicy(pull)}
	var faults [4]error
	if image == "" {
		faults[0] = errors.New("inject: --image is required: the attacher's image, best by digest")
	}
	switch opts.PullPolicy {
	case "", corev1.PullIfNotPresent, corev1.PullAlways, corev1.PullNever:
	default:
		faults[1] = fmt.Errorf("inject: --image-pull-policy %q: want IfNotPresent, Always or Never", pull)
	}
	opts.CPU, faults[2] = amount("cpu", cpu)
	opts.Memory, faults[3] = amount("memory", memory)
	return opts, errors.Join(faults[:]...)
}

// longestName is how long a FunnelPolicy's name may be, as the schema of its kind says.
const longestName = 52

// checkPolicies refuses what is no policy's name: a server refuses what it would lead to
// later, and in other words.
func checkPolicies(names []string) error {
	var faults []error
	for _, name := range names {
		if len(name) > longestName || len(validation.IsDNS1123Label(name)) > 0 {
			faults = append(faults, fmt.Errorf("inject: --policy %q: want the name of a FunnelPolicy of the pods' namespace", name))
		}
	}
	return errors.Join(faults...)
}

func amount(name, text string) (resource.Quantity, error) {
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return q, fmt.Errorf("inject: --%s %q: want a positive amount", name, text)
	}
	return q, nil
}

// selector names the policies for a pod: the given ones, or those of the input
// that select it.
func selector(w *manifest.World, given []string, namespace string) func(*corev1.Pod) []string {
	if len(given) > 0 {
		return func(*corev1.Pod) []string { return given }
	}
	return func(pod *corev1.Pod) []string {
		in := pod.DeepCopy()
		in.Namespace = cmp.Or(in.Namespace, namespace)
		return w.Selecting(in)
	}
}

// write prints the streams as one.
func write(out io.Writer, streams []*manifest.Stream) {
	for i, s := range streams {
		text := s.String()
		if i > 0 && !strings.HasPrefix(text, "---") {
			text = "---\n" + text
		}
		if i < len(streams)-1 && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		fmt.Fprint(out, text)
	}
}
