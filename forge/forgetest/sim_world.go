package forgetest

import (
	"fmt"
	"testing"

	"mergegate/forge"
	"mergegate/gate"
)

// World is the Sim as the suite sees it.
func (s *Sim) World() World { return simWorld{s} }

type simWorld struct{ s *Sim }

func (w simWorld) Forge() forge.Forge { return w.s.As("bot") }

// unique gives a name that nobody has.
func (w simWorld) unique(prefix string) string {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return fmt.Sprintf("%s-%d", prefix, w.s.id())
}

func (w simWorld) owner(r gate.Repo) gate.User {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.people[r.Owner]
}

func done(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w simWorld) Repo(t testing.TB) gate.Repo {
	r := gate.Repo{Forge: "work", Owner: "acme", Name: w.unique("repo")}
	w.s.Repo(r, gate.RoleAdmin, map[string]string{"README.md": "hello\n"})
	return r
}

func (w simWorld) Person(t testing.TB, r gate.Repo, role gate.Role) gate.User {
	return w.s.Person(r, w.unique(role.String()), role)
}

func (w simWorld) Push(t testing.TB, r gate.Repo, from gate.SHA, files map[string]string, branches ...string) gate.SHA {
	t.Helper()
	c, err := w.s.Push(r, w.owner(r), from, files, branches...)
	done(t, err)
	return c
}

func (w simWorld) Open(t testing.TB, r gate.Repo, by gate.User, branch, base, title string) int {
	t.Helper()
	n, err := w.s.Open(r, by, branch, base, title)
	done(t, err)
	return n
}

func (w simWorld) Review(t testing.TB, r gate.Repo, n int, by gate.User, state gate.ReviewState) {
	t.Helper()
	done(t, w.s.Review(r, n, by, state))
}

func (w simWorld) Label(t testing.TB, r gate.Repo, n int, by gate.User, label string) {
	t.Helper()
	done(t, w.s.Label(r, n, by, label))
}

func (w simWorld) Comment(t testing.TB, r gate.Repo, n int, by gate.User, body string) int64 {
	t.Helper()
	id, err := w.s.Comment(r, n, by, body)
	done(t, err)
	return id
}

func (w simWorld) CreateIssue(t testing.TB, r gate.Repo, by gate.User, title, body string) int {
	t.Helper()
	n, err := w.s.Issue(r, by, title, body)
	done(t, err)
	return n
}

func (w simWorld) Retarget(t testing.TB, r gate.Repo, n int, base string) {
	t.Helper()
	done(t, w.s.Retarget(r, n, w.owner(r), base))
}

func (w simWorld) Draft(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	done(t, w.s.Draft(r, n, w.owner(r)))
}

func (w simWorld) Close(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	done(t, w.s.Close(r, n, w.owner(r)))
}

func (w simWorld) Protect(t testing.TB, r gate.Repo, branch string, approvals int) {
	w.s.Protect(r, branch, Protection{Approvals: approvals})
}
