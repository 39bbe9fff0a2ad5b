package github

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mergegate/forge"
	"mergegate/gate"
)

// TestFork: a fork's PR says where it comes from, and is never pushed to.
func TestFork(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	eve := s.Person(t, s.r, gate.RoleRead)
	fork, err := s.hub.Fork(s.r.String(), eve.Login)
	check(t, err)
	head, err := s.hub.Commit(fork, eve.Login, "patch", "Add b", map[string]string{"b.txt": "b\n"})
	check(t, err)
	n := s.Open(t, s.r, eve, eve.Login+":patch", "main", "Add b")
	p, err := s.forge.PullRequest(ctx, s.r, n)
	check(t, err)
	if !p.Fork || p.MayPush || p.HeadRepo != fork || p.HeadURL != s.hub.CloneURL(fork) || p.Head != head || p.HeadBranch != "patch" || p.Author != eve {
		t.Errorf("pull request %+v; want the fork %s", p, fork)
	}
	all, err := s.forge.PullRequests(ctx, s.r)
	check(t, err)
	if len(all) != 2 || !cmp.Equal(all[1], p) {
		t.Errorf("the list tells otherwise than the single read:\n%s", cmp.Diff(p, all[len(all)-1]))
	}
	l := forge.Landing{PR: n, Base: "main", Tip: s.root, Head: head, Method: gate.Merge, DeleteBranch: true}
	for err = s.forge.Land(ctx, s.r, l); errors.Is(err, forge.ErrBusy); err = s.forge.Land(ctx, s.r, l) {
	}
	check(t, err)
	if got, err := s.hub.Tip(fork, "patch"); err != nil || got != head {
		t.Errorf("the fork's branch is at %s, %v; want it left alone", got, err)
	}
}

// TestForkGone: the PR outlives the fork.
func TestForkGone(t *testing.T) {
	s := newScript(t, map[string][]reply{"GET " + pullPath: {{200, pullJSON(map[string]any{
		"head": map[string]any{"ref": "patch", "sha": headSHA, "repo": nil}})}}})
	p, err := s.forge(t).PullRequest(t.Context(), widgets, 12)
	if err != nil || !p.Fork || p.MayPush || p.HeadRepo != "" || p.HeadURL != "" || p.Head != headSHA {
		t.Errorf("pull request %+v, %v", p, err)
	}
}

// TestReviewsOverTime: a dismissed review counts for nothing, and what a reviewer
// may do is read now, not when the review was given.
func TestReviewsOverTime(t *testing.T) {
	s, ctx := newStage(t, true), t.Context()
	ann := s.Person(t, s.r, gate.RoleWrite)
	last := func() gate.Review {
		t.Helper()
		all, err := s.forge.Reviews(ctx, s.r, s.n)
		check(t, err)
		return all[len(all)-1]
	}
	s.Review(t, s.r, s.n, ann, gate.Approved)
	if v := last(); v.By != ann || !v.Counts || v.Dismissed || v.Commit != s.head {
		t.Errorf("approved: %+v", v)
	}
	check(t, s.hub.Dismiss(s.r.String(), s.n, s.owner.Login, ann.Login))
	if v := last(); !v.Dismissed {
		t.Errorf("dismissed: %+v", v)
	}
	s.Review(t, s.r, s.n, ann, gate.Approved)
	check(t, s.hub.Collaborate(s.r.String(), ann.Login, gate.RoleRead))
	if v := last(); v.Counts {
		t.Errorf("approved by somebody who may not write any more: %+v", v)
	}
}
