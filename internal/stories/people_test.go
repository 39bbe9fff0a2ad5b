package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mergegate/gate"
)

// manual makes CI the judge, so that a story decides how long testing takes.
func (w *world) manual() {
	w.policy = "  require: {approvals: 0}\n  retest: {checks: ['ci']}\n"
}

// testing waits until CI is awaited for the PR, and gives the candidate.
func (w *world) testing(pr int) string {
	w.Helper()
	w.until(fmt.Sprintf("#%d to be tested", pr), func() bool { return w.state(pr) == "testing" })
	return w.pr(pr).Head.SHA
}

// more pushes one more commit to the PR's branch, as its author.
func (w *world) more(branch string) {
	w.Helper()
	w.in("fetch", "-q", "origin")
	w.in("switch", "-q", "-C", branch, "origin/"+branch)
	w.commit(map[string]string{"unreviewed": "1"})
	w.in("push", "-q", "origin", branch)
}

// notLanded fails the story when the author's late commit is on main.
func (w *world) notLanded(pr int) {
	w.Helper()
	if w.pr(pr).Merged || w.has("unreviewed") {
		w.Error("an unreviewed commit landed")
	}
}

func TestPushWhileQueued(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		first := w.pull("left", map[string]string{"left": "1"})
		second := w.pull("next", map[string]string{"next": "1"})
		w.label(w.bob, first)
		candidate := w.testing(first)
		w.label(w.bob, second)
		w.until("the second to be queued", func() bool { return w.state(second) == "queued" })
		w.more("next")
		w.dropped(second, "was pushed after the request")
		w.ci(candidate, "ci", "success")
		w.landed(first)
		w.notLanded(second)
	})
}

func TestPushWhileTesting(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		w.more("left")
		w.dropped(pr, "was pushed after the request")
		w.ci(candidate, "ci", "success")
		w.ci(w.pr(pr).Head.SHA, "ci", "success")
		w.notLanded(pr)
	})
}

// The forge's merge call is pinned to the head: nothing lands, and the request ends.
func TestPushJustBeforeTheMergeCall(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy += "  land: {method: merge}\n"
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.beforeLanding(func() { w.more("left") })
		w.label(w.bob, pr)
		w.dropped(pr, "was pushed after the request")
		w.notLanded(pr)
		if main := w.mainIsGreen(); len(main) != 1 {
			t.Errorf("main moved: %v", main)
		}
	})
}

// The same with fast-forward, which on Gitea is a merge call too. GitHub's is a ref
// update, which knows no pull request: the tested commit lands, the late one stays
// in the pull request, its author is told, and it lands when it is asked for.
func TestPushJustBeforeLanding(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		tested := w.pr(pr).Head.SHA
		w.beforeLanding(func() { w.more("left") })
		w.label(w.bob, pr)
		if !w.onGitHub() {
			w.dropped(pr, "was pushed after the request")
			w.notLanded(pr)
			return
		}
		differs(t, "a push just before landing")
		w.says(pr, "Landed as "+tested[:7])
		w.says(pr, "was pushed too late and is not in it")
		w.until("the label to be gone", func() bool { return !w.pr(pr).labelled() })
		if !strings.HasPrefix(w.status(tested), "success: Landed as") {
			t.Errorf("the status of %s is %q", tested, w.status(tested))
		}
		if late := w.status(w.pr(pr).Head.SHA); !strings.HasPrefix(late, "failure: ") {
			t.Errorf("the status of the late commit is %q", late)
		}
		next := w.pull("next", map[string]string{"next": "1"})
		w.label(w.bob, next)
		w.landed(next)
		w.notLanded(pr)
		if main := w.mainIsGreen(); len(main) != 3 || main[1] != tested {
			t.Errorf("%s was tested, main is %v", tested, main)
		}
		w.comment(w.bob, pr, "/merge") // now somebody has seen it
		w.landed(pr)
	})
}

// Nobody has seen what was pushed after the request and before mergegate looked.
func TestPushBeforeTheFirstLook(t *testing.T) {
	for _, how := range []string{"label", "command"} {
		t.Run(how, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				pr := w.pull("left", map[string]string{"left": "1"})
				if how == "label" {
					w.label(w.bob, pr)
				} else {
					w.comment(w.bob, pr, "/merge")
				}
				said := time.Now() // Gitea notes a push up to three seconds late
				w.until("the push to be clearly later", func() bool { return time.Since(said) > 5*time.Second })
				w.more("left")
				w.until("the push to be noted", func() bool { return w.pushed(pr) })
				w.start()
				w.dropped(pr, "was pushed after the request, and nobody has approved it")
				w.notLanded(pr)
				w.comment(w.bob, pr, "/merge")
				w.landed(pr)
			})
		})
	}
}

// An approval that goes away takes the request out of the queue; it keeps its
// claim, and goes on when the approval is back.
func TestApprovalWithdrawn(t *testing.T) {
	for _, how := range []string{"changes requested", "dismissed"} {
		t.Run(how, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.policy = "  require: {approvals: 1}\n  retest: {checks: ['ci']}\n"
				w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.approve(w.bob, pr)
				w.label(w.bob, pr)
				candidate := w.testing(pr)
				if how == "dismissed" {
					w.dismiss(w.alice, w.bob, pr)
				} else {
					w.review(w.bob, pr, gate.ChangesRequested)
				}
				// Gitea tells nobody that a review was dismissed; a green test must not land it.
				w.ci(candidate, "ci", "success")
				w.says(pr, "1 more approval")
				if w.pr(pr).Merged {
					t.Fatal("it was merged without an approval")
				}
				w.approve(w.bob, pr)
				w.landed(pr)
			})
		})
	}
}

// An approval for an older head does not count for a new one.
func TestStaleApproval(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = strings.Replace(w.policy, "approvals: 0", "approvals: 1", 1)
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.approve(w.bob, pr)
		w.more("left")
		w.label(w.bob, pr)
		w.says(pr, "1 more approval")
		w.notLanded(pr)
	})
}

// mergegate's own rebase keeps the approval, also when main touched the same file.
func TestOwnRebaseKeepsApproval(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = strings.Replace(w.policy, "approvals: 0", "approvals: 1", 1)
		w.start()
		w.pushMain("shared", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")
		pr := w.pull("left", map[string]string{"shared": "mine\n2\n3\n4\n5\n6\n7\n8\n9\n"})
		w.approve(w.bob, pr)
		w.pushMain("shared", "1\n2\n3\n4\n5\n6\n7\n8\ntheirs\n")
		w.label(w.bob, pr)
		w.landed(pr)
	})
}

// What a person takes back while a PR is being tested ends the request.
func TestTakenBackWhileTesting(t *testing.T) {
	for _, c := range []struct {
		name, why string
		do        func(w *world, pr int)
	}{
		{"label removed", `the label "merge" was taken off`, func(w *world, pr int) { w.unlabel(w.bob, pr) }},
		{"cancelled by its author", "cancelled by", func(w *world, pr int) { w.comment(w.carol, pr, "/merge cancel") }},
		{"closed", "the PR was closed", func(w *world, pr int) { w.close(w.carol, pr) }},
		{"drafted", "converted to a draft", func(w *world, pr int) { w.draft(w.carol, pr) }},
		{"retargeted", "was retargeted from main to dev", func(w *world, pr int) { w.retarget(w.carol, pr, "dev") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.manual()
				w.in("push", "-q", "origin", "origin/main:refs/heads/dev")
				w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.label(w.bob, pr)
				candidate := w.testing(pr)
				c.do(w, pr)
				w.until("the request to end", func() bool {
					text := w.sticky(pr)
					return strings.Contains(text, c.why) && strings.Contains(text, "sk again")
				})
				w.ci(candidate, "ci", "success")
				// Another PR lands: the queue went on, and would have landed this one first.
				next := w.pull("next", map[string]string{"next": "1"})
				w.label(w.bob, next)
				w.ci(w.testing(next), "ci", "success")
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
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		old := w.testing(pr)
		tip := w.pushMain("other", "moved on")
		w.until("it to be caught up again", func() bool { return w.pr(pr).Head.SHA != old && w.state(pr) == "testing" })
		w.ci(old, "ci", "success") // of a commit that is no candidate any more
		candidate := w.pr(pr).Head.SHA
		w.in("fetch", "-q", "origin")
		if parent := w.in("rev-parse", candidate+"^"); parent != tip {
			t.Errorf("the candidate is on %s, main is at %s", parent, tip)
		}
		w.ci(candidate, "ci", "success")
		if got := w.landed(pr); got.Commit != candidate {
			t.Errorf("%s was tested, %s landed", candidate, got.Commit)
		}
	})
}

// Main moves between the last look and the merge call: the forge refuses, and the
// combination is tested before it lands.
func TestMainMovesJustBeforeLanding(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.beforeLanding(func() { w.pushMain("right", "1") })
		w.label(w.bob, pr)
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
		pr := w.pull("left", map[string]string{"left": "1"})
		w.comment(w.mallory, pr, "/merge")
		w.says(pr, "needs write access")
		if got := w.pr(pr); got.Merged || got.labelled() {
			t.Error("a reader's command was obeyed")
		}
	})
}

// The policy that judges a PR is the one on main, whatever the PR says.
func TestAttack71PolicyInsideThePR(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.pushMain(".mergegate.yaml", "retest: {command: '! test -e evil'}\nrequire: {approvals: 0}\n")
		w.start()
		pr := w.pull("evil", map[string]string{".mergegate.yaml": "retest: {command: 'true'}\n", "evil": "1"})
		w.label(w.bob, pr)
		w.dropped(pr, "Retest failed: exit 1")
		if w.has("evil") {
			t.Error("the PR chose its own test")
		}
	})
}

// A broken policy on main stops the queue with the line that is wrong, and mends itself.
func TestAttack72BrokenPolicyOnMain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.pushMain(".mergegate.yaml", "retests: {command: 'true'}\n")
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		w.says(pr, "mend .mergegate.yaml on main")
		w.pushMain(".mergegate.yaml", "retest: {command: 'true'}\nrequire: {approvals: 0}\n")
		w.landed(pr)
	})
}

// What only looks like a command is none.
func TestNoCommand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.comment(w.bob, pr, "> /merge\n\nno")
		w.comment(w.bob, pr, "```\n/merge\n```\n")
		edited := w.comment(w.bob, pr, "nothing yet")
		w.laterThan(time.Now()) // an edit in the same second does not show
		w.edit(w.bob, edited, "/merge")
		// A real command on another PR shows that the comments were seen by then.
		other := w.pull("right", map[string]string{"right": "1"})
		w.comment(w.bob, other, "/merge")
		w.landed(other)
		if got := w.pr(pr); got.Merged || got.labelled() || w.sticky(pr) != "" {
			t.Errorf("something that is no command was obeyed: %+v\n%s", got, w.sticky(pr))
		}
	})
}

func TestFreeze(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.role(w.bot, gate.RoleAdmin) // who else reads other people's roles on Gitea?
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.comment(w.bob, pr, "/merge freeze I said so")
		w.says(pr, "needs the maintain or admin role")
		w.comment(w.alice, pr, "/merge freeze release day")
		w.says(pr, "is frozen: release day")
		w.label(w.bob, pr)
		w.until("the status to say so", func() bool {
			return strings.Contains(w.status(w.pr(pr).Head.SHA), "Frozen: release day")
		})
		w.comment(w.alice, pr, "/merge unfreeze")
		w.landed(pr)
	})
}
