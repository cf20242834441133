// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

// Audit is the API server's log of one user's requests.
type Audit struct{ path string }

// auditPolicy logs who did what to which object, and no contents.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [%q]
- level: None
`

// of makes the server log what the user does.
func (a Audit) of(user string) (kubetest.Option, error) {
	policy := a.path + ".policy"
	err := os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, user), 0o600)
	return func(e *envtest.Environment) {
		e.ControlPlane.GetAPIServer().Configure().
			Set("audit-policy-file", policy).
			Set("audit-log-path", a.path).
			Set("audit-log-maxsize", "100000") // MB: never rotated
	}, err
}

// Call is one request. A watch is one when it begins.
type Call struct {
	At                           time.Time
	Verb                         string
	Group, Resource, Subresource string
	Namespace, Name              string
	Code                         int
}

// What is "verb group/resource/subresource", as in an RBAC rule.
func (c Call) What() string {
	what := c.Resource
	if c.Group != "" {
		what = c.Group + "/" + what
	}
	if c.Subresource != "" {
		what += "/" + c.Subresource
	}
	return c.Verb + " " + what
}

// Writes reports whether it may change something that the API server stores.
func (c Call) Writes() bool {
	return !slices.Contains([]string{"get", "list", "watch"}, c.Verb) && !strings.HasSuffix(c.Resource, "reviews")
}

// Mark is a place in the log.
type Mark int64

// Now is the end of its last whole line: the server may be writing another.
func (a Audit) Now() (Mark, error) {
	file, err := os.Open(a.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	from := max(size-longestLine, 0)
	end := make([]byte, size-from)
	if _, err := file.ReadAt(end, from); err != nil {
		return 0, err
	}
	return Mark(from + int64(bytes.LastIndexByte(end, '\n')) + 1), nil
}

// longestLine is more than an event without contents has, in bytes.
const longestLine = 1 << 16

// Since are the calls that were logged after the mark.
func (a Audit) Since(mark Mark) ([]Call, error) {
	file, err := os.Open(a.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(int64(mark), io.SeekStart); err != nil {
		return nil, err
	}
	var calls []Call
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return calls, nil // what is left is a line that is being written
		}
		if err != nil {
			return nil, err
		}
		call, counts, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if counts {
			calls = append(calls, call)
		}
	}
}

// parse reads one event. Of a watch the beginning counts, of others the end.
func parse(line []byte) (call Call, counts bool, err error) {
	var event struct {
		Stage, Verb              string
		RequestReceivedTimestamp time.Time
		ObjectRef                struct{ APIGroup, Resource, Subresource, Namespace, Name string }
		ResponseStatus           struct{ Code int }
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return call, false, err
	}
	counted := "ResponseComplete"
	if event.Verb == "watch" {
		counted = "ResponseStarted"
	}
	ref := event.ObjectRef
	return Call{
		At: event.RequestReceivedTimestamp, Verb: event.Verb,
		Group: ref.APIGroup, Resource: ref.Resource, Subresource: ref.Subresource,
		Namespace: ref.Namespace, Name: ref.Name, Code: event.ResponseStatus.Code,
	}, event.Stage == counted && ref.Resource != "", nil
}
