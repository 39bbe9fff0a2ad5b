package catchup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Build must do what git rebase does: on small random histories, the same
// trees, authors and messages, or a conflict at the same commit in the same
// files. --reapply-cherry-picks, because of the one difference that the package
// comment names.
func TestSameAsGitRebase(t *testing.T) {
	outcomes := make(map[string]int)
	for seed := range uint64(20) {
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			w := newWorld(t)
			h := history{world: w, rnd: rand.New(rand.NewPCG(seed, 0))}
			base, head := h.generate()
			w.fetch("main", "pr")
			res := w.build(Request{Base: base, Head: head})
			if res.Noop || res.InBase && len(res.Emptied) == 0 {
				outcomes["nothing to do"]++
				return
			}
			clone := rebaseInWorktree(t, w.remote.Path, base, head)
			log := []string{"log", "--reverse", "--format=%T%x00%an%x00%ae%x00%ad%x00%B%x00"}
			switch {
			case res.Conflict != nil:
				outcomes["conflict"]++
				if got := clone.try("rev-parse", "REBASE_HEAD"); got != string(res.Conflict.At)+"\n" {
					t.Errorf("git stops at %q, we at %s", got, res.Conflict.At)
				}
				var files []string
				for _, f := range res.Conflict.Files {
					files = append(files, f.Path)
				}
				theirs := strings.Fields(clone.try("diff", "--name-only", "--diff-filter=U"))
				if !slices.Equal(files, theirs) {
					t.Errorf("git has conflicts in %q, we in %q", theirs, files)
				}
			case clone.try("rev-parse", "--verify", "--quiet", "REBASE_HEAD") != "":
				// Only a twin in base may be left out where git stops.
				outcomes["twin left out"]++
				stopped := gate.SHA(strings.TrimSpace(clone.try("rev-parse", "REBASE_HEAD")))
				if !slices.Contains(res.Emptied, stopped) {
					t.Errorf("git stops at %s, we do not, and left out only %v", stopped, res.Emptied)
				}
			default:
				outcomes["applied"]++
				theirs := clone.try(append(log, string(base)+"..HEAD")...)
				ours := w.mirror(append(log, string(base)+".."+string(res.Candidate))...)
				if ours != theirs {
					t.Errorf("we made\n%q\ngit rebase made\n%q", ours, theirs)
				}
			}
		})
	}
	t.Log(outcomes)
	if outcomes["applied"] < 5 || outcomes["conflict"] < 3 {
		t.Errorf("the histories are too dull: %v", outcomes)
	}
}

// worktree is a clone in which git rebase ran.
type worktree struct {
	tb  testing.TB
	git git.Dir
}

// try is git's stdout, whether it succeeds or not.
func (c worktree) try(args ...string) string {
	out, _ := c.git.Run(c.tb.Context(), "", args...)
	return out
}

// rebaseInWorktree is the ordinary way: a checkout, and git rebase in it.
func rebaseInWorktree(tb testing.TB, remote string, base, head gate.SHA) worktree {
	tb.Helper()
	dir := tb.TempDir()
	c := worktree{tb, git.Dir{Path: filepath.Join(dir, ".git"), WorkTree: dir, Env: []string{
		"GIT_COMMITTER_NAME=" + bot.Name, "GIT_COMMITTER_EMAIL=" + bot.Email,
	}}}
	d, err := c.git.Remote(remote, "")
	if err != nil {
		tb.Fatal(err)
	}
	c.try("init", "--quiet", "--template=")
	if _, err := d.Run(tb.Context(), "", "fetch", "--quiet", "--", remote, string(base), string(head)); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.git.Run(tb.Context(), "", "switch", "--quiet", "--detach", string(head)); err != nil {
		tb.Fatal(err)
	}
	c.try("rebase", "--reapply-cherry-picks", string(base))
	return c
}

// history makes two branches that grew apart.
type history struct {
	*world
	rnd *rand.Rand
}

func (h history) generate() (base, head gate.SHA) {
	f := files{"dir/0": lines("l", 12), "dir/1": lines("m", 12), "2": lines("n", 12)}
	root := h.commit("main", "root", f)
	f1 := h.edit(f)
	fork := h.commit("main", "fork", f1, root)

	base, fb := fork, f1
	var landed []files // changes that main has, for twins
	for i := range 1 + h.rnd.IntN(3) {
		next := h.edit(fb)
		landed = append(landed, next)
		base = h.commit("main", fmt.Sprintf("main %d", i), next, base)
		fb = next
		if i == 0 && h.rnd.IntN(3) == 0 { // the PR merges main in
			landed = nil
		}
	}

	head, fh := fork, f1
	messages := []string{"plain", "", "# comment\n\n# more", "  spaces  \n\n\n\nbody  \n\n", "one\ntwo\nthree\n"}
	for range 1 + h.rnd.IntN(4) {
		switch {
		case h.rnd.IntN(8) == 0: // empty from the start
		case h.rnd.IntN(5) == 0 && len(landed) > 0 && maps.Equal(fh, f1):
			fh = landed[0] // what main's first commit does
		default:
			fh = h.edit(fh)
		}
		head = h.commit("pr", messages[h.rnd.IntN(len(messages))], fh, head)
	}
	if h.rnd.IntN(4) == 0 { // a side branch, merged
		side := h.commit("side", "side", fh.with(files{"side": "s\n"}), head)
		fh = fh.with(files{"own": "o\n"})
		head = h.commit("pr", "own", fh, head)
		fh = fh.with(files{"side": "s\n"})
		head = h.commit("pr", "Merge side", fh, head, side)
	}
	return base, head
}

// edit changes, adds, deletes or renames something.
func (h history) edit(f files) files {
	names := slices.Sorted(maps.Keys(f))
	name := names[h.rnd.IntN(len(names))]
	switch h.rnd.IntN(10) {
	case 0:
		return f.with(files{name: "", name + "x": f[name]})
	case 1:
		return f.with(files{"new" + strconv.Itoa(h.rnd.IntN(4)): lines("new", 1+h.rnd.IntN(3))})
	case 2:
		if len(names) > 2 {
			return f.with(files{name: ""})
		}
	}
	all := strings.SplitAfter(f[name], "\n")
	at := h.rnd.IntN(max(1, len(all)-1))
	all[at] = "edit " + strconv.Itoa(h.rnd.IntN(1000)) + "\n"
	return f.with(files{name: strings.Join(all, "")})
}
