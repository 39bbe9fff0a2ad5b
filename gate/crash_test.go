package gate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mergegate/gate"
)

// TestCrashAnywhere plays a morning of two PRs, and again with a crash before
// each single thing that happens in it: everything that was not saved and every
// outcome is gone. The end must be the same. Harder still, the lock comment is
// deleted with it, so that nothing but the PRs' own records is left.
func TestCrashAnywhere(t *testing.T) {
	mornings := map[string]string{
		"rebase":    "open 1 a m0|main m1|approve 1 bob|label 1 bob|open 2 b m0|approve 2 cat|say 2 bob /merge",
		"red first": "conflict a|open 1 a m0|main m1|approve 1 bob|label 1 bob|open 2 b m0|approve 2 cat|say 2 bob /merge",
		"candidate": "methods squash|policy catchup=candidate, checks=build|ci build passed|open 1 a m0|main m1|approve 1 bob|label 1 bob|open 2 b m0|approve 2 bob|label 2 bob",
		"approvals": "policy trigger=approval|open 1 a m0|main m1|approve 1 bob|open 2 b m1|approve 2 bob",
		"denied":    "mood push=denied|methods merge|open 1 a m0|main m1|approve 1 bob|label 1 bob|open 2 b m1|approve 2 bob|label 2 bob",
		"no reply":  "mood land=lost|open 1 a m0|approve 1 bob|label 1 bob|open 2 b m0|approve 2 bob|label 2 bob",
		"alarm":     "mood land=evil|open 1 a m0|approve 1 bob|label 1 bob|open 2 b m0|approve 2 bob|label 2 bob",
	}
	for name, morning := range mornings {
		play := func(t *testing.T, ticks int, mishap string) (end string, happened bool) {
			w := newWorld(t)
			for event := range strings.SplitSeq(morning, "|") {
				w.happen(event)
			}
			for range ticks {
				if !w.tick() {
					return "", false
				}
			}
			fmt.Fprintf(&w.trace, "> %s\n", mishap)
			if mishap != "" {
				w.happen(mishap)
			}
			w.run()
			w.law.end(w)
			return w.end(), true
		}
		for _, mishap := range []string{"crash", "lose-lease"} {
			t.Run(name+", "+mishap, func(t *testing.T) {
				want, _ := play(t, 0, "")
				n := 0
				for ; ; n++ {
					got, happened := play(t, n, mishap)
					if !happened {
						break
					}
					if d := cmp.Diff(want, got); d != "" {
						t.Fatalf("with a mishap after %d things happened, the end is another (-want +got):\n%s", n, d)
					}
				}
				if n < 15 {
					t.Errorf("only %d moments to crash in: the morning is too short to prove anything", n)
				}
			})
		}
	}
}

// end is what people find in the evening.
func (w *world) end() string {
	var out strings.Builder
	for _, n := range slices.Sorted(maps.Keys(w.prs)) {
		p := w.prs[n]
		fmt.Fprintf(&out, "#%d %s %q at %s, label %v\n", n, p.record.State, p.record.Why, p.Head, p.Has(w.policy.Trigger.Label))
	}
	for _, c := range w.base {
		fmt.Fprintf(&out, "%s %s\n", c, w.commits[c].tree)
	}
	fmt.Fprintf(&out, "frozen: %v\n", w.frozen != nil)
	return out.String()
}

// TestStepAsksAgain: as long as no outcome is known, the same thing is asked for.
func TestStepAsksAgain(t *testing.T) {
	for _, kind := range []string{"build", "push", "retest", "confirm", "inspect"} {
		w := newWorld(t)
		for event := range strings.SplitSeq("open 1 a m0|main m1|approve 1 bob|label 1 bob|until "+kind, "|") {
			w.happen(event)
		}
		want := w.pending[0]
		for range 3 {
			w.done = nil
			w.step()
			if !slices.Contains(w.pending, want) {
				t.Errorf("%s was asked for, and then %v", describe(want), w.pending)
			}
		}
	}
}

// TestUnknownOutcomes: an outcome that says nothing is no answer.
func TestUnknownOutcomes(t *testing.T) {
	for _, kind := range []string{"build", "push", "retest", "confirm", "inspect"} {
		w := newWorld(t)
		for event := range strings.SplitSeq("open 1 a m0|main m1|approve 1 bob|label 1 bob|until "+kind, "|") {
			w.happen(event)
		}
		asked := w.pending[0]
		w.done = []gate.Outcome{{Of: asked}}
		w.step()
		if !slices.Contains(w.pending, asked) {
			t.Errorf("%s got an empty answer, and then came %v", describe(asked), w.pending)
		}
	}
}

// TestOldFlightNewHead: a lease that was saved before the author pushed names a
// candidate made of the old head. It is not pushed over the new one.
func TestOldFlightNewHead(t *testing.T) {
	w := newWorld(t)
	for event := range strings.SplitSeq("open 1 a m0|main m1|approve 1 bob|label 1 bob|until push", "|") {
		w.happen(event)
	}
	w.queue.Flight.Head, w.queue.Flight.Candidate, w.queue.Flight.Ours = "old", "old+m1", nil
	w.done = nil
	w.step()
	for _, a := range w.pending {
		if push, ok := a.(gate.Push); ok && push.To == "old+m1" {
			t.Errorf("asked for %s", describe(a))
		}
	}
	w.run()
	if !strings.Contains(w.end(), "#1 landed") {
		t.Errorf("it did not land:\n%s", w.end())
	}
}

// TestHeirAsksSoon: a replica that inherits a landing which was tried often, and finds
// that it did not land, asks again soon. Where replicas keep dying, a pause that grows
// with each heir would never be over.
func TestHeirAsksSoon(t *testing.T) {
	w := newWorld(t)
	for event := range strings.SplitSeq("open 1 a m0|approve 1 bob|label 1 bob|mood land=never|until inspect", "|") {
		w.happen(event)
	}
	w.queue.Flight.Tries = 7
	w.done, w.pending = nil, nil
	for range 20 {
		if f := w.queue.Flight; f != nil && f.Tries == 8 {
			break
		}
		w.tick()
	}
	f := w.queue.Flight
	if f == nil || f.Tries != 8 {
		t.Fatalf("it was not looked at again: %+v", f)
	}
	if pause := f.NotBefore.Sub(w.now); pause > 10*time.Second {
		t.Errorf("it is asked again after %v", pause)
	}
}
