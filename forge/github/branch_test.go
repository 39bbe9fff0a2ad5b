package github

import (
	"fmt"
	"testing"

	"mergegate/forge"
	"mergegate/forge/localhub"
	"mergegate/gate"
)

// TestBranchRules reads what protection and rulesets ask of the bot.
func TestBranchRules(t *testing.T) {
	strict := localhub.Protection{Approvals: 2, DismissStale: true, Checks: []string{"build", "lint"}, Strict: true, EnforceAdmins: true}
	for _, tt := range []struct {
		name string
		set  func(*testing.T, *stage)
		want forge.Branch
	}{
		{"open", func(*testing.T, *stage) {}, forge.Branch{CanMerge: true}},
		{"classic", func(t *testing.T, s *stage) { check(t, s.hub.Protect(s.r.String(), "main", &strict)) },
			forge.Branch{Protected: true, CanMerge: true, RequiredApprovals: 2, RequiredChecks: []string{"build", "lint"},
				DismissStale: true, BlockOutdated: true, Forbidden: []gate.Method{gate.FastForward}}},
		{"ruleset", func(t *testing.T, s *stage) { s.ruleset(t, localhub.Ruleset{Protection: strict}) },
			forge.Branch{Protected: true, CanMerge: true, RequiredApprovals: 2, RequiredChecks: []string{"build", "lint"},
				DismissStale: true, BlockOutdated: true, Forbidden: []gate.Method{gate.FastForward}}},
		{"both, the stricter counts", func(t *testing.T, s *stage) {
			check(t, s.hub.Protect(s.r.String(), "main", &localhub.Protection{Approvals: 1, Checks: []string{"build"}}))
			s.ruleset(t, localhub.Ruleset{Protection: localhub.Protection{Approvals: 3, Checks: []string{"build", "test"}}})
		}, forge.Branch{Protected: true, CanMerge: true, RequiredApprovals: 3, RequiredChecks: []string{"build", "test"},
			Forbidden: []gate.Method{gate.FastForward}}},
		{"another branch's", func(t *testing.T, s *stage) { check(t, s.hub.Protect(s.r.String(), "feature", &strict)) }, forge.Branch{CanMerge: true}},
	} {
		for _, app := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, App %v", tt.name, app), func(t *testing.T) {
				t.Parallel()
				s := newStage(t, app)
				tt.set(t, s)
				got, err := s.forge.Branch(t.Context(), s.r, "main")
				check(t, err)
				tt.want.Tip = s.root
				if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
					t.Errorf("branch\n%+v, want\n%+v", got, tt.want)
				}
			})
		}
	}
}

func (s *stage) ruleset(t *testing.T, r localhub.Ruleset) {
	t.Helper()
	r.Name, r.Branch = "rules", "main"
	_, err := s.hub.AddRuleset(s.r.String(), r)
	check(t, err)
}

// TestForbiddenIsWhatIsRefused: what Branch calls forbidden, Land is refused; what
// it does not, lands.
func TestForbiddenIsWhatIsRefused(t *testing.T) {
	for _, approvals := range []int{0, 1} {
		s := newStage(t, true)
		if approvals > 0 {
			s.ruleset(t, localhub.Ruleset{Protection: localhub.Protection{Approvals: approvals}})
			s.Review(t, s.r, s.n, s.Person(t, s.r, gate.RoleWrite), gate.Approved)
		}
		b, err := s.forge.Branch(t.Context(), s.r, "main")
		check(t, err)
		err = s.forge.Land(t.Context(), s.r, forge.Landing{PR: s.n, Base: "main", Tip: s.root, Head: s.head, Method: gate.FastForward})
		forbidden := len(b.Forbidden) > 0
		if forbidden != (approvals > 0) || forbidden != (kind(err) == forge.ErrDenied) || forbidden == (err == nil) {
			t.Errorf("%d approvals: forbidden %v, landing %v", approvals, b.Forbidden, err)
		}
	}
}

// TestBypass: who may pass a rule may fast-forward. Only a full pass counts, and
// what is hidden is none.
func TestBypass(t *testing.T) {
	const b = "/repos/acme/widgets/branches/main"
	rules := `[{"type":"pull_request","ruleset_id":3,"parameters":{"required_approving_review_count":1}}]`
	ruleset := func(bypass string) map[string][]reply {
		return map[string][]reply{
			"GET " + b: {{200, `{"protected":false,"commit":{"sha":"` + string(tipSHA) + `"}}`}},
			"GET /repos/acme/widgets/rules/branches/main": {{200, rules}},
			"GET /repos/acme/widgets/rulesets/3":          {{200, `{"current_user_can_bypass":"` + bypass + `"}`}},
		}
	}
	hidden := ruleset("")
	hidden["GET /repos/acme/widgets/rulesets/3"] = []reply{{404, "{}"}}
	classic := func(reviews string, enforce bool, more string) map[string][]reply {
		return map[string][]reply{
			"GET " + b: {{200, `{"protected":true,"commit":{"sha":"` + string(tipSHA) + `"}}`}},
			"GET /repos/acme/widgets/rules/branches/main":          {{200, `[]`}},
			"GET " + b + "/protection":                             {{200, fmt.Sprintf(`{"enforce_admins":{"enabled":%v},"required_pull_request_reviews":{%s}%s}`, enforce, reviews, more)}},
			"GET /repos/acme/widgets/collaborators/bot/permission": {{200, `{"permission":"admin","role_name":"admin","user":{"id":9}}`}},
		}
	}
	allow := func(users, apps string) string {
		return `"bypass_pull_request_allowances":{"users":[` + users + `],"teams":[],"apps":[` + apps + `]}`
	}
	restrict := func(users, apps string) string {
		return `,"restrictions":{"users":[` + users + `],"teams":[],"apps":[` + apps + `]}`
	}
	const me, queue, other = `{"id":9,"login":"bot"}`, `{"slug":"queue"}`, `{"id":8,"slug":"other"}`
	for _, tt := range []struct {
		name    string
		app     bool
		replies map[string][]reply
		free    bool // to fast-forward
		barred  bool // from merging at all
	}{
		{"always", true, ruleset("always"), true, false},
		{"exempt", true, ruleset("exempt"), true, false},
		{"never", true, ruleset("never"), false, false},
		{"for pull requests only", true, ruleset("pull_requests_only"), false, false},
		{"hidden", true, hidden, false, false},
		{"the App is allowed", true, classic(allow("", other+","+queue), true, ""), true, false},
		{"another App is", true, classic(allow(me, other), true, ""), false, false},
		{"the account is allowed", false, classic(allow(me, ""), true, ""), true, false},
		{"another account is", false, classic(allow(other, queue), true, ""), false, false},
		{"an administrator who is not bound", false, classic("", false, ""), true, false},
		{"an administrator who is bound", false, classic("", true, ""), false, false},
		{"an App is no administrator", true, classic("", false, ""), false, false},
		{"others may push", true, classic(allow("", queue), true, restrict(me, other)), true, true},
		{"the App may push", true, classic(allow("", queue), true, restrict("", queue)), true, false},
		{"nobody may push", true, classic(allow("", queue), true, `,"lock_branch":{"enabled":true}`), true, true},
	} {
		f := newScript(t, tt.replies).forge(t)
		f.self.user = gate.User{ID: 9, Login: "bot"}
		if tt.app { // its connection is that of the token: the script does not look at it
			c, err := f.connect(t.Context(), "", "")
			check(t, err)
			f.conns["acme"], f.app, f.self.slug = c, &conn{}, "queue"
		}
		got, err := f.Branch(t.Context(), widgets, "main")
		if free := len(got.Forbidden) == 0; err != nil || free != tt.free || got.CanMerge == tt.barred {
			t.Errorf("%s: branch %+v, %v; want free %v, barred %v", tt.name, got, err, tt.free, tt.barred)
		}
	}
}

// TestOpaqueProtection: an App that may not read the administration knows the
// required checks, and that there is more.
func TestOpaqueProtection(t *testing.T) {
	s := newStage(t, true)
	check(t, s.hub.Protect(s.r.String(), "main", &localhub.Protection{Approvals: 1, Checks: []string{"build"}}))
	check(t, s.hub.SetPermission(s.app.ID, "administration", ""))
	b, err := s.forge.Branch(t.Context(), s.r, "main")
	if err != nil || !b.Protected || !b.Opaque || fmt.Sprint(b.RequiredChecks) != "[build]" || b.RequiredApprovals != 0 {
		t.Errorf("branch %+v, %v; want it opaque, with the check", b, err)
	}
}

func TestNativeQueueIsRefused(t *testing.T) {
	s := newStage(t, true)
	s.ruleset(t, localhub.Ruleset{MergeQueue: true})
	b, err := s.forge.Branch(t.Context(), s.r, "main")
	if err != nil || b.Refused != "GitHub's own merge queue is on for main" {
		t.Errorf("main: refused %q, %v", b.Refused, err)
	}
	if b, err = s.forge.Branch(t.Context(), s.r, "feature"); err != nil || b.Refused != "" {
		t.Errorf("a branch without the queue: refused %q, %v", b.Refused, err)
	}
}

// TestRulesOfAnyShape: parameters that are not what we know do not hide the rule
// or its neighbours.
func TestRulesOfAnyShape(t *testing.T) {
	const b = "/repos/acme/widgets/branches/main"
	s := newScript(t, map[string][]reply{
		"GET " + b: {{200, `{"name":"main","protected":true,"commit":{"sha":"` + string(tipSHA) + `"}}`}},
		"GET /repos/acme/widgets/rules/branches/main": {{200, `[
			{"type":"of_tomorrow","ruleset_id":1,"parameters":{"required_status_checks":"all of them"}},
			{"type":"required_linear_history","ruleset_id":1},
			{"type":"update","ruleset_id":2},
			{"type":"pull_request","ruleset_id":4,"parameters":{"required_approving_review_count":2}},
			{"type":"pull_request","ruleset_id":3,"parameters":{"required_approving_review_count":1,"allowed_merge_methods":["squash"]}}]`}},
		"GET /repos/acme/widgets/rulesets/3": {{200, `{"current_user_can_bypass":"pull_requests_only"}`}},
		"GET " + b + "/protection":           {{404, messageJSON("Branch not protected")}},
	})
	got, err := s.forge(t).Branch(t.Context(), widgets, "main")
	want := forge.Branch{Tip: tipSHA, Protected: true, RequiredApprovals: 2, Forbidden: []gate.Method{gate.FastForward, gate.Merge, gate.Rebase}}
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("branch\n%+v, %v; want\n%+v", got, err, want)
	}
}

// TestOddNames: branches and labels whose names mean something in a URL.
func TestOddNames(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	for _, name := range []string{"release/1.0", "fix#12", "50%", "q&a+b"} {
		head := s.Push(t, s.r, s.root, map[string]string{"odd.txt": name}, "base/"+name, name)
		head = s.Push(t, s.r, head, map[string]string{"odd.txt": "more"}, name)
		n := s.Open(t, s.r, s.author, name, "base/"+name, "Odd")
		check(t, s.forge.AddLabel(ctx, s.r, n, "label "+name))
		if p, err := s.forge.PullRequest(ctx, s.r, n); err != nil || !p.Has("label "+name) || p.HeadBranch != name {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if n, err := s.forge.Labels(ctx, s.r, "label "+name); err != nil || n != 1 {
			t.Errorf("%s: %d labels, %v", name, n, err)
		}
		check(t, s.forge.RemoveLabel(ctx, s.r, n, "label "+name))
		if p, err := s.forge.PullRequest(ctx, s.r, n); err != nil || len(p.Labels) != 0 {
			t.Errorf("%s: labels %v, %v", name, p.Labels, err)
		}
		check(t, s.forge.Land(ctx, s.r, forge.Landing{PR: n, Base: "base/" + name, Tip: tip(t, s.forge, s.r, "base/"+name), Head: head,
			Method: gate.FastForward, DeleteBranch: true}))
		if b, err := s.forge.Branch(ctx, s.r, "base/"+name); err != nil || b.Tip != head {
			t.Errorf("%s: base is %+v, %v; want it at %s", name, b, err, head)
		}
		if _, err := s.forge.Branch(ctx, s.r, name); kind(err) != forge.ErrNotFound {
			t.Errorf("%s: the branch is still there: %v", name, err)
		}
	}
}
