package bot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// The rows of docs/attacks.md that need a forge and time: each is one story in a
// simulated world.

// landings are the entries of PRs that were merged, by anybody.
func (r *rig) landings() []forgetest.Entry {
	return slices.DeleteFunc(slices.Clone(r.Log()), func(e forgetest.Entry) bool { return e.Op != forgetest.OpLand })
}

// landedOnce waits until a PR has landed, and checks that it did so once.
func (r *rig) landedOnce(n int, atMost time.Duration) {
	r.Helper()
	r.until("it lands", atMost, r.merged(n))
	r.says(n, "Landed", 20*time.Minute)
	time.Sleep(10 * time.Minute)
	if all := r.landings(); len(all) != 1 {
		r.Errorf("it landed %d times\n%s", len(all), r.tale())
	}
}

// status is what mergegate's status on a PR's head says.
func (r *rig) status(n int) string {
	for _, c := range r.Statuses(r.repo, r.PullRequest(r.repo, n).Head) {
		if c.Context == StatusContext {
			return c.Text
		}
	}
	return ""
}

// testing waits until the PR's candidate is being tested.
func (r *rig) testing(n int) {
	r.Helper()
	r.until("it is tested", 10*time.Minute, func() bool {
		return slices.ContainsFunc(r.Log(), func(e forgetest.Entry) bool {
			return e.Op == forgetest.OpStatus && strings.HasPrefix(e.Text, "Testing")
		})
	})
}

// failing lets the first calls of an operation fail.
func (r *rig) failing(op string, times int, with error) {
	r.on(func(c forgetest.Call, do func() error) error {
		if c.Op == op && times > 0 {
			times--
			return with
		}
		return do()
	})
}

func TestAttack22DirectPushDuringTheTest(t *testing.T) {
	tell(t, func(r *rig) {
		runs := 0
		r.runs = func(ctx context.Context) retest.Result {
			runs++
			pause(ctx, 10*time.Second)
			return retest.Result{Verdict: retest.Passed}
		}
		n := r.opened("a", "main")
		r.start("one")
		r.labelled(n)
		r.wake(n)
		r.testing(n)
		pushed, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
		r.must(err)
		r.landedOnce(n, 20*time.Minute)
		if land := r.landings()[0]; land.From != pushed || runs < 2 {
			t.Errorf("it landed on %s after %d tests; main was at %s\n%s", land.From.Short(), runs, pushed.Short(), r.tale())
		}
	})
}

func TestAttack23TheMergeCallsAnswerIsLost(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.once("Land", true)
		r.start("one")
		r.labelled(n)
		r.landedOnce(n, 20*time.Minute)
	})
}

func TestAttack24TheForgeSaysTryAgainLater(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.failing("Land", 3, &forge.Refusal{Kind: forge.ErrBusy, Op: "merge", Status: http.StatusMethodNotAllowed, Text: "Please try again later"})
		r.start("one")
		r.labelled(n)
		r.landedOnce(n, 20*time.Minute)
	})
}

func TestAttack25TheMergeHappensAfterItsFailure(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		late := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op != "Land" || late {
				return do()
			}
			late = true
			r.running.Go(func() {
				time.Sleep(90 * time.Second)
				_ = do() // whether there was anything left to merge is not known to anybody
			})
			return errors.New("502 Bad Gateway")
		})
		r.start("one")
		r.labelled(n)
		r.landedOnce(n, 20*time.Minute)
	})
}

// The forge goes on telling the approved head after its author pushed another.
func TestAttack27StaleHeadAfterAPush(t *testing.T) {
	tell(t, func(r *rig) {
		r.cfg.Defaults.Require.Approvals = 1
		n := r.opened("a", "main")
		r.must(r.Review(r.repo, n, r.bob, gate.Approved))
		approved := r.PullRequest(r.repo, n).Head
		r.Lag(func(c forgetest.Call) time.Duration {
			if strings.HasPrefix(c.Op, "PullRequest") || c.Op == "Reviews" || c.Op == "Past" {
				return time.Minute
			}
			return 0
		})
		r.start("one")
		r.labelled(n)
		r.testing(n)
		late, err := r.Push(r.repo, r.ann, approved, map[string]string{"evil.txt": "x\n"}, "a")
		r.must(err)
		time.Sleep(20 * time.Minute)
		for _, e := range r.landings() {
			t.Errorf("%s landed although its author pushed %s after the approval of %s\n%s", e.Text, late.Short(), approved.Short(), r.tale())
		}
		if _, evil := r.Files(r.Tip(r.repo, "main"))["evil.txt"]; evil {
			t.Error("what nobody approved is on main")
		}
	})
}

func TestAttack29TakenAwayByHandWhileItIsTested(t *testing.T) {
	for name, act := range map[string]func(r *rig, n int) error{
		"closed":     func(r *rig, n int) error { return r.Close(r.repo, n, r.ann) },
		"draft":      func(r *rig, n int) error { return r.Draft(r.repo, n, r.ann) },
		"retargeted": func(r *rig, n int) error { return r.Retarget(r.repo, n, r.ann, "release") },
		"merged":     func(r *rig, n int) error { return r.Merge(r.repo, n, r.own, gate.Merge) },
		"reopened": func(r *rig, n int) error {
			return errors.Join(r.Close(r.repo, n, r.ann), r.Unlabel(r.repo, n, r.ann, "merge"), r.Reopen(r.repo, n, r.ann))
		},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				r.must(r.PushCommit(r.repo, r.own, r.Tip(r.repo, "main"), "release"))
				n := r.opened("a", "main")
				r.start("one")
				r.labelled(n)
				r.wake(n)
				r.testing(n)
				r.must(act(r, n))
				r.wake(n)
				time.Sleep(30 * time.Minute)
				for _, e := range r.landings() {
					if e.Bot {
						t.Errorf("it landed all the same\n%s", r.tale())
					}
				}
				if notes := r.notes(n); len(notes) != 1 || len(r.Comments(r.repo, n)) != 1 {
					t.Errorf("%d notes in %d comments", len(notes), len(r.Comments(r.repo, n)))
				}
				if name != "merged" && name != "closed" && slices.Contains(r.PullRequest(r.repo, n).Labels, "merge") {
					t.Error("the label is still there")
				}
			})
		})
	}
}

func TestAttack42EveryWebhookIsLost(t *testing.T) {
	tell(t, func(r *rig) {
		r.start("one")
		time.Sleep(time.Minute)
		var all []int
		for i := range 5 {
			n := r.opened(fmt.Sprint("branch", i), "main")
			r.labelled(n)
			all = append(all, n)
		}
		for _, n := range all { // nobody says wake
			r.until("it lands", r.cfg.Poll.Idle+5*time.Minute, r.merged(n))
		}
	})
}

func TestAttack43WebhooksComeTwiceAndInAnyOrder(t *testing.T) {
	tell(t, func(r *rig) {
		r.start("one")
		a, b := r.opened("a", "main"), r.opened("b", "main")
		r.labelled(a)
		time.Sleep(time.Second)
		r.labelled(b)
		for i := range 200 {
			r.wake([]int{b, a, 0, 99, a}[i%5])
			time.Sleep(300 * time.Millisecond)
		}
		r.until("both land", 20*time.Minute, func() bool { return r.merged(a)() && r.merged(b)() })
		r.says(a, "Landed", time.Minute)
		r.says(b, "Landed", time.Minute)
		if all := r.landings(); len(all) != 2 || all[0].PR != a {
			t.Errorf("%d landings, the first of #%d; want #%d and #%d", len(all), all[0].PR, a, b)
		}
	})
}

func TestAttack88NoVerdictIsNoPass(t *testing.T) {
	for _, verdict := range []retest.Verdict{retest.Broken, retest.Failed, ""} {
		t.Run(string(verdict), func(t *testing.T) {
			tell(t, func(r *rig) {
				r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: verdict, Why: "no runner"} }
				n := r.opened("a", "main")
				r.start("one")
				r.labelled(n)
				time.Sleep(3 * time.Hour)
				if len(r.landings()) != 0 {
					t.Errorf("it landed with the verdict %q\n%s", verdict, r.tale())
				}
			})
		})
	}
}

func TestAttack98ACheckNeverReports(t *testing.T) {
	tell(t, func(r *rig) {
		r.cfg.Defaults.Retest.Command, r.cfg.Defaults.Retest.Checks = "", []string{"build"}
		n := r.opened("a", "main")
		r.start("one")
		r.labelled(n)
		r.says(n, "never started", r.cfg.Defaults.Retest.StartTimeout+20*time.Minute)
		if r.merged(n)() || slices.Contains(r.PullRequest(r.repo, n).Labels, "merge") {
			t.Errorf("it landed, or still has its label\n%s", r.tale())
		}
	})
}

func TestAttack99NoChecksAreNoPass(t *testing.T) {
	for name, checks := range map[string][]string{"none": nil, "renamed": {"build"}} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				r.cfg.Defaults.Retest.Command, r.cfg.Defaults.Retest.Checks = "", checks
				n := r.opened("a", "main")
				r.start("one")
				r.labelled(n)
				r.must(r.Check(r.repo, r.own, r.PullRequest(r.repo, n).Head, "built", forge.StatusSuccess, "ok"))
				time.Sleep(2 * time.Hour)
				if len(r.landings()) != 0 {
					t.Errorf("it landed\n%s", r.tale())
				}
				r.says(n, map[string]string{"none": "no retest is configured", "renamed": "never started"}[name], time.Minute)
			})
		})
	}
}

func TestAttack100TheRateLimitIsUsedUp(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.start("one")
		r.labelled(n)
		r.testing(n)
		until := time.Now().Add(30 * time.Minute)
		var calls atomic.Int64
		r.on(func(c forgetest.Call, do func() error) error {
			if time.Now().Before(until) {
				calls.Add(1)
				return &forge.RateLimited{Until: until}
			}
			return do()
		})
		time.Sleep(time.Until(until))
		if r.merged(n)() || calls.Load() > 20 {
			t.Errorf("%d calls in half an hour in which none was allowed", calls.Load())
		}
		r.landedOnce(n, 20*time.Minute)
		t.Logf("%d calls in half an hour in which none was allowed", calls.Load())
	})
}

func TestAttack101And102NothingIsAnsweredForAnHour(t *testing.T) {
	for name, answer := range map[string]error{
		"token revoked":  errors.New("the forge answered 401 Unauthorized"),
		"token too weak": &forge.Refusal{Kind: forge.ErrDenied, Op: "read", Status: http.StatusForbidden, Text: "token does not have the scope"},
		"forge down":     errors.New("dial tcp: connection refused"),
		"HTML":           errors.New("invalid character '<' looking for beginning of value"),
		"truncated":      errors.New("unexpected end of JSON input"),
		"private now":    &forge.Refusal{Kind: forge.ErrNotFound, Op: "read", Status: http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				r.start("one")
				r.labelled(n)
				r.testing(n)
				until := time.Now().Add(time.Hour)
				var calls atomic.Int64
				r.on(func(c forgetest.Call, do func() error) error {
					if time.Now().Before(until) {
						calls.Add(1)
						return answer
					}
					return do()
				})
				time.Sleep(time.Until(until))
				if len(r.landings()) != 0 || calls.Load() > 600 {
					t.Errorf("%d landings and %d calls in an hour without an answer", len(r.landings()), calls.Load())
				}
				r.until("it lands", 30*time.Minute, r.merged(n)) // by the same process
				t.Logf("%d calls in an hour without an answer", calls.Load())
			})
		})
	}
}

func TestAttack104TheDataDirIsLost(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.start("one")
		r.labelled(n)
		r.testing(n)
		r.crash("one")
		r.Wipe("one")
		r.start("one")
		r.landedOnce(n, 20*time.Minute)
	})
}

func TestAttack105AnswersToCommentsAreLost(t *testing.T) {
	for _, op := range []string{"PostComment", "EditComment"} {
		t.Run(op, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.opened("a", "main")
				lost := 0
				r.on(func(c forgetest.Call, do func() error) error {
					err := do()
					if c.Op == op && err == nil && lost < 5 {
						lost++
						return errBroken
					}
					return err
				})
				r.start("one")
				r.labelled(n)
				r.landedOnce(n, time.Hour)
				if len(r.notes(n)) != 1 || lost == 0 {
					t.Errorf("%d notes after %d lost answers\n%s", len(r.notes(n)), lost, r.tale())
				}
			})
		})
	}
}

// Base moves in the very moment of a merge that cannot compare it, so that what is
// on it then was never tested.
func TestAttack106WhatLandedIsNotWhatWasTested(t *testing.T) {
	tell(t, func(r *rig) {
		r.Settings(r.repo, []gate.Method{gate.Squash}, []string{"merge"}, false)
		r.Checking(0) // this forge does not take its time after base moved
		a, b := r.opened("a", "main"), r.opened("b", "main")
		moved := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "Land" && !moved {
				moved = true
				if _, err := r.PushBase(r.repo, r.own, "main", map[string]string{"untested.txt": "x\n"}); err != nil {
					return err
				}
			}
			return do()
		})
		r.start("one")
		r.labelled(a)
		time.Sleep(time.Second)
		r.labelled(b)
		r.until("the first is merged", 20*time.Minute, r.merged(a))
		r.until("the queue is frozen", 20*time.Minute, func() bool {
			return slices.ContainsFunc(r.Log(), func(e forgetest.Entry) bool {
				return e.Op == forgetest.OpStatus && (e.State == string(forge.StatusFailure) || e.State == string(forge.StatusError)) && e.To != ""
			})
		})
		time.Sleep(time.Hour)
		if r.merged(b)() {
			t.Errorf("the queue went on after something untested had landed\n%s", r.tale())
		}
		r.says(a, "ALARM", time.Minute)
		if text := r.status(b); !strings.HasPrefix(text, "Frozen: ") {
			t.Errorf("the one behind it says %q", text)
		}
	})
}

// The holder's merge call hangs on its way for longer than the lease lives. Meanwhile
// another replica goes on, and main moves; what arrives late lands nothing untested.
func TestAttack09TheMergeCallArrivesLate(t *testing.T) {
	tell(t, func(r *rig) {
		a, b := r.opened("a", "main"), r.opened("b", "main")
		held := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op != "Land" || held {
				return do()
			}
			held = true
			r.start("two")
			time.Sleep(5 * time.Minute)
			return do()
		})
		r.start("one")
		r.labelled(a)
		time.Sleep(time.Second)
		r.labelled(b)
		r.until("both land", time.Hour, func() bool { return r.merged(a)() && r.merged(b)() })
		time.Sleep(10 * time.Minute)
		if all := r.landings(); len(all) != 2 || all[1].From != all[0].To {
			t.Errorf("%d landings\n%s", len(all), r.tale())
		}
		for _, e := range r.landings() {
			if !r.IsAncestor(e.From, e.To) || e.To != gate.SHA(e.Text) && r.Tree(e.To) != r.Tree(gate.SHA(e.Text)) {
				t.Errorf("#%d landed as %s, tested as %s", e.PR, e.To.Short(), e.Text)
			}
		}
	})
}
