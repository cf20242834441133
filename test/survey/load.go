// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"fmt"
	"strings"
)

// A Load is what one client says of its steady load: messages that each want an answer.
type Load struct {
	Client string `json:"client"`
	Flows  []Flow `json:"flows"`
	Order  int    `json:"order"` // the number of the last order that it follows
	Rests  bool   `json:"rests"` // told to pause, and waits for no answer any more
	Ended  bool   `json:"ended"` // its last word
}

// A Flow counts the messages of a client to one target.
type Flow struct {
	Target   string `json:"target"` // tcp://ADDR:PORT or udp://ADDR:PORT
	Sent     int    `json:"sent"`
	Answered int    `json:"answered"`
	Wrong    int    `json:"wrong"`             // answered at another port than the message was for
	Twice    int    `json:"twice"`             // answers to messages that had been answered
	Pod      string `json:"pod,omitempty"`     // the one that gave the last answer
	Failure  string `json:"failure,omitempty"` // the first one
}

// Lost counts the messages that were not answered.
func (f Flow) Lost() int { return f.Sent - f.Answered }

// Sum adds up the flows of all loads by protocol, "tcp" and "udp".
func Sum(loads []Load) map[string]Flow {
	sums := map[string]Flow{}
	for _, load := range loads {
		for _, f := range load.Flows {
			protocol, _, _ := strings.Cut(f.Target, "://")
			sum := sums[protocol]
			sum.Target = protocol
			sum.Sent, sum.Answered = sum.Sent+f.Sent, sum.Answered+f.Answered
			sum.Wrong, sum.Twice = sum.Wrong+f.Wrong, sum.Twice+f.Twice
			if sum.Failure == "" && f.Failure != "" {
				sum.Failure = fmt.Sprintf("%s to %s: %s", load.Client, f.Target, f.Failure)
			}
			sums[protocol] = sum
		}
	}
	return sums
}

// An Order is the answer to a Load: what all clients shall do.
type Order struct {
	Number int  `json:"number"`
	Pause  bool `json:"pause"`
}
