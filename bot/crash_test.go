package bot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
)

var errBroken = errors.New("the connection broke")

// once fails the first call of an operation: before the effect, or after it.
func (r *rig) once(op string, after bool) {
	failed := false
	r.on(func(c forgetest.Call, do func() error) error {
		if c.Op != op || failed {
			return do()
		}
		failed = true
		if after {
			_ = do()
		}
		return errBroken
	})
}

// crashOn crashes a replica at its nth call of an operation that matches: before
// the effect, or after it.
func (r *rig) crashOn(match func(forgetest.Call) bool, after bool) (crashed func() bool) {
	var done atomic.Bool
	r.on(func(c forgetest.Call, do func() error) error {
		if !match(c) || done.Swap(true) {
			return do()
		}
		var err error
		if after {
			err = do()
		}
		r.crash(c.Replica)
		return errors.Join(err, errBroken)
	})
	return done.Load
}

func op(name string) func(forgetest.Call) bool {
	return func(c forgetest.Call) bool { return c.Op == name }
}

// A command is obeyed although the label that stands for it could not be written.
func TestCommandSurvivesALostLabel(t *testing.T) {
	for name, after := range map[string]bool{"not written": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				r.start("one")
				r.once("AddLabel", after)
				_, err := r.Comment(r.repo, n, r.bob, "/merge")
				r.must(err)
				r.wake(n)
				r.until("it lands", 5*time.Minute, r.merged(n))
				r.says(n, "Landed", time.Minute)
			})
		})
	}
}

// Taking the label off withdraws a command, also when the replica that put it on
// died before it could write its note.
func TestWithdrawnBeforeTheNote(t *testing.T) {
	for name, trigger := range map[string]func(r *rig, n int){
		"command": func(r *rig, n int) {
			_, err := r.Comment(r.repo, n, r.bob, "/merge")
			r.must(err)
		},
		"approval": func(r *rig, n int) {
			r.cfg.Defaults.Trigger.Approval, r.cfg.Defaults.Require.Approvals = true, 1
			r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				trigger(r, n)
				crashed := r.crashOn(op("AddLabel"), true)
				r.start("one")
				r.until("the replica dies", 10*time.Minute, crashed)
				time.Sleep(2 * time.Second)
				r.must(r.Unlabel(r.repo, n, r.ann, "merge"))
				r.start("two")
				r.wake(n)
				r.says(n, "was taken off", 20*time.Minute)
				time.Sleep(20 * time.Minute)
				if r.merged(n)() {
					t.Errorf("it landed although its label was taken off\n%s", r.tale())
				}
				// Asked for again, it goes its way.
				_, err := r.Comment(r.repo, n, r.bob, "/merge")
				r.must(err)
				r.wake(n)
				r.until("it lands", 5*time.Minute, r.merged(n))
			})
		})
	}
}

// Somebody deletes our note while the request is on its way; with the replica
// alive, or dead, so that another must go on.
func TestNoteDeleted(t *testing.T) {
	for name, trigger := range map[string]func(r *rig, n int){
		"label": func(r *rig, n int) { r.labelled(n) },
		"command": func(r *rig, n int) {
			_, err := r.Comment(r.repo, n, r.bob, "/merge")
			r.must(err)
		},
		"approval": func(r *rig, n int) {
			r.cfg.Defaults.Trigger.Approval, r.cfg.Defaults.Require.Approvals = true, 1
			r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		},
	} {
		for _, dies := range []string{"", "testing", "landing"} {
			t.Run(name+" "+dies, func(t *testing.T) {
				tell(t, func(r *rig) {
					n := r.opened("a", "main")
					trigger(r, n)
					r.start("one")
					r.wake(n)
					r.until("there is a note", 10*time.Minute, func() bool { return len(r.notes(n)) == 1 })
					crashed := func() bool { return true }
					if dies == "landing" {
						crashed = r.crashOn(op("Land"), true)
					}
					if dies != "landing" {
						r.must(r.DeleteComment(r.repo, r.notes(n)[0].ID, r.ann))
					} else {
						r.until("it landed and the replica died", time.Minute, crashed)
						r.must(r.DeleteComment(r.repo, r.notes(n)[0].ID, r.ann))
					}
					if dies == "testing" {
						r.crash("one")
					}
					if dies != "" {
						r.start("two")
					}
					r.until("there is a note again", 30*time.Minute, func() bool { return len(r.notes(n)) == 1 })
					r.until("the request ends", 30*time.Minute, func() bool {
						note := r.notes(n)
						return len(note) == 1 && (strings.Contains(note[0].Body, "Landed") || strings.Contains(note[0].Body, "Ask again"))
					})
					r.ended(n)
				})
			})
		}
	}
}

// ended checks that nothing hangs over a request that has ended.
func (r *rig) ended(n int) {
	r.Helper()
	pr := r.PullRequest(r.repo, n)
	for _, c := range r.Statuses(r.repo, pr.Head) {
		if c.Context == StatusContext && c.State == gate.CheckPending {
			r.Errorf("the status stays pending: %s\n%s", c.Text, r.tale())
		}
	}
	if pr.Open && pr.Has("merge") {
		r.Errorf("the label stays\n%s", r.tale())
	}
}

// A replica goes on with the work of a dead one although nothing of it is on its
// disk.
func TestInheritedWithoutCandidate(t *testing.T) {
	prPush := func(c forgetest.Call) bool { return c.Op == "git push" && strings.HasPrefix(c.Ref, "refs/heads/a") }
	for name, when := range map[string]struct {
		match func(forgetest.Call) bool
		after bool
	}{
		"before the push": {prPush, false}, "after the push": {prPush, true},
		"before landing": {op("Land"), false}, "after landing": {op("Land"), true},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
				r.must(err)
				r.labelled(n)
				crashed := r.crashOn(when.match, when.after)
				r.start("one")
				r.until("the replica dies", 5*time.Minute, crashed)
				r.Wipe("one")
				r.start("two")
				r.until("it lands", 20*time.Minute, r.merged(n))
				r.says(n, "Landed", 20*time.Minute)
			})
		})
	}
}

// The mirror is deleted under a running replica.
func TestMirrorDeleted(t *testing.T) {
	for _, when := range []string{"git push", "Land", "SetStatus", "git fetch"} {
		for _, after := range []bool{false, true} {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
				r.must(err)
				r.labelled(n)
				gone := false
				r.on(func(c forgetest.Call, do func() error) error {
					if c.Op != when || gone {
						return do()
					}
					gone = true
					if !after {
						r.Wipe("one")
					}
					err := do()
					if after {
						r.Wipe("one")
					}
					return err
				})
				r.start("one")
				r.until("it lands", 20*time.Minute, r.merged(n))
				r.says(n, "Landed", time.Minute)
			})
		}
	}
}

// The base branch is deleted: the forge turns the PR to the default branch, and
// the request ends with a word.
func TestBaseDeleted(t *testing.T) {
	tell(t, func(r *rig) {
		r.cfg.Defaults.Require.Approvals = 1
		r.must(r.PushCommit(r.repo, r.own, r.Tip(r.repo, "main"), "release"))
		n := r.opened("a", "release")
		r.labelled(n)
		r.start("one")
		r.says(n, "approval", 10*time.Minute)
		r.must(r.DeleteBranch(r.repo, r.own, "release"))
		r.wake(n)
		r.says(n, "retargeted", 10*time.Minute)
		r.ended(n)
	})
}

// The queue issue is deleted, with the lease in it, at any moment.
func TestAttack19QueueIssueDeleted(t *testing.T) {
	for _, when := range []string{"idle", "waiting", "Land", "SetStatus"} {
		t.Run(when, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				if when == "waiting" {
					r.cfg.Defaults.Require.Approvals = 1
				}
				r.start("one")
				deleted := false
				kill := func() {
					for i := 1; i <= 10; i++ {
						if r.PullRequest(r.repo, i).Number == 0 && r.DeleteIssue(r.repo, i, r.own) == nil {
							deleted = true
						}
					}
				}
				switch when {
				case "idle":
					time.Sleep(time.Minute)
					first := r.opened("first", "main")
					r.labelled(first)
					r.wake(first)
					r.until("the first lands", 5*time.Minute, r.merged(first))
					r.says(first, "Landed", time.Minute)
					time.Sleep(time.Minute)
					kill()
				case "waiting":
				default:
					r.on(func(c forgetest.Call, do func() error) error {
						if c.Op == when && !deleted {
							kill()
						}
						return do()
					})
				}
				r.labelled(n)
				r.wake(n)
				if when == "waiting" {
					r.says(n, "approval", 10*time.Minute)
					time.Sleep(time.Minute)
					kill()
					r.must(r.Review(r.repo, n, r.bob, gate.Approved))
					r.wake(n)
				}
				r.until("it lands", 30*time.Minute, r.merged(n))
				r.says(n, "Landed", 10*time.Minute)
				if !deleted {
					t.Error("there was no queue issue to delete")
				}
			})
		})
	}
}

// One PR that the forge keeps putting off does not hold the queue: others pass.
func TestOthersPassWhoIsPutOff(t *testing.T) {
	tell(t, func(r *rig) {
		first, second := r.opened("a", "main"), r.opened("b", "main")
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "Land" && c.PR == first {
				return &forge.Refusal{Kind: forge.ErrBusy, Op: "merge", Status: 405, Text: "Please try again later"}
			}
			return do()
		})
		r.labelled(first)
		time.Sleep(2 * time.Second)
		r.labelled(second)
		r.start("one")
		r.until("the second lands", 10*time.Minute, r.merged(second))
		r.on(nil)
		r.until("the first lands too", 20*time.Minute, r.merged(first))
	})
}

// A retest that could not be done is tried again after a pause; while the second
// one runs, the forge is left alone between polls.
func TestCallsAreFewWhileARetestRuns(t *testing.T) {
	tell(t, func(r *rig) {
		var runs atomic.Int32
		r.runs = func(ctx context.Context) retest.Result {
			if runs.Add(1) == 1 {
				return retest.Result{Verdict: retest.Broken, Why: "the runner was lost"}
			}
			select {
			case <-time.After(10 * time.Minute):
				return retest.Result{Verdict: retest.Passed}
			case <-ctx.Done():
				return retest.Result{Verdict: retest.Broken}
			}
		}
		n := r.opened("a", "main")
		r.labelled(n)
		r.start("one")
		time.Sleep(time.Minute)
		before := r.Calls("one")
		time.Sleep(8 * time.Minute)
		if made := r.Calls("one") - before; runs.Load() != 2 || made > 8*60/15*3 {
			t.Errorf("%d calls in eight minutes of a retest; runs %d", made, runs.Load())
		}
		r.until("it lands", 5*time.Minute, r.merged(n))
	})
}

// One lie of the forge about a commit does not leave a status for ever.
func TestStatusAfterAFalseNotFound(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.labelled(n)
		lied := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "SetStatus" && strings.HasPrefix(c.Text, "Landed") && !lied {
				lied = true
				return &forge.Refusal{Kind: forge.ErrNotFound, Op: "set the status", Status: 404}
			}
			return do()
		})
		r.start("one")
		r.says(n, "Landed", 10*time.Minute)
		r.ended(n)
		if !lied {
			t.Error("no last status was set")
		}
	})
}

// A commit that is really gone does not stop the queue.
func TestStatusOfAMissingCommit(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.labelled(n)
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "SetStatus" {
				return &forge.Refusal{Kind: forge.ErrNotFound, Op: "set the status", Status: 404}
			}
			return do()
		})
		r.start("one")
		r.until("it lands", 10*time.Minute, r.merged(n))
		r.says(n, "Landed", 10*time.Minute)
	})
}

// A lease that is proved late is no reason to write what was read long before:
// another replica may have held the queue meanwhile.
func TestReadAgainAfterALateProof(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.labelled(n)
		slept := false
		var since []string // the operations on the PR after the slow one
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "Role" && !slept {
				slept = true
				time.Sleep(20 * time.Second)
			} else if slept && c.PR == n {
				since = append(since, c.Op)
			}
			return do()
		})
		r.start("one")
		r.until("it lands", 10*time.Minute, r.merged(n))
		read, wrote := slices.Index(since, "Comments"), slices.Index(since, "PostComment")
		if read < 0 || read > wrote {
			t.Errorf("the note was written before the comments were read again: %v", since)
		}
	})
}
