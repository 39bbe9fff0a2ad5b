package localhub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/gate"
)

// commitIn makes a commit in a working copy.
func (w *world) commitIn(dir, name string) {
	w.t.Helper()
	w.must(os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), 0o644))
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", "Add " + name}} {
		if out, err := w.gitIn(dir, args...); err != nil {
			w.t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
}

// TestPush: a push with git is seen by the API, by pull requests, and in
// refs/pull.
func TestPush(t *testing.T) {
	w := newWorld(t, Options{})
	n, _ := w.propose("feature", map[string]string{"a.txt": "a\n"})
	w.must(w.Review("ann/lib", n, "ann", gate.Approved))
	dir := w.clone(w.bob.Token, "ann/lib")
	if out, err := w.gitIn(dir, "checkout", "-q", "feature"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.commitIn(dir, "b.txt")
	if out, err := w.gitIn(dir, "push", "-q", "origin", "feature"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	head, _ := w.gitIn(dir, "rev-parse", "HEAD")
	a := w.ask(200, "GET", "/pulls/1", nil)
	if a.text("head.sha") != head || a.get("commits") != 2.0 || a.get("changed_files") != 2.0 {
		t.Errorf("head %s of %v commits, pushed %s", a.text("head.sha"), a.get("commits"), head)
	}
	out, err := w.gitIn(dir, "ls-remote", "origin", "refs/pull/1/head")
	if err != nil || !strings.HasPrefix(out, head) {
		t.Errorf("refs/pull/1/head: %s, %v", out, err)
	}
	// Amended and pushed by force: the timeline says so, and what was pushed
	// before does not.
	if out, err := w.gitIn(dir, "commit", "-q", "--amend", "-m", "Amended"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := w.gitIn(dir, "push", "-q", "--force-with-lease", "origin", "feature"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	timeline := string(w.ask(200, "GET", "/issues/1/timeline", nil).body)
	if strings.Count(timeline, `"event":"committed"`) != 2 || strings.Count(timeline, `"event":"head_ref_force_pushed"`) != 1 {
		t.Errorf("timeline %s", timeline)
	}
	// Only who may write pushes, and refs/pull is nobody's.
	stranger := w.user("eve")
	other := w.clone(stranger.Token, "ann/lib")
	w.commitIn(other, "c.txt")
	if out, err := w.gitIn(other, "push", "-q", "origin", "HEAD:refs/heads/eve"); err == nil {
		t.Errorf("a stranger pushed: %s", out)
	}
	if out, err := w.gitIn(dir, "push", "-q", "-f", "origin", "HEAD~1:refs/pull/1/head"); err == nil {
		t.Errorf("somebody pushed to refs/pull: %s", out)
	}
}

// TestPushToProtected: git is told why, in GitHub's words, and nothing moves.
func TestPushToProtected(t *testing.T) {
	w := newWorld(t, Options{})
	protect(Protection{Approvals: 1})(w)
	was := w.tip("main")
	dir := w.clone(w.ann.Token, "ann/lib")
	w.commitIn(dir, "b.txt")
	out, err := w.gitIn(dir, "push", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/free")
	if err == nil || !strings.Contains(out, "GH006: Protected branch update failed for refs/heads/main") || !strings.Contains(out, "At least 1 approving review") {
		t.Errorf("pushed: %v\n%s", err, out)
	}
	if w.tip("main") != was || w.tip("free") != "" {
		t.Error("something moved")
	}
	w.must(w.Protect("ann/lib", "main", nil))
	if out, err := w.gitIn(dir, "push", "-q", "origin", "HEAD:refs/heads/main"); err != nil {
		t.Errorf("open again: %v\n%s", err, out)
	}
}

// TestFork: a pull request from a fork, whose branch a maintainer may push to
// and an App may not.
func TestFork(t *testing.T) {
	w, _, _, token := appWorld(t)
	eve := w.user("eve")
	fork, err := w.Fork("ann/lib", "eve")
	w.must(err)
	if _, err = w.Commit(fork, "eve", "patch", "Patch", map[string]string{"p.txt": "p\n"}); err != nil {
		t.Fatal(err)
	}
	n, err := w.OpenPR("ann/lib", "eve", "eve:patch", "main", "A patch")
	w.must(err)
	a := w.ask(200, "GET", sprint("/pulls/", n), nil)
	if a.text("head.repo.full_name") != "eve/lib" || a.text("base.repo.full_name") != "ann/lib" || a.get("maintainer_can_modify") != true {
		t.Errorf("%s", a.body)
	}
	dir := w.clone(w.bob.Token, fork)
	if out, err := w.gitIn(dir, "checkout", "-q", "patch"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.commitIn(dir, "q.txt")
	if out, err := w.gitIn(dir, "push", "-q", "origin", "patch"); err != nil {
		t.Errorf("a maintainer pushes: %v\n%s", err, out)
	}
	head, _ := w.gitIn(dir, "rev-parse", "HEAD")
	if got := w.ask(200, "GET", sprint("/pulls/", n), nil).text("head.sha"); got != head {
		t.Errorf("head %s, pushed %s", got, head)
	}
	bot := w.clone(token, fork)
	w.commitIn(bot, "r.txt")
	if out, err := w.gitIn(bot, "push", "-q", "origin", "HEAD:refs/heads/patch"); err == nil {
		t.Errorf("an App pushes to a fork: %s", out)
	}
	w.must(w.Merge("ann/lib", n, "ann", gate.Merge))
	if eve.ID == 0 || w.ask(200, "GET", sprint("/pulls/", n), nil).get("merged") != true {
		t.Error("not merged")
	}
}
