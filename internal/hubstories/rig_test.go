// Package hubstories tells what mergegate does to people's pull requests on a
// GitHub, as a GitHub App, with the real program in its own process. The GitHub
// is forge/localhub, and every exchange is held to GitHub's own description. Each
// story is judged from outside: by the git history of main, the REST API, and the
// comments.
//
// Every story runs twice: with webhooks (and polling so slow that it cannot
// help), and with every webhook lost (and quick polling). Each has a hub of its
// own, because the program keeps a second between writes to one installation.
package hubstories

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/forge/localhub"
	"mergegate/gate"
	"mergegate/internal/ghspec"
)

// program is the built mergegate; TestMain makes it.
var program string

// judge compares all that is said over REST with GitHub's description.
var judge = sync.OnceValues(ghspec.New)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mergegate-hubstories-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "mergegate")
	build := exec.Command("go", "build", "-o", program, "mergegate")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(fmt.Sprintf("build mergegate: %v", err))
	}
	// Stories mostly wait, for the second between two writes or for a poll:
	// several at once cost little, whatever the number of processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	if j, err := judge(); err != nil {
		fmt.Println(err)
		code = 1
	} else if r := j.Report(); len(r.Violations) > 0 {
		fmt.Println(r)
		code = 1
	}
	os.Exit(code)
}

// patience is how long a story waits for something that must happen.
const patience = 3 * time.Minute

// each runs a story with webhooks and without.
func each(t *testing.T, tell func(t *testing.T, w *world)) {
	t.Parallel()
	for _, hooks := range []bool{true, false} {
		name := "webhooks"
		if !hooks {
			name = "webhooks lost"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tell(t, newWorld(t, hooks))
		})
	}
}

// The people. Alice owns the repository, bob reviews (write), carol is the author
// of changes (write), mallory may only read.
const (
	alice, bob, carol, mallory = "alice", "bob", "carol", "mallory"
	repo                       = "alice/widgets"
)

// world is a GitHub with one repository, its people, and mergegate's App.
type world struct {
	testing.TB
	*wire
	hub          *localhub.Hub
	app          localhub.App
	installation int64
	bot          string            // the App's login
	tokens       map[string]string // by login
	clone        string            // carol's clone
	hooks        bool
	poll         string // how often mergegate polls
	policy       string // under "defaults:", a line each
	replicas     []*replica
}

// green is the test of the stories' repository: it fails when any file says
// "broken", and when both feature files are there (green alone, red together).
const green = `! grep -rq broken . && ! { test -e left && test -e right; }`

func newWorld(t testing.TB, hooks bool) *world {
	t.Helper()
	w := &world{TB: t, wire: &wire{}, tokens: map[string]string{}, hooks: hooks, poll: "1s"}
	if hooks {
		w.poll = "40s"
	}
	j, err := judge()
	w.must(err)
	w.hub, err = localhub.Start(t.Context(), localhub.Options{Dir: t.TempDir(), RateLimit: 1 << 20, Wrap: w.wrap(j)})
	w.must(err)
	t.Cleanup(w.hub.Stop)
	for _, login := range []string{alice, bob, carol, mallory} {
		u, err := w.hub.AddUser(login)
		w.must(err)
		w.tokens[login] = u.Token
	}
	w.must(w.hub.AddRepo(repo))
	w.must(w.hub.Collaborate(repo, bob, gate.RoleWrite))
	w.must(w.hub.Collaborate(repo, carol, gate.RoleWrite))
	w.must(w.hub.CreateLabel(repo, "merge", "00aabb"))
	w.app, err = w.hub.CreateApp(alice, "Queue", "")
	w.must(err)
	w.bot = w.app.Slug + "[bot]"
	w.installation, err = w.hub.InstallApp(w.app.ID, repo)
	w.must(err)
	w.clone = filepath.Join(t.TempDir(), "clone")
	w.git("clone", "-q", w.cloneURL(carol), w.clone)
	w.in("config", "user.name", carol)
	w.in("config", "user.email", carol+"@example.test")
	w.policy = "  require: {approvals: 0}\n  retest: {command: '" + green + "', timeout: 1m}\n"
	return w
}

// manual makes CI the judge, so that a story decides how long testing takes.
func (w *world) manual() {
	w.policy = "  require: {approvals: 0}\n  retest: {checks: ['ci']}\n"
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) cloneURL(as string) string {
	return strings.Replace(w.hub.CloneURL(repo), "://", "://"+as+":"+w.tokens[as]+"@", 1)
}

func (w *world) git(args ...string) string {
	w.Helper()
	out, err := exec.Command("git", args...).CombinedOutput()
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// in runs git in carol's clone.
func (w *world) in(args ...string) string {
	w.Helper()
	return w.git(append([]string{"-C", w.clone}, args...)...)
}

// commit commits the files, one commit each, on the current branch.
func (w *world) commit(files ...string) {
	w.Helper()
	for i := 0; i < len(files); i += 2 {
		w.must(os.WriteFile(filepath.Join(w.clone, files[i]), []byte(files[i+1]), 0o644))
		w.in("add", files[i])
		w.in("commit", "-q", "-m", "change "+files[i])
	}
}

// branch pushes a branch off main with these files: name, text, name, text, …
func (w *world) branch(name string, files ...string) {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", name, "origin/main")
	w.commit(files...)
	w.in("push", "-q", "--force", "origin", name)
}

// pull opens carol's PR with the given files on a branch off main.
func (w *world) pull(branch string, files ...string) int {
	w.Helper()
	w.branch(branch, files...)
	n, err := w.hub.OpenPR(repo, carol, branch, "main", "Add "+branch)
	w.must(err)
	return n
}

// more pushes one more commit to the PR's branch, as its author.
func (w *world) more(branch string) {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", branch, "origin/"+branch)
	w.commit("unreviewed", "1")
	w.in("push", "-q", "origin", branch)
}

// pushMain puts a commit on main, as alice would.
func (w *world) pushMain(file, text string) string {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", "direct", "origin/main")
	w.commit(file, text)
	w.in("push", "-q", w.cloneURL(alice), "HEAD:main")
	return w.in("rev-parse", "HEAD")
}

func (w *world) label(by string, pr int) {
	w.Helper()
	w.must(w.hub.Label(repo, pr, by, "merge"))
}

func (w *world) comment(by string, pr int, text string) int64 {
	w.Helper()
	id, err := w.hub.Comment(repo, pr, by, text)
	w.must(err)
	return id
}

func (w *world) review(by string, pr int, s gate.ReviewState) {
	w.Helper()
	w.must(w.hub.Review(repo, pr, by, s))
}

// ci posts a commit status as CI would.
func (w *world) ci(sha, state string) {
	w.Helper()
	w.must(w.hub.Status(repo, gate.SHA(sha), alice, "ci", state, ""))
}

// mainIsGreen runs the test on every commit of main, first to last, and gives
// them.
func (w *world) mainIsGreen() []string {
	w.Helper()
	w.in("fetch", "-q", "origin")
	commits := strings.Fields(w.in("rev-list", "--reverse", "--first-parent", "origin/main"))
	for _, c := range commits {
		dir := w.TempDir()
		cmd := exec.Command("sh", "-c", "git -C "+w.clone+" archive "+c+" | tar -x -C "+dir+" && cd "+dir+" && "+green)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Errorf("main is red at %s: %v %s", c, err, out)
		}
	}
	return commits
}

// has says whether main has the file.
func (w *world) has(file string) bool {
	w.Helper()
	w.in("fetch", "-q", "origin")
	return w.in("ls-tree", "--name-only", "origin/main", file) != ""
}

// notLanded fails the story when the author's late commit is on main.
func (w *world) notLanded(pr int) {
	w.Helper()
	if w.pr(pr).Merged || w.has("unreviewed") {
		w.Error("an unreviewed commit landed")
	}
}

// calls counts what mergegate asked the REST API, and how much of it counted
// against the limit.
func (w *world) calls() (all, paid, writes int) {
	for _, e := range w.hub.Exchanges() {
		if e.Login != w.bot {
			continue
		}
		all++
		if !e.Free {
			paid++
		}
		if e.Method != "GET" {
			writes++
		}
	}
	return all, paid, writes
}

// until polls a condition. what completes the sentence "waiting for …".
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.Fatalf("gave up waiting for %s\n#1 says: %s\n%s", what, w.sticky(1), w.logs())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// landed waits until the PR is merged and its outcome is told.
func (w *world) landed(n int) pullRequest {
	w.Helper()
	w.until(fmt.Sprintf("#%d to land and be told so", n), func() bool {
		return w.pr(n).Merged && strings.Contains(w.sticky(n), "Landed as")
	})
	pr := w.pr(n)
	w.until("the status to say so", func() bool { return strings.HasPrefix(w.status(pr.Head.SHA), "success: Landed as") })
	return pr
}

// dropped waits until the PR was dropped for a reason that contains why.
func (w *world) dropped(n int, why string) {
	w.Helper()
	w.until(fmt.Sprintf("#%d to be dropped because of %q", n, why), func() bool {
		return strings.Contains(w.sticky(n), why) && !w.pr(n).labelled() && strings.Contains(w.sticky(n), "sk again")
	})
	if w.pr(n).Merged {
		w.Fatalf("#%d was merged", n)
	}
}

// says waits until the sticky comment contains a text.
func (w *world) says(n int, text string) {
	w.Helper()
	w.until(fmt.Sprintf("#%d to say %q", n, text), func() bool { return strings.Contains(w.sticky(n), text) })
}

// testing waits until CI is awaited for the PR, and gives the candidate.
func (w *world) testing(pr int) string {
	w.Helper()
	w.until(fmt.Sprintf("#%d to be tested", pr), func() bool { return w.state(pr) == "testing" })
	return w.pr(pr).Head.SHA
}

func (p pullRequest) labelled() bool {
	return slices.ContainsFunc(p.Labels, func(l named) bool { return l.Name == "merge" })
}
