package github

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// TestChecksOfAllKinds: statuses and check runs together, the newest of each, and
// a name that two sources use passes only if both do.
func TestChecksOfAllKinds(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	run := func(app, name, conclusion string) {
		_, err := s.hub.CheckRun(s.r.String(), s.head, app, name, conclusion)
		check(t, err)
	}
	status := func(context, state string) {
		check(t, s.hub.Status(s.r.String(), s.head, s.author.Login, context, state, "said "+state))
	}
	run("CI", "build", "failure")
	run("CI", "build", "success") // run again
	run("CI", "lint", "")
	run("CI", "docs", "skipped")
	run("CI", "slow", "timed_out")
	status("build", "pending")
	status("unit", "failure")
	status("unit", "success")
	run("CI", "twice", "success")
	run("Other CI", "twice", "cancelled")
	check(t, s.forge.SetStatus(ctx, s.r, s.head, forge.Status{Context: ownContext, State: forge.StatusPending, Text: "Queued"}))
	all, err := s.forge.Checks(ctx, s.r, s.head)
	check(t, err)
	var got []string
	for _, c := range all {
		got = append(got, strings.TrimSpace(c.Context+" "+string(c.State)+" "+cmp.Or(c.App, c.By.Login)))
	}
	want := fmt.Sprintf("build pending %[1]s, build passed ci, docs passed ci, lint pending ci, mergegate pending queue[bot], slow failed ci, twice passed ci, twice failed other-ci, unit passed %[1]s", s.author.Login)
	if strings.Join(got, ", ") != want {
		t.Errorf("checks %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// TestManyCheckRuns: more than a page.
func TestManyCheckRuns(t *testing.T) {
	s := newStage(t, true)
	for i := range pageSize + 5 {
		_, err := s.hub.CheckRun(s.r.String(), s.head, "CI", fmt.Sprintf("run %03d", i), "success")
		check(t, err)
	}
	all, err := s.forge.Checks(t.Context(), s.r, s.head)
	if err != nil || len(all) != pageSize+5 {
		t.Errorf("%d checks, %v; want %d", len(all), err, pageSize+5)
	}
}

// runs are the check runs on the head as anybody sees them.
func (s *stage) runs(t *testing.T) []*sdk.CheckRun {
	t.Helper()
	runs, err := s.forge.checkRuns(t.Context(), s.r, "look", s.head, sdk.ListCheckRunsOptions{Filter: new("all")})
	check(t, err)
	return runs
}

// TestCheckRun: the queue's own status is a check run too, one for each attempt,
// with what is next and the buttons that fit.
func TestCheckRun(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	set := func(state forge.StatusState, text string) {
		t.Helper()
		check(t, s.forge.SetStatus(ctx, s.r, s.head, forge.Status{Context: ownContext, State: state, Text: text, URL: "http://127.0.0.1:8080/p/1"}))
	}
	_, err := s.hub.CheckRun(s.r.String(), s.root, "Another queue", runName, "")
	check(t, err)
	check(t, s.forge.SetStatus(ctx, s.r, s.root, forge.Status{Context: ownContext, State: forge.StatusPending, Text: "Queued"}))
	if all, err := s.forge.checkRuns(ctx, s.r, "look", s.root, sdk.ListCheckRunsOptions{Filter: new("all")}); err != nil || len(all) != 2 || all[0].GetApp().GetID() == all[1].GetApp().GetID() {
		t.Errorf("check runs %+v, %v; want ours beside another App's of that name", all, err)
	}
	for _, tt := range []struct {
		state                    forge.StatusState
		text, status, conclusion string
		summary                  string
		runs                     int
	}{
		{forge.StatusPending, "Waiting: 1 more approval", "in_progress", "", "queues by itself", 1},
		{forge.StatusPending, "Queued, 2nd of 5 on main", "in_progress", "", "goes on by itself", 1},
		{forge.StatusFailure, "Retest failed: exit 1", "completed", "failure", "press *Requeue*", 1},
		{forge.StatusPending, "Queued, 1st of 1 on main", "in_progress", "", "take it out of the queue", 2},
		{forge.StatusSuccess, "Landed as 9f8e7d6", "completed", "success", "nothing left to do", 2},
	} {
		set(tt.state, tt.text)
		runs := newest(s.runs(t))
		if len(s.runs(t)) != tt.runs || len(runs) != 1 {
			t.Fatalf("%s: %d check runs, want %d", tt.text, len(s.runs(t)), tt.runs)
		}
		r := runs[0]
		if r.GetName() != "Merge queue" || r.GetStatus() != tt.status || r.GetConclusion() != tt.conclusion ||
			r.GetOutput().GetTitle() != tt.text || !strings.Contains(r.GetOutput().GetSummary(), tt.summary) || r.GetDetailsURL() != "http://127.0.0.1:8080/p/1" {
			t.Errorf("%s: check run %+v", tt.text, r)
		}
	}
	check(t, s.forge.SetStatus(ctx, s.r, s.head, forge.Status{Context: "ci/other", State: forge.StatusSuccess, Text: "ok"}))
	if n := len(s.runs(t)); n != 2 {
		t.Errorf("another status left %d check runs, want 2", n)
	}
	check(t, s.hub.SetPermission(s.app.ID, "checks", "read"))
	set(forge.StatusPending, "Queued again")
	if all, err := s.forge.Checks(ctx, s.r, s.head); err != nil || len(all) != 2 || all[1].Text != "Queued again" {
		t.Errorf("without permission for check runs the status is %v, %v", all, err)
	}
}

// TestButtonsFit what GitHub allows, for every text we may show.
func TestButtonsFit(t *testing.T) {
	for _, state := range []forge.StatusState{forge.StatusPending, forge.StatusFailure, forge.StatusError} {
		all := buttons(forge.Status{State: state})
		if len(all) != 1 || len(all[0].Label) > 20 || len(all[0].Description) > 40 || len(all[0].Identifier) > 20 {
			t.Errorf("%s: buttons %+v", state, all)
		}
	}
}

// inbox receives deliveries.
type inbox struct {
	url string
	got chan forge.Event
	ok  chan bool // whether the next deliveries are taken
}

func newInbox(t *testing.T, s *stage) *inbox {
	in := &inbox{got: make(chan forge.Event, 100), ok: make(chan bool, 1)}
	in.ok <- true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		ok := <-in.ok
		in.ok <- ok
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if !s.forge.Verify(req.Header, body, []byte(s.app.WebhookSecret)) || s.forge.Verify(req.Header, body, []byte("other")) {
			t.Errorf("the signature of %s does not verify with the secret alone", req.Header.Get("X-GitHub-Event"))
		}
		e, err := s.forge.Event(req.Header, body)
		if err != nil {
			t.Errorf("%s: %v", req.Header.Get("X-GitHub-Event"), err)
		}
		if (e != forge.Event{}) && e.Delivery == "" {
			t.Errorf("%s: a delivery has no id", req.Header.Get("X-GitHub-Event"))
		}
		e.Delivery = "" // every one has another
		in.got <- e
	}))
	t.Cleanup(srv.Close)
	in.url = srv.URL
	check(t, s.hub.SetHookURL(s.app.ID, srv.URL))
	return in
}

// take gathers what was delivered so far, without what is of no interest.
func (in *inbox) take(s *stage) []forge.Event {
	s.hub.Settle()
	var all []forge.Event
	for {
		select {
		case e := <-in.got:
			if (e != forge.Event{}) {
				all = append(all, e)
			}
		default:
			return all
		}
	}
}

// TestDeliveries: what people do arrives as an event that says where to look.
func TestDeliveries(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	in := newInbox(t, s)
	var comment, queueRun int64
	var pushed gate.SHA
	for _, tt := range []struct {
		name string
		do   func()
		want func() forge.Event
	}{
		{"label", func() { s.Label(t, s.r, s.n, s.author, "merge") }, func() forge.Event { return forge.Event{PR: s.n} }},
		{"comment", func() { comment = s.Comment(t, s.r, s.n, s.author, "/merge") },
			func() forge.Event { return forge.Event{PR: s.n, Comment: comment, Text: "/merge"} }},
		{"edit", func() { check(t, s.hub.EditComment(s.r.String(), comment, s.author.Login, "/merge now")) },
			func() forge.Event { return forge.Event{PR: s.n} }},
		{"review", func() { check(t, s.hub.Review(s.r.String(), s.n, s.owner.Login, gate.Approved)) }, func() forge.Event { return forge.Event{PR: s.n} }},
		{"push", func() { pushed = s.Push(t, s.r, s.root, map[string]string{"b.txt": "b"}, "main") }, func() forge.Event { return forge.Event{Branch: "main"} }},
		{"status", func() { check(t, s.hub.Status(s.r.String(), s.head, s.author.Login, "ci", "success", "ok")) }, func() forge.Event { return forge.Event{Commit: s.head} }},
		{"check run", func() { s.hub.CheckRun(s.r.String(), s.head, "CI", "build", "success") }, func() forge.Event { return forge.Event{PR: s.n, Commit: s.head} }},
		{"button", func() {
			check(t, s.forge.SetStatus(ctx, s.r, s.head, forge.Status{Context: ownContext, State: forge.StatusFailure, Text: "Conflict"}))
			queueRun = newest(slices.DeleteFunc(s.runs(t), func(r *sdk.CheckRun) bool { return r.GetName() != runName }))[0].GetID()
			check(t, s.hub.Press(s.r.String(), queueRun, s.author.Login, "requeue"))
		}, func() forge.Event { return forge.Event{PR: s.n, Commit: s.head, Button: forge.ButtonRequeue} }},
		{"re-run", func() { check(t, s.hub.Rerun(s.r.String(), queueRun, s.author.Login)) },
			func() forge.Event { return forge.Event{PR: s.n, Commit: s.head, Button: forge.ButtonRequeue} }},
	} {
		in.take(s)
		tt.do()
		got := in.take(s)
		want := tt.want()
		want.Repo = s.r
		found := slices.ContainsFunc(got, func(e forge.Event) bool {
			named := e.Sender.ID != 0 && e.Sender.Login != ""
			e.Sender = gate.User{}
			if e.Button == "" && e.Commit != "" {
				e.PR = want.PR // a fork's check run names none
			}
			return named && e == want
		})
		if !found {
			t.Errorf("%s: events %+v lack %+v", tt.name, got, want)
		}
	}
	if pushed == "" || len(in.take(s)) != 0 {
		t.Error("something came after all was told")
	}
}

// TestRedeliver: what did not reach us is asked for once more, and what did is not.
func TestRedeliver(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	in := newInbox(t, s)
	start := time.Now().Add(-time.Minute)
	s.Label(t, s.r, s.n, s.author, "merge")
	s.hub.Settle()
	if n, err := s.forge.Redeliver(ctx, start); err != nil || n != 0 {
		t.Errorf("%d were asked for again, %v; want none", n, err)
	}
	in.take(s)
	<-in.ok
	in.ok <- false
	comment := s.Comment(t, s.r, s.n, s.author, "/merge")
	s.hub.Settle()
	<-in.ok
	in.ok <- true
	if got := in.take(s); len(got) != 0 {
		t.Fatalf("events %+v came through a closed door", got)
	}
	if n, err := s.forge.Redeliver(ctx, time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Errorf("of what came later %d were asked for, %v; want none", n, err)
	}
	n, err := s.forge.Redeliver(ctx, start)
	if err != nil || n == 0 {
		t.Errorf("%d were asked for again, %v", n, err)
	}
	want := forge.Event{Repo: s.r, PR: s.n, Comment: comment, Text: "/merge", Sender: s.author}
	if got := in.take(s); !slices.Contains(got, want) {
		t.Errorf("events %+v lack %+v", got, want)
	}
	if n, err := s.forge.Redeliver(ctx, start); err != nil || n != 0 {
		t.Errorf("afterwards %d were asked for again, %v; want none", n, err)
	}
}

// TestWebhooks sets the App's one webhook, and a repository's with a token.
func TestWebhooks(t *testing.T) {
	for _, app := range []bool{true, false} {
		s, ctx := newStage(t, app), t.Context()
		if hooks, err := s.forge.Webhooks(ctx, s.r); err != nil || len(hooks) != 0 {
			t.Errorf("webhooks %+v, %v; want none", hooks, err)
		}
		check(t, s.forge.CreateWebhook(ctx, s.r, "http://127.0.0.1:1/old", []byte("old")))
		hooks, err := s.forge.Webhooks(ctx, s.r)
		check(t, err)
		if len(hooks) != 1 || hooks[0].URL != "http://127.0.0.1:1/old" || !hooks[0].Active {
			t.Fatalf("webhooks %+v", hooks)
		}
		for _, e := range s.forge.HookEvents() {
			if !slices.Contains(hooks[0].Events, e) {
				t.Errorf("events %v lack %s", hooks[0].Events, e)
			}
		}
		check(t, s.forge.UpdateWebhook(ctx, s.r, hooks[0].ID, "http://127.0.0.1:1/new", []byte("new")))
		if hooks, err = s.forge.Webhooks(ctx, s.r); err != nil || len(hooks) != 1 || hooks[0].URL != "http://127.0.0.1:1/new" {
			t.Errorf("webhooks after the update %+v, %v", hooks, err)
		}
		if n, err := s.forge.Redeliver(ctx, time.Now().Add(-time.Hour)); err != nil || n != 0 && !app {
			t.Errorf("redelivered %d, %v", n, err)
		}
	}
}

// TestSetup is what check and setup ask besides.
func TestSetup(t *testing.T) {
	for _, app := range []bool{true, false} {
		s, ctx := newStage(t, app), t.Context()
		if v, err := s.forge.Version(ctx); err != nil || !strings.HasPrefix(v, "GitHub") {
			t.Errorf("version %q, %v", v, err)
		}
		if n, err := s.forge.Labels(ctx, s.r, "new one"); err != nil || n != 0 {
			t.Errorf("%d labels, %v", n, err)
		}
		check(t, s.forge.CreateLabel(ctx, s.r, "new one", "00aabb", "for tests"))
		if n, err := s.forge.Labels(ctx, s.r, "new one"); err != nil || n != 1 {
			t.Errorf("%d labels, %v", n, err)
		}
		check(t, s.forge.AllowFastForward(ctx, s.r))
	}
}

func TestVersion(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-GitHub-Enterprise-Version", "3.14.2")
		fmt.Fprint(w, `{}`)
	}))
	defer srv.Close()
	if v, err := (&script{url: srv.URL + "/api/v3"}).forge(t).Version(t.Context()); err != nil || v != "GitHub Enterprise Server 3.14.2" {
		t.Errorf("version %q, %v", v, err)
	}
}

// TestNotAnAdministrator: what only administrators may see is denied, not missing.
func TestNotAnAdministrator(t *testing.T) {
	s, ctx := newStage(t, false), t.Context()
	check(t, s.hub.Collaborate(s.r.String(), s.bot.Login, gate.RoleWrite))
	if repo, err := s.forge.Repository(ctx, s.r); err != nil || repo.Role != gate.RoleWrite {
		t.Errorf("own role %v, %v; want write", repo.Role, err)
	}
	_, err := s.forge.Webhooks(ctx, s.r)
	for what, err := range map[string]error{"list": err, "create": s.forge.CreateWebhook(ctx, s.r, "http://127.0.0.1:1/", []byte("s"))} {
		if kind(err) != forge.ErrDenied {
			t.Errorf("%s webhooks: %v; want it denied", what, err)
		}
	}
	if got, err := s.forge.Role(ctx, s.r, s.author); err != nil || got != gate.RoleWrite {
		t.Errorf("the author's role %v, %v", got, err)
	}
	other := s.author
	other.ID++
	if got, err := s.forge.Role(ctx, s.r, other); err != nil || got != gate.RoleNone {
		t.Errorf("a login that changed hands has the role %v, %v", got, err)
	}
}

// TestHiddenWebhooks: the real GitHub tells those who are not administrators that
// there is nothing.
func TestHiddenWebhooks(t *testing.T) {
	f := newScript(t, nil).forge(t)
	_, err := f.Webhooks(t.Context(), widgets)
	for what, err := range map[string]error{"list": err, "create": f.CreateWebhook(t.Context(), widgets, "http://127.0.0.1:1/", []byte("s"))} {
		if kind(err) != forge.ErrDenied {
			t.Errorf("%s webhooks: %v; want it denied", what, err)
		}
	}
}

// TestIssuesOnly: GitHub lists pull requests among the issues.
func TestIssuesOnly(t *testing.T) {
	s := newScript(t, map[string][]reply{"GET /repos/acme/widgets/issues": {{200,
		`[{"number":3,"state":"open","user":{"id":9},"body":"<!-- m -->","pull_request":{"url":"x"}},{"number":4,"state":"open","user":{"id":9},"body":"<!-- m -->"}]`}}})
	found, err := s.forge(t).FindIssues(t.Context(), widgets, gate.User{ID: 9}, "<!-- m -->")
	if err != nil || len(found) != 1 || found[0].Number != 4 {
		t.Errorf("found %+v, %v; want only the issue", found, err)
	}
}

// TestRoles of every kind that GitHub has, and of one that an organization made.
func TestRoles(t *testing.T) {
	ann := gate.User{ID: 5, Login: "ann"}
	for _, tt := range []struct {
		permission, role string
		id               int64
		want             gate.Role
	}{
		{"admin", "admin", 5, gate.RoleAdmin},
		{"write", "maintain", 5, gate.RoleMaintain},
		{"write", "write", 5, gate.RoleWrite},
		{"read", "triage", 5, gate.RoleRead},
		{"read", "read", 5, gate.RoleRead},
		{"none", "none", 5, gate.RoleNone},
		{"write", "release-manager", 5, gate.RoleWrite},
		{"write", "", 5, gate.RoleWrite},
		{"admin", "admin", 6, gate.RoleNone},
		{"of_tomorrow", "of_tomorrow", 5, gate.RoleUnknown},
	} {
		s := newScript(t, map[string][]reply{"GET /repos/acme/widgets/collaborators/ann/permission": {{200,
			fmt.Sprintf(`{"permission":%q,"role_name":%q,"user":{"id":%d,"login":"ann"}}`, tt.permission, tt.role, tt.id)}}})
		if got, err := s.forge(t).Role(t.Context(), widgets, ann); err != nil || got != tt.want {
			t.Errorf("%+v: role %v, %v", tt, got, err)
		}
	}
}
