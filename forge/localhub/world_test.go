package localhub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mergegate/gate"
	"mergegate/internal/ghspec"
)

// judged loads GitHub's description once for all tests.
var judged = sync.OnceValues(ghspec.New)

// TestMain tells what was judged.
func TestMain(m *testing.M) {
	code := m.Run()
	judge, err := judged()
	if err == nil {
		err = judge.Report().Print("forge/localhub")
	}
	if err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// world is a hub whose every answer and webhook is held to GitHub's description,
// with an owner ann, a writer bob and a repository ann/lib.
type world struct {
	*Hub
	t        *testing.T
	ann, bob User
	known    []string // header that says what the next call knows already
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	judge, err := judged()
	if err != nil {
		t.Fatal(err)
	}
	o.Wrap = judge.Handler
	o.Emitted = func(event, action string, body []byte) {
		if err := judge.Webhook(event, action, body); err != nil {
			t.Errorf("%v\n%s", err, body)
		}
	}
	o.Dir = t.TempDir()
	h, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	before := len(judge.Report().Violations)
	t.Cleanup(func() {
		h.Stop()
		for _, v := range judge.Report().Violations[before:] {
			t.Error(v)
		}
	})
	w := &world{Hub: h, t: t}
	w.ann, w.bob = w.user("ann"), w.user("bob")
	w.must(h.AddRepo("ann/lib"))
	w.must(h.Collaborate("ann/lib", "bob", gate.RoleWrite))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(login string) User {
	w.t.Helper()
	u, err := w.AddUser(login)
	w.must(err)
	return u
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get is a field of the answer, by its path: "head.sha", "0.name".
func (a answer) get(path string) any {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return nil
	}
	for _, key := range strings.Split(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			var n int
			if _, err := fmt.Sscan(key, &n); err != nil || n >= len(in) {
				return nil
			}
			v = in[n]
		default:
			return nil
		}
	}
	return v
}

func (a answer) text(path string) string {
	s, _ := a.get(path).(string)
	return s
}

// call asks the REST API. token "" is nobody; more are header lines.
func (w *world) call(token, method, path string, in any, more ...string) answer {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		w.must(err)
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.API+path, body)
	w.must(err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, line := range more {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	w.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	w.must(err)
	return answer{resp.StatusCode, resp.Header, data}
}

// ask is call in ann/lib as ann, and must answer the status.
func (w *world) ask(status int, method, path string, in any) answer {
	w.t.Helper()
	a := w.call(w.ann.Token, method, "/repos/ann/lib"+path, in)
	if a.status != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// propose commits on a new branch and opens a pull request by bob.
func (w *world) propose(branch string, files map[string]string) (int, gate.SHA) {
	w.t.Helper()
	head, err := w.Commit("ann/lib", "bob", branch, "Change "+branch, files)
	w.must(err)
	n, err := w.OpenPR("ann/lib", "bob", branch, "main", "Change "+branch)
	w.must(err)
	return n, head
}

func (w *world) tip(branch string) gate.SHA {
	w.t.Helper()
	id, err := w.Tip("ann/lib", branch)
	w.must(err)
	return id
}

// clone makes a working copy with the token's rights.
func (w *world) clone(token, repo string) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "clone")
	url := strings.Replace(w.CloneURL(repo), "://", "://x-access-token:"+token+"@", 1)
	if out, err := w.gitIn(".", "clone", "-q", url, dir); err != nil {
		w.t.Fatalf("clone: %v\n%s", err, out)
	}
	return dir
}

func (w *world) gitIn(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Bob", "GIT_AUTHOR_EMAIL=bob@example.test", "GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.test")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func sprint(parts ...any) string { return fmt.Sprint(parts...) }

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
