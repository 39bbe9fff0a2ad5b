package catchup

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mergegate/gate"
	"mergegate/internal/git"
)

var bot = Person{"Mergegate", "mergegate@example.org"}

// world is a forge's bare repository and a mirror of it.
type world struct {
	testing.TB
	remote git.Dir
	m      *Mirror
	clock  int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{TB: t, remote: git.Dir{Path: filepath.Join(dir, "remote.git")}, clock: 1_700_000_000}
	w.git("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
	w.git("config", "uploadpack.allowAnySHA1InWant", "true")
	m, err := Open(t.Context(), filepath.Join(dir, "mirror.git"), Remote{URL: w.remote.Path}, bot)
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	return w
}

// git runs git in the remote.
func (w *world) git(args ...string) string {
	w.Helper()
	out, err := w.remote.Run(w.Context(), "", args...)
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// files is a whole tree: path to content. A content may start with "exec:",
// "link:" or "sub:" for another mode.
type files map[string]string

// with is f with some paths changed; "" deletes one.
func (f files) with(change files) files {
	n := maps.Clone(f)
	for path, content := range change {
		n[path] = content
		if content == "" {
			delete(n, path)
		}
	}
	return n
}

// commit makes a commit in the remote and points refs/heads/BRANCH at it.
func (w *world) commit(branch, message string, f files, parents ...gate.SHA) gate.SHA {
	w.Helper()
	w.clock += 60
	var in strings.Builder
	fmt.Fprintf(&in, "commit refs/heads/%s\n", branch)
	fmt.Fprintf(&in, "author Ann Author <ann@example.org> %d +0200\n", w.clock)
	fmt.Fprintf(&in, "committer Carl Committer <carl@example.org> %d -0300\n", w.clock)
	fmt.Fprintf(&in, "data %d\n%s\n", len(message), message)
	for i, p := range parents {
		fmt.Fprintf(&in, "%s %s\n", []string{"from", "merge"}[min(i, 1)], p)
	}
	in.WriteString("deleteall\n")
	for _, path := range slices.Sorted(maps.Keys(f)) {
		mode, content := "100644", f[path]
		for prefix, m := range map[string]string{"exec:": "100755", "link:": "120000", "sub:": "160000"} {
			if rest, ok := strings.CutPrefix(content, prefix); ok {
				mode, content = m, rest
			}
		}
		if mode == "160000" {
			fmt.Fprintf(&in, "M 160000 %s \"%s\"\n", content, path)
			continue
		}
		fmt.Fprintf(&in, "M %s inline \"%s\"\ndata %d\n%s\n", mode, path, len(content), content)
	}
	if _, err := w.remote.Run(w.Context(), in.String(), "fast-import", "--quiet", "--force"); err != nil {
		w.Fatal(err)
	}
	return gate.SHA(w.git("rev-parse", "refs/heads/"+branch))
}

// fetch brings the branches into the mirror.
func (w *world) fetch(branches ...string) {
	w.Helper()
	var refs []string
	for _, b := range branches {
		refs = append(refs, "refs/heads/"+b)
	}
	if err := w.m.Fetch(w.Context(), refs...); err != nil {
		w.Fatal(err)
	}
}

func (w *world) build(r Request) Result {
	w.Helper()
	res, err := w.m.Build(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return res
}

// raw is a commit of the mirror as it is stored.
func (w *world) raw(c gate.SHA) string {
	w.Helper()
	return w.mirror("cat-file", "commit", string(c))
}

func (w *world) mirror(args ...string) string {
	w.Helper()
	out, err := w.m.dir.Run(w.Context(), "", args...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// lines is a file of n lines, "PREFIX 1" to "PREFIX n".
func lines(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s %d\n", prefix, i+1)
	}
	return b.String()
}
