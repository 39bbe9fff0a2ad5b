// Package stories tells what mergegate does to people's pull requests, with the
// real program in its own process, on two stages: a real Gitea, and the small
// GitHub of forge/localhub, where mergegate is an App (in some stories an account
// with a token) and GitHub's own description judges every exchange and webhook.
// Each story is judged from outside: by the git history of main, the forge's API,
// and the comments. Where its end is not the same on both, docs/design.md has a
// row that says so, and the story names it (world.differs, world.notHere).
//
// Every story is told twice on each stage: with webhooks (and polling so slow that
// it cannot help), and with every webhook lost (and quick polling).
//
// The program is started in replica_test.go; all it says to the forge, git
// included, goes through proxy_test.go.
package stories

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mergegate/gate"
	"mergegate/internal/canary"
	"mergegate/internal/giteatest"
)

// program is the built mergegate; TestMain makes it.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mergegate-stories-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "mergegate")
	build := exec.Command("go", "build", "-o", program, "mergegate")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(fmt.Sprintf("build mergegate: %v", err))
	}
	// Stories mostly wait, for a lease to run out, for a poll, for the second
	// between two writes: several at once cost little, whatever the number of
	// processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	code := giteatest.Main(m)
	os.RemoveAll(dir)
	secrets.print()
	if err := verdict(); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// verdict is GitHub's, on all that was said to the local one.
func verdict() error {
	j, err := judge()
	if err != nil {
		return err
	}
	r := j.Report()
	if len(r.Violations) > 0 {
		err = errors.New("GitHub's description does not allow that")
	}
	return errors.Join(r.Print("internal/stories"), err)
}

// patience is how long a story waits for something that must happen.
const patience = 3 * time.Minute

// each tells a story on both stages, with webhooks and without.
func each(t *testing.T, tell func(t *testing.T, w *world)) {
	t.Parallel()
	tellOn(t, tell, "gitea", "github")
}

// everywhere also tells it where mergegate signs in to GitHub with a token.
func everywhere(t *testing.T, tell func(t *testing.T, w *world)) {
	t.Parallel()
	tellOn(t, tell, "gitea", "github", "token")
}

// only tells a story that some stage cannot have: on the stages named, while the
// other says which row of docs/design.md is the reason.
func only(t *testing.T, row string, tell func(t *testing.T, w *world), stages ...string) {
	t.Parallel()
	for _, stage := range []string{"gitea", "github"} {
		if !slices.Contains(stages, stage) {
			t.Run(stage, func(t *testing.T) {
				differs(t, row)
				t.Skipf("by design: %s, see docs/design.md", row)
			})
		}
	}
	tellOn(t, tell, stages...)
}

func tellOn(t *testing.T, tell func(t *testing.T, w *world), stages ...string) {
	for _, stage := range stages {
		for name, hooks := range map[string]bool{"webhooks": true, "webhooks lost": false} {
			t.Run(stage+", "+name, func(t *testing.T) {
				t.Parallel()
				tell(t, newWorld(t, stage, hooks))
			})
		}
	}
}

// world is one repository with its people, and mergegate at work on it.
type world struct {
	testing.TB
	stage
	people
	clone    string // carol's clone
	hooks    bool
	proxy    *proxy
	canary   *canary.Watch // mergegate's secrets, and where they were seen
	policy   string        // under "defaults:", a line each
	poll     string        // how often mergegate looks by itself
	replicas []*replica
}

// people: alice owns the repository, bob reviews (write), carol is the author of
// changes (write), mallory may only read; bot is mergegate.
type people struct{ alice, bob, carol, mallory, bot person }

// green is the test of the stories' repository: it fails when any file says
// "broken", and when both feature files are there (green alone, red together).
const green = `! grep -rq broken . && ! { test -e left && test -e right; }`

func newWorld(t testing.TB, on string, hooks bool) *world {
	t.Helper()
	switch on {
	case "gitea":
		s, p := newGitea(t, giteatest.Shared(t))
		return furnish(t, s, p, hooks)
	case "github", "token":
		s, p := newHub(t, on == "github")
		return furnish(t, s, p, hooks)
	}
	t.Fatalf("there is no stage %q", on)
	return nil
}

func furnish(t testing.TB, on stage, with people, hooks bool) *world {
	t.Helper()
	w := &world{TB: t, stage: on, people: with, hooks: hooks, poll: "1s", canary: new(canary.Watch)}
	if hooks {
		w.poll = "40s"
	}
	w.proxy = newProxy(t, w.url(), w.canary)
	w.clone = w.checkout(w.carol, w.repo())
	w.policy = "  require: {approvals: 0}\n  retest: {command: '" + green + "', timeout: 1m}\n"
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// checkout is a fresh clone of a repository, as somebody.
func (w *world) checkout(as person, repo string) string {
	w.Helper()
	dir := filepath.Join(w.TempDir(), "clone")
	w.git("clone", "-q", w.cloneURL(as, repo), dir)
	w.git("-C", dir, "config", "user.name", as.name)
	w.git("-C", dir, "config", "user.email", as.name+"@example.test")
	return dir
}

func (w *world) git(args ...string) string {
	w.Helper()
	cmd := exec.Command("git", args...)
	out, err := cmd.CombinedOutput()
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

// branch makes a branch from a start point, with one commit per file, and pushes it.
func (w *world) branch(name, from string, files map[string]string) string {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", name, from)
	w.commit(files)
	w.in("push", "-q", "--force", "origin", name)
	return w.in("rev-parse", "HEAD")
}

// commit commits the files, one commit each, on the current branch.
func (w *world) commit(files map[string]string) {
	w.Helper()
	for _, f := range slices.Sorted(maps.Keys(files)) {
		w.must(os.WriteFile(filepath.Join(w.clone, f), []byte(files[f]), 0o644))
		w.in("add", f)
		w.in("commit", "-q", "-m", "change "+f)
	}
}

// pull opens carol's PR with the given files on a branch off main.
func (w *world) pull(branch string, files map[string]string) int {
	w.Helper()
	w.branch(branch, "origin/main", files)
	return w.propose(w.carol, branch, "main", "Add "+branch)
}

// pushMain puts a commit on main, as alice would.
func (w *world) pushMain(file, text string) string {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", "direct", "origin/main")
	w.commit(map[string]string{file: text})
	w.in("push", "-q", w.cloneURL(w.alice, w.repo()), "HEAD:main")
	return w.in("rev-parse", "HEAD")
}

func (w *world) approve(by person, pr int) {
	w.Helper()
	w.review(by, pr, gate.Approved)
}
