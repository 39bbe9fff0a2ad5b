package stories

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// fork makes mallory's PR from a fork, and tells whether maintainers may push to it.
func (w *world) fork(branch string, maintainerEdits bool) int {
	w.Helper()
	w.api(w.mallory, "POST", "/repos/"+w.repo+"/forks", map[string]string{}, nil)
	fork := w.mallory.Name + "/widgets"
	clone := filepath.Join(w.TempDir(), "fork")
	w.git("clone", "-q", w.gitea.CloneURL(w.mallory, fork), clone)
	mine := w.clone
	w.clone = clone
	w.in("config", "user.name", w.mallory.Name)
	w.in("config", "user.email", w.mallory.Name+"@example.test")
	w.branch(branch, "origin/main", map[string]string{branch: "1"})
	w.clone = mine
	var pr struct {
		Number int `json:"number"`
	}
	w.api(w.mallory, "POST", "/repos/"+w.repo+"/pulls", map[string]string{"head": w.mallory.Name + ":" + branch, "base": "main", "title": "From a fork"}, &pr)
	if !maintainerEdits {
		w.api(w.mallory, "PATCH", fmt.Sprintf("/repos/%s/pulls/%d", w.repo, pr.Number), map[string]bool{"allow_maintainer_edit": false}, nil)
	}
	return pr.Number
}

// A fork that maintainers may push to is caught up like any branch.
func TestForkWithMaintainerEdits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.fork("left", true)
		head := w.pr(pr).Head.SHA
		tip := w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		got := w.landed(pr)
		w.mainIsGreen()
		if got.Head.SHA == head || w.in("rev-parse", got.Head.SHA+"^") != tip {
			t.Errorf("the fork's branch was not rebased: %s", got.Head.SHA)
		}
	})
}

// A fork that nobody else may push to stays as it is: the result of merging it is
// tested, landed, and compared by tree. The PR says so.
func TestForkWithoutMaintainerEdits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.fork("left", false)
		head := w.pr(pr).Head.SHA
		tip := w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		got := w.landed(pr)
		w.mainIsGreen()
		if got.Head.SHA != head {
			t.Errorf("the head was moved from %s to %s", head, got.Head.SHA)
		}
		if parents := w.in("rev-parse", "origin/main^1"); parents != tip {
			t.Errorf("it was merged onto %s, and tested on %s", parents, tip)
		}
		if text := w.sticky(pr); !strings.Contains(text, "cannot be pushed to") {
			t.Errorf("the PR does not say why its branch stays as it is:\n%s", text)
		}
	})
}

// The same where nothing but fast-forward is allowed: the author must do it.
func TestForkThatNothingCanLand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.api(w.alice, "PATCH", "/repos/"+w.repo, map[string]any{
			"allow_fast_forward_only_merge": true, "allow_merge_commits": false, "allow_squash_merge": false,
			"allow_rebase": false, "allow_rebase_explicit": false, "default_merge_style": "fast-forward-only",
		}, nil)
		w.start()
		pr := w.fork("left", false)
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		w.dropped(pr, "Rebase it on main yourself and ask again")
	})
}

// An AGit PR has no branch that anybody but its author can push to.
func TestAGit(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
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
	})
}

// With CI as the judge, the candidate of such a PR is shown to CI on a branch of
// mergegate's own, which goes away afterwards.
func TestForkJudgedByCI(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		pr := w.fork("left", false)
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
