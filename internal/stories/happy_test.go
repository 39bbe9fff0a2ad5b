package stories

import (
	"fmt"
	"strings"
	"testing"

	"mergegate/gate"
)

func TestLabelLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		got := w.landed(pr)
		if main := w.mainIsGreen(); got.Commit != main[len(main)-1] {
			t.Errorf("main is at %s, #%d landed as %s", main[len(main)-1], pr, got.Commit)
		}
		if !w.has("left") {
			t.Error("main does not have the change")
		}
	})
}

func TestCommandLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		c := w.comment(w.bob, pr, "Looks good to me.\n\n/merge\n")
		w.landed(pr)
		w.until("the command to be acknowledged", func() bool { return w.acknowledged(c) })
		w.mainIsGreen()
	})
}

func TestApprovalLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy += "  trigger: {approval: true}\n"
		w.policy = strings.Replace(w.policy, "approvals: 0", "approvals: 1", 1)
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.approve(w.bob, pr)
		w.landed(pr)
		w.mainIsGreen()
	})
}

// Approval is asked for by default, and the request says what it waits for.
func TestWaitsForApproval(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = strings.Replace(w.policy, "approvals: 0", "approvals: 1", 1)
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		w.says(pr, "1 more approval")
		w.until("the status to say so", func() bool {
			return strings.Contains(w.status(w.pr(pr).Head.SHA), "pending: Waiting: 1 more approval")
		})
		w.approve(w.bob, pr)
		w.landed(pr)
	})
}

func TestTenLandOneAfterAnother(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		var prs []int
		for i := range 10 {
			name := fmt.Sprintf("feature%d", i)
			prs = append(prs, w.pull(name, map[string]string{name: "1"}))
		}
		for _, pr := range prs {
			w.label(w.bob, pr)
		}
		for _, pr := range prs {
			w.landed(pr)
		}
		if main := w.mainIsGreen(); len(main) != 11 {
			t.Errorf("main has %d commits, want 11", len(main))
		}
	})
}

// A head that already contains main is neither rewritten nor pushed.
func TestUpToDateIsNotRewritten(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		head := w.pr(pr).Head.SHA
		w.label(w.bob, pr)
		if got := w.landed(pr); got.Head.SHA != head || got.Commit != head {
			t.Errorf("head %s became %s and landed as %s", head, got.Head.SHA, got.Commit)
		}
	})
}

// The strongest method that the settings allow is taken; what lands is the tested tree.
func TestSettingsForbidFastForward(t *testing.T) {
	for _, method := range []gate.Method{gate.Merge, gate.Squash, gate.Rebase} {
		t.Run(string(method), func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.policy = strings.Replace(w.policy, "approvals: 0", "approvals: 1", 1)
				pr := w.pull("left", map[string]string{"left": "1", "left2": "2"})
				tip := w.pushMain("other", "moved on")
				w.onlyMethod(method)
				w.start()
				w.approve(w.bob, pr)
				w.label(w.bob, pr)
				got := w.landed(pr)
				w.mainIsGreen()
				if tested, landed := w.in("rev-parse", got.Head.SHA+"^{tree}"), w.in("rev-parse", "origin/main^{tree}"); tested != landed {
					t.Errorf("tested tree %s, landed tree %s", tested, landed)
				}
				want := map[gate.Method]int{gate.Merge: 1, gate.Squash: 1, gate.Rebase: 2}[method]
				if n := len(strings.Fields(w.in("rev-list", "--first-parent", tip+"..origin/main"))); n != want {
					t.Errorf("%s put %d commits on main, want %d", method, n, want)
				}
			})
		})
	}
}

// A method that the settings forbid is said, not replaced by another.
func TestWantedMethodIsForbidden(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.forbid(gate.Squash)
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.comment(w.bob, pr, "/merge method=squash")
		w.says(pr, "allow the merge method squash")
		if w.pr(pr).Merged {
			t.Error("it was merged all the same")
		}
	})
}

// A protected main: nobody pushes, one approval and a CI check are required.
func TestProtectedMain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n"
		pr := w.pull("left", map[string]string{"left": "1"})
		w.pushMain("other", "moved on")
		w.protect(1, "ci/build")
		w.start()
		w.label(w.bob, pr)
		w.says(pr, "1 more approval")
		w.approve(w.bob, pr)
		candidate := w.testing(pr)
		w.ci(candidate, "ci/build", "success")
		if got := w.landed(pr); got.Head.SHA != candidate {
			t.Errorf("%s was tested, %s landed", candidate, got.Head.SHA)
		}
	})
}
