# SPDX-License-Identifier: Apache-2.0
# Every target installs or builds what it needs; anything longer than a few lines is a script in hack/.

IMG ?= funnel-operator/manager:dev
ATTACHER_IMG ?= funnel-operator/attacher:dev
GO_BUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/sfunnel-io/funnel-operator/internal/version.release=$(VERSION)"
CONTROLLER_GEN := go tool controller-gen
TOOL := go tool -modfile=hack/tools/go.mod
SHELL := /usr/bin/env bash
export PATH := $(PATH):/usr/sbin:/sbin
# As hack/env.sh, which says why.
export GOFLAGS := $(shell go env GOFLAGS) -buildvcs=false
export GIT_CONFIG_COUNT := 1
export GIT_CONFIG_KEY_0 := safe.directory
export GIT_CONFIG_VALUE_0 := $(CURDIR)
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2} /^##@/ {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

##@ See it work
.PHONY: demo
demo: deps ## Show the problem and the cure on a real Kubernetes, started here and removed again.
	hack/demo.sh

##@ Test
.PHONY: test
test: test-pure test-privileged test-envtest ## All tests but e2e.

.PHONY: test-pure
test-pure: ## Tests that need no root and no API server.
	hack/deps.sh git ip
	packages=$$(hack/packages.sh pure); go test -timeout=30m $$packages

.PHONY: test-privileged
test-privileged: deps ## Tests on the real kernel: program runs, network namespaces, sockets (root).
	packages=$$(hack/packages.sh privileged); FUNNEL_REQUIRE_ROOT=1 go test -timeout=30m -p 1 $$packages

.PHONY: test-envtest
test-envtest: ## Tests on a real kube-apiserver and etcd.
	hack/deps.sh git
	assets=$$(hack/kube/build.sh); packages=$$(hack/packages.sh envtest); KUBEBUILDER_ASSETS=$$assets go test -timeout=30m -p 1 $$packages

.PHONY: e2e
e2e: deps ## The demo's claims as assertions, on 3 real nodes, in nftables and iptables mode (root): E2E_INSTALL=admission-policy, ha or helm.
	hack/e2e.sh -ginkgo.label-filter='!faults && !in-place'

.PHONY: test-in-place
test-in-place: deps ## Rules come to running pods on real nodes, under load (root): FUNNEL_INPLACE_TIMES=20 both sides at once, FUNNEL_INPLACE_PODS=100 an edit.
	hack/e2e.sh -ginkgo.label-filter=in-place

.PHONY: test-faults-nodes
test-faults-nodes: deps ## Break things on real nodes, under load (root): FAULTS_TIMES=100 managers killed, FAULTS_OUTAGE=60 s, FAULTS_SEED=number.
	hack/e2e.sh -ginkgo.label-filter=faults

.PHONY: test-kernels
test-kernels: ## The datapath's tests under Debian's 6.1 and 6.12 kernels, in qemu. Flags: KERNELS="-arch arm64".
	go build -o bin/kernels ./hack/kernels
	exec bin/kernels $(KERNELS)

.PHONY: test-matrix
test-matrix: deps ## Every mode through every setting of the devices on the way, 100 MiB each way for each (root).
	FUNNEL_FULL=1 FUNNEL_REQUIRE_ROOT=1 go test -count=1 -timeout=60m -v -run '^TestMatrix$$' ./internal/datapath

.PHONY: bench
bench: deps ## Measure the datapath on this machine; writes docs/benchmarks/ (root). Flags: BENCH="-quick", for instance.
	go build -o bin/bench ./hack/bench
	exec bin/bench $(BENCH)

.PHONY: bench-operator
bench-operator: ## Measure the manager on a real kube-apiserver; writes docs/benchmarks/. Flags: BENCH="-quick", for instance.
	go build -o bin/bench-operator ./hack/bench-operator
	exec bin/bench-operator $(BENCH)

.PHONY: test-faults
test-faults: ## Break things around the manager while pods roll: FAULTS_TIMES=100 times, FAULTS_SEED=number.
	assets=$$(hack/kube/build.sh); KUBEBUILDER_ASSETS=$$assets go test -count=1 -timeout=60m -v ./test/faults

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME (default 30s) each.
	hack/fuzz.sh

##@ Develop
.PHONY: build
build: ## All binaries, static, into bin/; kubectl finds its plugin in the PATH.
	$(GO_BUILD) -o bin/manager ./cmd/manager
	GOOS=linux $(GO_BUILD) -o bin/attacher ./cmd/attacher
	$(GO_BUILD) -o bin/kubectl-funnel ./cmd/kubectl-funnel

.PHONY: images
images: build ## Both images as OCI tarballs into bin/, with lists of what is in them and from what they were built. ARCHES="amd64 arm64" for both, VERSION=v1.2.3.
	hack/images.sh

.PHONY: generate
generate: deps ## Deep copies, apply configurations, CRD, docs/api.md, RBAC, webhook configuration, admission policies, BPF objects.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt applyconfiguration:headerFile=hack/boilerplate.go.txt crd paths=./api/v1alpha1 output:crd:dir=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=sfunnel-manager webhook paths=./controllers/... paths=./cmd/manager output:rbac:dir=config/rbac output:webhook:dir=config/webhook
	$(TOOL) crd-ref-docs --source-path=api/v1alpha1 --config=hack/apidocs/config.yaml --templates-dir=hack/apidocs/templates --renderer=markdown --output-path=docs/api.md --log-level=ERROR
	go run ./hack/admissionpolicy > config/overlays/admission-policy/manifests.yaml
	go generate ./bpf/...

.PHONY: verify
verify: deps ## Generated files are current, imports keep their promises, code is formatted and vetted.
	hack/verify.sh

.PHONY: lint
lint: ## golangci-lint and kube-api-linter as .golangci.yml says; functions that nothing reaches.
	$(TOOL) golangci-lint-kube-api-linter run ./...
	! $(TOOL) deadcode -test ./... | grep .

.PHONY: vulncheck
vulncheck: ## Known vulnerabilities that our code reaches. VULNDB= names a mirror of the database.
	$(TOOL) govulncheck $(if $(VULNDB),-db $(VULNDB)) ./...

.PHONY: deps
deps: ## Debian packages that the other targets use, when missing (root).
	hack/deps.sh

##@ Install on the cluster of the current kubeconfig
.PHONY: build-installer
build-installer: ## dist/install.yaml and the Helm chart, for IMG and ATTACHER_IMG.
	hack/render.sh $(IMG) $(ATTACHER_IMG) > dist/install.yaml
	go run ./hack/chart -manager $(IMG) -attacher $(ATTACHER_IMG)

.PHONY: deploy
deploy: ## Install the operator with IMG and ATTACHER_IMG; OVERLAY=ha, admission-policy, … (docs/install.md).
	hack/deploy.sh $(IMG) $(ATTACHER_IMG) $(OVERLAY)

.PHONY: undeploy
undeploy: ## Remove the operator and all policies; running pods and their rules stay as they are.
	hack/undeploy.sh
