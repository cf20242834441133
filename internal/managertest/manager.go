// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

// Manager is one replica.
type Manager struct {
	command                  *exec.Cmd
	webhook, metrics, probes string // ports
	token                    string
	log                      *kubetest.Log
	ended                    chan struct{}
}

// Run starts a replica with the arguments and the environment of the Deployment,
// and more arguments. The caller ends it.
func (c *Cluster) Run(ctx context.Context, more ...string) (*Manager, error) {
	return c.RunWith(ctx, nil, more...)
}

// RunWith is Run with variables of the environment besides.
func (c *Cluster) RunWith(ctx context.Context, extra map[string]string, more ...string) (*Manager, error) {
	deployment, err := c.deployment()
	if err != nil {
		return nil, err
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	m := &Manager{token: token, log: &kubetest.Log{}, ended: make(chan struct{})}
	for _, port := range []*string{&m.webhook, &m.metrics, &m.probes} {
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	kubeconfig, err := c.kubeconfig(token, "kubeconfig-"+m.webhook)
	if err != nil {
		return nil, err
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	variables := environment(container)
	maps.Copy(variables, extra)
	args := []string{
		"--kubeconfig=" + kubeconfig,
		"--webhook-port=" + m.webhook,
		"--metrics-bind-address=127.0.0.1:" + m.metrics,
		"--health-probe-bind-address=127.0.0.1:" + m.probes,
	}
	args = append(append(args, arguments(container, variables)...), more...)
	return m, m.start(c.binary, args, variables)
}

func environment(container corev1.Container) map[string]string {
	values := map[string]string{}
	for _, variable := range container.Env {
		values[variable.Name] = variable.Value
	}
	values["POD_NAMESPACE"] = Namespace
	values["ATTACHER_IMAGE"] = AttacherImage
	return values
}

// arguments are the container's, with $(VARIABLES) expanded as the kubelet does.
func arguments(container corev1.Container, variables map[string]string) []string {
	args := make([]string, len(container.Args))
	for i, arg := range container.Args {
		for name, value := range variables {
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		args[i] = arg
	}
	return args
}

// start ties the process's life to ours.
func (m *Manager) start(binary string, args []string, variables map[string]string) error {
	m.command = exec.Command(binary, args...)
	for name, value := range variables {
		m.command.Env = append(m.command.Env, name+"="+value)
	}
	m.command.Stderr = m.log
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		defer close(m.ended)
		// The kernel takes the thread that starts it for its parent: this
		// goroutine keeps its own until the end.
		runtime.LockOSThread()
		err := m.command.Start()
		started <- err
		if err == nil {
			_ = m.command.Wait()
		}
	}()
	return <-started
}

// Stop ends the replica as the kubelet does, waits, and fails unless it ended in
// order.
func (m *Manager) Stop() error {
	_ = m.command.Process.Signal(syscall.SIGTERM)
	<-m.ended
	if code := m.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the manager ended with %d:\n%s", code, m.Log())
	}
	return nil
}

// Kill ends the replica as a node does that loses its power.
func (m *Manager) Kill() {
	_ = m.command.Process.Kill()
	<-m.ended
}

// Ended reports whether the process has ended.
func (m *Manager) Ended() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// Log is what it wrote so far.
func (m *Manager) Log() string { return m.log.String() }

// PID is that of the process.
func (m *Manager) PID() int { return m.command.Process.Pid }

// UntilReady asks what the kubelet asks until the answer is yes.
func (m *Manager) UntilReady(ctx context.Context) error {
	for {
		err := m.ready(ctx)
		if err == nil {
			return nil
		}
		if m.Ended() {
			return fmt.Errorf("the manager ended:\n%s", m.Log())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the manager is not ready: %w\n%s", err, m.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *Manager) ready(ctx context.Context) error {
	return get(ctx, http.DefaultClient, "http://127.0.0.1:"+m.probes+"/readyz?verbose", "", func(body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
}

// scraper trusts whatever the manager presents.
var scraper = &http.Client{Transport: &http.Transport{
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	DisableKeepAlives: true,
}}

// Scrape reads the metrics as Prometheus does.
func (m *Manager) Scrape(ctx context.Context) (families map[string]*dto.MetricFamily, err error) {
	err = get(ctx, scraper, "https://127.0.0.1:"+m.metrics+"/metrics", "Bearer "+m.token, func(body io.Reader) error {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err = parser.TextToMetricFamilies(body)
		return err
	})
	return families, err
}

func get(ctx context.Context, client *http.Client, url, authorization string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return read(response.Body)
}

// Memory is the resident set now and at its peak, in bytes.
func (m *Manager) Memory() (now, peak uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID()))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	return now, peak, nil
}

func freePort() (string, error) {
	port, err := kubetest.FreePort()
	return strconv.Itoa(port), err
}
