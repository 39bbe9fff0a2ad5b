package gate_test

import (
	"testing"
	"time"

	"mergegate/gate"
)

// A pressed button is a command without a comment: it does what the command does,
// for those who may, and does not count as a comment that was dealt with.
func TestButtons(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	press := func(v gate.Verb, r gate.Role) gate.Command {
		return gate.Command{Button: true, By: gate.User{ID: 2, Login: "bob"}, Role: r, At: now, Verb: v}
	}
	for name, c := range map[string]struct {
		was     gate.State
		command gate.Command
		want    gate.State
	}{
		"remove":              {gate.Queued, press(gate.DoCancel, gate.RoleWrite), gate.Dropped},
		"remove by a reader":  {gate.Queued, press(gate.DoCancel, gate.RoleRead), gate.CatchingUp},
		"requeue":             {gate.Dropped, press(gate.DoMerge, gate.RoleWrite), gate.CatchingUp},
		"requeue by a reader": {gate.Dropped, press(gate.DoMerge, gate.RoleRead), gate.Dropped},
	} {
		pr := gate.PR{Number: 1, Open: true, Base: "main", Head: "a", MayPush: true, Author: gate.User{ID: 1}}
		requester := gate.RoleRead // of whoever asked before, and may write no more
		if c.was.Active() {
			pr.Labels, requester = []string{"merge"}, gate.RoleWrite
		}
		_, changed, _ := gate.Step(gate.Queue{}, gate.Input{
			Now: now, Base: "main", Tip: "m0", Methods: []gate.Method{gate.FastForward},
			PRs: []gate.Facts{{PR: pr, Requester: requester, Commands: []gate.Command{c.command}, Record: gate.Record{
				State: c.was, Same: []gate.SHA{"a"}, Command: 7, Request: gate.Request{Base: "main", By: gate.User{ID: 2}},
			}}},
			Policy: gate.Policy{
				Enabled: true, Branches: []string{"main"}, Trigger: gate.Trigger{Label: "merge", Command: true},
				Retest: gate.RetestPolicy{Command: "true"}, Land: gate.LandPolicy{Method: gate.Auto}, CatchUp: gate.CatchUpRebase,
			},
		})
		if len(changed) != 1 || changed[0].Record.State != c.want || changed[0].Record.Command != 7 {
			t.Errorf("%s: %+v, want it %s", name, changed, c.want)
		}
	}
}
