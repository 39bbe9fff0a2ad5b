package gate_test

import (
	"strings"
	"testing"
	"time"

	"mergegate/gate"
)

// What was pushed after the request and before anybody looked was asked for by
// nobody, unless an approval names it.
func TestPushedAfterTheRequest(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	writer := gate.User{ID: 2, Login: "bob"}
	label := gate.Ask{By: writer, At: now, Role: gate.RoleWrite, Stale: true}
	command := []gate.Command{{Comment: 7, By: writer, Role: gate.RoleWrite, At: now, Verb: gate.DoMerge, Stale: true}}
	for name, c := range map[string]struct {
		approvals int
		facts     gate.Facts
		want      gate.State
	}{
		"label":                    {0, gate.Facts{Label: label}, gate.Dropped},
		"command":                  {0, gate.Facts{Commands: command}, gate.Dropped},
		"label, approval needed":   {1, gate.Facts{Label: label}, gate.Waiting},
		"command, approval needed": {1, gate.Facts{Commands: command}, gate.Waiting},
	} {
		c.facts.PR = gate.PR{Number: 1, Open: true, Base: "main", Head: "a", MayPush: true, Author: gate.User{ID: 1}}
		if c.facts.Commands == nil {
			c.facts.PR.Labels = []string{"merge"}
		}
		_, changed, _ := gate.Step(gate.Queue{}, gate.Input{
			Now: now, Base: "main", Tip: "m0", Methods: []gate.Method{gate.FastForward}, PRs: []gate.Facts{c.facts},
			Policy: gate.Policy{
				Enabled: true, Branches: []string{"main"}, Trigger: gate.Trigger{Label: "merge", Command: true},
				Require: gate.Require{Approvals: c.approvals}, Retest: gate.RetestPolicy{Command: "true"},
				Land: gate.LandPolicy{Method: gate.Auto}, CatchUp: gate.CatchUpRebase,
			},
		})
		if len(changed) != 1 || changed[0].Record.State != c.want {
			t.Errorf("%s: %+v, want one record that is %s", name, changed, c.want)
		} else if why := strings.Join(changed[0].Record.Why, ""); c.want == gate.Dropped && !strings.Contains(why, "nobody has approved it") {
			t.Errorf("%s: dropped because of %q", name, why)
		}
	}
}
