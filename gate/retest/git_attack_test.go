package retest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/gate"
)

// What a repository can do to the git that checks it out. NN in TestAttackNN is
// the row of docs/attacks.md.

func (r *repo) run(t *testing.T, runner *Runner, files map[string]string, command string) Result {
	t.Helper()
	c, tree := r.commit(files)
	return runner.Run(t.Context(), Job{
		Repo: gate.Repo{Forge: "f", Owner: "o", Name: "r"}, Mirror: r.dir, Commit: c, Tree: tree,
		Base: gate.SHA(strings.Repeat("1", 40)), Command: command, Timeout: time.Minute,
	})
}

func passed(t *testing.T, r *Runner, res Result) {
	t.Helper()
	if res.Verdict != Passed {
		t.Errorf("%v %s\n%s", res.Verdict, res.Why, log(t, r, res))
	}
}

// Submodules are empty directories: nothing is fetched, nothing of .gitmodules runs.
func TestAttack54Submodules(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer s.Close()
	mark := filepath.Join(t.TempDir(), "ran")
	modules := ""
	files := map[string]string{"hello": "hello\n"}
	for name, url := range map[string]string{
		"ext": "ext::sh -c touch% " + mark, "file": "file:///etc", "option": "-utouch " + mark, "http": s.URL + "/x.git", "up": "../../../etc",
	} {
		modules += "[submodule \"" + name + "\"]\n\tpath = " + name + "\n\turl = " + url + "\n\tupdate = !touch " + mark + "\n"
		files[name+"#"] = strings.Repeat("1", 40)
	}
	files[".gitmodules"] = modules
	eachRung(t, func(t *testing.T, r *Runner) {
		passed(t, r, newRepo(t).run(t, r, files, `for d in ext file option http up; do test -d $d && test -z "$(ls -A $d)" || exit 1; done`))
	})
	if _, err := os.Stat(mark); err == nil || asked.Load() > 0 {
		t.Errorf("a submodule had an effect: ran %v, %d requests", err == nil, asked.Load())
	}
}

// A symbolic link is checked out as one; neither git nor the clean-up follows it,
// also when the next commit has a directory in its place.
func TestAttack55SymbolicLinks(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		outside := t.TempDir()
		precious := filepath.Join(outside, "precious")
		if err := os.WriteFile(precious, []byte("good\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g := newRepo(t)
		passed(t, r, g.run(t, r, map[string]string{"link@": outside, "file@": precious, "up@": "../../../../../../etc/passwd", "hello": "1\n"},
			`test -L link && test -L file && test -L up`))
		// The same names as directories and files: git must replace the links, not write through them.
		passed(t, r, g.run(t, r, map[string]string{"link/precious": "evil\n", "file": "evil\n", "up/x": "evil\n", "hello": "2\n"},
			`test -d link && ! test -L link && test "$(cat link/precious file up/x)" = "$(printf 'evil\nevil\nevil')"`))
		// A test that plants links where the next checkout writes.
		passed(t, r, g.run(t, r, map[string]string{"dir/x": "1\n", "hello": "3\n"},
			`rm -rf dir hello; ln -s `+outside+` dir; ln -s `+precious+` hello`))
		passed(t, r, g.run(t, r, map[string]string{"dir/x": "2\n", "dir/precious": "evil\n", "hello": "4\n"},
			`! test -L dir && test "$(cat dir/x hello)" = "$(printf '2\n4')"`))
		if got, err := os.ReadFile(precious); err != nil || string(got) != "good\n" {
			t.Errorf("precious = %q, %v", got, err)
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
			t.Errorf("written outside: %v, %v", left, err)
		}
	})
}

// Filters, fsmonitor, hooks, and a .git that a test leaves in its tree, wherever
// it points: git never believes any of it.
func TestAttack56And57WhatATestLeavesForGit(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		out := t.TempDir()
		if err := os.Chmod(out, 0o777); err != nil { // whoever runs it could
			t.Fatal(err)
		}
		mark := filepath.Join(out, "ran")
		evil := newRepo(t) // as an attacker would prepare it
		for key, value := range map[string]string{
			"core.fsmonitor": "touch " + mark, "core.hooksPath": evil.dir.Path, "filter.x.clean": "touch " + mark + "; cat",
			"filter.x.smudge": "touch " + mark + "; cat", "core.worktree": "/", "core.bare": "false", "diff.external": "touch " + mark,
		} {
			evil.git("", "config", key, value)
		}
		for _, hook := range []string{"post-checkout", "post-index-change", "reference-transaction"} {
			if err := os.WriteFile(filepath.Join(evil.dir.Path, hook), []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		g := newRepo(t)
		attributes := map[string]string{".gitattributes": "* filter=x diff=x merge=x text eol=crlf ident\n", "a": "one $Id$\n", "hello": "1\n"}
		passed(t, r, g.run(t, r, attributes, `test "$(cat hello)" = "$(printf '1\r')" || test "$(cat hello)" = 1`))
		for _, leave := range []string{
			"rm -rf .git; printf 'gitdir: " + evil.dir.Path + "\n' > .git",
			"rm -rf .git; ln -s " + evil.dir.Path + " .git",
			"rm -rf .git; mkdir -p .git/hooks; printf '[core]\nfsmonitor=touch " + mark + "\nrepositoryformatversion=0\n' > .git/config; echo ref: refs/heads/x > .git/HEAD; mkdir .git/objects .git/refs",
			"touch index.lock; mkdir -p .git; touch .git/index.lock; echo '* filter=x' > .gitattributes; touch -d 2001-01-01 a",
		} {
			passed(t, r, g.run(t, r, attributes, leave))
			passed(t, r, g.run(t, r, map[string]string{"hello": "2\n", "b": "b\n"}, `! test -e .git && ! test -L .git && ! test -e a && test "$(cat hello b)" = "$(printf '2\nb')"`))
		}
		if _, err := os.Stat(mark); err == nil {
			t.Error("git ran what a test left for it")
		}
	})
}

// A test cannot move refs of the mirror, nor add to it. On the last rung, where
// nothing can stop it, strangers' commands do not run at all.
func TestAttack59TheMirrorIsOutOfReach(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		if r.Sandbox().Weak() {
			return
		}
		g := newRepo(t)
		g.commit(map[string]string{"hello": "before\n"})
		before := g.git("", "for-each-ref")
		path := g.dir.Path
		c, tree := g.commit(map[string]string{"hello": "hello\n"})
		at := g.git("", "for-each-ref")
		if at == before {
			t.Fatal("the commit moved nothing")
		}
		res := r.Run(t.Context(), Job{
			Repo: gate.Repo{Forge: "f", Owner: "o", Name: "r"}, Mirror: g.dir, Commit: c, Tree: tree,
			Base: gate.SHA(strings.Repeat("1", 40)), Timeout: time.Minute,
			Command: "echo " + strings.Repeat("2", 40) + " > " + path + "/refs/heads/x; echo evil > " + path + "/packed-refs; rm -rf " + path + "/objects; git --git-dir=" + path + " update-ref -d refs/heads/x; true",
		})
		passed(t, r, res)
		if got := g.git("", "for-each-ref"); got != at {
			t.Errorf("refs of the mirror are %q, were %q", got, at)
		}
		g.git("", "fsck", "--full", "--strict")
	})
}
