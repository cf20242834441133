// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

// apiServer answers lists of FunnelPolicies with those of a file, and returns a
// kubeconfig for it whose namespace is shop.
func apiServer(t *testing.T, file string) (kubeconfig string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all v1alpha1.FunnelPolicyList
	if err := yaml.UnmarshalStrict(text, &all); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := v1alpha1.FunnelPolicyList{TypeMeta: all.TypeMeta}
		for _, p := range all.Items {
			inNamespace := r.URL.Path == "/apis/sfunnel.io/v1alpha1/namespaces/"+p.Namespace+"/funnelpolicies"
			if name := r.URL.Query().Get("fieldSelector"); (inNamespace || r.URL.Path == "/apis/sfunnel.io/v1alpha1/funnelpolicies") &&
				(name == "" || name == "metadata.name="+p.Name) {
				answer.Items = append(answer.Items, p)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		json, err := yaml.Marshal(answer)
		if err == nil {
			json, err = yaml.YAMLToJSON(json)
		}
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(json)
	}))
	t.Cleanup(server.Close)
	return mustKubeconfig(t, server.URL)
}

// mustKubeconfig is for the server of that URL; its namespace is shop.
func mustKubeconfig(t *testing.T, server string) (path string) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", Namespace: "shop"}
	config.CurrentContext = "c"
	path = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStatusPrintsAScreenPerPolicy(t *testing.T) {
	kubeconfig := apiServer(t, "testdata/status.yaml")
	t.Setenv("KUBECONFIG", kubeconfig)
	golden.Compare(t, "testdata/status.golden", runWith("", "status", "-A").String())
	golden.Compare(t, "testdata/status-json.golden", runWith("", "status", "--all-namespaces", "--output", "json").String())
	for line, want := range map[string]ran{
		"status good":                   {exitDone, "FunnelPolicy shop/good\n", ""},
		"status good -n bank":           {exitWrong, "", "kubectl funnel: namespace bank has no FunnelPolicy good\n"},
		"status":                        {exitFound, "FunnelPolicy shop/attached-badly\n", ""},
		"status -n bank --context c":    {exitFound, "FunnelPolicy bank/invalid\n", ""},
		"status --namespace=bank":       {exitFound, "FunnelPolicy bank/invalid\n", ""},
		"status -n empty":               {exitDone, "There is no FunnelPolicy here", ""},
		"status -n empty -o json":       {exitDone, "[]\n", ""},
		"status good --context missing": {exitWrong, "", "kubectl funnel: invalid configuration: [context was not found for specified context: missing"},
	} {
		got := runWith("", strings.Fields(line)...)
		if got.code != want.code || !strings.HasPrefix(got.stdout, want.stdout) || !strings.HasPrefix(got.stderr, want.stderr) ||
			(want.stdout == "") != (got.stdout == "") || (want.stderr == "") != (got.stderr == "") {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// TestStatusAsksAsKubectlDoes: as whom, and which cluster, is said by kubectl's flags.
func TestStatusAsksAsKubectlDoes(t *testing.T) {
	var got http.Header
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("Content-Type", "application/json")
		answer(w, v1alpha1.FunnelPolicyList{TypeMeta: metav1.TypeMeta{APIVersion: "sfunnel.io/v1alpha1", Kind: "FunnelPolicyList"}})
	}))
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: server.URL}
	config.AuthInfos["me"] = &clientcmdapi.AuthInfo{Token: "mine"}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	line := "status --kubeconfig " + kubeconfig + " --insecure-skip-tls-verify --cluster lab --user me --as admin --as-group ops --as-group dev"
	if ran := runWith("", strings.Fields(line)...); ran.code != exitDone {
		t.Fatal(ran)
	}
	if got.Get("Authorization") != "Bearer mine" || got.Get("Impersonate-User") != "admin" || strings.Join(got.Values("Impersonate-Group"), " ") != "ops dev" {
		t.Errorf("asked with %v", got)
	}
}

func TestClusterWithoutTheOperatorIsNamed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	t.Setenv("KUBECONFIG", mustKubeconfig(t, server.URL))
	const want = "kubectl funnel: the cluster has no FunnelPolicies (sfunnel.io/v1alpha1): install the operator (docs/install.md), or choose another cluster with --context\n"
	for _, line := range []string{"status", "status -A", "status web", "refresh web"} {
		if got := runWith("", strings.Fields(line)...); got != (ran{exitWrong, "", want}) {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// TestAdviceFindsTheOperator holds the command that looks for the operator against what an
// install makes.
func TestAdviceFindsTheOperator(t *testing.T) {
	advice := look(&v1alpha1.FunnelPolicy{ObjectMeta: metav1.ObjectMeta{Generation: 1}}).Next
	found := regexp.MustCompile(`kubectl get deployments -A -l (\S+)`).FindStringSubmatch(advice)
	if found == nil {
		t.Fatalf("no command in %q", advice)
	}
	selector, err := labels.Parse(found[1])
	if err != nil {
		t.Fatal(err)
	}
	install, err := os.ReadFile("../../dist/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(install), "\n---\n") {
		var object metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "Deployment" && selector.Matches(labels.Set(object.Labels)) {
			return
		}
	}
	t.Errorf("%s matches no Deployment of the install", selector)
}
