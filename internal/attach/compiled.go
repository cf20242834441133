// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"sync"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// compiler compiles each rule set once, for however many interfaces, and while these are
// still looked for.
type compiler struct {
	mutex sync.Mutex
	begun map[identity]func() compiled
}

// identity tells rule sets apart by where they are.
type identity struct {
	first *rules.Rule
	rules int
}

// compiled is what an interface needs of a rule set: no table if there are no rules.
type compiled struct {
	table  *classifier.Table
	digest string
	err    error
}

// compilerOf begins with the rules of each set, for the directions that the call decides
// about. Most interfaces get those of one set and no others.
func compilerOf(o Options) *compiler {
	c := &compiler{begun: map[identity]func() compiled{}}
	for _, s := range o.Sets {
		for d, rs := range map[rules.Direction]rules.RuleSet{rules.Ingress: s.Ingress, rules.Egress: s.Egress} {
			if o.owns(d) {
				c.begin(rs)
			}
		}
	}
	return c
}

// begin compiles a rule set on the side. What it returns waits for the result.
func (c *compiler) begin(rs rules.RuleSet) func() compiled {
	if len(rs) == 0 {
		return func() compiled { return compiled{digest: Digest(nil)} }
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	id := identity{&rs[0], len(rs)}
	result, ok := c.begun[id]
	if !ok {
		result = sync.OnceValue(func() (done compiled) {
			done.table, done.err = classifier.Compile(rs)
			done.digest = Digest(rs)
			return done
		})
		c.begun[id] = result
		go result()
	}
	return result
}
