// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
)

const usage = `attacher puts funneling rules on network interfaces and exits. The rules stay
for as long as the interfaces do; nothing keeps running.

Usage:
  attacher [attach] [flags]            attach the rules, in place of ours that are there
  attacher detach [flags]              take away what is ours and nothing else
  attacher show [-o json] [--flows] [flags]
                                       what is attached, what runs in front, counters,
                                       number of flows, with --flows up to 1,000 of them
  attacher check [--direction D] FILE… check rules and print them in canonical form
  attacher check --peer [--map tcp/80=8080]… CLIENT BACKEND
                                       does each side undo what the other one funnels?
                                       Files or folders with ingress.rules, egress.rules
                                       --map: a Service's port and its target port
  attacher version
  attacher help

Flags of attach, detach and show:
  --interface NAME[,NAME…]  interfaces for rules that name none   (IFACES)
                            default: every one that is up, has an address, is not
                            loopback and not enslaved; detach, show: all. May
                            be repeated
  --direction D             ingress, egress or both               (DIRECTION)
  --netns NS                a name, /path or process id           (NETNS)
Flags of attach:
  --rules DIR               where the rules are; show, too        /etc/sfunnel
  --attempts N              how often to look for an interface    (N_ATTEMPTS)  6
  --retry-delay SECONDS     that is not there yet                 (RETRY_DELAY) 3
  --flows N                 room for flows of an interface        (SFUNNEL_FLOWS) 8192
                            for rules whose settings don't say; the most wins
  --drop-flows              replace programs although flows that  (SFUNNEL_DROP_FLOWS=1)
                            they remember can't be taken over
  --await P=DIGEST[,…]      wait until the folder of policy P     (SFUNNEL_AWAIT)
                            holds the rules of that digest, or any newer ones
  --await-at-most SECONDS   then fail and change nothing     (SFUNNEL_AWAIT_AT_MOST) 120

Rules are read from one of these; rules in two of them are an error:
  $SFUNNEL_RULESET                 rules for DIRECTION, ingress unless set
  DIR/<policy>/                    ingress.rules, egress.rules, settings: one folder
                                   per policy; joined per interface by priority
  DIR/ingress.rules, egress.rules
  DIR/ruleset                      rules for DIRECTION, ingress unless set
But the variable wins over DIR/ruleset. With DIRECTION=both it holds for both.

Further variables:
  CLEAN=1             detach instead of attach; ingress unless DIRECTION is set
  DEBUG=1             say on the standard error what is done
  SFUNNEL_POD=1       refuse the host's network; write a report; take ours away from
                      interfaces that these rules do not name
  SFUNNEL_REPORT      where the report goes; with SFUNNEL_POD=1 /dev/termination-log
  SFUNNEL_REPORT_MAX  its largest size in bytes

Exit status: 0 done; 1 failed, and nothing was changed unless the error says otherwise,
or check --peer found a fault; 2 rules or arguments are wrong.
It needs the capabilities BPF, NET_ADMIN and PERFMON, and SYS_ADMIN only for
--netns, for the counters of show and to replace programs that remember flows or
have programs of others behind them.
`

func help(w io.Writer) int {
	fmt.Fprint(w, usage)
	return exitDone
}
