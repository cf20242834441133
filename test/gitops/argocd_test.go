// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

const healthFile = "../../config/argocd/health.yaml"

// healthCheck is the script as Argo CD gets it.
func healthCheck(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(healthFile)
	if err != nil {
		t.Fatal(err)
	}
	var patch struct{ Data map[string]string }
	if err := yaml.UnmarshalStrict(text, &patch); err != nil {
		t.Fatal(err)
	}
	script := patch.Data["resource.customizations.health.sfunnel.io_FunnelPolicy"]
	if script == "" {
		t.Fatalf("%s holds no script for FunnelPolicies", healthFile)
	}
	return script
}

// judge runs the script with no more of Lua's libraries than Argo CD gives it:
// base and table.
func judge(t *testing.T, script string, object map[string]any) (health, message string) {
	t.Helper()
	vm := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer vm.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := vm.CallByParam(lua.P{Fn: vm.NewFunction(open), NRet: 0, Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	vm.SetGlobal("obj", value(vm, object))
	if err := vm.DoString(script); err != nil {
		t.Fatal(err)
	}
	answer, ok := vm.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returned %v", vm.Get(-1))
	}
	return lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))
}

// value is what JSON is in Lua.
func value(vm *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		table := vm.NewTable()
		for key, element := range v {
			table.RawSetString(key, value(vm, element))
		}
		return table
	case []any:
		table := vm.NewTable()
		for _, element := range v {
			table.Append(value(vm, element))
		}
		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	}
	return lua.LNil
}

// A policy that is being deleted is judged by Argo CD itself.
func TestArgoCDUnderstandsEachStage(t *testing.T) {
	script := healthCheck(t)
	for _, s := range life() {
		if s.argo == "" {
			continue
		}
		health, message := judge(t, script, object(t, s.policy).Object)
		if health != s.argo || !strings.HasPrefix(message, s.message) {
			t.Errorf("%s: %s, %q, not %s, %q", s.name, health, message, s.argo, s.message)
		}
	}
}

func TestArgoCDUnderstandsAPolicyWithoutStatus(t *testing.T) {
	health, _ := judge(t, healthCheck(t), map[string]any{"metadata": map[string]any{"generation": int64(1)}})
	if health != "Progressing" {
		t.Errorf("got %s", health)
	}
}
