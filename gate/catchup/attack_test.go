package catchup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Hostile repositories, made at run time. NN in TestAttackNN is the row of
// docs/attacks.md.

// literal stores an object that git would refuse to make, and gives its id.
func (w *world) literal(kind, content string) string {
	w.Helper()
	out, err := w.remote.Run(w.Context(), content, "hash-object", "-t", kind, "--literally", "-w", "--stdin")
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// entry is one line of a tree object.
func entry(mode, name, id string) string {
	raw := make([]byte, 20)
	if _, err := fmt.Sscanf(id, "%x", &raw); err != nil {
		panic(err)
	}
	return mode + " " + name + "\x00" + string(raw)
}

// offer makes a commit of a tree and points the branch at it.
func (w *world) offer(branch, tree string, parents ...gate.SHA) gate.SHA {
	w.Helper()
	body := "tree " + tree + "\n"
	for _, p := range parents {
		body += "parent " + string(p) + "\n"
	}
	c := w.literal("commit", body+"author E <e@example.org> 1700000000 +0000\ncommitter E <e@example.org> 1700000000 +0000\n\nevil\n")
	w.git("update-ref", "refs/heads/"+branch, c)
	return gate.SHA(c)
}

// refused fails unless err is a refusal of the change with the given words.
func (w *world) refused(what string, err error, words ...string) {
	w.Helper()
	r, ok := errors.AsType[*RefusedError](err)
	if !ok {
		w.Errorf("%s: %v; want a refusal that can be told on the PR", what, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(r.Text, word) {
			w.Errorf("%s: refused with %q; want %q in it", what, r.Text, word)
		}
	}
}

// goesOn fails unless another change is fetched and built as ever.
func (w *world) goesOn(root gate.SHA, f files) {
	w.Helper()
	head := w.commit("good", "good", f.with(files{"good": "good\n"}), root)
	tip := w.commit("main", "tip", f.with(files{"tip": fmt.Sprint(w.clock)}), root)
	w.fetch("main", "good")
	if res := w.build(Request{Base: tip, Head: head}); res.Conflict != nil || res.Commits != 1 {
		w.Errorf("after the attack a good change gives %+v", res)
	}
}

// An object that git's check refuses is a refusal of its change, and the next
// change is fetched as ever.
func TestAttack67ObjectsThatFsckRefuses(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	w.fetch("main")
	blob := w.literal("blob", "[core]\n\tfsmonitor = touch /tmp/pwned\n")
	config := w.literal("tree", entry("100644", "config", blob))
	for name, tree := range map[string]string{
		"dot git":       w.literal("tree", entry("40000", ".git", config)),
		"upper case":    w.literal("tree", entry("40000", ".GIT", config)),
		"short name":    w.literal("tree", entry("40000", "GIT~1", config)),
		"ignorable":     w.literal("tree", entry("40000", ".g\u200cit", config)),
		"dot dot":       w.literal("tree", entry("40000", "..", config)),
		"slash":         w.literal("tree", entry("100644", "../../escape", blob)),
		"twice":         w.literal("tree", entry("100644", "x", blob)+entry("100644", "x", blob)),
		"modules link":  w.literal("tree", entry("120000", ".gitmodules", blob)),
		"module option": w.literal("tree", entry("100644", ".gitmodules", w.literal("blob", "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch pwned\n"))),
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{TB: t, remote: w.remote, m: w.m, clock: w.clock}
			head := w.offer("evil", tree, root)
			for range 2 { // the second time it is the same, and no trouble
				w.refused("fetch", w.m.Fetch(t.Context(), "refs/heads/evil"), "check refuses")
				w.refused("fetch the commit", w.m.FetchCommit(t.Context(), head), "check refuses")
			}
			if w.m.Have(t.Context(), head) {
				t.Error("the commit was stored")
			}
			w.goesOn(root, f)
		})
	}
	if w.m.suspect.Load() {
		t.Error("a bad object on the forge made the mirror suspect")
	}
}

// A broken commit is refused like a broken tree.
func TestAttack67BrokenCommit(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	w.fetch("main")
	tree := w.git("rev-parse", string(root)+"^{tree}")
	c := w.literal("commit", "tree "+tree+"\nparent "+string(root)+"\nauthor E <e@example.org> 1 +0000\ncommitter no address\n\nx\n")
	w.git("update-ref", "refs/heads/evil", c)
	w.refused("fetch", w.m.Fetch(t.Context(), "refs/heads/evil"), "check refuses")
	w.goesOn(root, f)
}

// A few kilobytes that unfold to ten billion files.
func TestAttack66TreeBomb(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	tip := w.commit("main", "tip", f.with(files{"a": "2\n"}), root)
	level := w.literal("blob", "boom\n")
	mode := "100644"
	for range 10 {
		var tree strings.Builder
		for i := range 10 {
			tree.WriteString(entry(mode, fmt.Sprintf("d%d", i), level))
		}
		level, mode = w.literal("tree", tree.String()), "40000"
	}
	head := w.offer("evil", level, root)
	w.fetch("main", "evil")
	_, err := w.m.Build(t.Context(), Request{Base: tip, Head: head})
	w.refused("build", err, "more than 500000 files")

	// It is no better when the next commit takes it away again.
	again := w.offer("evil", w.git("rev-parse", string(root)+"^{tree}"), head)
	w.fetch("evil")
	_, err = w.m.Build(t.Context(), Request{Base: tip, Head: again, Method: gate.Squash})
	w.refused("build without it at the end", err, "more than 500000 files")
	w.goesOn(root, f)
}

// Directories so deep that git's recursion would exhaust its stack, and names
// that no file system takes.
func TestAttack66DeepTree(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	tip := w.commit("main", "tip", f.with(files{"a": "2\n"}), root)
	deep := func(depth int) string {
		// fast-import would refuse names like this; stored one by one it would take minutes.
		var in strings.Builder
		fmt.Fprintf(&in, "blob\nmark :1\ndata 1\nx\ncommit refs/heads/deep\ncommitter E <e@example.org> 0 +0000\ndata 1\nx\ndeleteall\nM 100644 :1 %sx\n", strings.Repeat("d/", depth))
		if _, err := w.remote.Run(t.Context(), in.String(), "fast-import", "--quiet", "--force"); err != nil {
			t.Fatal(err)
		}
		return w.git("rev-parse", "refs/heads/deep^{tree}")
	}
	for _, depth := range []int{2100, 8_000} {
		head := w.offer("evil", deep(depth), root)
		err := w.m.Fetch(t.Context(), "refs/heads/main", "refs/heads/evil")
		if err == nil { // git itself need not mind
			_, err = w.m.Build(t.Context(), Request{Base: tip, Head: head})
		}
		w.refused(fmt.Sprintf("%d levels", depth), err)
	}
	w.goesOn(root, f)
}

// A file of gigabytes in a pack of kilobytes is refused before it is unfolded.
func TestAttack66BlobBomb(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	tip := w.commit("main", "tip", f.with(files{"a": "2\n"}), root)
	w.m.size = sizes{commits: 10, paths: 100, path: 100, names: 1 << 20, bytes: 1 << 20}
	blob := w.literal("blob", strings.Repeat("\x00", 300<<10))
	var tree strings.Builder
	for i := range 9 { // one object, many files
		tree.WriteString(entry("100644", fmt.Sprintf("f%d", i), blob))
	}
	head := w.offer("evil", w.literal("tree", tree.String()), root)
	w.fetch("main", "evil")
	_, err := w.m.Build(t.Context(), Request{Base: tip, Head: head})
	w.refused("build", err, "more than 1 MiB")
	w.m.size.commits = 1
	more := w.offer("evil", w.git("rev-parse", string(root)+"^{tree}"), head)
	w.fetch("evil")
	_, err = w.m.Build(t.Context(), Request{Base: tip, Head: more})
	w.refused("build of many commits", err, "more than 1 commits")
	w.m.size = handled
	w.m.size.names = 20 // nine names of two letters, each with its slash, are more
	_, err = w.m.Build(t.Context(), Request{Base: tip, Head: head})
	w.refused("build of many names", err, "names of the files")
	w.m.size = sizes{}
	w.goesOn(root, f)
}

// File names cannot make the counter read anything else than names.
func TestAttack66NamesLikeEntries(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	blob := w.literal("blob", "x\n")
	names := []string{"\x01", ":100644 100644 " + strings.Repeat("1", 40) + " " + strings.Repeat("2", 40) + " M"}
	head := w.offer("pr", w.literal("tree", entry("100644", names[0], blob)+entry("100644", names[1], blob)+entry("100644", "a", w.git("rev-parse", "main:a"))), root)
	tip := w.commit("main", "tip", f.with(files{"b": "2\n"}), root)
	w.fetch("main", "pr")
	if res := w.build(Request{Base: tip, Head: head}); res.Commits != 1 {
		t.Errorf("%+v", res)
	}
}

// A hundred thousand refs cost a fetch of one of them nothing, and none of them
// is stored.
func TestAttack66ManyRefs(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	var packed strings.Builder
	packed.WriteString("# pack-refs with: sorted\n")
	for i := range 100_000 {
		fmt.Fprintf(&packed, "%s refs/heads/x/%06d\n", root, i)
	}
	if err := os.WriteFile(filepath.Join(w.remote.Path, "packed-refs"), []byte(packed.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fetch("main", "x/000007")
	if got := w.mirror("for-each-ref", "--format=%(refname)"); got != "refs/heads/main\nrefs/heads/x/000007\n" {
		t.Errorf("refs %.200q", got)
	}
	w.goesOn(root, f)
}

// More than the limits, in size or time, is a refusal, and leaves nothing behind.
func TestAttack66FetchLimits(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	w.fetch("main")
	w.commit("large", "large", f.with(files{"noise": noise(24 << 20)}), root)
	w.m.limits = git.Limits{Time: time.Minute, Size: 1 << 20}
	w.refused("large", w.m.Fetch(t.Context(), "refs/heads/large"), "more than 1 MiB")
	w.m.limits = git.Limits{Time: time.Millisecond, Size: 1 << 30}
	w.refused("slow", w.m.Fetch(t.Context(), "refs/heads/large"), "longer than 1ms")
	w.m.limits = git.Limits{}
	w.goesOn(root, f)
	if half, _ := filepath.Glob(filepath.Join(w.m.dir.Path, "objects", "pack", "tmp_*")); len(half) > 0 {
		t.Errorf("left behind: %v", half)
	}
}

// noise is text that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

// Repositories that mergegate cannot work with are refused in words that say so.
func TestAttack68OddRepositories(t *testing.T) {
	dir := t.TempDir()
	other := func(name string, args ...string) git.Dir {
		d := git.Dir{Path: filepath.Join(dir, name)}
		if _, err := d.Run(t.Context(), "", append([]string{"init", "--quiet", "--bare", "--template=", "--initial-branch=main"}, args...)...); err != nil {
			t.Fatal(err)
		}
		return d
	}
	from := func(d git.Dir) *world {
		m, err := Open(t.Context(), filepath.Join(t.TempDir(), "mirror.git"), Remote{URL: d.Path}, bot)
		if err != nil {
			t.Fatal(err)
		}
		return &world{TB: t, remote: d, m: m, clock: 1_700_000_000}
	}

	long := from(other("sha256.git", "--object-format=sha256"))
	long.commit("main", "root", files{"a": "1\n"})
	long.refused("SHA-256", long.m.Fetch(t.Context(), "refs/heads/main"), "SHA-256")

	empty := from(other("empty.git"))
	if err := empty.m.Fetch(t.Context(), "refs/heads/main"); !errors.Is(err, ErrNoRef) {
		t.Errorf("empty: %v", err)
	}

	whole := newWorld(t)
	root := whole.commit("main", "root", files{"a": "1\n"})
	whole.commit("main", "two", files{"a": "2\n"}, root)
	shallow := from(other("shallow.git"))
	reach, err := shallow.remote.Remote(whole.remote.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reach.Run(t.Context(), "", "fetch", "--quiet", "--depth=1", whole.remote.Path, "refs/heads/main:refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	shallow.refused("shallow", shallow.m.Fetch(t.Context(), "refs/heads/main"), "shallow")

	alien := whole.commit("alien", "another beginning", files{"z": "1\n"})
	whole.fetch("main", "alien")
	tip := gate.SHA(whole.git("rev-parse", "refs/heads/main"))
	if _, err := whole.m.Build(t.Context(), Request{Base: tip, Head: alien}); !errors.Is(err, ErrUnrelated) {
		t.Errorf("unrelated: %v", err)
	}
}

// A server that sends git elsewhere learns nothing, and neither does elsewhere.
func TestAttack64Redirect(t *testing.T) {
	w := newWorld(t)
	w.commit("main", "root", files{"a": "1\n"})
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, other.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	const secret = "dG9rZW46Y2FuYXJ5"
	w.m.remote = remote(s.URL+"/o/r.git", "Basic "+secret)
	if err := w.m.Fetch(t.Context(), "refs/heads/main"); !errors.Is(err, ErrTransport) || strings.Contains(err.Error(), secret) {
		t.Errorf("a redirected fetch: %v", err)
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests followed the redirect", n)
	}
}

// LFS pointers, and an .lfsconfig that names a server, are files like others:
// nothing is asked of anybody.
func TestAttack65LFS(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer evil.Close()
	ran := trap(t, "git-lfs")
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
	f := files{".lfsconfig": "[lfs]\n\turl = " + evil.URL + "\n", ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "x.bin": pointer}
	root := w.commit("main", "root", f)
	head := w.commit("pr", "pr", f.with(files{"y.bin": pointer}), root)
	tip := w.commit("main", "tip", f.with(files{"a": "2\n"}), root)
	w.fetch("main", "pr")
	res := w.build(Request{Base: tip, Head: head})
	if got, err := w.m.File(t.Context(), res.Candidate, "y.bin", 1<<10); err != nil || string(got) != pointer {
		t.Errorf("y.bin = %q, %v; want the pointer", got, err)
	}
	if asked.Load() != 0 || ran() {
		t.Errorf("%d requests to the LFS server, git-lfs ran: %v", asked.Load(), ran())
	}
}

// trap puts a program of that name first in PATH, and tells whether it ran.
func trap(t *testing.T, name string) (ran func() bool) {
	t.Helper()
	dir := t.TempDir()
	mark := filepath.Join(dir, "ran")
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() bool { _, err := os.Stat(mark); return err == nil }
}

func remote(url, auth string) Remote {
	return Remote{URL: url, Auth: func(context.Context) (string, error) { return auth, nil }}
}

// Names that are options, shell code, markup or patterns to somebody are only
// names: nothing runs, nothing is written elsewhere.
func TestAttack50And51HostileBranchNames(t *testing.T) {
	w := newWorld(t)
	ran := trap(t, "canary")
	t.Chdir(t.TempDir()) // where a file that a name asks for would appear
	f := files{"a": "1\n"}
	root := w.commit("main", "root", f)
	tip := w.commit("main", "tip", f.with(files{"m": "m\n"}), root)
	for _, name := range []string{
		"--upload-pack=canary", "--upload-pack=touch${IFS}pwned", "--output=pwned", "-x", "--", "-", "HEAD", "--end-of-options",
		"$(canary)", "a;canary", "a&&canary", "a|canary", "`canary`", "'quoted\"", "%0a", "@", "@everyone", "ü", "<img/src=x/onerror=canary>",
		"\u202emain", "a\u200bb", "refs/heads/main", strings.Repeat("long", 50),
	} {
		head := w.commit("tmp", "head", f.with(files{"b": name}), root)
		w.git("update-ref", "refs/heads/"+name, string(head))
		w.fetch("main", name)
		if got, err := w.m.Ref(t.Context(), "refs/heads/"+name); err != nil || got != head {
			t.Errorf("%q: %s, %v", name, got, err)
		}
		to := w.build(Request{Base: tip, Head: head, Message: name}).Candidate
		if err := w.m.Push(t.Context(), Push{Remote: w.m.remote, Branch: name, From: head, To: to, Protected: []string{"main"}, SameRepo: true}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if got := w.git("rev-parse", "--verify", "refs/heads/"+name); got != string(to) {
			t.Errorf("%q is at %s, want %s", name, got, to)
		}
		if err := w.m.PushRef(t.Context(), "refs/heads/mergegate/"+name+"/7", "", to); err != nil {
			t.Errorf("candidate of %q: %v", name, err)
		}
	}
	if got := w.git("rev-parse", "refs/heads/main"); got != string(tip) {
		t.Errorf("main moved to %s", got)
	}
	left, err := os.ReadDir(".")
	if err != nil || len(left) > 0 || ran() {
		t.Errorf("a name had an effect: files %v (%v), program ran: %v", left, err, ran())
	}
}

// Names that no git allows are refused before git sees them.
func TestAttack51NamesThatAreNoRefs(t *testing.T) {
	w := newWorld(t)
	root := w.commit("main", "root", files{"a": "1\n"})
	w.fetch("main")
	for _, name := range []string{"a b", "a\nb", "a\x1b[2J", "a..b", "a:refs/heads/main", "x.lock", "a\x00b", "*", "", "/", "a//b"} {
		ref := "refs/heads/" + name
		if err := w.m.Fetch(t.Context(), ref); err == nil || errors.Is(err, ErrTransport) {
			t.Errorf("fetch %q: %v", name, err)
		}
		if err := w.m.Push(t.Context(), Push{Remote: w.m.remote, Branch: name, From: root, To: root}); err == nil || errors.Is(err, ErrTransport) {
			t.Errorf("push %q: %v", name, err)
		}
	}
}
