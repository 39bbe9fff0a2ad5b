// Package stories tells what mergegate does to people's pull requests, on a real
// Gitea, with the real program in its own process. Each story is judged from
// outside: by the git history of main, the forge's API, and the comments.
//
// Every story runs twice: with webhooks (and polling so slow that it cannot
// help), and with every webhook lost (and quick polling).
package stories

import (
	"context"
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	// Stories mostly wait, for a lease to run out, for a poll: several at once
	// cost little, whatever the number of processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	code := giteatest.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// patience is how long a story waits for something that must happen.
const patience = 2 * time.Minute

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

// world is one repository with its people. Alice owns it, bob reviews (write),
// carol is the author of changes (write), mallory may only read; bot is mergegate.
type world struct {
	testing.TB
	gitea                           *giteatest.Server
	alice, bob, carol, mallory, bot giteatest.User
	repo                            string // owner/name
	clone                           string // carol's clone
	hooks                           bool
	proxy                           *proxy
	policy                          string // under "defaults:", a line each
	replicas                        []*replica
}

// green is the test of the stories' repository: it fails when any file says
// "broken", and when both feature files are there (green alone, red together).
const green = `! grep -rq broken . && ! { test -e left && test -e right; }`

func newWorld(t testing.TB, hooks bool) *world {
	t.Helper()
	s := giteatest.Shared(t)
	w := &world{TB: t, gitea: s, hooks: hooks}
	for _, p := range []struct {
		who  *giteatest.User
		name string
	}{{&w.alice, "alice"}, {&w.bob, "bob"}, {&w.carol, "carol"}, {&w.mallory, "mallory"}, {&w.bot, "bot"}} {
		u, err := s.CreateUser(t.Context(), s.Unique(p.name))
		w.must(err)
		*p.who = u
	}
	w.must(s.CreateRepo(t.Context(), w.alice, "widgets"))
	w.repo = w.alice.Name + "/widgets"
	for _, u := range []giteatest.User{w.bob, w.carol, w.bot} {
		w.must(s.AddCollaborator(t.Context(), w.repo, u.Name, "write"))
	}
	w.must(s.AddCollaborator(t.Context(), w.repo, w.mallory.Name, "read"))
	w.api(w.alice, "POST", "/repos/"+w.repo+"/labels", map[string]string{"name": "merge", "color": "#00aabb"}, nil)
	w.api(w.alice, "PATCH", "/repos/"+w.repo, map[string]any{"allow_fast_forward_only_merge": true}, nil)
	w.proxy = newProxy(t, s.URL)
	w.clone = filepath.Join(t.TempDir(), "clone")
	w.git("clone", "-q", s.CloneURL(w.carol, w.repo), w.clone)
	w.git("-C", w.clone, "config", "user.name", w.carol.Name)
	w.git("-C", w.clone, "config", "user.email", w.carol.Name+"@example.test")
	w.policy = "  require: {approvals: 0}\n  retest: {command: '" + strings.ReplaceAll(green, "'", "''") + "', timeout: 1m}\n"
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// api calls Gitea as somebody; any refusal fails the story.
func (w *world) api(as giteatest.User, method, path string, in, out any) {
	w.Helper()
	w.must(w.gitea.API(context.Background(), as.Token, method, path, in, out))
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
	for _, f := range slices.Sorted(mapsKeys(files)) {
		w.must(os.WriteFile(filepath.Join(w.clone, f), []byte(files[f]), 0o644))
		w.in("add", f)
		w.in("commit", "-q", "-m", "change "+f)
	}
}

func mapsKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// pull opens carol's PR with the given files on a branch off main.
func (w *world) pull(branch string, files map[string]string) int {
	w.Helper()
	w.branch(branch, "origin/main", files)
	return w.open(branch, "main")
}

func (w *world) open(branch, base string) int {
	w.Helper()
	var pr struct {
		Number int `json:"number"`
	}
	w.api(w.carol, "POST", "/repos/"+w.repo+"/pulls", map[string]string{"head": branch, "base": base, "title": "Add " + branch}, &pr)
	return pr.Number
}

// pushMain puts a commit on main, as alice would.
func (w *world) pushMain(file, text string) string {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", "direct", "origin/main")
	w.commit(map[string]string{file: text})
	w.in("push", "-q", w.gitea.CloneURL(w.alice, w.repo), "HEAD:main")
	return w.in("rev-parse", "HEAD")
}

func (w *world) label(as giteatest.User, pr int) {
	w.Helper()
	w.api(as, "POST", fmt.Sprintf("/repos/%s/issues/%d/labels", w.repo, pr), map[string]any{"labels": []string{"merge"}}, nil)
}

func (w *world) unlabel(as giteatest.User, pr int) {
	w.Helper()
	var labels []struct {
		ID int64 `json:"id"`
	}
	w.api(as, "GET", fmt.Sprintf("/repos/%s/issues/%d/labels", w.repo, pr), nil, &labels)
	for _, l := range labels {
		w.api(as, "DELETE", fmt.Sprintf("/repos/%s/issues/%d/labels/%d", w.repo, pr, l.ID), nil, nil)
	}
}

func (w *world) comment(as giteatest.User, pr int, text string) int64 {
	w.Helper()
	var c struct {
		ID int64 `json:"id"`
	}
	w.api(as, "POST", fmt.Sprintf("/repos/%s/issues/%d/comments", w.repo, pr), map[string]string{"body": text}, &c)
	return c.ID
}

func (w *world) approve(as giteatest.User, pr int) int64 {
	w.Helper()
	var r struct {
		ID int64 `json:"id"`
	}
	w.api(as, "POST", fmt.Sprintf("/repos/%s/pulls/%d/reviews", w.repo, pr), map[string]string{"event": "APPROVED", "body": "fine"}, &r)
	return r.ID
}

// pullRequest is what the API says of a PR.
type pullRequest struct {
	State  string `json:"state"`
	Merged bool   `json:"merged"`
	Commit string `json:"merge_commit_sha"`
	Head   struct {
		SHA string `json:"sha"`
	} `json:"head"`
	Labels []struct {
		Name string `json:"name"`
	} `json:"labels"`
}

func (w *world) pr(n int) (pr pullRequest) {
	w.Helper()
	w.api(w.alice, "GET", fmt.Sprintf("/repos/%s/pulls/%d", w.repo, n), nil, &pr)
	return pr
}

func (p pullRequest) labelled() bool {
	return slices.ContainsFunc(p.Labels, func(l struct {
		Name string `json:"name"`
	}) bool {
		return l.Name == "merge"
	})
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
	} `json:"user"`
}

func (w *world) comments(n int) (all []comment) {
	w.Helper()
	w.api(w.alice, "GET", fmt.Sprintf("/repos/%s/issues/%d/comments", w.repo, n), nil, &all)
	return all
}

// sticky is the text of mergegate's one comment, "" if there is none yet. More
// than one fails the story.
func (w *world) sticky(n int) string {
	w.Helper()
	var out []string
	for _, c := range w.comments(n) {
		if c.User.Login == w.bot.Name {
			out = append(out, c.Body)
		}
	}
	if len(out) > 1 {
		w.Fatalf("#%d has %d comments by mergegate:\n%s", n, len(out), strings.Join(out, "\n-----\n"))
	}
	return html.UnescapeString(strings.Join(out, "")) // as people read it
}

// status is mergegate's commit status on a commit: "state: text".
func (w *world) status(sha string) string {
	w.Helper()
	var combined struct {
		Statuses []struct{ Context, Status, Description string }
	}
	w.api(w.alice, "GET", "/repos/"+w.repo+"/commits/"+sha+"/status", nil, &combined)
	for _, s := range combined.Statuses {
		if s.Context == "mergegate" {
			return s.Status + ": " + s.Description
		}
	}
	return ""
}

// until polls a condition. what completes the sentence "waiting for …".
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.Fatalf("gave up waiting for %s\n#1 says: %s\n%s", what, w.sticky(1), w.logs())
		}
		time.Sleep(50 * time.Millisecond)
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
	if pr := w.pr(n); pr.Merged {
		w.Fatalf("#%d was merged", n)
	} else if s := w.status(pr.Head.SHA); pr.State == "open" && s != "" && !strings.HasPrefix(s, "failure: ") {
		w.Fatalf("the last status of #%d is %q", n, s)
	}
}

// says waits until the sticky comment contains a text.
func (w *world) says(n int, text string) {
	w.Helper()
	w.until(fmt.Sprintf("#%d to say %q", n, text), func() bool { return strings.Contains(w.sticky(n), text) })
}

// mainIsGreen runs the test on every commit of main, and checks that main was
// never rewound: the first commit is still there.
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

// reactions are the names of the bot's reactions to a comment.
func (w *world) reactions(comment int64) (names []string) {
	w.Helper()
	var all []struct {
		Content string `json:"content"`
		User    struct {
			Login string `json:"login"`
		} `json:"user"`
	}
	w.api(w.alice, "GET", fmt.Sprintf("/repos/%s/issues/comments/%d/reactions", w.repo, comment), nil, &all)
	for _, r := range all {
		if r.User.Login == w.bot.Name {
			names = append(names, r.Content)
		}
	}
	return names
}

// ci posts a commit status as CI would.
func (w *world) ci(sha, context, state string) {
	w.Helper()
	w.api(w.alice, "POST", "/repos/"+w.repo+"/statuses/"+sha, map[string]string{"context": context, "state": state}, nil)
}
