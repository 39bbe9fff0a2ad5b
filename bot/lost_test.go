package bot

import (
	"cmp"
	"context"
	"strings"
	"sync/atomic"
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

// A PR landed, and its status could not be written. The replica goes on with the next
// one and dies. Whoever takes over still says that mergegate landed the first.
func TestLandingIsToldByWhoTakesOver(t *testing.T) {
	tell(t, func(r *rig) {
		a, b := r.opened("a", "main"), r.opened("b", "main")
		r.labelled(a)
		r.sleep(time.Second)
		r.labelled(b)
		crashed := false
		r.on(func(c forgetest.Call, do func() error) error {
			switch {
			case c.Replica != "one" || !r.merged(a)():
			case c.Op == "SetStatus":
				return errBroken
			case c.Op == "git push":
				crashed = true
				r.crash("one")
				return errBroken
			}
			return do()
		})
		r.start("one")
		r.until("it dies with the second", 5*time.Minute, func() bool { return crashed })
		r.start("two")
		r.says(a, "Landed as", 20*time.Minute)
		r.says(b, "Landed as", 20*time.Minute)
		r.neverSays("Merged by somebody else")
	})
}

// Two replicas that know nothing of each other read the same PR. The first lands it
// and lets go before the second has proved its lease, which therefore must look again.
func TestWhatWasReadBeforeTheProofIsLookedAtAgain(t *testing.T) {
	tell(t, func(r *rig) {
		r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: retest.Failed, Exit: 1} }
		n := r.opened("a", "main")
		r.labelled(n)
		r.start("one")
		r.says(n, "Retest failed", 5*time.Minute)
		r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: retest.Passed} }
		r.sleep(10 * time.Second)
		firstTook, secondTakes, secondTook, proves := false, false, false, false
		r.on(func(c forgetest.Call, do func() error) error {
			take := c.Op == "PostComment" && strings.Contains(c.Text, "<!-- mergegate:lease")
			switch {
			case c.Replica == "one" && take:
				r.until("the other saw no lease", time.Minute, func() bool { return secondTakes })
				defer func() { firstTook = true }()
			case c.Replica == "two" && take:
				secondTakes = true
				r.until("the other takes the lease", time.Minute, func() bool { return firstTook })
				defer func() { secondTook = true }()
			case c.Replica == "two" && secondTook && !proves && c.Op == "Comments" && c.PR != n:
				proves = true
				r.until("the other lands it and lets go", time.Minute, func() bool { return r.merged(n)() && r.held() == 1 })
			}
			return do()
		})
		r.start("two")
		r.sleep(10 * time.Second)
		r.labelled(n)
		r.wake(n)
		r.says(n, "Landed as", 5*time.Minute)
		r.sleep(10 * time.Minute)
		r.says(n, "Landed as", time.Second)
		r.neverSays("Merged by somebody else")
		if !proves {
			t.Error("the second replica took no lease")
		}
	})
}

// held is how many leases there are.
func (r *rig) held() int {
	leases := map[int64]bool{}
	for _, e := range r.Log() {
		switch {
		case e.Op == forgetest.OpComment && strings.Contains(e.Text, "<!-- mergegate:lease"):
			leases[e.ID] = true
		case e.Op == forgetest.OpDeleteComment:
			delete(leases, e.ID)
		}
	}
	return len(leases)
}

// neverSays fails if the bot ever said something.
func (r *rig) neverSays(words string) {
	r.Helper()
	for _, e := range r.Log() {
		if e.Bot && strings.Contains(e.Text, words) {
			r.Errorf("it said %q\n%s", words, r.tale())
			return
		}
	}
}

// A replica dies while it tests a PR. Before the next one can read the note on it,
// somebody merges the PR by hand, and it is in no list any more. Its end is told.
func TestMergedBeforeItsNoteWasRead(t *testing.T) {
	tell(t, func(r *rig) {
		r.runs = func(ctx context.Context) retest.Result { <-ctx.Done(); return retest.Result{Verdict: retest.Broken} }
		n := r.opened("a", "main")
		r.labelled(n)
		r.start("one")
		r.says(n, "Catching up", 5*time.Minute)
		r.sleep(time.Second)
		r.crash("one")
		failed := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "Comments" && c.PR == n && !r.merged(n)() {
				failed = true
				return errBroken
			}
			return do()
		})
		r.start("two")
		r.until("the note could not be read", 20*time.Minute, func() bool { return failed })
		r.must(r.Merge(r.repo, n, r.own, gate.Merge))
		r.says(n, "Merged by somebody else", 20*time.Minute)
		r.ended(n)
	})
}

// oldTips is a forge whose list of PRs shows for ever the base tip that it showed first.
type oldTips struct {
	forge.Forge
	tip gate.SHA
}

func (f *oldTips) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	all, err := f.Forge.PullRequests(ctx, r)
	for i := range all {
		f.tip = cmp.Or(f.tip, all[i].BaseTip)
		all[i].BaseTip = f.tip
	}
	return all, err
}

// Gitea was killed in the middle of a landing, and its list shows a base tip that git
// has passed until somebody pushes again. No request is dropped because base moved.
func TestOldTipInTheList(t *testing.T) {
	tell(t, func(r *rig) {
		r.lies = func(f forge.Forge) forge.Forge { return &oldTips{Forge: f} }
		var prs []int
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			prs = append(prs, r.opened(name, "main"))
			r.labelled(prs[len(prs)-1])
		}
		r.start("one")
		for _, n := range prs {
			r.says(n, "Landed as", 20*time.Minute)
		}
		r.neverSays("main moved")
	})
}

// The end of a request could not be told at once, and the replica dies as it takes the
// label off. The next one knows the end: it was told before the label went.
func TestTheEndIsToldBeforeTheLabelGoes(t *testing.T) {
	for _, word := range []string{"SetStatus", "EditComment"} {
		t.Run(word, func(t *testing.T) {
			tell(t, func(r *rig) {
				n := r.endsWith("Retest failed")
				failed, crashed := false, false
				var tested atomic.Bool
				r.judged = func(retest.Job) { tested.Store(true) }
				r.on(func(c forgetest.Call, do func() error) error {
					note := c.Op == "SetStatus" || len(r.notes(n)) > 0 && c.Comment == r.notes(n)[0].ID
					switch {
					case c.Replica == "one" && tested.Load() && !failed && c.Op == word && note && strings.Contains(c.Text, "Retest failed"):
						failed = true
						return errBroken
					case c.Replica == "one" && c.Op == "RemoveLabel":
						crashed = true
						_ = do()
						r.crash("one")
					}
					return do()
				})
				r.start("one")
				r.until("it dies as it takes the label off", 5*time.Minute, func() bool { return crashed })
				if !failed {
					t.Error("no word was lost")
				}
				r.start("two")
				r.sleep(20 * time.Minute)
				r.says(n, "Retest failed", time.Second)
				r.ended(n)
				r.neverSays("was taken off")
			})
		})
	}
}

// oldHeads is a forge whose lists show a PR's head as it was before the bot's push.
type oldHeads struct {
	forge.Forge
	heads map[int]gate.SHA
}

func (f *oldHeads) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	all, err := f.Forge.PullRequests(ctx, r)
	for i := range all {
		f.heads[all[i].Number] = cmp.Or(f.heads[all[i].Number], all[i].Head)
		all[i].Head = f.heads[all[i].Number]
	}
	return all, err
}

// The forge answers trouble to a status that it has set, on a head that its lists do
// not show yet. When the request has ended, that head does not say "Testing", also if
// nobody is left who would look once more.
func TestStatusOnAHeadThatTheListDoesNotShow(t *testing.T) {
	tell(t, func(r *rig) {
		heads := &oldHeads{heads: map[int]gate.SHA{}}
		r.lies = func(f forge.Forge) forge.Forge { heads.Forge = f; return heads }
		n := r.endsWith("Retest failed")
		old := r.PullRequest(r.repo, n).Head
		_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
		r.must(err)
		failed := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "SetStatus" && c.Commit != old && !failed {
				failed = true
				_ = do()
				return errBroken
			}
			return do()
		})
		r.start("one")
		r.says(n, "Retest failed", 20*time.Minute)
		r.until("the label is off", time.Minute, func() bool { return !r.PullRequest(r.repo, n).Has("merge") })
		r.crash("one")
		if !failed {
			t.Error("nothing failed")
		}
		r.ended(n)
	})
}

// A replica lists the PRs, and meanwhile another obeys a command and puts the label on.
// The first sees a request on its way, and in its list no label. Nobody took it off.
func TestListOlderThanTheLabel(t *testing.T) {
	tell(t, func(r *rig) {
		r.cfg.Defaults.Require.Approvals = 1
		n := r.opened("a", "main")
		_, err := r.Comment(r.repo, n, r.bob, "/merge")
		r.must(err)
		listed := false
		var goOn atomic.Bool
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Replica != "two" || c.Op != "PullRequests" || listed {
				return do()
			}
			err := do()
			listed = true
			r.until("the other has let go", 5*time.Minute, goOn.Load)
			return err
		})
		r.start("two")
		r.until("it lists", time.Minute, func() bool { return listed })
		r.start("one")
		r.says(n, "1 more approval", 5*time.Minute)
		r.until("it lets go", time.Minute, func() bool { return r.held() == 0 })
		goOn.Store(true)
		r.sleep(20 * time.Minute)
		r.neverSays("was taken off")
		if !r.PullRequest(r.repo, n).Has("merge") {
			t.Errorf("the label is off\n%s", r.tale())
		}
	})
}

// A PR is merged by hand, and the lease to say so is proved so late that everything has
// to be read again. The PR is in no list then, and is told all the same.
func TestMergedWhileTheLeaseSettles(t *testing.T) {
	tell(t, func(r *rig) {
		r.cfg.Defaults.Require.Approvals = 1
		n := r.opened("a", "main")
		r.labelled(n)
		r.start("one")
		r.says(n, "1 more approval", 5*time.Minute)
		r.sleep(10 * time.Minute)
		slow := false
		r.on(func(c forgetest.Call, do func() error) error {
			if c.Op == "Comments" && c.PR == n && r.merged(n)() && !slow {
				slow = true
				r.sleep(20 * time.Second)
			}
			return do()
		})
		r.must(r.Merge(r.repo, n, r.own, gate.Merge))
		r.says(n, "Merged by somebody else", 20*time.Minute)
		r.ended(n)
		if !slow {
			t.Error("nothing was slow")
		}
	})
}

// A replica dies after its push, what it saved is gone, and the list does not show the
// push yet. The next one finds its own push refused, and does not blame the author.
func TestOwnPushThatTheListDoesNotShow(t *testing.T) {
	tell(t, func(r *rig) {
		heads := &oldHeads{heads: map[int]gate.SHA{}}
		r.lies = func(f forge.Forge) forge.Forge { heads.Forge = f; return heads }
		n := r.opened("a", "main")
		r.labelled(n)
		_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
		r.must(err)
		crashed := r.crashOn(func(c forgetest.Call) bool { return c.Op == "git push" && strings.HasPrefix(c.Ref, "refs/heads/a") }, true)
		r.start("one")
		r.until("it dies after the push", 5*time.Minute, crashed)
		for _, c := range r.Comments(r.repo, 2) {
			r.must(r.DeleteComment(r.repo, c.ID, r.own))
		}
		_, err = r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "y\n"})
		r.must(err)
		r.start("two")
		r.says(n, "Landed as", 20*time.Minute)
		r.neverSays("pushed after the request")
	})
}
