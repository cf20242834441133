// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"os"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// firstExchangePort keeps clear of ports that only root may use, which servers
// may ask for.
const firstExchangePort = 1024

// portRange is a range of ports; First above Last is empty.
type portRange struct{ First, Last uint16 }

func (r portRange) count() uint32 {
	if r.First > r.Last {
		return 0
	}
	return uint32(r.Last) - uint32(r.First) + 1
}

// portRanges are the source ports that funneled flows may get: those below and
// those above the ones that the kernel gives to connections by itself.
type portRanges struct{ low, high portRange }

// outside returns what a range of local ports leaves over.
func outside(local rules.PortRange) portRanges {
	r := portRanges{low: portRange{1, 0}, high: portRange{1, 0}}
	if local.First > firstExchangePort {
		r.low = portRange{firstExchangePort, local.First - 1}
	}
	if local.Last < 65535 {
		r.high = portRange{max(firstExchangePort, local.Last+1), 65535}
	}
	return r
}

// exchangePorts fails when the kernel gives out every port itself.
func (c Config) exchangePorts() (portRanges, error) {
	local := c.LocalPorts
	if local == (rules.PortRange{}) {
		var err error
		if local, err = readLocalPorts(); err != nil {
			return portRanges{}, err
		}
	}
	r := outside(local)
	if r.low.count()+r.high.count() == 0 {
		return r, fmt.Errorf("ip_local_port_range %d-%d leaves no source port for inline", local.First, local.Last)
	}
	return r, nil
}

// readLocalPorts reads the range of this thread's network namespace.
func readLocalPorts() (rules.PortRange, error) {
	const path = "/proc/sys/net/ipv4/ip_local_port_range"
	var local rules.PortRange
	text, err := os.ReadFile(path)
	if err != nil {
		return local, err
	}
	if _, err := fmt.Sscan(string(text), &local.First, &local.Last); err != nil {
		return local, fmt.Errorf("%s: %q: %w", path, text, err)
	}
	return local, nil
}
