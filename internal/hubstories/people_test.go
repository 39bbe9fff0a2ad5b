package hubstories

import (
	"strings"
	"testing"

	"mergegate/gate"
)

func TestPushWhileTesting(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		pr := w.pull("left", "left", "1")
		w.label(bob, pr)
		candidate := w.testing(pr)
		w.more("left")
		w.dropped(pr, "was pushed after the request")
		w.ci(candidate, "success")
		w.ci(w.pr(pr).Head.SHA, "success")
		w.notLanded(pr)
	})
}

// GitHub's ref update knows no pull request: the tested commit lands, the late one
// stays in the pull request, also when the queue goes on, until it is asked for.
func TestPushJustBeforeLanding(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", "left", "1")
		tested := w.pr(pr).Head.SHA
		w.beforeLanding(func() { w.more("left") })
		w.label(bob, pr)
		w.says(pr, "Landed as "+tested[:7])
		if !strings.HasPrefix(w.status(tested), "success: Landed as") {
			t.Errorf("the status of %s is %q", tested, w.status(tested))
		}
		next := w.pull("next", "next", "1")
		w.label(bob, next)
		w.landed(next)
		w.notLanded(pr)
		if main := w.mainIsGreen(); len(main) != 3 || main[1] != tested {
			t.Errorf("%s was tested, main is %v", tested, main)
		}
		w.comment(bob, pr, "/merge") // now somebody has seen it
		w.landed(pr)
	})
}

// The merge button is pinned to the head: nothing lands, and the request ends.
func TestPushJustBeforeTheMergeButton(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy += "  land: {method: merge}\n"
		w.start()
		pr := w.pull("left", "left", "1")
		w.beforeLanding(func() { w.more("left") })
		w.label(bob, pr)
		w.dropped(pr, "was pushed after the request")
		w.notLanded(pr)
		if main := w.mainIsGreen(); len(main) != 1 {
			t.Errorf("main moved: %v", main)
		}
	})
}

// An approval that goes away takes the request out of the queue; it keeps its
// claim, and goes on when the approval is back.
func TestApprovalWithdrawn(t *testing.T) {
	for _, how := range []string{"changes requested", "dismissed"} {
		t.Run(how, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.policy = "  require: {approvals: 1}\n  retest: {checks: ['ci']}\n"
				w.start()
				pr := w.pull("left", "left", "1")
				w.review(bob, pr, gate.Approved)
				w.label(bob, pr)
				candidate := w.testing(pr)
				if how == "dismissed" {
					w.must(w.hub.Dismiss(repo, pr, alice, bob))
				} else {
					w.review(bob, pr, gate.ChangesRequested)
				}
				w.ci(candidate, "success")
				w.says(pr, "1 more approval")
				if w.pr(pr).Merged {
					t.Fatal("it was merged without an approval")
				}
				w.review(bob, pr, gate.Approved)
				w.landed(pr)
			})
		})
	}
}

// What a person takes back while a PR is being tested ends the request.
func TestTakenBackWhileTesting(t *testing.T) {
	for _, c := range []struct {
		name, why string
		do        func(w *world, pr int)
	}{
		{"label removed", `the label "merge" was taken off`, func(w *world, pr int) { w.must(w.hub.Unlabel(repo, pr, bob, "merge")) }},
		{"cancelled by its author", "cancelled by", func(w *world, pr int) { w.comment(carol, pr, "/merge cancel") }},
		{"closed", "the PR was closed", func(w *world, pr int) { w.must(w.hub.Close(repo, pr, carol)) }},
		{"drafted", "converted to a draft", func(w *world, pr int) { w.must(w.hub.Draft(repo, pr, carol, true)) }},
		{"retargeted", "was retargeted from main to dev", func(w *world, pr int) { w.must(w.hub.Retarget(repo, pr, carol, "dev")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.manual()
				w.in("push", "-q", "origin", "origin/main:refs/heads/dev")
				w.start()
				pr := w.pull("left", "left", "1")
				w.label(bob, pr)
				candidate := w.testing(pr)
				c.do(w, pr)
				w.until("the request to end", func() bool {
					text := w.sticky(pr)
					return strings.Contains(text, c.why) && strings.Contains(text, "sk again")
				})
				w.ci(candidate, "success")
				// Another PR lands: the queue went on, and would have landed this one first.
				next := w.pull("next", "next", "1")
				w.label(bob, next)
				w.ci(w.testing(next), "success")
				w.landed(next)
				if w.pr(pr).Merged {
					t.Error("it was merged all the same")
				}
			})
		})
	}
}

func TestMainMovesWhileTesting(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		pr := w.pull("left", "left", "1")
		w.label(bob, pr)
		old := w.testing(pr)
		tip := w.pushMain("other", "moved on")
		w.until("it to be caught up again", func() bool { return w.pr(pr).Head.SHA != old && w.state(pr) == "testing" })
		w.ci(old, "success") // of a commit that is no candidate any more
		candidate := w.pr(pr).Head.SHA
		w.in("fetch", "-q", "origin")
		if parent := w.in("rev-parse", candidate+"^"); parent != tip {
			t.Errorf("the candidate is on %s, main is at %s", parent, tip)
		}
		w.ci(candidate, "success")
		if got := w.landed(pr); got.Head.SHA != candidate {
			t.Errorf("%s was tested, %s landed", candidate, got.Head.SHA)
		}
	})
}

// Main moves between the last look and the ref update: GitHub refuses, and the
// combination is tested before it lands.
func TestMainMovesJustBeforeLanding(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", "left", "1")
		w.beforeLanding(func() { w.pushMain("right", "1") })
		w.label(bob, pr)
		w.dropped(pr, "Retest failed") // left and right together are red
		if w.has("left") {
			t.Error("an untested combination landed")
		}
		w.mainIsGreen()
	})
}

func TestReaderMayNotAsk(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", "left", "1")
		w.comment(mallory, pr, "/merge")
		w.says(pr, "needs write access")
		if got := w.pr(pr); got.Merged || got.labelled() {
			t.Error("a reader's command was obeyed")
		}
	})
}
