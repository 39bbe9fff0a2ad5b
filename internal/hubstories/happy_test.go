package hubstories

import (
	"fmt"
	"strings"
	"testing"

	"mergegate/forge/localhub"
	"mergegate/gate"
)

// A label lands the PR: its head is rebased, and main becomes exactly that commit.
func TestLabelLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", "left", "1")
		head := w.pr(pr).Head.SHA
		tip := w.pushMain("other", "moved on")
		w.label(bob, pr)
		got := w.landed(pr)
		main := w.mainIsGreen()
		if last := main[len(main)-1]; last != got.Head.SHA || last == head || w.in("rev-parse", last+"^") != tip {
			t.Errorf("head %s became %s on %s; main is at %s", head, got.Head.SHA, tip, last)
		}
		w.until("the check run to say so", func() bool { return strings.HasPrefix(w.checkRun(got.Head.SHA), "success: Landed as") })
	})
}

func TestCommandLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", "left", "1")
		c := w.comment(bob, pr, "Looks good to me.\n\n/merge\n")
		w.landed(pr)
		w.until("the command to be acknowledged", func() bool { return w.reacted(c) })
		w.mainIsGreen()
	})
}

func TestTenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		var prs []int
		for i := range 10 {
			name := fmt.Sprintf("feature%d", i)
			prs = append(prs, w.pull(name, name, "1"))
		}
		all, paid, writes := w.calls()
		for _, pr := range prs {
			w.label(bob, pr)
		}
		for _, pr := range prs {
			w.landed(pr)
		}
		all2, paid2, writes2 := w.calls()
		t.Logf("per landed PR, polls included: %.1f calls, of which %.1f count against the limit and %.1f are writes",
			float64(all2-all)/10, float64(paid2-paid)/10, float64(writes2-writes)/10)
		if main := w.mainIsGreen(); len(main) != 11 {
			t.Errorf("main has %d commits, want 11", len(main))
		}
	})
}

// Where a pull request is required, main moves by the merge button, in the way
// that the repository allows; what lands is the tested tree.
func TestSettingsForbidFastForward(t *testing.T) {
	for _, method := range []gate.Method{gate.Merge, gate.Squash, gate.Rebase} {
		t.Run(string(method), func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.must(w.hub.SetMergeMethods(repo, method))
				w.policy = "  require: {approvals: 1}\n  retest: {command: '" + green + "', timeout: 1m}\n"
				pr := w.pull("left", "left", "1", "left2", "2")
				tip := w.pushMain("other", "moved on")
				_, err := w.hub.AddRuleset(repo, localhub.Ruleset{Name: "by pull request", Branch: "main", Protection: localhub.Protection{Approvals: 1}})
				w.must(err)
				w.start()
				w.review(bob, pr, gate.Approved)
				w.label(bob, pr)
				got := w.landed(pr)
				w.mainIsGreen()
				if tested, landed := w.in("rev-parse", got.Head.SHA+"^{tree}"), w.in("rev-parse", "origin/main^{tree}"); tested != landed {
					t.Errorf("tested tree %s, landed tree %s", tested, landed)
				}
				if n := len(strings.Fields(w.in("rev-list", "--first-parent", tip+"..origin/main"))); n != map[gate.Method]int{gate.Merge: 1, gate.Squash: 1, gate.Rebase: 2}[method] {
					t.Errorf("%s put %d commits on main", method, n)
				}
			})
		})
	}
}

// A protected main: an approval, a status and a check run are required.
func TestProtectedMain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n"
		pr := w.pull("left", "left", "1")
		w.pushMain("other", "moved on")
		w.must(w.hub.Protect(repo, "main", &localhub.Protection{Approvals: 1, Checks: []string{"ci", "build"}, Strict: true, EnforceAdmins: true}))
		w.start()
		w.label(bob, pr)
		w.says(pr, "1 more approval")
		w.review(bob, pr, gate.Approved)
		candidate := w.testing(pr)
		w.ci(candidate, "success")
		_, err := w.hub.CheckRun(repo, gate.SHA(candidate), "Actions", "build", "")
		w.must(err)
		if w.pr(pr).Merged {
			t.Fatal("it landed before its check run was done")
		}
		_, err = w.hub.CheckRun(repo, gate.SHA(candidate), "Actions", "build", "success")
		w.must(err)
		if got := w.landed(pr); got.Head.SHA != candidate {
			t.Errorf("%s was tested, %s landed", candidate, got.Head.SHA)
		}
	})
}

// A repository where nothing happens costs nothing: every poll is answered "not
// modified".
func TestIdleIsFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.start()
	pr := w.pull("left", "left", "1")
	w.label(bob, pr)
	w.landed(pr)
	quiet := 0
	w.until("forty calls in a row that cost nothing", func() bool {
		all := w.hub.Exchanges()
		quiet = 0
		for i := len(all) - 1; i >= 0 && (all[i].Login != w.bot || all[i].Free); i-- {
			if all[i].Login == w.bot {
				quiet++
			}
		}
		return quiet >= 40
	})
}
