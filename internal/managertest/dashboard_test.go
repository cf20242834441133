// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"encoding/json"
	"regexp"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// panel is what of Grafana's model the dashboard uses. Positions are in units of a
// 24th of the width and of 30 pixels.
type panel struct {
	ID          int
	Title, Type string
	Datasource  datasource
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct {
		RefID, Expr, LegendFormat string
		Datasource                datasource
	}
}

type datasource struct{ Type, UID string }

// Every panel says in which unit it counts, and asks the data source that people choose.
func TestDashboardPanelsAreComplete(t *testing.T) {
	chosen := datasource{"prometheus", "${datasource}"}
	ids := map[int]bool{}
	for _, p := range mustPanels(t) {
		if ids[p.ID] || p.Title == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource != chosen {
			t.Errorf("panel %d %q: wants an ID of its own, a title, a unit, a query and the data source %v", p.ID, p.Title, chosen)
		}
		ids[p.ID] = true
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.Datasource != chosen {
				t.Errorf("panel %q, query %q: wants a refId of its own and the data source %v", p.Title, target.RefID, chosen)
			}
			refs[target.RefID] = true
		}
	}
}

// The panels fill the width and the height, and none covers another.
func TestDashboardPanelsStandBesideEachOther(t *testing.T) {
	type cell struct{ x, y int }
	taken := map[cell]string{}
	bottom := 0
	for _, p := range mustPanels(t) {
		g := p.GridPos
		if g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q is not within the 24 columns: %+v", p.Title, g)
		}
		for i := range g.W * g.H {
			at := cell{g.X + i%g.W, g.Y + i/g.W}
			if other := taken[at]; other != "" {
				t.Fatalf("panel %q covers %q", p.Title, other)
			}
			taken[at] = p.Title
		}
		bottom = max(bottom, g.Y+g.H)
	}
	if len(taken) != 24*bottom {
		t.Errorf("the panels leave holes: %d of %d cells are taken", len(taken), 24*bottom)
	}
}

// checkLegend fails for labels in a legend that no series has.
func checkLegend(t *testing.T, where, expr, format string, exported map[string]*dto.MetricFamily) {
	t.Helper()
	known := resultLabels(mustParse(t, where, expr), exported)
	for _, label := range inLegend.FindAllStringSubmatch(format, -1) {
		if !known[label[1]] {
			t.Errorf("%s: the legend %q names a label that %s does not give", where, format, expr)
		}
	}
}

var inLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

func mustPanels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	must(t, json.Unmarshal([]byte(mustRead(t, "config", "components", "monitoring", "sfunnel.json")), &dashboard))
	if len(dashboard.Panels) == 0 {
		t.Fatal("there are no panels")
	}
	return dashboard.Panels
}
