// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
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
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// start ties the process's life to ours.
func (m *Manager) start(command []string, variables map[string]string) error {
	m.command = exec.Command(command[0], command[1:]...)
	for name, value := range variables {
		m.command.Env = append(m.command.Env, name+"="+value)
	}
	m.command.Stderr = m.log
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		defer close(m.ended)
		// The kernel takes the thread that starts it for its parent: this
		// goroutine keeps its own until the end. It gives it back then: a thread
		// that ended with it would take along other processes that it had started.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
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

// AskedBy makes the API server ask this replica about pods.
func (m *Manager) AskedBy(ctx context.Context, api client.Client) error {
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/service/port","value":%s}]`, m.webhook)
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "sfunnel"}}
	return api.Patch(ctx, configuration, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// UntilReady asks what the kubelet asks until the answer is yes.
func (m *Manager) UntilReady(ctx context.Context) error {
	for {
		err := m.Ready(ctx)
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

// Ready asks what the kubelet asks.
func (m *Manager) Ready(ctx context.Context) error {
	response, err := get(ctx, http.DefaultClient, "http://127.0.0.1:"+m.probes+"/readyz?verbose", "")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return failure(response)
}

// scraper trusts whatever the manager presents.
var scraper = &http.Client{Transport: &http.Transport{
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	DisableKeepAlives: true,
}}

// Metrics asks for the metrics with that Authorization. The caller closes the answer.
func (m *Manager) Metrics(ctx context.Context, authorization string) (*http.Response, error) {
	return get(ctx, scraper, "https://127.0.0.1:"+m.metrics+"/metrics", authorization)
}

// Scrape reads the metrics as Prometheus does.
func (m *Manager) Scrape(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	response, err := m.Metrics(ctx, "Bearer "+m.token)
	if err != nil {
		return nil, err
	}
	return families(response)
}

// families are the metrics that an answer holds.
func families(response *http.Response) (map[string]*dto.MetricFamily, error) {
	defer response.Body.Close()
	if err := failure(response); err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

func get(ctx context.Context, from *http.Client, url, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return from.Do(req)
}

// failure says what an answer says that is not OK.
func failure(response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(response.Body)
	return fmt.Errorf("%s: %s", response.Status, body)
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
