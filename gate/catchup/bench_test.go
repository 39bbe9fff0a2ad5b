package catchup

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"mergegate/gate"
	"mergegate/internal/git"
)

// BenchmarkCatchUp50000 catches a pull request of five commits up with main in
// a repository of 50,000 files: in memory, and as one would by hand, with git
// worktree add and git rebase. Both make the same tree.
func BenchmarkCatchUp50000(b *testing.B) {
	w := newWorld(b)
	var in strings.Builder
	in.WriteString("commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 4\nroot\n")
	for i := range 50_000 {
		content := lines(fmt.Sprint("file ", i), 5)
		fmt.Fprintf(&in, "M 100644 inline d%d/e%d/f%d\ndata %d\n%s\n", i%50, i/50%50, i, len(content), content)
	}
	in.WriteString("reset refs/heads/pr\nfrom refs/heads/main\n\n")
	for i := range 5 {
		fmt.Fprintf(&in, "commit refs/heads/pr\ncommitter A <a@example.org> 1700000%d00 +0000\ndata 2\npr\n", i+1)
		fmt.Fprintf(&in, "M 100644 inline d1/e%d/new\ndata 4\nnew\n\n", i)
		fmt.Fprintf(&in, "M 100644 inline d2/e%d/f%d\ndata 4\nnew\n\n", i, i*50+2)
	}
	fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.org> 1700000900 +0000\ndata 3\ntip\n")
	fmt.Fprintf(&in, "M 100644 inline d3/e0/f3\ndata 4\ntip\n\n")
	if _, err := w.remote.Run(b.Context(), in.String(), "fast-import", "--quiet"); err != nil {
		b.Fatal(err)
	}
	base, head := gate.SHA(w.git("rev-parse", "main")), gate.SHA(w.git("rev-parse", "pr"))
	w.fetch("main", "pr")
	w.m.dir.Count = new(atomic.Int64)
	var tree gate.SHA

	b.Run("in memory", func(b *testing.B) {
		w.m.dir.Count.Store(0)
		for b.Loop() {
			res, err := w.m.Build(b.Context(), Request{Base: base, Head: head})
			if err != nil || res.Commits != 5 {
				b.Fatalf("%+v, %v", res, err)
			}
			tree = res.Tree
		}
		b.ReportMetric(float64(w.m.dir.Count.Load())/float64(b.N), "processes/op")
	})
	b.Run("worktree and rebase", func(b *testing.B) {
		for b.Loop() {
			dir := filepath.Join(b.TempDir(), "worktree")
			run := func(d git.Dir, args ...string) string {
				out, err := d.Run(b.Context(), "", args...)
				if err != nil {
					b.Fatal(err)
				}
				return strings.TrimSpace(out)
			}
			run(w.m.dir, "worktree", "add", "--detach", "--end-of-options", dir, string(head))
			wt := w.m.dir
			wt.Path, wt.WorkTree = filepath.Join(w.m.dir.Path, "worktrees", "worktree"), dir
			wt.Env = []string{"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org"}
			run(wt, "rebase", "--quiet", string(base))
			if got := run(wt, "rev-parse", "HEAD^{tree}"); tree != "" && got != string(tree) {
				b.Fatalf("tree %s, in memory %s", got, tree)
			}
			run(w.m.dir, "worktree", "remove", "--force", dir)
		}
	})
}
