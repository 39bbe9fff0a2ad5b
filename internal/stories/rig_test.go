// Package stories tells what mergegate does to people's pull requests, on a real
// Gitea, with the real program in its own process. Each story is judged from
// outside: by the git history of main, the forge's API, and the comments.
//
// Every story runs twice: with webhooks (and polling so slow that it cannot
// help), and with every webhook lost (and quick polling).
package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
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
const patience = 60 * time.Second

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

// replica is one running mergegate.
type replica struct {
	w    *world
	cmd  *exec.Cmd
	url  string
	log  string
	conf string
	done chan struct{}
}

// start runs a mergegate. Its data directory is its own. extra is more
// configuration, at the top level.
func (w *world) start(extra ...string) *replica {
	w.Helper()
	dir := w.TempDir()
	r := &replica{w: w, log: filepath.Join(dir, "log"), conf: filepath.Join(dir, "config.yaml")}
	listen := freePort(w.TB)
	r.url = "http://" + listen
	poll := "poll: {active: 1s, idle: 1s}\n"
	if w.hooks {
		poll = "poll: {active: 30s, idle: 30s}\n"
	}
	w.must(os.WriteFile(filepath.Join(dir, "token"), []byte(w.bot.Token), 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "secret"), []byte("a webhook secret"), 0o600))
	config := fmt.Sprintf("listen: %s\nexternal_url: %s\ndata_dir: %s\nlog: {level: debug, format: text}\n"+
		"forges:\n- {name: work, type: gitea, url: %q, token_file: token, webhook_secret_file: secret, repos: [%s]}\n"+
		"defaults:\n%s%s%s", listen, r.url, filepath.Join(dir, "data"), w.proxy.url, w.repo, w.policy, poll, strings.Join(extra, ""))
	if !strings.Contains(config, "lease:") {
		config += "lease: {ttl: 10s, renew: 2s, settle: 300ms}\n"
	}
	w.must(os.WriteFile(r.conf, []byte(config), 0o600))
	w.replicas = append(w.replicas, r)
	r.run()
	if w.hooks {
		w.api(w.alice, "POST", "/repos/"+w.repo+"/hooks", map[string]any{
			"type": "gitea", "active": true, "events": []string{"pull_request", "push", "status"},
			"config": map[string]string{"url": r.url + "/webhook/work", "content_type": "json", "secret": "a webhook secret"},
		}, nil)
	}
	return r
}

func (r *replica) run() {
	r.w.Helper()
	out, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	r.w.must(err)
	r.cmd = exec.Command(program, "serve", "--config", r.conf)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r.w.must(r.cmd.Start())
	out.Close()
	r.done = make(chan struct{})
	go func() { r.cmd.Wait(); close(r.done) }()
	r.w.Cleanup(r.kill)
	r.w.until("mergegate to be ready", func() bool {
		select {
		case <-r.done:
			r.w.Fatalf("mergegate ended\n%s", r.w.logs())
		default:
		}
		resp, err := http.Get(r.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// kill is SIGKILL, to the program and all its children.
func (r *replica) kill() {
	syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.done
}

// stop is SIGTERM; the program must end by itself.
func (r *replica) stop() {
	r.w.Helper()
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(patience):
		r.w.Fatal("mergegate did not stop")
	}
}

// logs are the logs of all replicas, for a story that failed.
func (w *world) logs() string {
	var b strings.Builder
	for _, r := range w.replicas {
		data, _ := os.ReadFile(r.log)
		lines := strings.Split(string(data), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", r.url, strings.Join(lines[max(0, len(lines)-80):], "\n"))
	}
	return b.String()
}

// queue is what /api/queue of the first replica says about a PR: its state, "" when unknown.
func (w *world) state(n int) string {
	w.Helper()
	for _, r := range w.replicas {
		resp, err := http.Get(r.url + "/api/queue")
		if err != nil {
			continue
		}
		var queues []struct {
			Requests []struct {
				PR    int    `json:"pr"`
				State string `json:"state"`
			} `json:"requests"`
		}
		err = json.NewDecoder(resp.Body).Decode(&queues)
		resp.Body.Close()
		if err != nil {
			continue
		}
		for _, q := range queues {
			for _, x := range q.Requests {
				if x.PR == n {
					return x.State
				}
			}
		}
	}
	return ""
}

// proxy stands between mergegate and Gitea. It counts, and can do things to a
// request when a story asks for it.
type proxy struct {
	url   string
	calls atomic.Int64
	// meddle is called for each API request; true means that it has answered.
	meddle atomic.Pointer[func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool]
}

func newProxy(t testing.TB, target string) *proxy {
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	rp := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	p := &proxy{}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			p.calls.Add(1)
		}
		if m := p.meddle.Load(); m != nil {
			forward := func() *bytes.Buffer {
				rec := &recorder{header: http.Header{}, code: 200}
				rp.ServeHTTP(rec, r)
				return &rec.body
			}
			if (*m)(rw, r, forward) {
				return
			}
		}
		rp.ServeHTTP(rw, r)
	})}
	l := listen(t)
	p.url = "http://" + l.Addr().String()
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return p
}

// on does something to the requests that match until it says that it is done.
func (p *proxy) on(f func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool) {
	p.meddle.Store(&f)
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
