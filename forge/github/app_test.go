package github

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/forge/localhub"
	"mergegate/gate"
)

// stage is a world with one PR of feature onto main.
type stage struct {
	*world
	r          gate.Repo
	author     gate.User
	root, head gate.SHA
	n          int
}

func newStage(t *testing.T, app bool) *stage {
	t.Helper()
	s := &stage{world: newWorld(t, app)}
	s.r = s.Repo(t)
	s.author, s.root = s.Person(t, s.r, gate.RoleWrite), tip(t, s.forge, s.r, "main")
	s.head = s.Push(t, s.r, s.root, map[string]string{"a.txt": "a\n"}, "feature")
	s.n = s.Open(t, s.r, s.author, "feature", "main", "Add a")
	return s
}

// TestInstallationLost: while the App cannot act, every call says so in words for
// the operator, and none takes it for a word about the PR; afterwards all is well
// without a restart.
func TestInstallationLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(*testing.T, *stage, int64)
		mend func(*testing.T, *stage, int64)
		text string
	}{
		{"suspended", func(t *testing.T, s *stage, id int64) { check(t, s.hub.Suspend(id, true)) },
			func(t *testing.T, s *stage, id int64) { check(t, s.hub.Suspend(id, false)) }, "suspended"},
		{"uninstalled", func(t *testing.T, s *stage, id int64) { check(t, s.hub.Uninstall(id)) },
			func(t *testing.T, s *stage, _ int64) {
				_, err := s.hub.InstallApp(s.app.ID, s.r.String())
				check(t, err)
			}, "installed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, ctx := newStage(t, true), t.Context()
			_, err := s.forge.Repository(ctx, s.r)
			check(t, err)
			c, err := s.forge.connect(ctx, s.r.Owner, s.r.Name)
			check(t, err)
			tt.lose(t, s, c.installation)
			for i := range 4 { // the token is refused or ends, then there is none, then no installation
				if i == 1 {
					s.hub.ExpireTokens()
				}
				if _, err = s.forge.PullRequest(ctx, s.r, s.n); kind(err) != errUnknown {
					t.Errorf("reading the PR: %v; want an error without a meaning", err)
				}
			}
			if kind(err) != errUnknown || !strings.Contains(err.Error(), tt.text) || !errors.Is(err, errInstallation) {
				t.Errorf("at last the error is %v; want %q", err, tt.text)
			}
			if _, err := s.forge.Repository(ctx, s.r); kind(err) != errUnknown || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("reading the repository: %v; want %q", err, tt.text)
			}
			if _, err := s.forge.GitAuth(ctx, s.r); err == nil {
				t.Error("git is given a token")
			}
			tt.mend(t, s, c.installation)
			if _, err := s.forge.PullRequest(ctx, s.r, s.n); err != nil {
				t.Errorf("after the mend: %v", err)
			}
		})
	}
}

// TestInstalledAgain: an installation that is gone before it gave a token is not
// asked for one for ever.
func TestInstalledAgain(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	s.forge = s.as(t, http.DefaultTransport)
	_, err := s.forge.Repository(ctx, s.r)
	check(t, err)
	c, err := s.forge.connect(ctx, s.r.Owner, s.r.Name)
	check(t, err)
	s.forge.forget(c)
	c, err = s.forge.connect(ctx, s.r.Owner, s.r.Name) // without a token yet
	check(t, err)
	check(t, s.hub.Uninstall(c.installation))
	if _, err := s.forge.PullRequest(ctx, s.r, s.n); !errors.Is(err, errInstallation) || !strings.Contains(err.Error(), "no longer installed on acme") {
		t.Errorf("uninstalled: %v", err)
	}
	_, err = s.hub.InstallApp(s.app.ID, s.r.String())
	check(t, err)
	if _, err := s.forge.PullRequest(ctx, s.r, s.n); err != nil {
		t.Errorf("installed again: %v", err)
	}
}

// TestArchived: nobody can write to an archived repository.
func TestArchived(t *testing.T) {
	for _, app := range []bool{true, false} {
		w := newWorld(t, app)
		old, current := w.Repo(t), w.Repo(t)
		check(t, w.hub.Archive(old.String()))
		all, err := w.forge.Repos(t.Context(), "ACME")
		if err != nil || len(all) != 1 || all[0] != current {
			t.Errorf("repositories %v, %v; want only %v", all, err, current)
		}
		if repo, err := w.forge.Repository(t.Context(), old); err != nil || !repo.Archived {
			t.Errorf("%+v, %v; want it archived", repo, err)
		}
	}
}

// TestTokenEnds: an installation's token that ended is replaced.
func TestTokenEnds(t *testing.T) {
	s := newStage(t, true)
	s.hub.ExpireTokens()
	_, err := s.forge.PullRequest(t.Context(), s.r, s.n)
	if kind(err) != errUnknown || !strings.Contains(err.Error(), "the next call makes a new one") {
		t.Errorf("first: %v", err)
	}
	if _, err := s.forge.PullRequest(t.Context(), s.r, s.n); err != nil {
		t.Errorf("then: %v", err)
	}
}

// TestInstallationEvent: what is told about an installation makes the next call
// look again, without waiting for a token to end.
func TestInstallationEvent(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	c, err := s.forge.connect(ctx, s.r.Owner, s.r.Name)
	check(t, err)
	check(t, s.hub.Suspend(c.installation, true))
	body := fmt.Sprintf(`{"action":"suspend","installation":{"id":%d,"account":{"login":"acme"}}}`, c.installation)
	e, err := s.forge.Event(http.Header{"X-Github-Event": {"installation"}}, []byte(body))
	if err != nil || e != (forge.Event{}) {
		t.Errorf("event %+v, %v", e, err)
	}
	if _, err := s.forge.PullRequest(ctx, s.r, s.n); !errors.Is(err, errInstallation) {
		t.Errorf("error %v, want that it is suspended", err)
	}
}

func TestWrongKey(t *testing.T) {
	w := newWorld(t, true)
	other, err := w.hub.CreateApp("olga", "Other", "")
	check(t, err)
	r := w.Repo(t)
	for _, tt := range []struct{ key, text string }{
		{string(other.Key), "check app_id, the private key, and this machine's clock"},
		{"not a key", "download a new one"},
	} {
		f := w.as(t, http.DefaultTransport)
		f.cfg.Key = func() ([]byte, error) { return []byte(tt.key), nil }
		_, err := f.Repository(t.Context(), r)
		if kind(err) != errUnknown || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("error %v, want %q", err, tt.text)
		}
	}
}

func TestInstalledNowhere(t *testing.T) {
	w := newWorld(t, true)
	if _, err := w.forge.Me(t.Context()); kind(err) != errUnknown || !strings.Contains(err.Error(), "installed nowhere") {
		t.Errorf("I am nobody: %v", err)
	}
	if repos, err := w.forge.Repos(t.Context(), "acme"); err != nil || len(repos) != 0 {
		t.Errorf("repositories %v, %v", repos, err)
	}
}

// TestMissingPermission: an App that may not write is told so by its role, before
// it tries.
func TestMissingPermission(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	for _, tt := range []struct {
		scope, level string
		want         gate.Role
		lacks        string
	}{
		{"administration", "read", gate.RoleWrite, ""},
		{"contents", "read", gate.RoleRead, "Contents: write"},
		{"contents", "write", gate.RoleWrite, ""},
		{"checks", "read", gate.RoleWrite, "Checks: write"},
		{"administration", "", gate.RoleWrite, "Checks: write, Administration: read"},
		{"issues", "", gate.RoleRead, "Issues: write, Checks: write, Administration: read"},
	} {
		check(t, s.hub.SetPermission(s.app.ID, tt.scope, tt.level))
		repo, err := s.forge.Repository(ctx, s.r)
		if lacks := strings.Join(repo.Lacks, ", "); err != nil || repo.Role != tt.want || lacks != tt.lacks {
			t.Errorf("%s %q: role %v, lacks %q, %v; want %v, %q", tt.scope, tt.level, repo.Role, lacks, err, tt.want, tt.lacks)
		}
	}
}

// TestRename: a renamed repository is followed, and another one under its old
// name is not taken for it.
func TestRename(t *testing.T) {
	for _, app := range []bool{true, false} {
		t.Run(fmt.Sprintf("app %v", app), func(t *testing.T) {
			t.Parallel()
			s, ctx := newStage(t, app), t.Context()
			before, err := s.forge.Repository(ctx, s.r)
			check(t, err)
			check(t, s.hub.Rename(s.r.String(), "moved"))
			if p, err := s.forge.PullRequest(ctx, s.r, s.n); err != nil || p.Head != s.head {
				t.Errorf("reading by the old name: %+v, %v", p, err)
			}
			_, err = s.forge.PostComment(ctx, s.r, s.n, "hello")
			check(t, err)
			if all, _, err := s.forge.Comments(ctx, s.r, s.n); err != nil || len(all) != 1 {
				t.Errorf("comments %v, %v; want the one that was posted", all, err)
			}
			after, err := s.forge.Repository(ctx, s.r)
			if err != nil || after.ID != before.ID || !strings.HasSuffix(after.CloneURL, "/acme/moved.git") {
				t.Errorf("repository %+v, %v", after, err)
			}
			if _, err := s.forge.PostComment(ctx, s.r, s.n, "hello"); err != nil {
				t.Errorf("a comment afterwards: %v", err)
			}
			body := fmt.Sprintf(`{"ref":"refs/heads/main","repository":{"id":%d,"name":"moved","owner":{"login":"acme"}}}`, before.ID)
			if e, err := s.forge.Event(http.Header{"X-Github-Event": {"push"}}, []byte(body)); err != nil || e.Repo != s.r {
				t.Errorf("an event is about %v, %v; want the configured name", e.Repo, err)
			}
		})
	}
}

// TestNameTakenOver: another repository under the old name is not taken for ours.
func TestNameTakenOver(t *testing.T) {
	repo := func(id int, name string) reply {
		return reply{200, marshal(map[string]any{"id": id, "name": name, "full_name": "acme/" + name, "owner": map[string]string{"login": "acme"}})}
	}
	s := newScript(t, map[string][]reply{
		"GET /repos/acme/widgets":          {repo(1, "widgets"), repo(2, "widgets")},
		"GET /repositories/1":              {repo(1, "gadgets")},
		"GET /repos/acme/gadgets":          {repo(1, "gadgets"), {404, "{}"}},
		"GET /repos/acme/gadgets/pulls/12": {{200, pullJSON(nil)}},
	})
	f := s.forge(t)
	for i, want := range []string{"/acme/widgets.git", "/acme/gadgets.git", "/acme/gadgets.git", "/acme/gadgets.git"} {
		got, err := f.Repository(t.Context(), widgets)
		if err != nil || got.ID != 1 || !strings.HasSuffix(got.CloneURL, want) {
			t.Errorf("reading %d: %+v, %v; want %s with the id it always had", i, got, err, want)
		}
	}
	_, err := f.PullRequest(t.Context(), widgets, 12)
	check(t, err)
}

// TestIdleCostsNothing: polling a repository in which nothing happens is answered
// "not modified" throughout.
func TestIdleCostsNothing(t *testing.T) {
	for _, app := range []bool{true, false} {
		s, ctx := newStage(t, app), t.Context()
		s.Label(t, s.r, s.n, s.author, "merge")
		s.Review(t, s.r, s.n, s.Person(t, s.r, gate.RoleWrite), gate.Approved)
		poll := func() {
			_, err := s.forge.Repository(ctx, s.r)
			check(t, err)
			_, err = s.forge.Branch(ctx, s.r, "main")
			check(t, err)
			prs, err := s.forge.PullRequests(ctx, s.r)
			check(t, err)
			if len(prs) != 1 || !prs[0].Has("merge") {
				t.Errorf("pull requests %+v", prs)
			}
			_, _, err = s.forge.Comments(ctx, s.r, s.n)
			check(t, err)
			reviews, err := s.forge.Reviews(ctx, s.r, s.n)
			check(t, err)
			if len(reviews) != 1 || !reviews[0].Counts {
				t.Errorf("reviews %+v", reviews)
			}
			_, err = s.forge.Checks(ctx, s.r, s.head)
			check(t, err)
		}
		poll()
		before := len(s.hub.Exchanges())
		poll()
		asked := s.hub.Exchanges()[before:]
		if len(asked) == 0 {
			t.Error("nothing was asked, so nothing could have been noticed")
		}
		for _, e := range asked {
			if e.Status != http.StatusNotModified || !e.Free {
				t.Errorf("as App %v: %s %s was answered %d, free %v", app, e.Method, e.Path, e.Status, e.Free)
			}
		}
		s.Comment(t, s.r, s.n, s.author, "news")
		if all, _, err := s.forge.Comments(ctx, s.r, s.n); err != nil || len(all) != 1 {
			t.Errorf("comments %v, %v; want the new one", all, err)
		}
	}
}

// TestFaults: a read rides out a short failure, a write is asked once, and limits
// are told with their end.
func TestFaults(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	s.hub.Fault(localhub.Fault{Method: "GET", Path: "/pulls/", Status: 502, Times: 2})
	if _, err := s.forge.PullRequest(ctx, s.r, s.n); err != nil {
		t.Errorf("a read after two failures: %v", err)
	}
	s.hub.Fault(localhub.Fault{Method: "POST", Path: "/comments", Drop: true, After: true, Times: 1})
	if _, err := s.forge.PostComment(ctx, s.r, s.n, "once"); kind(err) != errUnknown {
		t.Errorf("a comment whose answer was lost: %v", err)
	}
	if all, _, err := s.forge.Comments(ctx, s.r, s.n); err != nil || len(all) != 1 {
		t.Errorf("%d comments, %v; want the one that was asked for", len(all), err)
	}
	s.hub.Fault(localhub.Fault{Method: "PATCH", Path: "/git/refs/", Drop: true, After: true, Times: 1})
	err := s.forge.Land(ctx, s.r, forge.Landing{PR: s.n, Base: "main", Tip: s.root, Head: s.head, Method: gate.FastForward})
	if kind(err) != errUnknown {
		t.Errorf("a landing whose answer was lost: %v; want an error without a meaning", err)
	}
	if got := tip(t, s.forge, s.r, "main"); got != s.head {
		t.Errorf("main is at %s, and reading back must show that it landed", got)
	}
	limit := localhub.SecondaryLimit(403, time.Minute)
	limit.Times = 1
	s.hub.Fault(limit)
	before := len(s.hub.Exchanges())
	for range 2 {
		_, err := s.forge.PullRequest(ctx, s.r, s.n)
		var limited *forge.RateLimited
		if !errors.As(err, &limited) || time.Until(limited.Until) < 50*time.Second {
			t.Errorf("error %v, want a limit of a minute", err)
		}
	}
	if n := len(s.hub.Exchanges()) - before; n != 1 {
		t.Errorf("%d requests while limited, want 1", n)
	}
}

// TestIndirectMergeElsewhere: where GitHub does not mark the PR as merged by
// itself, a landed PR is closed.
func TestIndirectMergeElsewhere(t *testing.T) {
	w := newWorldOn(t, true, localhub.Options{RateLimit: 1 << 20, MarkDefaultOnly: true})
	r := w.Repo(t)
	author, root := w.Person(t, r, gate.RoleWrite), tip(t, w.forge, r, "main")
	base := w.Push(t, r, root, map[string]string{"b.txt": "b\n"}, "release/1.0")
	head := w.Push(t, r, base, map[string]string{"a.txt": "a\n"}, "feature")
	n := w.Open(t, r, author, "feature", "release/1.0", "Add a")
	check(t, w.forge.Land(t.Context(), r, forge.Landing{PR: n, Base: "release/1.0", Tip: base, Head: head, Method: gate.FastForward}))
	p, err := w.forge.PullRequest(t.Context(), r, n)
	if err != nil || p.Open || tip(t, w.forge, r, "release/1.0") != head {
		t.Errorf("pull request %+v, %v; want it closed and landed", p, err)
	}
}
