package bot

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
)

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

// What a replica sent and heard nothing of arrives when the request has long ended and
// the end was told: by another, because it died, or by itself, because it tried again.
// The last word is said again.
func TestLateWordsArePutRight(t *testing.T) {
	for word, name := range map[string]string{"SetStatus": "status", "EditComment": "note", "PostComment": "second note"} {
		for _, end := range []string{"Landed", "Retest failed"} {
			for _, dies := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, its sender dies: %v", name, end, dies), func(t *testing.T) {
					tell(t, func(r *rig) {
						n := r.endsWith(end)
						late := r.losesOnce("one", word, n, dies)
						r.start("one")
						r.until("it hears nothing", 5*time.Minute, func() bool { return *late != nil })
						if dies {
							r.start("two")
						}
						r.says(n, end, 20*time.Minute)
						r.sleep(r.cfg.Lease.TTL)
						r.must((*late)())
						r.sleep(10 * time.Minute)
						r.says(n, end, time.Second)
						r.ended(n)
						if times := r.leased(); !dies && end == "Landed" && times > 2 {
							t.Errorf("the lease was taken %d times, to end a request and to look once more:\n%s", times, r.tale())
						}
					})
				})
			}
		}
	}
}

// leased is how often the lease was taken.
func (r *rig) leased() (times int) {
	for _, e := range r.Log() {
		if e.Op == forgetest.OpComment && strings.Contains(e.Text, "<!-- mergegate:lease") {
			times++
		}
	}
	return times
}

// endsWith is a PR that somebody asked for, and whose retest brings it to an end.
func (r *rig) endsWith(end string) int {
	r.Helper()
	if end != "Landed" {
		r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: retest.Failed, Exit: 1} }
	}
	n := r.opened("a", "main")
	r.labelled(n)
	return n
}

// losesOnce holds up a replica's first write of a kind that tells of a PR, and gives
// what sends it on. Its sender hears of trouble, or dies.
func (r *rig) losesOnce(replica, word string, n int, dies bool) *func() error {
	var late func() error
	r.on(func(c forgetest.Call, do func() error) error {
		ours := c.Op == "SetStatus" || c.PR == n || len(r.notes(n)) > 0 && c.Comment == r.notes(n)[0].ID
		if late != nil || c.Replica != replica || c.Op != word || !ours {
			return do()
		}
		late = do
		if dies {
			r.crash(replica)
		}
		return errBroken
	})
	return &late
}

// An edit of the note arrives when the request has long ended, and before its sender
// looks once more, another replica draws its conclusions from it. The first end holds.
func TestOfTwoEndsTheFirstHolds(t *testing.T) {
	tell(t, func(r *rig) {
		r.cfg.Defaults.Require.Approvals = 1
		n := r.endsWith("Retest failed")
		r.start("one")
		r.says(n, "1 more approval", 5*time.Minute)
		late := r.losesOnce("one", "EditComment", n, false)
		r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		r.wake(n)
		r.until("it hears nothing", 5*time.Minute, func() bool { return *late != nil })
		r.says(n, "Retest failed", 5*time.Minute)
		r.sleep(r.cfg.Lease.TTL)
		r.must((*late)())
		r.start("two")
		r.says(n, "was taken off", 5*time.Minute)
		r.says(n, "Retest failed", 20*time.Minute)
		r.ended(n)
	})
}

// The first note of a request that has ended arrives when another request for the same
// PR has ended too. The end of the newest request is what is told.
func TestOfTwoNotesTheNewestRequestHolds(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.endsWith("Retest failed")
		late := r.losesOnce("one", "PostComment", n, false)
		r.start("one")
		r.says(n, "Retest failed", 5*time.Minute)
		r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: retest.Failed, Why: "exit 7"} }
		_, err := r.Push(r.repo, r.ann, r.Tip(r.repo, "a"), map[string]string{"a.txt": "better\n"}, "a")
		r.must(err)
		r.sleep(10 * time.Second)
		r.labelled(n)
		r.wake(n)
		r.says(n, "exit 7", 5*time.Minute)
		r.sleep(r.cfg.Lease.TTL)
		r.must((*late)())
		r.sleep(20 * time.Minute)
		r.says(n, "exit 7", time.Second)
		r.ended(n)
		r.neverSays("was taken off")
	})
}
