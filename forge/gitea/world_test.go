package gitea

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/internal/giteatest"
)

var (
	_ forge.Forge     = (*Forge)(nil)
	_ forge.Admin     = (*Forge)(nil)
	_ forgetest.World = (*world)(nil)
)

func TestMain(m *testing.M) { os.Exit(giteatest.Main(m)) }

func TestSuite(t *testing.T) { forgetest.Run(t, newWorld(t)) }

// world is a real Gitea with one owner, one bot and any number of people.
type world struct {
	srv        *giteatest.Server
	owner, bot giteatest.User
	forge      *Forge

	mu     sync.Mutex
	people map[string]giteatest.User // by login
	clones map[gate.Repo]string      // working copies that people push from
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{srv: giteatest.Shared(t), people: make(map[string]giteatest.User), clones: make(map[gate.Repo]string)}
	w.owner, w.bot = w.create(t, "owner"), w.create(t, "bot")
	w.forge = w.as(t, w.bot.Token)
	return w
}

// as is the forge seen with the token.
func (w *world) as(t testing.TB, token string) *Forge {
	t.Helper()
	f, err := New(Config{Name: "work", URL: w.srv.URL, Token: func() (string, error) { return token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (w *world) create(t testing.TB, prefix string) giteatest.User {
	t.Helper()
	u, err := w.srv.CreateUser(t.Context(), w.srv.Unique(prefix))
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.people[u.Name] = u
	return u
}

// api calls below the repository, as somebody, and must succeed.
func (w *world) api(t testing.TB, r gate.Repo, token, method, path string, in, out any) {
	t.Helper()
	if err := w.srv.API(t.Context(), token, method, "/repos/"+r.String()+path, in, out); err != nil {
		t.Fatal(err)
	}
}

func (w *world) token(u gate.User) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.people[u.Login].Token
}

func (w *world) Forge() forge.Forge { return w.forge }

func (w *world) Repo(t testing.TB) gate.Repo {
	t.Helper()
	r := gate.Repo{Forge: "work", Owner: w.owner.Name, Name: w.srv.Unique("repo")}
	if err := w.srv.CreateRepo(t.Context(), w.owner, r.Name); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.AddCollaborator(t.Context(), r.String(), w.bot.Name, "admin"); err != nil {
		t.Fatal(err)
	}
	w.api(t, r, w.owner.Token, http.MethodPatch, "", map[string]any{"allow_fast_forward_only_merge": true}, nil)
	for _, name := range []string{"merge", "wip"} {
		w.api(t, r, w.owner.Token, http.MethodPost, "/labels", map[string]string{"name": name, "color": "00aabb"}, nil)
	}
	return r
}

func (w *world) Person(t testing.TB, r gate.Repo, role gate.Role) gate.User {
	t.Helper()
	u := w.create(t, role.String())
	if role > gate.RoleRead {
		if err := w.srv.AddCollaborator(t.Context(), r.String(), u.Name, role.String()); err != nil {
			t.Fatal(err)
		}
	}
	return gate.User{ID: u.ID, Login: u.Name}
}

func (w *world) Push(t testing.TB, r gate.Repo, from gate.SHA, files map[string]string, branches ...string) gate.SHA {
	t.Helper()
	dir := w.clone(t, r)
	git(t, dir, "fetch", "-q", "origin")
	git(t, dir, "checkout", "-q", "--detach", string(from))
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", fmt.Sprint("Change ", len(files), " files"))
	args := []string{"push", "-q", "-f", "origin"}
	for _, b := range branches {
		args = append(args, "HEAD:refs/heads/"+b)
	}
	git(t, dir, args...)
	return gate.SHA(git(t, dir, "rev-parse", "HEAD"))
}

// clone is the working copy of the repository, as its owner. It lives as long as
// the test that first asked.
func (w *world) clone(t testing.TB, r gate.Repo) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clones[r] == "" {
		dir := t.TempDir()
		git(t, dir, "clone", "-q", w.srv.CloneURL(w.owner, r.String()), ".")
		w.clones[r] = dir
	}
	return w.clones[r]
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := tryGit(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
	return out
}

func tryGit(t testing.TB, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.test", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.test")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (w *world) Open(t testing.TB, r gate.Repo, by gate.User, branch, base, title string) int {
	t.Helper()
	var pr struct{ Number int }
	w.api(t, r, w.token(by), http.MethodPost, "/pulls", map[string]string{"head": branch, "base": base, "title": title}, &pr)
	return pr.Number
}

func (w *world) Review(t testing.TB, r gate.Repo, n int, by gate.User, s gate.ReviewState) {
	t.Helper()
	event := map[gate.ReviewState]string{gate.Approved: "APPROVED", gate.ChangesRequested: "REQUEST_CHANGES", gate.Commented: "COMMENT"}[s]
	w.api(t, r, w.token(by), http.MethodPost, fmt.Sprintf("/pulls/%d/reviews", n), map[string]string{"event": event, "body": "I looked."}, nil)
}

func (w *world) Label(t testing.TB, r gate.Repo, n int, by gate.User, label string) {
	t.Helper()
	w.api(t, r, w.token(by), http.MethodPost, fmt.Sprintf("/issues/%d/labels", n), map[string][]string{"labels": {label}}, nil)
}

func (w *world) Comment(t testing.TB, r gate.Repo, n int, by gate.User, body string) int64 {
	t.Helper()
	var c struct{ ID int64 }
	w.api(t, r, w.token(by), http.MethodPost, fmt.Sprintf("/issues/%d/comments", n), map[string]string{"body": body}, &c)
	return c.ID
}

func (w *world) CreateIssue(t testing.TB, r gate.Repo, by gate.User, title, body string) int {
	t.Helper()
	var i struct{ Number int }
	w.api(t, r, w.token(by), http.MethodPost, "/issues", map[string]string{"title": title, "body": body}, &i)
	return i.Number
}

func (w *world) Draft(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	w.api(t, r, w.owner.Token, http.MethodPatch, fmt.Sprintf("/pulls/%d", n), map[string]string{"title": "WIP: not yet"}, nil)
}

func (w *world) Retarget(t testing.TB, r gate.Repo, n int, base string) {
	t.Helper()
	w.api(t, r, w.owner.Token, http.MethodPatch, fmt.Sprintf("/pulls/%d", n), map[string]any{"base": base}, nil)
}

func (w *world) Close(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	w.api(t, r, w.owner.Token, http.MethodPatch, fmt.Sprintf("/issues/%d", n), map[string]string{"state": "closed"}, nil)
}

func (w *world) Protect(t testing.TB, r gate.Repo, branch string, approvals int) {
	t.Helper()
	w.protect(t, r, map[string]any{"rule_name": branch, "required_approvals": approvals})
}

func (w *world) protect(t testing.TB, r gate.Repo, rule map[string]any) {
	t.Helper()
	w.api(t, r, w.owner.Token, http.MethodPost, "/branch_protections", rule, nil)
}

// dismiss dismisses the first review, as the owner.
func (w *world) dismiss(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	var reviews []struct{ ID int64 }
	w.api(t, r, w.owner.Token, http.MethodGet, fmt.Sprintf("/pulls/%d/reviews", n), nil, &reviews)
	w.api(t, r, w.owner.Token, http.MethodPost, fmt.Sprintf("/pulls/%d/reviews/%d/dismissals", n, reviews[0].ID),
		map[string]string{"message": "Not any more."}, nil)
}

func tip(t testing.TB, f *Forge, r gate.Repo, branch string) gate.SHA {
	t.Helper()
	b, err := f.Branch(t.Context(), r, branch)
	check(t, err)
	return b.Tip
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, for half a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
