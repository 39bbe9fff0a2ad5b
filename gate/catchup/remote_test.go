package catchup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mergegate/gate"
	"mergegate/internal/git"
)

func TestFetchTakesWhatWasAskedFor(t *testing.T) {
	w := newWorld(t)
	one := w.commit("main", "one", files{"a": "1\n"})
	other := w.commit("other", "other", files{"o": "1\n"})
	w.git("update-ref", "refs/pull/7/head", string(other))
	w.git("tag", "v1", string(one))
	if err := w.m.Fetch(t.Context(), "refs/heads/main", "refs/pull/7/head"); err != nil {
		t.Fatal(err)
	}
	if got := w.mirror("for-each-ref", "--format=%(refname)"); got != "refs/heads/main\nrefs/pull/7/head\n" {
		t.Errorf("refs %q", got)
	}
	forced := w.commit("forced", "another main", files{"a": "2\n"})
	w.git("update-ref", "refs/heads/main", string(forced))
	w.fetch("main")
	if got, err := w.m.Ref(t.Context(), "refs/heads/main"); err != nil || got != forced {
		t.Errorf("main = %s, %v, want %s", got, err, forced)
	}
	if _, err := w.m.Ref(t.Context(), "refs/heads/other"); !errors.Is(err, ErrNoRef) {
		t.Errorf("a ref that was not fetched: %v", err)
	}
	if err := w.m.Fetch(t.Context(), "refs/heads/main", "refs/heads/gone"); !errors.Is(err, ErrNoRef) || !strings.Contains(err.Error(), "refs/heads/gone") || strings.Contains(err.Error(), "main") {
		t.Errorf("missing ref: %v", err)
	}
	refs, err := w.m.RemoteRefs(t.Context(), "refs/heads/main", "refs/heads/gone", "HEAD")
	if want := map[string]gate.SHA{"refs/heads/main": forced, "HEAD": forced}; err != nil || !maps.Equal(refs, want) {
		t.Errorf("RemoteRefs = %v, %v, want %v", refs, err, want)
	}
}

func TestFetchSurvivesBranchBecomingDirectory(t *testing.T) {
	w := newWorld(t)
	c := w.commit("x", "x", files{"a": "1\n"})
	w.fetch("x")
	w.git("update-ref", "-d", "refs/heads/x")
	w.git("update-ref", "refs/heads/x/y", string(c))
	w.fetch("x/y")
	if got, err := w.m.Ref(t.Context(), "refs/heads/x/y"); err != nil || got != c {
		t.Errorf("x/y = %s, %v", got, err)
	}
}

func TestFetchRemovesStaleLocks(t *testing.T) {
	w := newWorld(t)
	w.commit("main", "one", files{"a": "1\n"})
	w.fetch("main")
	two := w.commit("main", "two", files{"a": "2\n"}, gate.SHA(w.git("rev-parse", "main")))
	lock := filepath.Join(w.m.dir.Path, "refs", "heads", "main.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.fetch("main")
	if got, _ := w.m.Ref(t.Context(), "refs/heads/main"); got != two {
		t.Errorf("main = %s, want %s", got, two)
	}
}

func TestFetchCommit(t *testing.T) {
	w := newWorld(t)
	one := w.commit("main", "one", files{"a": "1\n"})
	lost := w.commit("tmp", "lost", files{"a": "2\n"}, one)
	w.git("update-ref", "-d", "refs/heads/tmp")
	if w.m.Have(t.Context(), lost) {
		t.Fatal("the mirror has it already")
	}
	for range 2 {
		if err := w.m.FetchCommit(t.Context(), lost); err != nil || !w.m.Have(t.Context(), lost) {
			t.Fatalf("FetchCommit: %v", err)
		}
	}
	if err := w.m.FetchCommit(t.Context(), gate.SHA(strings.Repeat("1", 40))); !errors.Is(err, ErrMissing) {
		t.Errorf("no such commit: %v", err)
	}
	if err := w.m.FetchCommit(t.Context(), "main"); err == nil {
		t.Error("a name passes for an id")
	}
}

func TestTransportTroubleIsNotARefusal(t *testing.T) {
	w := newWorld(t)
	one := w.commit("main", "one", files{"a": "1\n"})
	two := w.commit("main", "two", files{"a": "2\n"}, one)
	w.fetch("main")
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusBadGateway)
	}))
	defer s.Close()
	w.m.remote = Remote{URL: s.URL + "/o/r.git", Auth: func(context.Context) (string, error) { return "token hunter2", nil }}
	_, rerr := w.m.RemoteRefs(t.Context(), "refs/heads/main")
	for what, err := range map[string]error{
		"fetch":        w.m.Fetch(t.Context(), "refs/heads/main"),
		"fetch commit": w.m.FetchCommit(t.Context(), gate.SHA(strings.Repeat("1", 40))),
		"ls-remote":    rerr,
		"push":         w.m.Push(t.Context(), Push{Remote: w.m.remote, Branch: "pr", From: one, To: two}),
	} {
		if !errors.Is(err, ErrTransport) || errors.Is(err, ErrNoRef) || errors.Is(err, ErrMissing) || errors.Is(err, ErrMoved) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if w.m.suspect.Load() {
		t.Error("trouble on the way made the mirror suspect")
	}
}

func TestCorruptMirrorIsRebuilt(t *testing.T) {
	w := newWorld(t)
	f := files{"a": lines("a", 9)}
	root := w.commit("main", "root", f)
	head := w.commit("pr", "pr", f.with(files{"b": "b\n"}), root)
	tip := w.commit("main", "tip", f.with(files{"a": lines("A", 9)}), root)
	w.fetch("main", "pr")
	packs, _ := filepath.Glob(filepath.Join(w.m.dir.Path, "objects", "pack", "*.pack"))
	if len(packs) == 0 {
		t.Fatal("no packs to damage")
	}
	for _, p := range packs {
		if err := os.Chmod(p, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p, 40); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.m.Build(t.Context(), Request{Base: tip, Head: head}); err == nil {
		t.Fatal("Build worked on a damaged mirror")
	}
	w.fetch("main", "pr")
	if res := w.build(Request{Base: tip, Head: head}); res.Commits != 1 {
		t.Errorf("%+v", res)
	}

	// Open finds it broken, too.
	if err := os.WriteFile(filepath.Join(w.m.dir.Path, "HEAD"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(t.Context(), w.m.dir.Path, w.m.remote, bot)
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	w.fetch("main", "pr")
	w.build(Request{Base: tip, Head: head})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Remote{URL: "/x"}, bot); err == nil || !strings.Contains(err.Error(), "not a mirror") {
		t.Errorf("a directory with other things: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	for _, p := range []Person{{}, {"a\nb", "c"}, {"a", "b>c"}, {"", "a@b"}} {
		if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "m"), Remote{URL: "/x"}, p); err == nil {
			t.Errorf("committer %+v is accepted", p)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "m"), Remote{URL: "https://u:hunter2@h/x"}, bot); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("password in the URL: %v", err)
	}
}

func TestPush(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	head := w.commit("pr", "pr", f.with(files{"b": "b\n"}), root)
	tip := w.commit("main", "tip", f.with(files{"a": "2\n"}), root)
	w.fetch("main", "pr")
	to := w.build(Request{Base: tip, Head: head}).Candidate
	p := Push{Remote: w.m.remote, Branch: "pr", From: head, To: to, Protected: []string{"main"}, SameRepo: true}
	at := func(ref string) gate.SHA { return gate.SHA(w.git("rev-parse", ref)) }

	stale := p
	stale.From = root
	if err := w.m.Push(t.Context(), stale); !errors.Is(err, ErrMoved) || at("pr") != head {
		t.Errorf("branch is elsewhere: %v", err)
	}
	for range 2 { // the second is a repetition after a lost answer
		if err := w.m.Push(t.Context(), p); err != nil || at("pr") != to {
			t.Errorf("push: %v, pr at %s", err, at("pr"))
		}
	}
	gone := p
	gone.Branch = "deleted"
	if err := w.m.Push(t.Context(), gone); !errors.Is(err, ErrMoved) {
		t.Errorf("branch is gone: %v", err)
	}

	base := p
	base.Branch, base.From = "main", tip
	if err := w.m.Push(t.Context(), base); err == nil || at("main") != tip {
		t.Errorf("base was pushed: %v", err)
	}
	base.SameRepo = false // a caller that is wrong about it
	if err := w.m.Push(t.Context(), base); err == nil || at("main") != tip {
		t.Errorf("base was pushed: %v", err)
	}
	for _, bad := range []Push{
		{Remote: w.m.remote, Branch: "pr", From: "", To: to},
		{Remote: w.m.remote, Branch: "pr", From: to, To: "HEAD"},
		{Remote: w.m.remote, Branch: "a b", From: head, To: to},
		{Remote: w.m.remote, Branch: "x:refs/heads/main", From: head, To: to},
	} {
		if err := w.m.Push(t.Context(), bad); err == nil || errors.Is(err, ErrTransport) || errors.Is(err, ErrMoved) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	missing := p
	missing.To = gate.SHA(strings.Repeat("1", 40))
	if err := w.m.Push(t.Context(), missing); !errors.Is(err, ErrMissing) {
		t.Errorf("no such candidate: %v", err)
	}
}

func TestPushDenied(t *testing.T) {
	w := newWorld(t)
	root := w.commit("main", "root", files{"a": "1\n"})
	head := w.commit("pr", "pr", files{"a": "2\n"}, root)
	w.fetch("main", "pr")
	hook := filepath.Join(w.remote.Path, "hooks", "pre-receive")
	if err := os.MkdirAll(filepath.Dir(hook), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nprintf 'Branch is \\033[31mprotected\\n' >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := w.m.Push(t.Context(), Push{Remote: w.m.remote, Branch: "pr", From: head, To: root})
	denied, ok := errors.AsType[*DeniedError](err)
	if !ok || denied.Text != "Branch is [31mprotected\npre-receive hook declined" {
		t.Errorf("%v", err)
	}

	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("service") == "git-receive-pack" {
			http.Error(rw, "no", http.StatusForbidden)
			return
		}
		rw.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		ref := string(head) + " refs/heads/pr\x00object-format=sha1\n"
		fmt.Fprintf(rw, "001e# service=git-upload-pack\n0000%04x%s0000", len(ref)+4, ref)
	}))
	defer s.Close()
	err = w.m.Push(t.Context(), Push{Remote: Remote{URL: s.URL + "/fork"}, Branch: "pr", From: head, To: root})
	if denied, ok := errors.AsType[*DeniedError](err); !ok || !strings.Contains(denied.Text, "403") {
		t.Errorf("403: %v", err)
	}
}

func TestDeclined(t *testing.T) {
	for reason, want := range map[string]bool{
		"pre-receive hook declined":      true,
		"protected branch hook declined": true,
		"failed to update ref":           false,
		"cannot lock ref 'refs/heads/x'": false,
		"n/a (unpacker error)":           false,
	} {
		_, ok := declined("To /x\n!\tabc:refs/heads/x\t[remote rejected] ("+reason+")\nDone\n", &git.Error{Op: "push", Code: 1})
		if ok != want {
			t.Errorf("%q: declined = %v, want %v", reason, ok, want)
		}
	}
	if _, ok := declined("", &git.Error{Op: "push", Code: 128, Stderr: "fatal: unable to access: Could not resolve host"}); ok {
		t.Error("trouble on the way passes as a refusal")
	}
}

func TestPushRef(t *testing.T) {
	w := newWorld(t)
	one := w.commit("main", "one", files{"a": "1\n"})
	two := w.commit("main", "two", files{"a": "2\n"}, one)
	w.fetch("main")
	const ref = "refs/mergegate/lease/main"
	step := func(from, to gate.SHA, want error) {
		t.Helper()
		if err := w.m.PushRef(t.Context(), ref, from, to); !errors.Is(err, want) {
			t.Errorf("%q to %q: %v, want %v", from.Short(), to.Short(), err, want)
		}
	}
	step("", one, nil)
	step("", two, ErrMoved)
	step(two, one, nil) // it is there already
	step(one, two, nil)
	step(one, "", ErrMoved)
	step(two, "", nil)
	step(two, "", nil)
	step(two, one, ErrMoved)
	for _, ref := range []string{"refs/heads/main", "refs/heads/mergegate", "refs/mergegate/../heads/main", "refs/mergegate/a b"} {
		if err := w.m.PushRef(t.Context(), ref, one, two); err == nil || errors.Is(err, ErrMoved) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := w.m.PushRef(t.Context(), "refs/heads/mergegate/main/7", "", two); err != nil {
		t.Error(err)
	}
}

func FuzzCheckRef(f *testing.F) {
	for _, s := range []string{
		"refs/heads/main", "refs/heads/a..b", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a/",
		"refs//a", "refs/heads/a b", "refs/heads/@{", "refs/heads/@", "refs/heads/a.", "refs/heads/-x", "refs/heads/a\x7f",
		"refs/heads/a\\b", "refs/heads/a*", "refs/heads/a\xff", "refs", "refs/a", "HEAD", "refs/heads/a\x00b", "refs/heads/a./b", "-h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		ours := checkRef(ref) == nil
		if strings.Contains(ref, "\x00") || strings.HasPrefix(ref, "-") { // cannot be an argument, or is an option
			if ours {
				t.Errorf("%q is accepted", ref)
			}
			return
		}
		_, err := (git.Dir{Path: "/nonexistent"}).Run(t.Context(), "", "check-ref-format", ref)
		if git.Code(err) > 1 {
			t.Fatal(err)
		}
		if theirs := err == nil && strings.HasPrefix(ref, "refs/"); ours != theirs {
			t.Errorf("%q: we say %v, git says %v", ref, ours, theirs)
		}
	})
}

// Several queues use one mirror at the same time.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	tip := w.commit("main", "tip", f.with(files{"m": "m\n"}), root)
	names := []string{"p1", "p2", "p3", "p4"}
	heads := make(map[string]gate.SHA)
	for _, n := range names {
		heads[n] = w.commit(n, n, f.with(files{n: n}), root)
	}
	var wg sync.WaitGroup
	for _, n := range names {
		wg.Go(func() {
			for range 3 {
				if err := w.m.Fetch(t.Context(), "refs/heads/main", "refs/heads/"+n); err != nil {
					t.Error(err)
					return
				}
				if res, err := w.m.Build(t.Context(), Request{Base: tip, Head: heads[n]}); err != nil || res.Commits != 1 {
					t.Errorf("%+v, %v", res, err)
				}
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	w.m.fetching <- struct{}{}
	cancel()
	if err := w.m.Fetch(ctx, "refs/heads/main"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for another fetch: %v", err)
	}
}

func TestRead(t *testing.T) {
	w := newWorld(t)
	f := files{"dir/policy.yaml": "enabled: true\n", "l": "link:/etc/passwd", "x": "exec:#!/bin/sh\n", "*": "star\n"}
	root := w.commit("main", "root", f)
	side := w.commit("side", "side", f.with(files{"s": "s\n"}), root)
	tip := w.commit("main", "Merge\n\nbody", f.with(files{"s": "s\n", "x": ""}), root, side)
	w.fetch("main")
	ctx := t.Context()

	for path, want := range map[string]string{"dir/policy.yaml": "enabled: true\n", "x": "#!/bin/sh\n", "*": "star\n"} {
		if got, err := w.m.File(ctx, root, path, 100); err != nil || string(got) != want {
			t.Errorf("File(%s) = %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"nope", "dir/nope", "x/y"} {
		if _, err := w.m.File(ctx, root, path, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("File(%s): %v", path, err)
		}
	}
	for _, path := range []string{"l", "dir", "dir/policy.yaml", "../x", "/x", ""} {
		if _, err := w.m.File(ctx, root, path, 13); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("File(%q): %v", path, err)
		}
	}
	if got, err := w.m.Paths(ctx, root, tip); err != nil || !slices.Equal(got, []string{"s", "x"}) {
		t.Errorf("Paths = %q, %v", got, err)
	}
	if got, err := w.m.Parents(ctx, tip); err != nil || !slices.Equal(got, []gate.SHA{root, side}) {
		t.Errorf("Parents = %v, %v", got, err)
	}
	if got, err := w.m.IsAncestor(ctx, root, tip); err != nil || !got {
		t.Errorf("IsAncestor = %v, %v", got, err)
	}
	if got, err := w.m.IsAncestor(ctx, tip, root); err != nil || got {
		t.Errorf("IsAncestor = %v, %v", got, err)
	}
	if got, err := w.m.Tree(ctx, tip); err != nil || string(got)+"\n" != w.mirror("rev-parse", string(tip)+"^{tree}") {
		t.Errorf("Tree = %s, %v", got, err)
	}
	log, err := w.m.Log(ctx, "", tip, 10)
	if err != nil || len(log) != 2 || log[0].ID != tip || log[1].ID != root {
		t.Fatalf("Log = %+v, %v", log, err)
	}
	c := log[0]
	if c.Subject != "Merge" || c.Message != "Merge\n\nbody" || c.Author != (Person{"Ann Author", "ann@example.org"}) ||
		c.Committer != (Person{"Carl Committer", "carl@example.org"}) || c.Time.Unix() != w.clock || !slices.Equal(c.Parents, []gate.SHA{root, side}) {
		t.Errorf("%+v", c)
	}
	if log, err := w.m.Log(ctx, root, tip, 10); err != nil || len(log) != 1 {
		t.Errorf("Log = %+v, %v", log, err)
	}
	gone := gate.SHA(strings.Repeat("1", 40))
	_, err1 := w.m.Tree(ctx, gone)
	_, err2 := w.m.IsAncestor(ctx, root, gone)
	_, err3 := w.m.Log(ctx, "", gone, 1)
	_, err4 := w.m.Paths(ctx, root, gone)
	_, err5 := w.m.File(ctx, gone, "x", 1)
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if !errors.Is(err, ErrMissing) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
}

// Somebody deletes the data directory of a running bot: the next fetch begins
// anew, also when a build has put something there meanwhile.
func TestDeletedMirrorIsMadeAnew(t *testing.T) {
	for name, left := range map[string]string{"all of it": "", "all but an object": "objects/ab"} {
		w := newWorld(t)
		root := w.commit("main", "root", files{"a": "a\n"})
		head := w.commit("pr", "one", files{"a": "a\n", "b": "b\n"}, root)
		tip := w.commit("main", "two", files{"a": "a\n", "c": "c\n"}, root)
		w.fetch("main", "pr")
		want := w.build(Request{Base: tip, Head: head})
		if err := os.RemoveAll(w.m.dir.Path); err != nil {
			t.Fatal(err)
		}
		if left != "" {
			if err := os.MkdirAll(filepath.Join(w.m.dir.Path, left), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if w.m.Have(t.Context(), head) {
			t.Fatalf("%s: the mirror still has the head", name)
		}
		w.fetch("main", "pr")
		if got := w.build(Request{Base: tip, Head: head}); got.Candidate != want.Candidate {
			t.Errorf("%s: built %+v, before %+v", name, got, want)
		}
	}
}
