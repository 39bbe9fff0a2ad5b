package bot

import (
	"context"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
)

// The stories here are about words that were nearly lost. Each was first seen in the
// simulated world.

var notFound = &forge.Refusal{Kind: forge.ErrNotFound, Op: "read", Status: 404, Text: "simulated"}

// A replica dies as its landing succeeds. The next one cannot read the PR at once;
// what it inherited is kept until it can.
func TestInheritedWorkIsKeptUntilItIsRead(t *testing.T) {
	for name, trouble := range map[string]error{"trouble": errBroken, "not found once": notFound} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				r.labelled(n)
				crashed := r.crashOn(op("Land"), true)
				r.start("one")
				r.until("it landed and the replica died", 5*time.Minute, crashed)
				failed := false
				r.on(func(c forgetest.Call, do func() error) error {
					if c.Op == "PullRequest" && c.PR == n && !failed {
						failed = true
						return trouble
					}
					return do()
				})
				r.start("two")
				r.says(n, "Landed", 20*time.Minute)
				if !failed {
					t.Error("nothing failed")
				}
				r.ended(n)
			})
		})
	}
}

// It landed, and its status could not be written. That the forge does not find the PR
// for a moment is no reason to say nothing.
func TestNotFoundOnceIsNotBelieved(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.labelled(n)
		status, look := false, false
		r.on(func(c forgetest.Call, do func() error) error {
			switch {
			case c.Op == "SetStatus" && r.PullRequest(r.repo, n).Merged && !status:
				status = true
				return errBroken
			case c.Op == "PullRequest" && c.PR == n && status && !look:
				look = true
				return notFound
			}
			return do()
		})
		r.start("one")
		r.says(n, "Landed", 10*time.Minute)
		if !status || !look {
			t.Error("nothing failed")
		}
		r.ended(n)
	})
}

// The request to post the note arrives twice, and the PR lands before anybody reads
// its comments again.
func TestDoubledNoteIsFoundAtTheEnd(t *testing.T) {
	tell(t, func(r *rig) {
		r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: retest.Passed} }
		n := r.opened("a", "main")
		r.labelled(n)
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "PostComment" && c.PR == n {
				_ = do()
			}
			return do()
		})
		r.start("one")
		r.says(n, "Landed", 10*time.Minute)
	})
}

// A replica dies before its landing reaches the forge, somebody deletes the note, and
// base moves. The next one dies too, when it has written all it knows: that the PR is
// being worked on. The third says that its notes are gone, and the queue goes on.
func TestNoteDeletedBeforeTheLanding(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.labelled(n)
		crashed := r.crashOn(op("Land"), false)
		r.start("one")
		r.until("the replica dies", 5*time.Minute, crashed)
		r.must(r.DeleteComment(r.repo, r.notes(n)[0].ID, r.ann))
		_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
		r.must(err)
		crashed = r.crashOn(func(c forgetest.Call) bool { return c.Op == "PostComment" && c.PR == n }, true)
		r.start("two")
		r.until("the second dies", 20*time.Minute, crashed)
		r.start("three")
		r.says(n, "my notes on this request are gone", 20*time.Minute)
		r.ended(n)
		_, err = r.Comment(r.repo, n, r.bob, "/merge")
		r.must(err)
		r.wake(n)
		r.until("it lands", 20*time.Minute, r.merged(n))
	})
}

// A replica is stopped as it sets a status, and goes on when another has long landed
// the PR. The last word is said again.
func TestStatusOfASleeperIsPutRight(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.labelled(n)
		slept := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Replica == "one" && c.Op == "SetStatus" && !slept {
				slept = true
				r.until("another landed it", time.Hour, func() bool {
					s := r.Statuses(r.repo, r.PullRequest(r.repo, n).Head)
					return len(s) > 0 && s[0].State == gate.CheckPassed
				})
				_ = do()
				return errBroken
			}
			if c.Replica == "one" && slept && !r.merged(n)() {
				return errBroken // all of it sleeps
			}
			return do()
		})
		r.start("one")
		r.until("it sleeps", 5*time.Minute, func() bool { return slept })
		r.start("two")
		r.says(n, "Landed", 20*time.Minute)
		r.sleep(10 * time.Minute)
		r.ended(n)
	})
}
