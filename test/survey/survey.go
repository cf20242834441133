// SPDX-License-Identifier: Apache-2.0

// Package survey finds out which pod answers a Service's clients on each of its
// ports, and counts the clients whose ports lead to different pods. It asks through
// clients that run elsewhere (test/echo): pods, and addresses outside the cluster.
package survey

import (
	"maps"
	"slices"
)

// An Answer is what a server said to one question.
type Answer struct {
	Pod  string `json:"pod"`  // the server's name
	Seen string `json:"seen"` // the client's address and port as the server saw them
	Port int    `json:"port"` // the server's own port, where the question arrived
	Said string `json:"said"` // the beginning of the question, or how a transfer went
	Size int    `json:"size"` // the question's length
}

// A Client is one client and what it was told.
type Client struct {
	Name    string            `json:"client"`            // a pod's name, or a source address outside
	Address string            `json:"address,omitempty"` // its own address
	Answers map[string]Answer `json:"answers,omitempty"` // by target, tcp://ADDR:PORT
	Errors  map[string]string `json:"errors,omitempty"`  // by target, of those that did not answer
}

// Pods lists the different pods that answered.
func (c Client) Pods() []string {
	pods := map[string]bool{}
	for _, answer := range c.Answers {
		pods[answer.Pod] = true
	}
	return slices.Sorted(maps.Keys(pods))
}

// Split tells whether different ports led to different pods.
func (c Client) Split() bool { return len(c.Pods()) > 1 }

// Counts sums up a survey.
type Counts struct {
	Clients int // all that were asked
	Split   int // answered by different pods
	Mute    int // at least one target did not answer
}

// Count sums up what the clients were told.
func Count(clients []Client) Counts {
	counts := Counts{Clients: len(clients)}
	for _, c := range clients {
		if c.Split() {
			counts.Split++
		}
		if len(c.Errors) > 0 {
			counts.Mute++
		}
	}
	return counts
}
