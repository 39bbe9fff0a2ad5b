package gitea

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// TestUpdated pins which deeds move a pull request's updated_at, in the list and
// in the single read: the bot's poll looks closely only at those that moved.
// Each deed has a pull request of its own; they are opened in one second and the
// deeds done in a later one, because the time has no fractions.
func TestUpdated(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	r := w.Repo(t)
	author, reviewer := w.Person(t, r, gate.RoleWrite), w.Person(t, r, gate.RoleWrite)
	root := tip(t, w.forge, r, "main")
	var head gate.SHA

	edit := func(field, value string) func(int) {
		return func(n int) {
			w.api(t, r, w.owner.Token, http.MethodPatch, fmt.Sprintf("/pulls/%d", n), map[string]string{field: value}, nil)
		}
	}
	push := func(from gate.SHA) func(int) {
		return func(n int) { w.Push(t, r, from, map[string]string{"a.txt": fmt.Sprint(n)}, fmt.Sprint("branch-", n)) }
	}
	var comments = map[int]int64{}
	post := func(n int) { comments[n] = w.Comment(t, r, n, author, "hello") }
	approve := func(n int) { w.Review(t, r, n, reviewer, gate.Approved) }
	label := func(n int) { w.Label(t, r, n, author, "merge") }
	nothing := func(int) {}

	deeds := []struct {
		what   string
		before func(n int)
		do     func(n int)
		moves  bool
	}{
		{"label put on", nothing, label, true},
		{"label taken off", label, func(n int) { check(t, w.forge.RemoveLabel(ctx, r, n, "merge")) }, true},
		{"comment", nothing, post, true},
		{"comment edited", post, func(n int) { check(t, w.forge.EditComment(ctx, r, comments[n], "changed")) }, false},
		{"comment deleted", post, func(n int) { check(t, w.forge.DeleteComment(ctx, r, comments[n])) }, false},
		{"reaction", post, func(n int) { check(t, w.forge.React(ctx, r, comments[n], "eyes")) }, false},
		{"approval", nothing, approve, true},
		{"approval dismissed", approve, func(n int) { w.dismiss(t, r, n) }, true},
		{"push", nothing, func(n int) { push(head)(n) }, true},
		{"force-push", nothing, push(root), true},
		{"title", nothing, edit("title", "Other"), true},
		{"draft", nothing, func(n int) { w.Draft(t, r, n) }, true},
		{"description", nothing, edit("body", "Why"), true},
		{"retarget", nothing, edit("base", "release"), true},
		{"base moves", edit("base", "moving"), func(int) {
			w.Push(t, r, root, map[string]string{"b.txt": "b\n"}, "moving")
		}, false},
		{"status", nothing, func(n int) {
			p, err := w.forge.PullRequest(ctx, r, n)
			check(t, err)
			check(t, w.forge.SetStatus(ctx, r, p.Head, forge.Status{Context: "ci", State: forge.StatusSuccess}))
		}, false},
	}

	w.Push(t, r, root, map[string]string{"z.txt": "z\n"}, "release", "moving")
	var branches []string
	for i := range deeds {
		branches = append(branches, fmt.Sprint("branch-", i+1)) // the numbers that the pull requests will have
	}
	head = w.Push(t, r, root, map[string]string{"a.txt": "a\n"}, branches...)
	for i, d := range deeds {
		n := w.Open(t, r, author, branches[i], "main", d.what)
		if n != i+1 {
			t.Fatalf("pull request #%d, want #%d", n, i+1)
		}
		d.before(n)
	}

	before := settled(t, w, r)
	for i, d := range deeds {
		d.do(i + 1)
	}
	moved := func(list map[int]gate.PR, n int) bool { return !list[n].Updated.Equal(before[n].Updated) }
	for i, d := range deeds {
		if d.moves {
			eventually(t, d.what+" moves updated_at", func() bool { return moved(listed(t, w, r), i+1) })
		}
	}
	after := settled(t, w, r)
	for i, d := range deeds {
		p, err := w.forge.PullRequest(ctx, r, i+1)
		check(t, err)
		if !p.Updated.Equal(after[i+1].Updated) {
			t.Errorf("%s: updated %v in the list, %v alone", d.what, after[i+1].Updated, p.Updated)
		}
		if moved(after, i+1) != d.moves {
			t.Errorf("%s: updated_at moved: %v, want %v", d.what, !d.moves, d.moves)
		}
	}
}

// settled is the list once nothing in it has changed for a second, by the
// forge's own clock.
func settled(t *testing.T, w *world, r gate.Repo) map[int]gate.PR {
	t.Helper()
	var list map[int]gate.PR
	eventually(t, "the pull requests have settled", func() bool {
		list = listed(t, w, r)
		_, now, err := w.forge.Comments(t.Context(), r, 1)
		check(t, err)
		for _, p := range list {
			if now.Sub(p.Updated) < 2*time.Second {
				return false
			}
		}
		return true
	})
	return list
}

func listed(t *testing.T, w *world, r gate.Repo) map[int]gate.PR {
	t.Helper()
	all, err := w.forge.PullRequests(t.Context(), r)
	check(t, err)
	list := make(map[int]gate.PR)
	for _, p := range all {
		list[p.Number] = p
	}
	return list
}
