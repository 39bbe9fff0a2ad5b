package gate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mergegate/gate"
)

// Tests here are named after rows of the table of faults and attacks, see
// docs/attacks.md.

// Whoever may write can post any context, also green ones, on the candidate. Only
// those whom the policy names are believed, by account or by App.
func TestAttack96ForgedCheck(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	by := func(login string) gate.User { return gate.User{ID: 1, Login: login} }
	green := func(by gate.User, app string) gate.Check {
		return gate.Check{Context: "build", State: gate.CheckPassed, By: by, App: app}
	}
	red := func(c gate.Check) gate.Check { c.State = gate.CheckFailed; return c }
	for _, tt := range []struct {
		name     string
		creators []string
		checks   []gate.Check
		want     gate.VerdictState
	}{
		{"nobody named: everybody", nil, []gate.Check{green(by("mallory"), "")}, gate.Passed},
		{"by the account", []string{"ci-bot"}, []gate.Check{green(by("CI-Bot"), "")}, gate.Passed},
		{"by somebody else", []string{"ci-bot"}, []gate.Check{green(by("mallory"), "")}, gate.Failed},
		{"by nobody known", []string{"ci-bot"}, []gate.Check{green(gate.User{}, "")}, gate.Failed},
		{"red by somebody else is no word either", []string{"ci-bot"}, []gate.Check{red(green(by("mallory"), "")), green(by("ci-bot"), "")}, gate.Passed},
		{"of those who are named the newest counts", []string{"ci-bot", "bob"}, []gate.Check{red(green(by("ci-bot"), "")), green(by("bob"), "")}, gate.Passed},
		{"also when it is red", nil, []gate.Check{green(by("ci-bot"), ""), red(green(by("bob"), ""))}, gate.Failed},
		{"Apps do not replace each other", nil, []gate.Check{red(green(gate.User{}, "ci")), green(gate.User{}, "ci2"), green(by("bob"), "")}, gate.Failed},
		{"green by somebody else does not hide red", []string{"ci-bot"}, []gate.Check{green(by("mallory"), ""), red(green(by("ci-bot"), ""))}, gate.Failed},
		{"by the App", []string{"app:ci"}, []gate.Check{green(gate.User{}, "ci")}, gate.Passed},
		{"a status by the App's account", []string{"app:ci"}, []gate.Check{green(by("ci[bot]"), "")}, gate.Passed},
		{"by a person who is called like the App", []string{"app:ci"}, []gate.Check{green(by("ci"), "")}, gate.Failed},
		{"by an App that is called like the person", []string{"ci-bot"}, []gate.Check{green(gate.User{}, "ci-bot")}, gate.Failed},
		{"by another App", []string{"app:ci"}, []gate.Check{green(gate.User{}, "ci2")}, gate.Failed},
		{"by the forge's own runner", []string{"app:actions"}, []gate.Check{green(gate.User{}, gate.ForgeActions)}, gate.Passed},
		{"a person called actions", []string{"app:actions"}, []gate.Check{green(by("actions"), "")}, gate.Failed},
		{"an empty name", []string{""}, []gate.Check{green(gate.User{}, "")}, gate.Failed},
		{"an empty App", []string{"app:"}, []gate.Check{green(gate.User{}, "")}, gate.Failed},
	} {
		p := gate.RetestPolicy{Checks: []string{"build"}, Creators: tt.creators, StartTimeout: time.Minute, Timeout: time.Hour}
		v := gate.JudgeChecks(p, tt.checks, "mergegate", now, now.Add(time.Minute))
		if v.State != tt.want {
			t.Errorf("%s: %s %q, want %s", tt.name, v.State, v.Why, tt.want)
		}
	}
	p := gate.RetestPolicy{Checks: []string{"build"}, Creators: []string{"ci-bot"}, StartTimeout: time.Minute, Timeout: time.Hour}
	if v := gate.JudgeChecks(p, []gate.Check{green(by("mallory"), "")}, "mergegate", now, now); v.State != gate.Running {
		t.Errorf("before the time to start is over: %s %q", v.State, v.Why)
	}
	want := `Cannot reach the CI check "build": only mallory posted it, whom retest.check_creators does not name`
	if v := gate.JudgeChecks(p, []gate.Check{green(by("mallory"), "")}, "mergegate", now, now.Add(time.Minute)); v.Why != want {
		t.Errorf("it says %q, want %q", v.Why, want)
	}

	w := newWorld(t)
	w.policy.Retest = gate.RetestPolicy{Checks: []string{"build"}, Creators: []string{"ci-bot"}, StartTimeout: time.Minute, Timeout: time.Hour}
	w.required = []string{"lint"} // asked for by the branch's protection: the same creators count
	w.open(1, "a", "m0")
	w.approve(1, "bob", "a")
	w.setLabel(1, "bob")
	w.ci["build"], w.ci["lint"] = gate.CheckPassed, gate.CheckPassed
	w.ciBy = map[string]string{"build": "ci-bot", "lint": "ann"}
	w.run()
	if w.tip() != "m0" {
		t.Fatalf("the author's own check landed it:\n%s", w.trace.String())
	}
	w.ciBy["lint"] = "ci-bot"
	w.run()
	if w.tip() != "a" {
		t.Errorf("the right one's check did not land it:\n%s", w.trace.String())
	}
}

// What CI says of another commit, or said before it ran again, is no evidence.
func TestAttack97AnotherCommitsCheck(t *testing.T) {
	w := newWorld(t)
	w.policy.Retest = gate.RetestPolicy{Checks: []string{"build"}, StartTimeout: time.Minute, Timeout: time.Hour}
	w.open(1, "a", "m0")
	w.handPush("m1") // so the candidate is a+m1
	w.approve(1, "bob", "a")
	w.setLabel(1, "bob")
	w.ci["build"] = gate.CheckPending
	w.ciOn["a"] = map[string]gate.CheckState{"build": gate.CheckPassed} // the head as it was pushed
	w.run()
	if w.tip() != "m1" || w.queue.Flight == nil || w.queue.Flight.State != gate.Testing {
		t.Fatalf("it did not wait for the candidate's own check:\n%s", w.trace.String())
	}
	w.ciOn["a+m1"] = map[string]gate.CheckState{"build": gate.CheckPending} // it runs again
	w.run()
	if w.tip() != "m1" {
		t.Fatalf("a check that runs again counted:\n%s", w.trace.String())
	}
	w.ciOn["a+m1"]["build"] = gate.CheckPassed
	w.run()
	if w.tip() != "a+m1" {
		t.Errorf("it did not land:\n%s", w.trace.String())
	}
}

// A push at any point between the request and the landing: what was pushed never
// lands without an approval of its own, and its author is told.
func TestAttack26PushAfterApproval(t *testing.T) {
	for _, behind := range []bool{false, true} {
		for at := range 24 {
			w := newWorld(t)
			w.open(1, "a", "m0")
			if behind {
				w.handPush("m1")
			}
			w.approve(1, "bob", "a")
			w.setLabel(1, "bob")
			for range at {
				w.tick()
			}
			if w.prs[1].Merged {
				continue
			}
			w.prs[1].Head = w.commit("evil", w.commits[w.prs[1].Head].parent, "evil")
			w.run()
			if w.holds(w.tip(), "evil") || w.prs[1].record.State != gate.Dropped && w.prs[1].record.State != gate.Waiting {
				t.Fatalf("pushed after %d ticks: #1 is %s\n%s", at, w.prs[1].record.State, w.trace.String())
			}
			if why := strings.Join(w.prs[1].record.Why, "; "); !strings.Contains(why, "evil") && !strings.Contains(why, "approval") {
				t.Errorf("pushed after %d ticks: it says only %q", at, why)
			}
			w.approve(1, "bob", "evil")
			w.setLabel(1, "bob")
			w.run()
			if !w.holds(w.tip(), "evil") {
				t.Fatalf("approved and asked for, it does not land:\n%s", w.trace.String())
			}
		}
	}
}

// The author's own approval counts for nothing, also where the forge takes it.
func TestAttack30SelfApproval(t *testing.T) {
	for _, trigger := range []bool{false, true} {
		w := newWorld(t)
		w.policy.Trigger.Approval = trigger
		w.open(1, "a", "m0")
		w.prs[1].reviews = append(w.prs[1].reviews, gate.Review{By: w.people["ann"].user, State: gate.Approved, Commit: "a", Counts: true, At: w.now})
		w.setLabel(1, "ann")
		w.run()
		if r := w.prs[1].record; w.tip() != "m0" || r.State != gate.Waiting || !slices.Equal(r.Why, []string{"1 more approval"}) {
			t.Errorf("#1 is %s, %v\n%s", r.State, r.Why, w.trace.String())
		}
	}
}

// A command by somebody who may not write does nothing, and is answered once.
func TestAttack31CommandByReader(t *testing.T) {
	for _, role := range []gate.Role{gate.RoleUnknown, gate.RoleNone, gate.RoleRead} {
		w := newWorld(t)
		w.people["rob"].role = role
		w.open(1, "a", "m0")
		w.approve(1, "bob", "a")
		w.say(1, "rob", command([]string{"/merge"}))
		w.say(1, "rob", command([]string{"freeze", "now"}))
		w.run()
		r := w.prs[1].record
		if w.tip() != "m0" || w.frozen != nil || r.State != "" || w.prs[1].Has("merge") || !strings.HasPrefix(r.Answer, "@rob ") {
			t.Errorf("%v: #1 is %q, frozen %v, answer %q", role, r.State, w.frozen, r.Answer)
		}
		if n := strings.Count(w.trace.String(), "#1 says"); n != 1 {
			t.Errorf("%v: it is answered %d times\n%s", role, n, w.trace.String())
		}
	}
}

// Who asked and may write no more when it would land: it does not, at any point
// before the landing is asked for. The same for a request by label.
func TestAttack32RequesterRevoked(t *testing.T) {
	for _, how := range []string{"command", "label"} {
		for at := range 12 {
			w := newWorld(t)
			w.open(1, "a", "m0")
			w.approve(1, "bob", "a")
			if how == "command" {
				w.say(1, "cat", command([]string{"/merge"}))
			} else {
				w.setLabel(1, "cat")
			}
			for range at {
				w.tick()
			}
			if f := w.queue.Flight; w.prs[1].Merged || f != nil && f.Asked || w.prs[1].record.State == "" {
				continue
			}
			w.people["cat"].role = gate.RoleRead
			w.run()
			if r := w.prs[1].record; w.tip() != "m0" || r.State != gate.Dropped || !strings.Contains(fmt.Sprint(r.Why), "cat, who asked for it, no longer has write access") {
				t.Fatalf("revoked after %d ticks: #1 is %s %v\n%s", at, r.State, r.Why, w.trace.String())
			}
		}
	}
}

// A label that somebody put on who may not write, as triagers may, is no request.
func TestAttack33LabelByTriager(t *testing.T) {
	for _, role := range []gate.Role{gate.RoleUnknown, gate.RoleRead} {
		w := newWorld(t)
		w.people["rob"].role = role
		w.open(1, "a", "m0")
		w.approve(1, "bob", "a")
		w.setLabel(1, "rob")
		w.run()
		if r := w.prs[1].record; w.tip() != "m0" || r.State != gate.Dropped || w.prs[1].Has("merge") || !strings.Contains(fmt.Sprint(r.Why), "rob") {
			t.Errorf("%v: #1 is %s %v\n%s", role, r.State, r.Why, w.trace.String())
		}
		if strings.Contains(w.trace.String(), "build") {
			t.Errorf("%v: something was built for it\n%s", role, w.trace.String())
		}
	}
}

// Tests that a fork changes run only for the head that a writer approved: what is
// pushed afterwards waits for another look.
func TestAttack73ForkChangesTests(t *testing.T) {
	w := newWorld(t)
	w.people["ann"].role = gate.RoleRead
	w.open(1, "a", "m0").MayPush = false
	w.prs[1].Fork = true
	w.methods = []gate.Method{gate.Merge}
	w.mood.verdict = gate.Running
	w.approve(1, "bob", "a")
	w.setLabel(1, "bob")
	w.run()
	if !strings.Contains(w.trace.String(), "retest a on m0") {
		t.Fatalf("the approved head is not tested:\n%s", w.trace.String())
	}
	before := w.trace.Len()
	w.prs[1].Head = w.commit("evil", "m0", "evil")
	w.run()
	if after := w.trace.String()[before:]; strings.Contains(after, "retest") || strings.Contains(after, "build") || strings.Contains(after, "publish") {
		t.Errorf("what was pushed later ran:\n%s", after)
	}
	w.setLabel(1, "bob") // asked for, but nobody approved it
	w.run()
	if after := w.trace.String()[before:]; strings.Contains(after, "retest") || w.prs[1].record.State != gate.Waiting {
		t.Errorf("unapproved, it is %s\n%s", w.prs[1].record.State, after)
	}
	w.approve(1, "bob", "evil")
	w.run()
	if after := w.trace.String()[before:]; !strings.Contains(after, "retest evil on m0") {
		t.Errorf("approved, it is not tested:\n%s", after)
	}
}

// Nothing of a fork is built, shown to CI or run because its author says so: its
// author may not write, and approvals by such people are none.
func TestAttack74ForkUnapproved(t *testing.T) {
	for _, checks := range [][]string{nil, {"build"}} {
		for name, ask := range map[string]func(w *world){
			"label":    func(w *world) { w.setLabel(1, "ann") },
			"command":  func(w *world) { w.say(1, "ann", command([]string{"/merge"})) },
			"retry":    func(w *world) { w.say(1, "ann", command([]string{"retry"})) },
			"press":    func(w *world) { w.press(1, "ann", gate.DoMerge) },
			"approval": func(w *world) { w.approve(1, "rob", "a") },
			"by a writer, without approval": func(w *world) {
				w.policy.Require.Approvals = 1
				w.setLabel(1, "bob")
			},
		} {
			w := newWorld(t)
			w.policy.Retest.Checks, w.policy.Require.Approvals = checks, 0
			w.policy.Trigger.Approval = true
			w.people["ann"].role = gate.RoleRead
			w.open(1, "a", "m0").MayPush = false
			w.prs[1].Fork = true
			ask(w)
			w.run()
			for _, did := range []string{"build", "retest", "publish", "push"} {
				if strings.Contains(w.trace.String(), "  "+did) {
					t.Errorf("%s: %s\n%s", name, did, w.trace.String())
				}
			}
		}
	}
}

// Base is deleted, renamed, or protected anew: it stops with a reason.
func TestAttack112BaseGone(t *testing.T) {
	for at := range 10 {
		w := newWorld(t)
		w.open(1, "a", "m0")
		w.approve(1, "bob", "a")
		w.setLabel(1, "bob")
		for range at {
			w.tick()
		}
		if w.prs[1].Merged {
			break
		}
		w.gone = true
		w.run()
		if r := w.prs[1].record; r.State != gate.Dropped || !strings.Contains(fmt.Sprint(r.Why), "the branch main is gone") || w.queue.Flight != nil {
			t.Errorf("after %d ticks: #1 is %s %v\n%s", at, r.State, r.Why, w.trace.String())
		}
	}
	w := newWorld(t)
	w.mood.land = "denied"
	w.open(1, "a", "m0")
	w.approve(1, "bob", "a")
	w.setLabel(1, "bob")
	w.run()
	if r := w.prs[1].record; r.State != gate.Dropped || !strings.Contains(fmt.Sprint(r.Why), "The forge refuses to merge: a required review is missing") {
		t.Errorf("protected anew: #1 is %s %v", r.State, r.Why)
	}
}
