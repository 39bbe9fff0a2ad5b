package gate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mergegate/gate"
)

func TestApprovals(t *testing.T) {
	ann, bob, cat := gate.User{ID: 1, Login: "ann"}, gate.User{ID: 2, Login: "bob"}, gate.User{ID: 3, Login: "cat"}
	review := func(by gate.User, s gate.ReviewState, c gate.SHA) gate.Review {
		return gate.Review{By: by, State: s, Commit: c, Counts: true}
	}
	dismissed := review(bob, gate.Approved, "h2")
	dismissed.Dismissed = true
	reader := review(cat, gate.Approved, "h2")
	reader.Counts = false
	readerAgainst := review(cat, gate.ChangesRequested, "h2")
	readerAgainst.Counts = false
	rebased := gate.Record{Same: []gate.SHA{"h1", "h2"}}
	for _, tt := range []struct {
		name    string
		rec     gate.Record
		reviews []gate.Review
		want    string
	}{
		{"this head", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h2")}, "bob|"},
		{"an older head", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h1")}, "|"},
		{"before our own rebase", rebased, []gate.Review{review(bob, gate.Approved, "h1")}, "bob|"},
		{"before the head that we rebased", rebased, []gate.Review{review(bob, gate.Approved, "h0")}, "|"},
		{"our rebase of another head", gate.Record{Same: []gate.SHA{"h0", "h1"}}, []gate.Review{review(bob, gate.Approved, "h1")}, "|"},
		{"the author's own", gate.Record{}, []gate.Review{review(ann, gate.Approved, "h2")}, "|"},
		{"somebody who may not", gate.Record{}, []gate.Review{reader}, "|"},
		{"dismissed", gate.Record{}, []gate.Review{dismissed}, "|"},
		{"dismissed after an older one", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h2"), dismissed}, "|"},
		{"a comment changes nothing", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h2"), review(bob, gate.Commented, "h2")}, "bob|"},
		{"a comment is no approval", gate.Record{}, []gate.Review{review(bob, gate.Commented, "h2")}, "|"},
		{"the last word counts", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h2"), review(bob, gate.ChangesRequested, "h2")}, "|bob"},
		{"the last word counts, again", gate.Record{}, []gate.Review{review(bob, gate.ChangesRequested, "h1"), review(bob, gate.Approved, "h2")}, "bob|"},
		{"an objection outlives a push", gate.Record{}, []gate.Review{review(bob, gate.ChangesRequested, "h1"), review(cat, gate.Approved, "h2")}, "cat|bob"},
		{"a reader's objection", gate.Record{}, []gate.Review{readerAgainst}, "|"},
		{"listed twice, counted once", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h2"), review(bob, gate.Approved, "h2")}, "bob|"},
		{"two people", gate.Record{}, []gate.Review{review(bob, gate.Approved, "h2"), review(cat, gate.Approved, "h2")}, "bob cat|"},
	} {
		approved, against := gate.Approvals(gate.PR{Author: ann, Head: "h2"}, tt.rec, tt.reviews)
		if got := logins(approved) + "|" + logins(against); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func logins(us []gate.User) string {
	var out []string
	for _, u := range us {
		out = append(out, u.Login)
	}
	return strings.Join(out, " ")
}

func TestJudgeChecks(t *testing.T) {
	const start, whole = 10 * time.Minute, 30 * time.Minute
	check := func(context string, s gate.CheckState) gate.Check { return gate.Check{Context: context, State: s} }
	for _, tt := range []struct {
		name     string
		patterns []string
		checks   []gate.Check
		after    time.Duration
		want     gate.VerdictState
		why      string
	}{
		{"nothing asked is no pass", nil, []gate.Check{check("build", gate.CheckPassed)}, 0, gate.Broken, "no CI check is configured"},
		{"green", []string{"build"}, []gate.Check{check("build", gate.CheckPassed)}, 0, gate.Passed, ""},
		{"green at the last moment", []string{"build"}, []gate.Check{check("build", gate.CheckPassed)}, time.Hour, gate.Passed, ""},
		{"red", []string{"build"}, []gate.Check{check("build", gate.CheckFailed)}, 0, gate.Failed, `the CI check "build" failed`},
		{"red while another runs", []string{"slow", "build"}, []gate.Check{check("slow", gate.CheckPending), check("build", gate.CheckFailed)}, 0, gate.Failed, `the CI check "build" failed`},
		{"running", []string{"build"}, []gate.Check{check("build", gate.CheckPending)}, start, gate.Running, ""},
		{"a state that we do not know is no pass", []string{"build"}, []gate.Check{check("build", "odd")}, 0, gate.Running, ""},
		{"too slow", []string{"build"}, []gate.Check{check("build", gate.CheckPending)}, whole, gate.Failed, `the CI check "build" was not done after 30m0s`},
		{"not started yet", []string{"build"}, nil, start - 1, gate.Running, ""},
		{"never started", []string{"build"}, nil, start, gate.Failed, `Cannot reach the CI check "build": never started`},
		{"ours is no evidence", []string{"merge*"}, []gate.Check{check("mergegate", gate.CheckPassed)}, 0, gate.Running, ""},
		{"nor a failure", []string{"*"}, []gate.Check{check("mergegate", gate.CheckFailed), check("build", gate.CheckPassed)}, 0, gate.Passed, ""},
		{"what nobody asked for does not block", []string{"build"}, []gate.Check{check("build", gate.CheckPassed), check("optional", gate.CheckFailed)}, 0, gate.Passed, ""},
		{"all that match must pass", []string{"ci/*"}, []gate.Check{check("ci/a", gate.CheckPassed), check("ci/b", gate.CheckPending)}, 0, gate.Running, ""},
		{"each pattern must match", []string{"ci/*", "lint"}, []gate.Check{check("ci/a", gate.CheckPassed)}, 0, gate.Running, ""},
	} {
		begin := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
		p := gate.RetestPolicy{Checks: tt.patterns, StartTimeout: start, Timeout: whole}
		v := gate.JudgeChecks(p, tt.checks, "mergegate", begin, begin.Add(tt.after))
		if v.State != tt.want || v.Why != tt.why {
			t.Errorf("%s: %s %q, want %s %q", tt.name, v.State, v.Why, tt.want, tt.why)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"build", "build", true},
		{"build", "build2", false},
		{"build", "Build", false},
		{"ci/*", "ci/linux/amd64", true},
		{"ci/*", "xci/a", false},
		{"v?", "v1", true},
		{"v?", "v", false},
		{"a.b", "axb", false},
		{"[x]", "x", false},
		{"*", "", true},
		{"*", "two\nlines", true},
	} {
		if got := gate.Match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

func TestStrongest(t *testing.T) {
	all := []gate.Method{gate.Squash, gate.Merge, gate.Rebase, gate.FastForward}
	for _, tt := range []struct {
		want    gate.Method
		mode    gate.CatchUp
		allowed []gate.Method
		got     gate.Method
	}{
		{gate.Auto, gate.CatchUpRebase, all, gate.FastForward},
		{"", gate.CatchUpRebase, all, gate.FastForward},
		{gate.Auto, gate.CatchUpRebase, all[:3], gate.Rebase},
		{gate.Auto, gate.CatchUpRebase, all[:1], gate.Squash},
		{gate.Auto, gate.CatchUpCandidate, all, gate.Merge},
		{gate.Auto, gate.CatchUpCandidate, all[2:], ""},
		{gate.Squash, gate.CatchUpRebase, all, gate.Squash},
		{gate.Squash, gate.CatchUpRebase, all[1:], ""},
		{gate.FastForward, gate.CatchUpCandidate, all, ""},
		{gate.Auto, gate.CatchUpRebase, nil, ""},
	} {
		if got := gate.Strongest(tt.want, tt.mode, tt.allowed); got != tt.got {
			t.Errorf("Strongest(%q, %q, %v) = %q, want %q", tt.want, tt.mode, tt.allowed, got, tt.got)
		}
	}
}

// TestOrder: whatever order the forge lists requests in, they land in the same one.
func TestOrder(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ask := func(pr int, p gate.Priority, minute int) gate.Facts {
		return gate.Facts{PR: gate.PR{Number: pr}, Record: gate.Record{Request: gate.Request{Priority: p, At: at.Add(time.Duration(minute) * time.Minute)}}}
	}
	list := []gate.Facts{ask(5, gate.Urgent, 9), ask(2, gate.High, 8), ask(9, gate.Normal, 1), ask(3, gate.Normal, 2), ask(4, gate.Normal, 2), ask(1, gate.Low, 0)}
	want := []int{5, 2, 9, 3, 4, 1}
	for i := range len(list) {
		turned := slices.Concat(list[i:], list[:i])
		slices.Reverse(turned)
		var got []int
		for _, f := range gate.Order(turned) {
			got = append(got, f.PR.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	}
}

// TestLines: the queue as people see it.
func TestLines(t *testing.T) {
	w := newWorld(t)
	for _, event := range []string{
		"open 1 a m0", "approve 1 bob", "open 2 b m0", "approve 2 bob", "open 3 c m0", "open 4 d m0", "approve 4 bob", "conflict d", "main m1",
		"label 4 cat", "run", "label 2 cat", "until build", "wait 1m", "mood verdict=running", "run", "label 3 cat", "label 1 bob", "run", "say 2 mia freeze release day", "run",
	} {
		w.happen(event)
	}
	var got []string
	lines := gate.Lines(w.queue, w.input())
	if since := w.queue.Flight.Since; !lines[0].Since.Equal(since) {
		t.Errorf("it is tested since %v, but people see %v", since, lines[0].Since)
	}
	for _, l := range lines {
		got = append(got, strings.Join([]string{
			"#" + string(rune('0'+l.PR)), string(l.State), string(rune('0' + l.Position)), "of", string(rune('0' + l.Length)),
			string(l.Candidate), string(l.Tip), strings.Join(l.Why, ";"), l.Frozen, l.By,
		}, " "))
	}
	want := []string{
		"#2 testing 1 of 2 b+m1 m1  release day cat",
		"#1 queued 2 of 2    release day bob",
		"#3 waiting 0 of 0   1 more approval release day cat",
		"#4 dropped 0 of 0   Conflict with main in 2 files  cat",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}

func TestShaAndRole(t *testing.T) {
	full := gate.SHA(strings.Repeat("0a", 20))
	if !full.Valid() || full.Short() != "0a0a0a0" || full[1:].Valid() || gate.SHA(strings.ToUpper(string(full))).Valid() || gate.SHA("--upload-pack=x").Valid() {
		t.Error("a SHA is 40 lower-case hex digits and nothing else")
	}
	if gate.RoleUnknown >= gate.RoleWrite || gate.RoleRead >= gate.RoleWrite || gate.RoleAdmin < gate.RoleMaintain {
		t.Error("roles are ordered, and an unknown one is never enough")
	}
}

// TestFingerprint: a verdict is believed under the same policy only.
func TestFingerprint(t *testing.T) {
	p := gate.RetestPolicy{Command: "make test", Env: map[string]string{"A": "1", "B": "2"}}
	same := gate.RetestPolicy{Command: "make test", Env: map[string]string{"B": "2", "A": "1"}}
	if p.Fingerprint() != same.Fingerprint() {
		t.Error("equal policies have different fingerprints")
	}
	for _, other := range []gate.RetestPolicy{{Command: "make test"}, {Command: "true", Env: p.Env}, {Command: "make test", Env: p.Env, Checks: []string{"build"}}, {Command: "make test", Env: p.Env, Network: true}} {
		if other.Fingerprint() == p.Fingerprint() {
			t.Errorf("%+v passes for %+v", other, p)
		}
	}
}
