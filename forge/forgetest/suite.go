package forgetest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mergegate/forge"
	"mergegate/gate"
)

const noCommit = gate.SHA("0123456789012345678901234567890123456789")

func testRepository(t *testing.T, w World) {
	f, ctx := w.Forge(), t.Context()
	r := w.Repo(t)
	repo, err := f.Repository(ctx, r)
	must(t, err)
	if repo.DefaultBranch != "main" || repo.Role != gate.RoleAdmin || !repo.HasIssues || repo.Archived || repo.ID == 0 {
		t.Errorf("repository %+v; want main, the bot as admin, issues, not archived", repo)
	}
	for _, m := range gate.Methods() {
		if got, want := slices.Contains(repo.Methods, m), m != gate.Auto; got != want {
			t.Errorf("method %s allowed: %v, want %v", m, got, want)
		}
	}
	all, err := f.Repos(ctx, r.Owner)
	must(t, err)
	if !slices.Contains(all, r) {
		t.Errorf("the owner's repositories %v lack %v", all, r)
	}
	gone := r
	gone.Name = "gone"
	_, err = f.Repository(ctx, gone)
	wantErr(t, "a repository that does not exist", err, forge.ErrNotFound)
	_, err = f.PullRequests(ctx, gone)
	wantErr(t, "its pull requests", err, forge.ErrNotFound)
}

func testBranch(t *testing.T, w World) {
	s := newScene(t, w)
	s.Push(t, s.r, s.root, map[string]string{"b.txt": "b\n"}, "release/1.0")
	s.Protect(t, s.r, "release/1.0", 2)
	b, err := s.f.Branch(s.ctx, s.r, "release/1.0")
	must(t, err)
	if !b.Protected || b.RequiredApprovals != 2 || b.Opaque {
		t.Errorf("branch %+v; want it protected with 2 approvals, and nothing hidden from an administrator", b)
	}
	b, err = s.f.Branch(s.ctx, s.r, "main")
	must(t, err)
	if b.Protected || !b.CanMerge || b.Tip != s.root {
		t.Errorf("branch %+v; want it open to the bot, at %s", b, s.root)
	}
	_, err = s.f.Branch(s.ctx, s.r, "gone")
	wantErr(t, "a branch that does not exist", err, forge.ErrNotFound)
}

func testPullRequest(t *testing.T, w World) {
	s := newScene(t, w)
	one := s.read(t, s.pr)
	if one.Number != s.pr || one.Title != "Add a" || one.Author != s.author || one.URL == "" || one.Updated.IsZero() {
		t.Errorf("pull request %+v; want #%d %q by %v", one, s.pr, "Add a", s.author)
	}
	if !one.Open || one.Merged || one.Draft || one.Fork || one.AGit || !one.MayPush {
		t.Errorf("pull request %+v; want it open, in the same repository, the bot free to push", one)
	}
	if one.Base != "main" || one.Head != s.head || one.HeadBranch != "feature" || one.HeadRepo != s.r.String() {
		t.Errorf("pull request %+v; want feature at %s onto main", one, s.head)
	}
	all, err := s.f.PullRequests(s.ctx, s.r)
	must(t, err)
	if diff := cmp.Diff([]gate.PR{one}, all); diff != "" {
		t.Errorf("the list tells otherwise than the single read (-single +list):\n%s", diff)
	}
	_, err = s.f.PullRequest(s.ctx, s.r, s.pr+100)
	wantErr(t, "a pull request that does not exist", err, forge.ErrNotFound)
}

func testPullRequestChanges(t *testing.T, w World) {
	s := newScene(t, w)
	s.Label(t, s.r, s.pr, s.author, "merge")
	s.Draft(t, s.r, s.pr)
	head := s.Push(t, s.r, s.head, map[string]string{"a.txt": "more\n"}, "feature")
	tip := s.Push(t, s.r, s.root, map[string]string{"b.txt": "b\n"}, "main")
	changed := func(p gate.PR) bool {
		return p.Has("merge") && p.Draft && p.Head == head && (p.BaseTip == tip || p.BaseTip == "")
	}
	eventually(t, "the single read shows label, draft, head and base", func() bool { return changed(s.read(t, s.pr)) })
	eventually(t, "the list shows label, draft, head and base", func() bool {
		all, err := s.f.PullRequests(s.ctx, s.r)
		must(t, err)
		return len(all) == 1 && changed(all[0])
	})
	s.Close(t, s.r, s.pr)
	if p := s.read(t, s.pr); p.Open || p.Merged {
		t.Errorf("after closing: open %v, merged %v", p.Open, p.Merged)
	}
	all, err := s.f.PullRequests(s.ctx, s.r)
	must(t, err)
	if len(all) != 0 {
		t.Errorf("the list still has %d pull requests", len(all))
	}
}

func testManyPullRequests(t *testing.T, w World) {
	s := newScene(t, w)
	want := []int{s.pr}
	var branches []string
	for i := range 51 {
		branches = append(branches, fmt.Sprintf("many-%d", i))
	}
	s.Push(t, s.r, s.root, map[string]string{"many.txt": "many\n"}, branches...)
	for _, b := range branches {
		want = append(want, s.Open(t, s.r, s.author, b, "main", b))
	}
	all, err := s.f.PullRequests(s.ctx, s.r)
	must(t, err)
	var got []int
	for _, p := range all {
		got = append(got, p.Number)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("pull requests %v, want %v", got, want)
	}
}

func testReviews(t *testing.T, w World) {
	s := newScene(t, w)
	writer, reader := s.Person(t, s.r, gate.RoleWrite), s.Person(t, s.r, gate.RoleRead)
	s.Review(t, s.r, s.pr, reader, gate.Approved)
	s.Review(t, s.r, s.pr, s.author, gate.Commented)
	s.Review(t, s.r, s.pr, writer, gate.ChangesRequested)
	second := s.Person(t, s.r, gate.RoleWrite)
	s.Review(t, s.r, s.pr, second, gate.Approved)

	got, err := s.f.Reviews(s.ctx, s.r, s.pr)
	must(t, err)
	var lines []string
	for _, v := range got {
		who := map[gate.User]string{writer: "writer", reader: "reader", s.author: "author", second: "second"}[v.By]
		counts := v.Counts && v.State == gate.Approved
		lines = append(lines, fmt.Sprintf("%s %s counts=%v dismissed=%v", who, v.State, counts, v.Dismissed))
		if v.Commit != s.head || v.At.IsZero() {
			t.Errorf("%s's review is for %q at %v; want %s and a time", who, v.Commit, v.At, s.head)
		}
	}
	want := []string{
		"reader approved counts=false dismissed=false",
		"author commented counts=false dismissed=false",
		"writer changes-requested counts=false dismissed=false",
		"second approved counts=true dismissed=false",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("reviews (-want +got):\n%s", diff)
	}
	_, err = s.f.Reviews(s.ctx, s.r, s.pr+100)
	wantErr(t, "reviews of a pull request that does not exist", err, forge.ErrNotFound)
}

func testRole(t *testing.T, w World) {
	f, r := w.Forge(), w.Repo(t)
	for _, want := range []gate.Role{gate.RoleRead, gate.RoleWrite, gate.RoleAdmin} {
		got, err := f.Role(t.Context(), r, w.Person(t, r, want))
		if err != nil || got != want {
			t.Errorf("role %v, %v; want %v", got, err, want)
		}
	}
	me, err := f.Me(t.Context())
	must(t, err)
	if got, err := f.Role(t.Context(), r, me); err != nil || got != gate.RoleAdmin {
		t.Errorf("the bot's own role %v, %v; want admin", got, err)
	}
	ghost := gate.User{ID: 1 << 40, Login: "nobody-has-this-name"}
	if got, err := f.Role(t.Context(), r, ghost); err == nil && got > gate.RoleRead {
		t.Errorf("an account that does not exist has the role %v", got)
	}
}

func testLabels(t *testing.T, w World) {
	s := newScene(t, w)
	if past, err := s.f.Past(s.ctx, s.r, s.pr, "merge"); err != nil || past.LabelledBy != (gate.User{}) {
		t.Errorf("a label that was never there was put on by %v, %v", past.LabelledBy, err)
	}

	s.Label(t, s.r, s.pr, s.author, "merge")
	past, err := s.f.Past(s.ctx, s.r, s.pr, "merge")
	if err != nil || past.LabelledBy != s.author || time.Since(past.LabelledAt).Abs() > time.Minute || past.PushedSince {
		t.Errorf("%+v, %v; want labelled by %v just now", past, err, s.author)
	}
	for range 2 {
		must(t, s.f.AddLabel(s.ctx, s.r, s.pr, "wip"))
	}
	p := s.read(t, s.pr)
	if !p.Has("merge") || !p.Has("wip") || len(p.Labels) != 2 {
		t.Errorf("labels %v, want merge and wip", p.Labels)
	}
	for range 2 {
		must(t, s.f.RemoveLabel(s.ctx, s.r, s.pr, "merge"))
	}
	if p := s.read(t, s.pr); p.Has("merge") || !p.Has("wip") {
		t.Errorf("labels %v, want wip", p.Labels)
	}
	if past, err := s.f.Past(s.ctx, s.r, s.pr, "merge"); err != nil || past.LabelledBy != s.author {
		t.Errorf("taken off by the bot: put on last by %v, %v; want %v", past.LabelledBy, err, s.author)
	}
	must(t, s.f.AddLabel(s.ctx, s.r, s.pr, "merge"))
	me, err := s.f.Me(s.ctx)
	must(t, err)
	if past, err := s.f.Past(s.ctx, s.r, s.pr, "merge"); err != nil || past.LabelledBy != me {
		t.Errorf("put on again by %v, %v; want the bot", past.LabelledBy, err)
	}
	wantErr(t, "a label on nothing", s.f.AddLabel(s.ctx, s.r, s.pr+100, "merge"), forge.ErrNotFound)
}

func testComments(t *testing.T, w World) {
	s := newScene(t, w)
	const body = "<!-- mergegate:pr -->\nhello **you** & <b>all</b>\n<!-- {\"a\":1} -->"
	theirs := s.Comment(t, s.r, s.pr, s.author, "/merge")
	ours, err := s.f.PostComment(s.ctx, s.r, s.pr, body)
	must(t, err)
	all, now, err := s.f.Comments(s.ctx, s.r, s.pr)
	must(t, err)
	if time.Since(now).Abs() > time.Minute {
		t.Errorf("the forge's time is %v", now)
	}
	me, err := s.f.Me(s.ctx)
	must(t, err)
	if len(all) != 2 || all[0].ID != theirs || all[0].By != s.author || all[1].ID != ours.ID || all[1].By != me || all[1].Body != body {
		t.Errorf("comments %+v; want the author's, then ours, unchanged", all)
	}
	for range 2 {
		must(t, s.f.EditComment(s.ctx, s.r, ours.ID, body+" edited"))
		must(t, s.f.React(s.ctx, s.r, theirs, "eyes"))
	}
	one, err := s.f.Comment(s.ctx, s.r, ours.ID)
	if err != nil || one.Body != body+" edited" || one.By != me || one.Created.IsZero() || one.Updated.Before(one.Created) {
		t.Errorf("after the edit: %+v, %v", one, err)
	}
	for _, reaction := range []string{"+1", "confused"} {
		must(t, s.f.React(s.ctx, s.r, theirs, reaction))
	}
	for range 2 {
		must(t, s.f.DeleteComment(s.ctx, s.r, ours.ID))
	}
	_, err = s.f.Comment(s.ctx, s.r, ours.ID)
	wantErr(t, "reading a deleted comment", err, forge.ErrNotFound)
	wantErr(t, "editing a deleted comment", s.f.EditComment(s.ctx, s.r, ours.ID, "x"), forge.ErrNotFound)
	if _, err := s.f.PostComment(s.ctx, s.r, s.pr+100, "x"); err == nil {
		t.Error("a comment on nothing went through")
	}
	if _, _, err := s.f.Comments(s.ctx, s.r, s.pr+100); err == nil {
		t.Error("nothing has comments")
	}
}

func testManyComments(t *testing.T, w World) { ManyComments(t, w, 53) }

// ManyComments is the part of the suite that looks behind n comments, for forges
// whose pages hold more than the suite writes.
func ManyComments(t *testing.T, w World, n int) {
	t.Helper()
	s := newScene(t, w)
	for i := range n {
		_, err := s.f.PostComment(s.ctx, s.r, s.pr, fmt.Sprint("comment ", i))
		must(t, err)
	}
	s.Label(t, s.r, s.pr, s.author, "merge")
	all, _, err := s.f.Comments(s.ctx, s.r, s.pr)
	must(t, err)
	if len(all) != n {
		t.Fatalf("%d comments, want %d", len(all), n)
	}
	for i, c := range all {
		if want := fmt.Sprint("comment ", i); c.Body != want {
			t.Errorf("comment at %d is %q, want %q", i, c.Body, want)
		}
	}
	if past, err := s.f.Past(s.ctx, s.r, s.pr, "merge"); err != nil || past.LabelledBy != s.author {
		t.Errorf("behind %d comments: labelled by %v, %v; want %v", n, past.LabelledBy, err, s.author)
	}
}

func testChecks(t *testing.T, w World) {
	s := newScene(t, w)
	none, err := s.f.Checks(s.ctx, s.r, s.head)
	if err != nil || len(none) != 0 {
		t.Errorf("a commit without checks: %v, %v", none, err)
	}
	set := func(context string, state forge.StatusState, text string) {
		t.Helper()
		must(t, s.f.SetStatus(s.ctx, s.r, s.head, forge.Status{Context: context, State: state, Text: text, URL: "http://ci.example.com/1"}))
	}
	set("ci/build", forge.StatusPending, "running")
	set("ci/build", forge.StatusSuccess, "done")
	set("ci/build", forge.StatusSuccess, "done")
	set("ci/lint", forge.StatusError, "broke")
	set("ci/test", forge.StatusFailure, "3 failed")
	set("deploy", forge.StatusPending, "queued")
	all, err := s.f.Checks(s.ctx, s.r, s.head)
	must(t, err)
	var got []string
	for _, c := range all {
		got = append(got, fmt.Sprintf("%s %s %s", c.Context, c.State, c.Text))
		if c.URL != "http://ci.example.com/1" || c.At.IsZero() {
			t.Errorf("check %s has URL %q and time %v", c.Context, c.URL, c.At)
		}
	}
	slices.Sort(got)
	want := []string{"ci/build passed done", "ci/lint failed broke", "ci/test failed 3 failed", "deploy pending queued"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	for i := range 51 {
		set(fmt.Sprint("many/", i), forge.StatusSuccess, "ok")
	}
	all, err = s.f.Checks(s.ctx, s.r, s.head)
	if err != nil || len(all) != 55 {
		t.Errorf("%d checks, %v; want 55", len(all), err)
	}
	if root, err := s.f.Checks(s.ctx, s.r, s.root); err != nil || len(root) != 0 {
		t.Errorf("another commit's checks: %v, %v", root, err)
	}
	if err := s.f.SetStatus(s.ctx, s.r, noCommit, forge.Status{Context: "x", State: forge.StatusSuccess}); err == nil {
		t.Error("a status on a commit that does not exist went through")
	}
}

func testIssues(t *testing.T, w World) {
	s := newScene(t, w)
	const marker = "<!-- mergegate:queue -->"
	me, err := s.f.Me(s.ctx)
	must(t, err)
	s.CreateIssue(t, s.r, s.author, "Merge queue", marker)
	found, err := s.f.FindIssues(s.ctx, s.r, me, marker)
	if err != nil || len(found) != 0 {
		t.Errorf("somebody else's issue is taken for ours: %v, %v", found, err)
	}
	first, err := s.f.CreateIssue(s.ctx, s.r, "Merge queue", "empty\n"+marker)
	must(t, err)
	second, err := s.f.CreateIssue(s.ctx, s.r, "Merge queue", "double\n"+marker)
	must(t, err)
	_, err = s.f.CreateIssue(s.ctx, s.r, "Other", "no marker")
	must(t, err)
	found, err = s.f.FindIssues(s.ctx, s.r, me, marker)
	must(t, err)
	if len(found) != 2 || found[0] != first || found[1] != second || first.Title != "Merge queue" || first.By != me || !first.Open {
		t.Errorf("found %+v; want %+v, then %+v", found, first, second)
	}
	reused := gate.User{ID: me.ID + 1<<40, Login: me.Login}
	if found, err := s.f.FindIssues(s.ctx, s.r, reused, marker); err != nil || len(found) != 0 {
		t.Errorf("our login under another id owns %v, %v", found, err)
	}
	for range 2 {
		must(t, s.f.EditIssue(s.ctx, s.r, first.Number, "one waits\n"+marker))
	}
	one, err := s.f.Issue(s.ctx, s.r, first.Number)
	if err != nil || one.Body != "one waits\n"+marker || one.Title != "Merge queue" {
		t.Errorf("after the edit: %+v, %v", one, err)
	}
	for range 2 {
		must(t, s.f.CloseIssue(s.ctx, s.r, second.Number))
	}
	found, err = s.f.FindIssues(s.ctx, s.r, me, marker)
	if err != nil || len(found) != 1 || found[0].Number != first.Number {
		t.Errorf("found %+v, %v; want only the open one", found, err)
	}
	_, err = s.f.Issue(s.ctx, s.r, first.Number+100)
	wantErr(t, "an issue that does not exist", err, forge.ErrNotFound)
	wantErr(t, "editing it", s.f.EditIssue(s.ctx, s.r, first.Number+100, "x"), forge.ErrNotFound)
}

// testPast: a push after the label or a comment is known to be after it.
func testPast(t *testing.T, w World) {
	s := newScene(t, w)
	old := s.Comment(t, s.r, s.pr, s.author, "before the push")
	s.Label(t, s.r, s.pr, s.author, "merge")
	said := time.Now()
	eventually(t, "enough time to tell a push from one before", func() bool { return time.Since(said) > 5*time.Second })
	s.Push(t, s.r, s.read(t, s.pr).Head, map[string]string{"more.txt": "more\n"}, s.read(t, s.pr).HeadBranch)
	young := s.Comment(t, s.r, s.pr, s.author, "after the push")
	eventually(t, "the push to show", func() bool {
		past, err := s.f.Past(s.ctx, s.r, s.pr, "merge")
		return err == nil && past.PushedSince && slices.Contains(past.Outdated, old) && !slices.Contains(past.Outdated, young)
	})
	must(t, s.f.RemoveLabel(s.ctx, s.r, s.pr, "merge"))
	s.Label(t, s.r, s.pr, s.author, "merge")
	if past, err := s.f.Past(s.ctx, s.r, s.pr, "merge"); err != nil || past.PushedSince {
		t.Errorf("labelled again after the push: %+v, %v", past, err)
	} else if !past.Retargeted.IsZero() {
		t.Errorf("its base was never changed, and yet at %v", past.Retargeted)
	}
	s.Push(t, s.r, s.root, map[string]string{"r.txt": "r\n"}, "release")
	s.Retarget(t, s.r, s.pr, "release")
	if past, err := s.f.Past(s.ctx, s.r, s.pr, "merge"); err != nil || time.Since(past.Retargeted).Abs() > time.Minute {
		t.Errorf("its base was changed at %v, %v; want just now", past.Retargeted, err)
	}
}

func testGitAuth(t *testing.T, w World) {
	s := newScene(t, w)
	repo, err := s.f.Repository(s.ctx, s.r)
	must(t, err)
	if !strings.HasPrefix(repo.CloneURL, "http") {
		t.Skipf("no git over HTTP behind %s: a forge in memory", repo.CloneURL)
	}
	auth, err := s.f.GitAuth(s.ctx, s.r)
	must(t, err)
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(s.ctx, "git", args...)
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: "+auth)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	dir := t.TempDir()
	if out, err := git("clone", "-q", "--bare", repo.CloneURL, dir); err != nil {
		t.Fatalf("clone as the bot: %v\n%s", err, out)
	}
	if out, err := git("-C", dir, "push", "origin", string(s.head)+":refs/heads/mergegate/main/1"); err != nil {
		t.Fatalf("push as the bot: %v\n%s", err, out)
	}
	out, err := git("ls-remote", repo.CloneURL, fmt.Sprintf("refs/pull/%d/head", s.pr))
	if err != nil || !strings.HasPrefix(out, string(s.head)) {
		t.Errorf("the pull request's ref: %q, %v; want %s", out, err, s.head)
	}
}
