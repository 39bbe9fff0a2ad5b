package github

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/forge/localhub"
	"mergegate/gate"
	"mergegate/internal/ghspec"
)

var (
	_ forge.Forge     = (*Forge)(nil)
	_ forge.Admin     = (*Forge)(nil)
	_ forgetest.World = (*world)(nil)
)

// judge holds every request and answer of this package's tests on the hub to
// GitHub's own description.
var judge = sync.OnceValues(ghspec.New)

// TestMain fails when anything was said that GitHub's description does not allow,
// and, after a whole run, when there is a call that no test made.
func TestMain(m *testing.M) {
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String()+flag.Lookup("test.skip").Value.String() == ""
	if err := verdict(whole); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

func verdict(whole bool) error {
	j, err := judge()
	if err != nil {
		return err
	}
	r := j.Report()
	if err := r.Print("forge/github"); err != nil {
		return err
	}
	if len(r.Violations) > 0 {
		return errors.New("GitHub's description does not allow that")
	}
	if !whole {
		return nil
	}
	calls, err := j.Callable(".")
	if err != nil {
		return err
	}
	missed := slices.DeleteFunc(calls, func(c string) bool {
		// go-github's ListComments asks that only without a number, which we always give.
		return slices.Contains(r.Operations, c) || c == "issues/list-comments-for-repo"
	})
	if len(missed) > 0 {
		return fmt.Errorf("no test makes the calls %v", missed)
	}
	return nil
}

func TestSuiteAsApp(t *testing.T)     { forgetest.Run(t, newWorld(t, true)) }
func TestSuiteWithToken(t *testing.T) { forgetest.Run(t, newWorld(t, false)) }

// world is a local GitHub with one owner, the bot, and any number of people.
type world struct {
	hub   *localhub.Hub
	owner localhub.User
	forge *Forge
	app   localhub.App  // of the bot as an App
	bot   localhub.User // of the bot with a token
	last  atomic.Int64

	mu     sync.Mutex
	clones map[gate.Repo]string // working copies that people push from
}

func newWorld(t *testing.T, app bool) *world {
	t.Helper()
	return newWorldOn(t, app, localhub.Options{RateLimit: 1 << 20})
}

func newWorldOn(t *testing.T, app bool, o localhub.Options) *world {
	t.Helper()
	j, err := judge()
	check(t, err)
	o.Dir, o.Wrap = t.TempDir(), j.Handler
	o.Emitted = func(event, action string, body []byte) { j.Webhook(event, action, body) }
	hub, err := localhub.Start(t.Context(), o)
	check(t, err)
	t.Cleanup(hub.Stop)
	w := &world{hub: hub, clones: make(map[gate.Repo]string)}
	check(t, hub.AddOrg("acme"))
	w.owner, err = hub.AddUser("olga")
	check(t, err)
	if app {
		if w.app, err = hub.CreateApp("olga", "Queue", ""); err == nil {
			err = hub.SetPermission(w.app.ID, "administration", "write")
		}
	} else {
		w.bot, err = hub.AddUser("bot")
	}
	check(t, err)
	w.forge = w.as(t, j.Transport(http.DefaultTransport))
	return w
}

// as is the forge seen as the bot, over a transport.
func (w *world) as(t testing.TB, via http.RoundTripper) *Forge {
	t.Helper()
	cfg := Config{Name: "work", URL: w.hub.API, Transport: via, Pause: time.Nanosecond}
	if w.app.ID != 0 {
		cfg.AppID, cfg.Key = w.app.ID, func() ([]byte, error) { return w.app.Key, nil }
	} else {
		cfg.Token = func() (string, error) { return w.bot.Token, nil }
	}
	f, err := New(cfg)
	check(t, err)
	return f
}

func (w *world) unique(prefix string) string { return fmt.Sprintf("%s-%d", prefix, w.last.Add(1)) }

func (w *world) Forge() forge.Forge { return w.forge }

func (w *world) Repo(t testing.TB) gate.Repo {
	t.Helper()
	r := gate.Repo{Forge: "work", Owner: "acme", Name: w.unique("repo")}
	check(t, w.hub.AddRepo(r.String()))
	check(t, w.hub.Collaborate(r.String(), w.owner.Login, gate.RoleAdmin))
	if w.app.ID != 0 {
		_, err := w.hub.InstallApp(w.app.ID, r.String())
		check(t, err)
	} else {
		check(t, w.hub.Collaborate(r.String(), w.bot.Login, gate.RoleAdmin))
	}
	for _, name := range []string{"merge", "wip"} {
		check(t, w.hub.CreateLabel(r.String(), name, "00aabb"))
	}
	return r
}

func (w *world) Person(t testing.TB, r gate.Repo, role gate.Role) gate.User {
	t.Helper()
	u, err := w.hub.AddUser(w.unique(role.String()))
	check(t, err)
	if role > gate.RoleRead {
		check(t, w.hub.Collaborate(r.String(), u.Login, role))
	}
	return gate.User{ID: u.ID, Login: u.Login}
}

func (w *world) Push(t testing.TB, r gate.Repo, from gate.SHA, files map[string]string, branches ...string) gate.SHA {
	t.Helper()
	dir := w.clone(t, r)
	git(t, dir, "fetch", "-q", "origin")
	git(t, dir, "checkout", "-q", "--detach", string(from))
	for name, text := range files {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
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
		url := strings.Replace(w.hub.CloneURL(r.String()), "://", "://olga:"+w.owner.Token+"@", 1)
		git(t, dir, "clone", "-q", url, ".")
		w.clones[r] = dir
	}
	return w.clones[r]
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.test", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.test")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) Open(t testing.TB, r gate.Repo, by gate.User, branch, base, title string) int {
	t.Helper()
	n, err := w.hub.OpenPR(r.String(), by.Login, branch, base, title)
	check(t, err)
	return n
}

func (w *world) Review(t testing.TB, r gate.Repo, n int, by gate.User, s gate.ReviewState) {
	t.Helper()
	check(t, w.hub.Review(r.String(), n, by.Login, s))
}

func (w *world) Label(t testing.TB, r gate.Repo, n int, by gate.User, label string) {
	t.Helper()
	check(t, w.hub.Label(r.String(), n, by.Login, label))
}

func (w *world) Comment(t testing.TB, r gate.Repo, n int, by gate.User, body string) int64 {
	t.Helper()
	id, err := w.hub.Comment(r.String(), n, by.Login, body)
	check(t, err)
	return id
}

func (w *world) CreateIssue(t testing.TB, r gate.Repo, by gate.User, title, body string) int {
	t.Helper()
	n, err := w.hub.CreateIssue(r.String(), by.Login, title, body)
	check(t, err)
	return n
}

func (w *world) Draft(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	check(t, w.hub.Draft(r.String(), n, w.owner.Login, true))
}

func (w *world) Retarget(t testing.TB, r gate.Repo, n int, base string) {
	t.Helper()
	check(t, w.hub.Retarget(r.String(), n, w.owner.Login, base))
}

func (w *world) Close(t testing.TB, r gate.Repo, n int) {
	t.Helper()
	check(t, w.hub.Close(r.String(), n, w.owner.Login))
}

func (w *world) Protect(t testing.TB, r gate.Repo, branch string, approvals int) {
	t.Helper()
	check(t, w.hub.Protect(r.String(), branch, &localhub.Protection{Approvals: approvals, EnforceAdmins: true}))
}

func tip(t testing.TB, f *Forge, r gate.Repo, branch string) gate.SHA {
	t.Helper()
	b, err := f.Branch(t.Context(), r, branch)
	check(t, err)
	return b.Tip
}
