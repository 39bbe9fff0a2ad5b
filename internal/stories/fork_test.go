package stories

import (
	"fmt"
	"strings"
	"testing"

	"mergegate/gate"
)

// forked makes mallory's PR from a fork, and tells whether maintainers may push to it.
func (w *world) forked(branch string, maintainerEdits bool) int {
	w.Helper()
	mine := w.clone
	w.clone = w.checkout(w.mallory, w.fork(w.mallory))
	w.branch(branch, "origin/main", map[string]string{branch: "1"})
	w.clone = mine
	pr := w.propose(w.mallory, w.mallory.name+":"+branch, "main", "From a fork")
	if !maintainerEdits {
		w.keepToMyself(w.mallory, pr)
	}
	return pr
}

// A fork that maintainers may push to is caught up like any branch; on GitHub
// mergegate's App is no maintainer of the fork.
func TestForkWithMaintainerEdits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.forked("left", true)
		head := w.pr(pr).Head.SHA
		tip := w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		got := w.landed(pr)
		w.mainIsGreen()
		if w.onGitHub() {
			differs(t, "forks")
			w.unmoved(pr, head, tip)
		} else if got.Head.SHA == head || w.in("rev-parse", got.Head.SHA+"^") != tip {
			t.Errorf("the fork's branch was not rebased: %s", got.Head.SHA)
		}
	})
}

// A fork that nobody else may push to stays as it is: the result of merging it is
// tested, landed, and compared by tree. The PR says so.
func TestForkWithoutMaintainerEdits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.forked("left", false)
		head := w.pr(pr).Head.SHA
		tip := w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		w.landed(pr)
		w.mainIsGreen()
		w.unmoved(pr, head, tip)
	})
}

// unmoved checks that a PR landed by a merge of its own head onto the tip it was
// tested with, and that it says why its branch was left alone.
func (w *world) unmoved(pr int, head, tip string) {
	w.Helper()
	if got := w.pr(pr).Head.SHA; got != head {
		w.Errorf("the head was moved from %s to %s", head, got)
	}
	if parent := w.in("rev-parse", "origin/main^1"); parent != tip {
		w.Errorf("it was merged onto %s, and tested on %s", parent, tip)
	}
	if text := w.sticky(pr); !strings.Contains(text, "cannot be pushed to") {
		w.Errorf("the PR does not say why its branch stays as it is:\n%s", text)
	}
}

// The same where nothing but fast-forward is allowed: the author must do it.
func TestForkThatNothingCanLand(t *testing.T) {
	only(t, "nothing but fast-forward", func(t *testing.T, w *world) {
		w.onlyMethod(gate.FastForward)
		w.start()
		pr := w.forked("left", false)
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		w.dropped(pr, "Rebase it on main yourself and ask again")
	}, "gitea")
}

// An AGit PR has no branch that anybody but its author can push to.
func TestAGit(t *testing.T) {
	only(t, "AGit", func(t *testing.T, w *world) {
		w.start()
		w.in("switch", "-q", "-C", "topic", "origin/main")
		w.commit(map[string]string{"left": "1"})
		w.in("push", "-q", "origin", "HEAD:refs/for/main", "-o", "topic=left", "-o", "title=By AGit")
		tip := w.pushMain("other", "moved on")
		w.label(w.bob, 1)
		w.landed(1)
		w.mainIsGreen()
		if parent := w.in("rev-parse", "origin/main^1"); parent != tip || !w.has("left") {
			t.Errorf("it was merged onto %s, and tested on %s", parent, tip)
		}
	}, "gitea")
}

// With CI as the judge, the candidate of such a PR is shown to CI on a branch of
// mergegate's own, which goes away afterwards.
func TestForkJudgedByCI(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		pr := w.forked("left", false)
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		branch := fmt.Sprintf("refs/heads/mergegate/main/%d", pr)
		candidate := ""
		w.until("the candidate's branch", func() bool {
			candidate, _, _ = strings.Cut(w.in("ls-remote", "origin", branch), "\t")
			return candidate != ""
		})
		w.ci(candidate, "ci", "success")
		w.landed(pr)
		w.until("the branch to be gone", func() bool { return w.in("ls-remote", "origin", branch) == "" })
	})
}
