package gitea

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mergegate/forge"
	"mergegate/gate"
)

// TestUnusualHeads covers pull requests whose head is no branch of the same
// repository: in the list and in the single read.
func TestUnusualHeads(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	r := w.Repo(t)
	root := tip(t, w.forge, r, "main")
	author := w.Person(t, r, gate.RoleWrite)

	head := w.Push(t, r, root, map[string]string{"a.txt": "a\n"}, "doomed")
	deleted := w.Open(t, r, author, "doomed", "main", "Branch deleted")
	w.api(t, r, w.owner.Token, http.MethodDelete, "/branches/doomed", nil, nil)
	var bare gate.PR
	eventually(t, "a pull request whose branch was deleted is closed", func() bool {
		var err error
		bare, err = w.forge.PullRequest(ctx, r, deleted)
		check(t, err)
		return !bare.Open
	})
	if bare.AGit || bare.MayPush || bare.HeadBranch != "doomed" || bare.Head != head {
		t.Errorf("its branch deleted: %+v; want the head still known, nothing to push to", bare)
	}

	dir := w.clone(t, r)
	git(t, dir, "push", "-q", "origin", "HEAD:refs/for/main", "-o", "topic=t", "-o", "title=AGit")

	stranger := w.Person(t, r, gate.RoleNone)
	w.api(t, r, w.token(stranger), http.MethodPost, "/forks", map[string]any{}, nil)
	fork := gate.Repo{Forge: r.Forge, Owner: stranger.Login, Name: r.Name}
	git(t, dir, "push", "-q", w.srv.CloneURL(w.people[stranger.Login], fork.String()), "HEAD:refs/heads/theirs", "HEAD:refs/heads/closed")
	open := w.Open(t, r, stranger, stranger.Login+":theirs", "main", "Fork, maintainers may push")
	shut := w.Open(t, r, stranger, stranger.Login+":closed", "main", "Fork, they may not")
	w.api(t, r, w.token(stranger), http.MethodPatch, fmt.Sprintf("/pulls/%d", shut), map[string]any{"allow_maintainer_edit": false}, nil)

	type facts struct {
		Title, Branch, Repo, URL string
		Fork, AGit, MayPush      bool
	}
	url := func(repo gate.Repo) string { return w.srv.URL + "/" + repo.String() + ".git" }
	want := map[int]facts{
		deleted + 1: {"AGit", "", r.String(), url(r), false, true, false},
		open:        {"Fork, maintainers may push", "theirs", fork.String(), url(fork), true, false, true},
		shut:        {"Fork, they may not", "closed", fork.String(), url(fork), true, false, false},
	}
	all, err := w.forge.PullRequests(ctx, r)
	check(t, err)
	got, single := map[int]facts{}, map[int]facts{}
	sum := func(p gate.PR) facts {
		if p.Head != head {
			t.Errorf("%s: head %s, want %s", p.Title, p.Head, head)
		}
		return facts{p.Title, p.HeadBranch, p.HeadRepo, p.HeadURL, p.Fork, p.AGit, p.MayPush}
	}
	for _, p := range all {
		got[p.Number] = sum(p)
		one, err := w.forge.PullRequest(ctx, r, p.Number)
		check(t, err)
		single[p.Number] = sum(one)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, single); diff != "" {
		t.Errorf("read alone (-want +got):\n%s", diff)
	}

	if err := w.srv.API(ctx, w.token(stranger), http.MethodDelete, "/repos/"+fork.String(), nil, nil); err != nil {
		t.Fatal(err)
	}
	orphan, err := w.forge.PullRequest(ctx, r, open)
	check(t, err)
	if orphan.HeadRepo != "" || orphan.MayPush || !orphan.Fork || orphan.AGit || orphan.Head != head {
		t.Errorf("its fork deleted: %+v; want the head, no repository, nothing to push to", orphan)
	}
}

// TestBaseTipIsLive: what the list and the single read call the base's tip is the
// tip, at once after a push and after a landing.
func TestBaseTipIsLive(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	r := w.Repo(t)
	author := w.Person(t, r, gate.RoleWrite)
	root := tip(t, w.forge, r, "main")
	w.Push(t, r, root, map[string]string{"b.txt": "b\n"}, "waiting")
	waiting := w.Open(t, r, author, "waiting", "main", "Add b")
	look := func(when string, want gate.SHA) {
		t.Helper()
		one, err := w.forge.PullRequest(ctx, r, waiting)
		check(t, err)
		all, err := w.forge.PullRequests(ctx, r)
		check(t, err)
		if one.BaseTip != want || all[0].BaseTip != want {
			t.Errorf("%s: base tip %s alone, %s in the list; want %s", when, one.BaseTip, all[0].BaseTip, want)
		}
	}
	look("at first", root)
	pushed := w.Push(t, r, root, map[string]string{"a.txt": "a\n"}, "main")
	look("after a push", pushed)
	head := w.Push(t, r, pushed, map[string]string{"c.txt": "c\n"}, "landing")
	n := w.Open(t, r, author, "landing", "main", "Add c")
	check(t, landWhenReady(t, w.forge, r, forge.Landing{PR: n, Base: "main", Tip: pushed, Head: head, Method: gate.FastForward}))
	look("after a landing", head)
}

// TestReviewHistory: a newer review, a dismissal and a request for a review.
func TestReviewHistory(t *testing.T) {
	w := newWorld(t)
	r := w.Repo(t)
	author, bob := w.Person(t, r, gate.RoleWrite), w.Person(t, r, gate.RoleWrite)
	w.Push(t, r, tip(t, w.forge, r, "main"), map[string]string{"a.txt": "a\n"}, "feature")
	n := w.Open(t, r, author, "feature", "main", "Add a")
	w.Review(t, r, n, bob, gate.ChangesRequested)
	w.Review(t, r, n, bob, gate.Approved)
	w.api(t, r, w.owner.Token, http.MethodPost, fmt.Sprintf("/pulls/%d/requested_reviewers", n), map[string]any{"reviewers": []string{w.owner.Name}}, nil)
	history := func() (lines []string) {
		all, err := w.forge.Reviews(t.Context(), r, n)
		check(t, err)
		for _, v := range all {
			lines = append(lines, fmt.Sprintf("%s counts=%v dismissed=%v", v.State, v.Counts, v.Dismissed))
		}
		return lines
	}
	want := []string{"changes-requested counts=false dismissed=true", "approved counts=true dismissed=false"}
	if diff := cmp.Diff(want, history()); diff != "" {
		t.Errorf("reviews (-want +got):\n%s", diff)
	}
	var reviews []struct{ ID int64 }
	w.api(t, r, w.owner.Token, http.MethodGet, fmt.Sprintf("/pulls/%d/reviews", n), nil, &reviews)
	w.api(t, r, w.owner.Token, http.MethodPost, fmt.Sprintf("/pulls/%d/reviews/%d/dismissals", n, reviews[1].ID), map[string]string{"message": "No."}, nil)
	if got := history(); !strings.HasSuffix(got[1], "dismissed=true") {
		t.Errorf("after the dismissal: %v", got)
	}
}

// TestPastBehindCodeComments: more comments on code than a page holds, which
// Gitea leaves out of the timeline, stand before the label.
func TestPastBehindCodeComments(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	r := w.Repo(t)
	author, bob := w.Person(t, r, gate.RoleWrite), w.Person(t, r, gate.RoleWrite)
	w.Push(t, r, tip(t, w.forge, r, "main"), map[string]string{"a.txt": "a\n"}, "feature")
	n := w.Open(t, r, author, "feature", "main", "Add a")
	w.Label(t, r, n, author, "merge")
	check(t, w.forge.RemoveLabel(ctx, r, n, "merge"))
	var remarks []map[string]any
	for i := range 120 {
		remarks = append(remarks, map[string]any{"path": "a.txt", "body": fmt.Sprint("remark ", i), "new_position": 1})
	}
	w.api(t, r, w.token(bob), http.MethodPost, fmt.Sprintf("/pulls/%d/reviews", n), map[string]any{"event": "COMMENT", "body": "many", "comments": remarks}, nil)
	w.Label(t, r, n, bob, "merge")
	if past, err := w.forge.Past(ctx, r, n, "merge"); err != nil || past.LabelledBy != bob {
		t.Errorf("labelled by %v, %v; want %v", past.LabelledBy, err, bob)
	}
}

// TestLabelNames: Gitea ignores unknown names, allows the same name twice, and
// lends an organization's labels to its repositories.
func TestLabelNames(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	org := w.srv.Unique("org")
	check(t, w.srv.API(ctx, w.owner.Token, http.MethodPost, "/orgs", map[string]string{"username": org}, nil))
	check(t, w.srv.API(ctx, w.owner.Token, http.MethodPost, "/orgs/"+org+"/repos", map[string]any{"name": "widgets", "auto_init": true, "default_branch": "main"}, nil))
	r := gate.Repo{Forge: "work", Owner: org, Name: "widgets"}
	check(t, w.srv.AddCollaborator(ctx, r.String(), w.bot.Name, "admin"))
	color := map[string]string{"name": "shared", "color": "00aabb"}
	check(t, w.srv.API(ctx, w.owner.Token, http.MethodPost, "/orgs/"+org+"/labels", color, nil))
	for range 2 {
		check(t, w.forge.CreateLabel(ctx, r, "twice", "00aabb", "made by a test"))
	}
	for name, want := range map[string]int{"shared": 1, "twice": 2, "missing": 0} {
		if got, err := w.forge.Labels(ctx, r, name); err != nil || got != want {
			t.Errorf("%d labels %q, %v; want %d", got, name, err, want)
		}
	}
	if all, err := w.forge.Repos(ctx, org); err != nil || !slices.Contains(all, r) {
		t.Errorf("the organization's repositories are %v, %v", all, err)
	}

	w.Push(t, r, tip(t, w.forge, r, "main"), map[string]string{"a.txt": "a\n"}, "feature")
	n := w.Open(t, r, gate.User{Login: w.owner.Name}, "feature", "main", "Add a")
	check(t, w.forge.AddLabel(ctx, r, n, "shared"))
	if err := w.forge.AddLabel(ctx, r, n, "missing"); !errors.Is(err, forge.ErrNotFound) {
		t.Errorf("a label that does not exist: %v", err)
	}
	check(t, w.forge.AddLabel(ctx, r, n, "twice"))
	check(t, w.forge.RemoveLabel(ctx, r, n, "twice"))
	p, err := w.forge.PullRequest(ctx, r, n)
	check(t, err)
	if !slices.Equal(p.Labels, []string{"shared"}) {
		t.Errorf("labels %v, want shared", p.Labels)
	}
}

// TestListChangesBetweenPages: pull requests are closed and opened between two
// pages of two; those that were open all the time are never missed.
func TestListChangesBetweenPages(t *testing.T) {
	type page struct{ total, prs string }
	for _, tt := range []struct {
		name  string
		pages []page // the answers, in the order of the calls
		want  string
	}{
		{"4 is closed", []page{{"4", "4 3"}, {"3", "1"}, {"3", "3 2"}, {"3", "1"}}, "[1 2 3] <nil>"},
		{"5 is opened", []page{{"4", "4 3"}, {"5", "3 2"}, {"5", "5 4"}, {"5", "3 2"}, {"5", "1"}}, "[1 2 3 4 5] <nil>"},
		{"5 is opened, 1 closed", []page{{"4", "4 3"}, {"4", "3 2"}}, "[2 3 4] <nil>"},
		{"restless", []page{{"3", "3 2"}, {"2", ""}, {"3", "3 2"}, {"2", ""}, {"3", "3 2"}, {"2", ""}}, "[] list the open pull requests of acme/widgets: the list changed under us three times"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			call := 0
			f := answering(t, func(rw http.ResponseWriter, _ *http.Request) {
				p := tt.pages[call]
				call++
				rw.Header().Set("X-Total-Count", p.total)
				var list []string
				for _, n := range strings.Fields(p.prs) {
					list = append(list, `{"number":`+n+`}`)
				}
				fmt.Fprintf(rw, "[%s]", strings.Join(list, ","))
			})
			all, err := f.PullRequests(t.Context(), gate.Repo{Owner: "acme", Name: "widgets"})
			var got []int
			for _, p := range all {
				got = append(got, p.Number)
			}
			if text := fmt.Sprint(got, err); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}
