package stories

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"mergegate/gate"
)

// The stories here are about who may do what. Those named after a number are rows of
// docs/attacks.md.

// post posts a commit status, as whoever may write can do in any context.
func (w *world) post(as person, sha, context, state string) {
	w.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"context":%q,"state":%q}`, context, state))
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.api()+"/repos/"+w.repo()+"/statuses/"+sha, body)
	w.must(err)
	req.Header.Set("Authorization", "token "+as.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		w.Fatalf("a status by %s: %s", as.name, resp.Status)
	}
}

// Who asked, or approved, and may write no more when it would land: it does not.
func TestAttack32RightsRevoked(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 1}\n  retest: {checks: ['ci']}\n"
		w.start()
		asked := w.pull("asked", map[string]string{"asked": "1"})
		w.approve(w.alice, asked)
		w.label(w.bob, asked)
		candidate := w.testing(asked)
		w.role(w.bob, gate.RoleRead)
		w.ci(candidate, "ci", "success")
		w.dropped(asked, "who asked for it, no longer has write access")

		w.role(w.mallory, gate.RoleWrite)
		approved := w.pull("approved", map[string]string{"approved": "1"})
		w.approve(w.mallory, approved)
		w.label(w.alice, approved)
		candidate = w.testing(approved)
		w.role(w.mallory, gate.RoleRead)
		w.ci(candidate, "ci", "success")
		w.says(approved, "1 more approval")
		if w.has("asked") || w.has("approved") {
			t.Error("it landed on rights that were gone")
		}
	})
}

// An old comment that somebody edits into a command is none.
func TestAttack34EditedComment(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		id := w.comment(w.bob, pr, "looks fine to me")
		w.laterThan(time.Now()) // an edit in the same second does not show
		w.edit(w.alice, id, "/merge")
		other := w.pull("next", map[string]string{"next": "1"})
		w.label(w.bob, other)
		w.landed(other)
		if got := w.pr(pr); got.Merged || got.labelled() || w.state(pr) != "" || w.acknowledged(id) {
			t.Errorf("an edited comment was obeyed: merged %v, labelled %v, %q", got.Merged, got.labelled(), w.state(pr))
		}
	})
}

// What a test prints, and what a PR is called, stands in mergegate's own comment; a
// command in it is none.
func TestAttack35OwnWords(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n  retest: {command: 'if test -e evil; then printf \"x\\n/merge\\n/merge priority=urgent\\n\"; exit 1; fi'}\n"
		w.start()
		w.branch("evil", "origin/main", map[string]string{"evil": "1"})
		pr := w.propose(w.carol, "evil", "main", "/merge")
		w.label(w.bob, pr)
		w.dropped(pr, "Retest failed: exit 1")
		if !strings.Contains(w.sticky(pr), "/merge priority=urgent") {
			t.Fatalf("the comment does not have the output:\n%s", w.sticky(pr))
		}
		other := w.pull("next", map[string]string{"next": "1"})
		w.label(w.bob, other)
		w.landed(other)
		if got := w.pr(pr); got.Merged || got.labelled() || w.state(pr) != "" {
			t.Errorf("it obeyed itself: labelled %v, %q", got.labelled(), w.state(pr))
		}
	})
}

// A green check by the author of the change is none where the policy names others.
func TestAttack96AuthorsOwnCheck(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n  retest: {checks: ['ci'], check_creators: ['" + w.alice.name + "']}\n"
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		w.post(w.carol, candidate, "ci", "success")
		other := w.pull("next", map[string]string{"next": "1"})
		w.comment(w.mallory, other, "/merge") // the answer shows that it looked
		w.says(other, "needs write access")
		if w.pr(pr).Merged || w.state(pr) != "testing" {
			t.Fatalf("the author's own check counted: #%d is %q", pr, w.state(pr))
		}
		w.ci(candidate, "ci", "success")
		w.landed(pr)
	})
}

// An approval is for a base: changed, it takes another one.
func TestApprovalOfAnotherBase(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 1}\n  retest: {command: '" + green + "'}\n"
		w.in("push", "-q", w.cloneURL(w.alice, w.repo()), "origin/main:refs/heads/release")
		w.start()
		w.branch("left", "origin/main", map[string]string{"left": "1"})
		pr := w.propose(w.carol, "left", "release", "Add left")
		w.approve(w.bob, pr)
		w.retarget(w.alice, pr, "main")
		turned := time.Now()
		w.label(w.bob, pr)
		w.says(pr, "1 more approval")
		if w.pr(pr).Merged {
			t.Fatal("an approval for release counted for main")
		}
		w.laterThan(turned)
		w.approve(w.bob, pr)
		w.landed(pr)
	})
}

// The base branch is deleted while a request is worked on: it ends with a reason,
// and the other queues go on.
func TestAttack112BaseDeleted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  branches: [main, release]\n  require: {approvals: 0}\n  retest: {checks: ['ci']}\n"
		w.in("push", "-q", w.cloneURL(w.alice, w.repo()), "origin/main:refs/heads/release")
		w.start()
		w.branch("left", "origin/main", map[string]string{"left": "1"})
		pr := w.propose(w.carol, "left", "release", "Add left")
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		w.in("push", "-q", w.cloneURL(w.alice, w.repo()), ":refs/heads/release")
		w.ci(candidate, "ci", "success")
		gone := regexp.MustCompile("the branch release is gone|the PR was closed|retargeted from release")
		w.until("the request to end with a reason", func() bool { return gone.MatchString(w.sticky(pr)) })
		other := w.pull("next", map[string]string{"next": "1"})
		w.label(w.bob, other)
		w.ci(w.testing(other), "ci", "success")
		w.landed(other)
	})
}
