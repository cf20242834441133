// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// stopTimeout is how long a process may take to end before it is killed. The
// API server waits a minute for its watchers, which nobody needs here, and always
// takes all of this time.
const stopTimeout = 100 * time.Millisecond

// Server is a running kube-apiserver with its etcd.
type Server struct {
	// Environment started them; AddUser makes further users.
	*envtest.Environment
	// Config is for clients with all rights; it does not limit their rate.
	Config *rest.Config

	dir string
}

// Option changes what is started, for instance the webhooks to install.
type Option func(*envtest.Environment)

// Start starts a server with the FunnelPolicy CRD. The caller stops it.
func Start(options ...Option) (*Server, error) {
	dir, err := os.MkdirTemp("", "kubetest-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if s.Environment, err = environment(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for _, option := range options {
		option(s.Environment)
	}
	if s.Config, err = s.Environment.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start envtest: %w", err), s.Stop())
	}
	s.Config.QPS = -1
	return s, nil
}

// environment keeps all its files in dir.
func environment(dir string) (*envtest.Environment, error) {
	root, err := checkout.Root()
	if err != nil {
		return nil, err
	}
	assets, err := Assets()
	if err != nil {
		return nil, err
	}
	e := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  stopTimeout,
	}
	api, etcd := e.ControlPlane.GetAPIServer(), &envtest.Etcd{DataDir: filepath.Join(dir, "data")}
	e.ControlPlane.Etcd, e.ControlPlane.KubectlPath = etcd, filepath.Join(assets, "kubectl")
	if etcd.Path, err = Tied(dir, filepath.Join(assets, "etcd")); err != nil {
		return nil, err
	}
	if api.Path, err = Tied(dir, filepath.Join(assets, "kube-apiserver")); err != nil {
		return nil, err
	}
	api.CertDir = filepath.Join(dir, "certs")
	return e, os.Mkdir(api.CertDir, 0o700)
}

// Stop ends the server and removes its files.
func (s *Server) Stop() error {
	err := s.Environment.Stop()
	if err != nil && onlyKilled(err) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// onlyKilled reports whether a process was killed because it did not end in
// time, which is meant. The error has no type.
func onlyKilled(err error) bool {
	for _, line := range strings.Split(err.Error(), ", ") {
		if !strings.Contains(line, "timeout waiting for process") {
			return false
		}
	}
	return true
}
