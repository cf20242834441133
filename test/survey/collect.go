// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Question says whom to ask for what.
type Question struct {
	Kubectl   []string // the command; empty: kubectl
	Namespace string   // of Service and clients
	Service   string   // whose ports are asked for
	Targets   []string // that pods ask instead
	Selector  string   // label selector of the client pods
	Port      int      // on which a client pod takes questions
	Family    int      // of the addresses that are asked: 4 or 6; 0: 4
	Bytes     int64    // that each TCP connection carries both ways; 0: a line
	Outside   []string // command that runs "echo ask" outside the cluster, to be appended to; empty: none
}

// Ask asks all clients at the same time, each for one port after the other: pods at
// the Service's cluster IPs, outside clients at its load-balancer addresses; or pods
// alone for the targets that the question names.
func Ask(ctx context.Context, q Question) ([]Client, error) {
	api, err := openAPI(ctx, q.Kubectl)
	if err != nil {
		return nil, err
	}
	defer api.close()
	if len(q.Targets) > 0 {
		return q.askPods(ctx, api, q.Targets)
	}
	var s service
	if err := api.get(ctx, "namespaces", q.Namespace, "services", q.Service, "", &s); err != nil {
		return nil, err
	}
	pods, err := q.askPods(ctx, api, s.targets(q.ofFamily(s.Spec.ClusterIPs)))
	if err != nil {
		return nil, err
	}
	if len(q.Outside) == 0 {
		return pods, nil
	}
	outside, err := q.askOutside(ctx, s.targets(q.ofFamily(s.balancers())))
	return append(pods, outside...), err
}

// ofFamily picks the addresses of the question's family.
func (q Question) ofFamily(addresses []string) []string {
	isIPv6 := func(address string) bool { return strings.Contains(address, ":") }
	return slices.DeleteFunc(slices.Clone(addresses), func(address string) bool {
		return isIPv6(address) != (q.Family == 6)
	})
}

// A service is what is needed of a Service object.
type service struct {
	Spec struct {
		ClusterIPs []string
		Ports      []struct {
			Protocol string
			Port     int
		}
	}
	Status struct {
		LoadBalancer struct {
			Ingress []struct{ IP string }
		}
	}
}

func (s *service) balancers() []string {
	var addresses []string
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		addresses = append(addresses, ingress.IP)
	}
	return addresses
}

// targets lists all ports at each of the addresses.
func (s *service) targets(addresses []string) []string {
	var targets []string
	for _, address := range addresses {
		for _, p := range s.Spec.Ports {
			targets = append(targets, strings.ToLower(p.Protocol)+"://"+net.JoinHostPort(address, strconv.Itoa(p.Port)))
		}
	}
	return targets
}

// askPods lets every running client pod ask, through the API server's proxy.
func (q Question) askPods(ctx context.Context, api *api, targets []string) ([]Client, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string
				DeletionTimestamp string
			}
			Status struct{ PodIPs []struct{ IP string } }
		}
	}
	if err := api.get(ctx, "namespaces", q.Namespace, "pods", "", "labelSelector="+url.QueryEscape(q.Selector), &list); err != nil {
		return nil, err
	}
	var clients []Client
	for _, pod := range list.Items {
		if pod.Metadata.DeletionTimestamp == "" {
			var addresses []string
			for _, address := range pod.Status.PodIPs {
				addresses = append(addresses, address.IP)
			}
			clients = append(clients, Client{Name: pod.Metadata.Name, Address: strings.Join(q.ofFamily(addresses), ",")})
		}
	}
	slices.SortFunc(clients, func(a, b Client) int { return strings.Compare(a.Name, b.Name) })
	failures := make([]error, len(clients))
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			pod := fmt.Sprintf("%s:%d", clients[i].Name, q.Port)
			query := url.Values{"target": targets, "bytes": {fmt.Sprint(q.Bytes)}}.Encode()
			failures[i] = api.get(ctx, "namespaces", q.Namespace, "pods", pod+"/proxy/ask", query, &clients[i])
		})
	}
	all.Wait()
	return clients, errors.Join(failures...)
}

// askOutside runs the command that asks from outside.
func (q Question) askOutside(ctx context.Context, targets []string) ([]Client, error) {
	if len(targets) == 0 {
		return nil, fmt.Errorf("no load-balancer address: Service %s", q.Service)
	}
	line := append(slices.Clone(q.Outside), append([]string{"-bytes", fmt.Sprint(q.Bytes)}, targets...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(line, " "), err)
	}
	var clients []Client
	if err := json.Unmarshal(output, &clients); err != nil {
		return nil, err
	}
	for i := range clients {
		clients[i].Address = clients[i].Name
	}
	return clients, nil
}

// An api is the API server, by way of kubectl proxy, so that whatever kubectl is
// configured to use works.
type api struct {
	base string
	cmd  *exec.Cmd
}

func openAPI(ctx context.Context, kubectl []string) (*api, error) {
	if len(kubectl) == 0 {
		kubectl = []string{"kubectl"}
	}
	cmd := exec.CommandContext(ctx, kubectl[0], append(kubectl[1:len(kubectl):len(kubectl)], "proxy", "--port=0")...)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(output).ReadString('\n') // Starting to serve on 127.0.0.1:PORT
	if err != nil {
		return nil, fmt.Errorf("kubectl proxy: %w", errors.Join(err, cmd.Wait()))
	}
	address := line[strings.LastIndexByte(line, ' ')+1:]
	return &api{base: "http://" + strings.TrimSpace(address), cmd: cmd}, nil
}

func (a *api) close() {
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// get decodes the object at /api/v1/SCOPE/IN/KIND/NAME.
func (a *api) get(ctx context.Context, scope, in, kind, name, query string, into any) error {
	address := strings.Join([]string{a.base, "api/v1", scope, in, kind, name}, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"?"+query, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var status struct{ Message string }
		json.NewDecoder(response.Body).Decode(&status)
		return fmt.Errorf("get %s %s/%s: %s %s", kind, in, name, response.Status, status.Message)
	}
	return json.NewDecoder(response.Body).Decode(into)
}
