package bot

import (
	"sync/atomic"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
)

// approvals makes a request need one.
func (r *rig) approvals() { r.cfg.Defaults.Require.Approvals = 1 }

// A right that goes while the candidate is tested is missed at the landing, although
// it was looked up seconds ago; when it comes back, nothing on the PR shows it, and
// the request goes on by itself.
func TestAttack32RightsAreReadAfresh(t *testing.T) {
	for name, who := range map[string]func(r *rig) gate.User{
		"approver":  func(r *rig) gate.User { return r.bob },
		"requester": func(r *rig) gate.User { return r.ann },
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				r.approvals()
				n := r.opened("a", "main")
				r.must(r.Review(r.repo, n, r.bob, gate.Approved))
				r.must(r.Label(r.repo, n, r.ann, "merge"))
				r.on(func(c forgetest.Call, do func() error) error {
					if c.Op == "SetStatus" { // its retest runs
						r.on(nil)
						r.SetRole(r.repo, who(r), gate.RoleRead)
					}
					return do()
				})
				r.start("one")
				if name == "requester" {
					r.says(n, "no longer has write access", 2*time.Minute)
					return
				}
				r.says(n, "1 more approval", 2*time.Minute)
				if r.merged(n)() {
					t.Fatalf("it landed on an approval by somebody who may not write\n%s", r.tale())
				}
				r.SetRole(r.repo, r.bob, gate.RoleWrite)
				r.until("it lands", 10*time.Minute, r.merged(n))
			})
		})
	}
}

// An approval for another base, and one from before the base was changed there and
// back while the candidate was tested, are none for this base.
func TestApprovalsAreForABase(t *testing.T) {
	tell(t, func(r *rig) {
		r.approvals()
		_, err := r.Push(r.repo, r.own, r.Tip(r.repo, "main"), map[string]string{"v1.txt": "1\n"}, "release")
		r.must(err)
		n := r.opened("a", "main")
		r.must(r.Retarget(r.repo, n, r.ann, "release"))
		time.Sleep(2 * time.Second)
		r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		time.Sleep(2 * time.Second)
		r.must(r.Retarget(r.repo, n, r.ann, "main"))
		r.labelled(n)
		r.start("one")
		r.says(n, "1 more approval", 2*time.Minute)
		time.Sleep(2 * time.Second)
		var turned atomic.Bool
		r.judged = func(retest.Job) {
			if !turned.Swap(true) {
				r.must(r.Retarget(r.repo, n, r.ann, "release"))
				r.must(r.Retarget(r.repo, n, r.ann, "main"))
			}
		}
		r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		r.until("its retest runs", 2*time.Minute, turned.Load)
		time.Sleep(5 * time.Minute)
		r.says(n, "1 more approval", time.Minute)
		if r.merged(n)() {
			t.Fatalf("it landed on an approval from before the base was changed\n%s", r.tale())
		}
		time.Sleep(2 * time.Second)
		r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		r.until("it lands", 5*time.Minute, r.merged(n))
	})
}

// A button that is pressed is obeyed although the label could not be written at
// once, and although it was not known at once what its presser may do.
func TestPressSurvivesTrouble(t *testing.T) {
	for _, op := range []string{"AddLabel", "Role", "PostComment", "EditComment"} {
		t.Run(op, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				r.labelled(n)
				r.start("one")
				r.until("it waits for its retest", time.Minute, func() bool { return len(r.notes(n)) > 0 || r.merged(n)() })
				r.must(r.Unlabel(r.repo, n, r.bob, "merge"))
				r.wake(n)
				r.says(n, "was taken off", 5*time.Minute)
				time.Sleep(2 * time.Minute) // what bob may do is not remembered any more
				r.once(op, false)
				if !r.bots["one"].worker(r.repo).hear(forge.Event{Repo: r.repo, Button: forge.ButtonRequeue, Commit: r.PullRequest(r.repo, n).Head, Sender: r.bob}) {
					t.Fatal("the press was refused")
				}
				r.until("it lands", 10*time.Minute, r.merged(n))
			})
		})
	}
}
