// Package forgetest holds the suite that every forge must pass.
//
// The suite sees a forge in two ways: as the bot does, through forge.Forge, and
// as people do, through World. People push with git, open pull requests, review
// and comment; the bot reads and lands. What one does the other must see. The
// suite knows no forge by name: what only one forge does is tested beside that
// forge.
//
// Forges work in the background, so the suite polls for what people did, with a
// deadline. It never polls for what the bot did: a write that has returned is
// done.
package forgetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// World is a forge with people. Its methods fail the test when they cannot do
// what they are asked, and may be called concurrently.
type World interface {
	// Forge is the forge as the bot sees it.
	Forge() forge.Forge
	// Repo makes a repository: one commit on main, every method of landing
	// allowed, the labels "merge" and "wip", and the bot as an administrator.
	Repo(t testing.TB) gate.Repo
	// Person makes an account with the role in the repository. RoleRead may be
	// anybody when the repository is public.
	Person(t testing.TB, r gate.Repo, role gate.Role) gate.User
	// Push commits the files on top of from and forces the branches there.
	Push(t testing.TB, r gate.Repo, from gate.SHA, files map[string]string, branches ...string) gate.SHA
	// Open opens a pull request from a branch of the same repository.
	Open(t testing.TB, r gate.Repo, by gate.User, branch, base, title string) int
	Review(t testing.TB, r gate.Repo, n int, by gate.User, s gate.ReviewState)
	Label(t testing.TB, r gate.Repo, n int, by gate.User, label string)
	Comment(t testing.TB, r gate.Repo, n int, by gate.User, body string) int64
	CreateIssue(t testing.TB, r gate.Repo, by gate.User, title, body string) int
	// Draft makes the pull request a draft.
	Draft(t testing.TB, r gate.Repo, n int)
	// Retarget changes the base of a pull request.
	Retarget(t testing.TB, r gate.Repo, n int, base string)
	// Close closes a pull request or an issue.
	Close(t testing.TB, r gate.Repo, n int)
	// Protect demands approvals before anything is merged into the branch.
	Protect(t testing.TB, r gate.Repo, branch string, approvals int)
}

// Run runs the whole suite. Its tests run at the same time, each in a repository
// of its own.
func Run(t *testing.T, w World) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, World)
	}{
		{"Repository", testRepository},
		{"Branch", testBranch},
		{"PullRequest", testPullRequest},
		{"PullRequestChanges", testPullRequestChanges},
		{"ManyPullRequests", testManyPullRequests},
		{"Reviews", testReviews},
		{"Role", testRole},
		{"Labels", testLabels},
		{"Past", testPast},
		{"Comments", testComments},
		{"ManyComments", testManyComments},
		{"Checks", testChecks},
		{"Issues", testIssues},
		{"GitAuth", testGitAuth},
		{"LandFastForward", testLandFastForward},
		{"LandMethods", testLandMethods},
		{"LandPinnedToHead", testLandPinnedToHead},
		{"LandBehind", testLandBehind},
		{"LandSiblings", testLandSiblings},
		{"LandRefused", testLandRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, w)
		})
	}
}

// scene is a repository with an author and one open pull request.
type scene struct {
	World
	f          forge.Forge
	r          gate.Repo
	ctx        context.Context
	author     gate.User
	root, head gate.SHA
	pr         int
}

func newScene(t *testing.T, w World) scene {
	t.Helper()
	s := scene{World: w, f: w.Forge(), r: w.Repo(t), ctx: t.Context()}
	s.author = w.Person(t, s.r, gate.RoleWrite)
	s.root = s.tip(t, "main")
	s.head = w.Push(t, s.r, s.root, map[string]string{"a.txt": "a\n"}, "feature")
	s.pr = w.Open(t, s.r, s.author, "feature", "main", "Add a")
	return s
}

func (s scene) tip(t *testing.T, branch string) gate.SHA {
	t.Helper()
	b, err := s.f.Branch(s.ctx, s.r, branch)
	if err != nil {
		t.Fatal(err)
	}
	return b.Tip
}

func (s scene) read(t *testing.T, n int) gate.PR {
	t.Helper()
	p, err := s.f.PullRequest(s.ctx, s.r, n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// land asks again while the forge is busy.
func (s scene) land(t *testing.T, l forge.Landing) error {
	t.Helper()
	var err error
	eventually(t, "the forge is no longer busy", func() bool {
		err = s.f.Land(s.ctx, s.r, l)
		return !errors.Is(err, forge.ErrBusy)
	})
	return err
}

// eventually polls until ok, for half a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// must is a step that has to work for the test to mean anything.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want one that is %q", what, got, want)
	}
}
