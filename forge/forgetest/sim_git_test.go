package forgetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mergegate/gate"
	"mergegate/gate/catchup"
)

// TestSimAgreesWithGit makes small random histories, gives each of them to the
// real git, and asks both gits the same questions through the same interface.
func TestSimAgreesWithGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is missing")
	}
	seen := map[string]int{}
	for seed := range uint64(16) {
		compareHistory(t, seed, seen)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Log("answers:", seen)
	for _, kind := range []string{"built", "noop", "in base", "emptied", "flattened", "content", "add/add", "modify/delete"} {
		if seen[kind] == 0 {
			t.Errorf("no history led to %q: the comparison has lost its meaning", kind)
		}
	}
}

func compareHistory(t *testing.T, seed uint64, seen map[string]int) {
	h := &history{rand: rand.New(rand.NewPCG(seed, 4)), sim: NewSim()}
	h.grow()
	real := h.export(t)
	committer := catchup.Person{Name: "bot", Email: "bot@noreply.localhost"}
	git, err := catchup.Open(t.Context(), filepath.Join(t.TempDir(), "m.git"), catchup.Remote{URL: real}, committer)
	done(t, err)
	r := gate.Repo{Forge: "work", Owner: "acme", Name: "w"}
	h.sim.Repo(r, gate.RoleAdmin, map[string]string{"x": "x"})
	sim, err := h.sim.Mirror("a", "d", catchup.Remote{URL: cloneURL(r)}, committer)
	done(t, err)
	var refs []string
	for i, c := range h.all {
		refs = append(refs, fmt.Sprintf("refs/heads/c%d", i))
		h.sim.store(sim.store.have, c)
	}
	done(t, git.Fetch(t.Context(), refs...))
	names := map[string]string{} // git's patch identities, by the Sim's
	for range 14 {
		q := catchup.Request{
			Base: h.any().id, Head: h.any().id, Message: "Land it (#7)",
			Method: []gate.Method{gate.Rebase, gate.Rebase, gate.Merge, gate.Squash}[h.rand.IntN(4)],
		}
		want, werr := git.Build(t.Context(), q)
		got, gerr := sim.Build(t.Context(), q)
		if errors.Is(werr, catchup.ErrUnrelated) != errors.Is(gerr, catchup.ErrUnrelated) || (werr == nil) != (gerr == nil) {
			t.Fatalf("%+v: git says %v, the Sim says %v", q, werr, gerr)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(catchup.Result{}, "Patches")); diff != "" {
			t.Fatalf("%+v (-git +sim):\n%s", q, diff)
		}
		if len(want.Patches) != len(got.Patches) {
			t.Fatalf("%+v: git sees %d patches, the Sim %d", q, len(want.Patches), len(got.Patches))
		}
		for i, p := range got.Patches {
			if old, ok := names[p]; ok && old != want.Patches[i] {
				t.Fatalf("%+v: the Sim takes two patches for one", q)
			}
			names[p] = want.Patches[i]
		}
		count(seen, want)
		h.compareReads(t, git, sim, q.Base, q.Head)
	}
	theirs := map[string]bool{}
	for _, p := range names {
		theirs[p] = true
	}
	if len(theirs) != len(names) {
		t.Fatalf("the Sim tells %d patches apart where git sees %d", len(names), len(theirs))
	}
}

func count(seen map[string]int, r catchup.Result) {
	switch {
	case r.Conflict != nil:
		for _, f := range r.Conflict.Files {
			seen[string(f.Kind)]++
		}
	case r.InBase:
		seen["in base"]++
	case r.Noop:
		seen["noop"]++
	default:
		seen["built"]++
	}
	seen["emptied"] += len(r.Emptied)
	seen["flattened"] += len(r.Flattened)
}

// compareReads compares the small questions about two commits.
func (h *history) compareReads(t *testing.T, git *catchup.Mirror, sim *SimMirror, a, b gate.SHA) {
	t.Helper()
	ctx := t.Context()
	wantIn, _ := git.IsAncestor(ctx, a, b)
	if got, _ := sim.IsAncestor(ctx, a, b); got != wantIn {
		t.Fatalf("is %s an ancestor of %s: git says %v", a, b, wantIn)
	}
	wantPaths, _ := git.Paths(ctx, a, b)
	if got, _ := sim.Paths(ctx, a, b); !slices.Equal(got, wantPaths) {
		t.Fatalf("paths between %s and %s: %v, git says %v", a, b, got, wantPaths)
	}
	wantLog, werr := git.Log(ctx, a, b, 5)
	gotLog, gerr := sim.Log(ctx, a, b, 5)
	if diff := cmp.Diff(wantLog, gotLog, cmpopts.EquateEmpty()); diff != "" || werr != nil || gerr != nil {
		t.Fatalf("log %s..%s: %v, %v (-git +sim):\n%s", a, b, werr, gerr, diff)
	}
	for _, path := range []string{"a.txt", "dir/c.txt"} {
		want, werr := git.File(ctx, b, path, 100)
		got, gerr := sim.File(ctx, b, path, 100)
		if !bytes.Equal(want, got) || errors.Is(werr, fs.ErrNotExist) != errors.Is(gerr, fs.ErrNotExist) {
			t.Fatalf("%s in %s: %q, %v; git says %q, %v", path, b, got, gerr, want, werr)
		}
	}
}

// history is a few branches that people commit to and merge.
type history struct {
	rand     *rand.Rand
	sim      *Sim
	all      []*commit
	branches []*commit
	when     int64
}

func (h *history) any() *commit {
	if h.rand.IntN(4) > 0 {
		return h.branches[h.rand.IntN(len(h.branches))]
	}
	return h.all[h.rand.IntN(len(h.all))]
}

func (h *history) add(t *tree, what string, on ...*commit) *commit {
	h.when += int64(h.rand.IntN(3))
	by := person("Ann", "ann@example.test", 1_700_000_000+h.when)
	c := h.sim.git.commit(t, on, by, by, fmt.Sprintf("%s (#%d)\n", what, len(h.all)))
	if !slices.Contains(h.all, c) {
		h.all = append(h.all, c)
	}
	return c
}

// text says which file it is in, so that git sees no renames.
func (h *history) text(path string) string { return fmt.Sprintf("%s %d\n", path, h.rand.IntN(3)) }

func (h *history) grow() {
	paths := []string{"a.txt", "b.txt", "dir/c.txt", "dir/sub/d.txt", "dir.txt"}
	git := h.sim.git
	start := map[string]string{}
	for _, p := range paths[:3] {
		start[p] = h.text(p)
	}
	root := h.add(git.with(git.treeOf(nil), start), "Begin")
	h.branches = []*commit{root, root, root}
	if h.rand.IntN(4) == 0 {
		h.branches = append(h.branches, h.add(git.with(git.treeOf(nil), map[string]string{"a.txt": h.text("a.txt")}), "Begin elsewhere"))
	}
	for range 12 + h.rand.IntN(8) {
		i := h.rand.IntN(len(h.branches))
		at := h.branches[i]
		switch n := h.rand.IntN(10); {
		case n < 2: // merge another branch, the conflicts resolved somehow
			other := h.branches[h.rand.IntN(len(h.branches))]
			if git.isAncestor(other, at) || git.isAncestor(at, other) || len(git.mergeBases(at, other)) == 0 {
				continue
			}
			t, clashes := git.merge(at, other)
			mend := map[string]string{}
			for _, c := range clashes {
				mend[c.path] = h.text(c.path)
			}
			if h.rand.IntN(4) == 0 {
				mend["b.txt"] = h.text("b.txt")
			}
			at = h.add(git.with(t, mend), "Merge", at, other)
		case n < 3: // say what another commit says
			other := h.all[h.rand.IntN(len(h.all))]
			if len(other.parents) != 1 {
				continue
			}
			files := map[string]string{}
			eachChange(other.parents[0].tree, other.tree, func(path, _, text string) { files[path] = text })
			at = h.add(git.with(at.tree, files), "Pick", at)
		case n < 4: // take back
			if len(at.parents) != 1 {
				continue
			}
			at = h.add(at.parents[0].tree, "Revert", at)
		case n < 5:
			at = h.add(at.tree, "Nothing", at)
		default:
			p := paths[h.rand.IntN(len(paths))]
			files := map[string]string{p: h.text(p)}
			if h.rand.IntN(5) == 0 {
				files[p] = ""
			}
			at = h.add(git.with(at.tree, files), "Change "+p, at)
		}
		h.branches[i] = at
	}
}

// export writes the history into a real repository. git's own names for the
// commits must be the Sim's.
func (h *history) export(t *testing.T) string {
	t.Helper()
	dir, marks := t.TempDir(), filepath.Join(t.TempDir(), "marks")
	run := func(in string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(in)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	run("", "init", "-q", "--bare", ".")
	var in strings.Builder
	mark := map[*commit]int{}
	for i, c := range h.all {
		mark[c] = i + 1
		fmt.Fprintf(&in, "commit refs/heads/c%d\nmark :%d\nauthor %s\ncommitter %s\ndata %d\n%s\n", i, i+1, c.author, c.committer, len(c.message), c.message)
		for n, p := range c.parents {
			fmt.Fprintf(&in, "%s :%d\n", []string{"from", "merge"}[min(n, 1)], mark[p])
		}
		in.WriteString("deleteall\n")
		for _, e := range c.tree.entries {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", e.path, len(e.text), e.text)
		}
	}
	run(in.String(), "fast-import", "--quiet", "--export-marks="+marks)
	data, err := os.ReadFile(marks)
	done(t, err)
	for line := range strings.Lines(string(data)) {
		var n int
		var id gate.SHA
		if _, err := fmt.Sscanf(line, ":%d %s", &n, &id); err != nil {
			t.Fatal(err)
		}
		if want := h.all[n-1].id; id != want {
			t.Fatalf("git calls a commit %s, the Sim %s", id, want)
		}
	}
	return dir
}
