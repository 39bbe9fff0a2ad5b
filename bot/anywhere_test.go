package bot

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
)

// morning is what people do, and how it must end whatever happens to the bot.
type morning struct {
	name  string
	begin func(r *rig) (prs []int)
	// lands says which of the PRs land; the others are dropped with the words.
	lands []bool
	words []string
}

func mornings() []morning {
	behind := func(r *rig) {
		_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"other.txt": "x\n"})
		r.must(err)
	}
	say := func(r *rig, n int, text string) {
		_, err := r.Comment(r.repo, n, r.bob, text)
		r.must(err)
	}
	return []morning{
		{"two by label, behind", func(r *rig) []int {
			a, b := r.opened("a", "main"), r.opened("b", "main")
			behind(r)
			r.labelled(a)
			r.sleep(time.Second)
			r.labelled(b)
			return []int{a, b}
		}, []bool{true, true}, []string{"Landed", "Landed"}},
		{"command", func(r *rig) []int {
			a := r.opened("a", "main")
			behind(r)
			say(r, a, "/merge")
			return []int{a}
		}, []bool{true}, []string{"Landed"}},
		{"approval", func(r *rig) []int {
			r.cfg.Defaults.Trigger.Approval, r.cfg.Defaults.Require.Approvals = true, 1
			a := r.opened("a", "main")
			behind(r)
			r.must(r.Review(r.repo, a, r.bob, gate.Approved))
			return []int{a}
		}, []bool{true}, []string{"Landed"}},
		{"conflict, and one behind it", func(r *rig) []int {
			a, b := r.opened("a", "main"), r.opened("b", "main")
			_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"a.txt": "x\n"})
			r.must(err)
			r.labelled(a)
			r.sleep(time.Second)
			say(r, b, "/merge")
			return []int{a, b}
		}, []bool{false, true}, []string{"Conflict", "Landed"}},
		{"red", func(r *rig) []int {
			r.runs = func(context.Context) retest.Result { return retest.Result{Verdict: retest.Failed, Why: "exit 1"} }
			a := r.opened("a", "main")
			say(r, a, "/merge")
			return []int{a}
		}, []bool{false}, []string{"Retest failed"}},
		{"candidate, by merge", func(r *rig) []int {
			r.cfg.Defaults.CatchUp = gate.CatchUpCandidate
			a := r.opened("a", "main")
			behind(r)
			r.labelled(a)
			return []int{a}
		}, []bool{true}, []string{"Landed"}},
		{"lease in a ref", func(r *rig) []int {
			r.cfg.Lease.Store = "ref"
			a := r.opened("a", "main")
			behind(r)
			r.labelled(a)
			return []int{a}
		}, []bool{true}, []string{"Landed"}},
		{"cancelled before it began", func(r *rig) []int {
			a := r.opened("a", "main")
			say(r, a, "/merge\n\n/merge cancel")
			return []int{a}
		}, []bool{false}, []string{"cancelled"}},
		{"already in base", func(r *rig) []int {
			a := r.opened("a", "main")
			_, err := r.PushBase(r.repo, r.own, "main", map[string]string{"a.txt": "a\n"})
			r.must(err)
			r.labelled(a)
			return []int{a}
		}, []bool{false}, []string{"already in main"}},
	}
}

// mishap is what happens at one call.
type mishap string

const (
	crashBefore mishap = "crash before"
	crashAfter  mishap = "crash after"
	crashWiped  mishap = "crash after, disk lost"
	lostRequest mishap = "request lost"
	lostReply   mishap = "reply lost"
)

// TestAttack103MishapAtEveryCall plays each morning again and again, with one mishap at the
// first call, at the second, and so on until a morning has no such call. The end
// must always be the same.
func TestAttack103MishapAtEveryCall(t *testing.T) {
	for _, m := range mornings() {
		for _, what := range []mishap{crashBefore, crashAfter, crashWiped, lostRequest, lostReply} {
			t.Run(m.name+", "+string(what), func(t *testing.T) {
				n := 0
				for happened := true; happened && !t.Failed(); n++ {
					tell(t, func(r *rig) { happened = r.play(m, what, n) })
				}
				t.Log(n, "calls")
				if n < 10 {
					t.Errorf("only %d calls: nothing was tried", n)
				}
			})
		}
	}
}

// play plays a morning with the mishap at call n, and says whether there was one.
func (r *rig) play(m morning, what mishap, n int) bool {
	var calls atomic.Int64
	var at atomic.Pointer[string] // the call that it happened to
	r.on(func(c forgetest.Call, do func() error) error {
		if calls.Add(1) != int64(n+1) || c.Replica != "one" {
			return do()
		}
		call := c.String()
		at.Store(&call)
		var err error
		if what != crashBefore && what != lostRequest {
			err = do()
		}
		if strings.HasPrefix(string(what), "crash") {
			r.crash("one")
		}
		if err == nil {
			err = errBroken
		}
		return err
	})
	prs := m.begin(r)
	r.start("one")
	for range 6 {
		r.sleep(20 * time.Second)
		if strings.HasPrefix(string(what), "crash") && at.Load() != nil {
			break
		}
		for _, pr := range prs {
			r.wake(pr)
		}
	}
	if what == crashWiped {
		r.Wipe("one")
	}
	if strings.HasPrefix(string(what), "crash") && at.Load() != nil {
		r.start("one")
	}
	r.sleep(30 * time.Minute)
	r.Helper()
	for i, pr := range prs {
		if problem := r.wrong(pr, m.lands[i], m.words[i]); problem != "" {
			r.Fatalf("%s at call %d (%s): #%d %s\n%s", what, n, callOf(&at), pr, problem, r.tale())
		}
	}
	return at.Load() != nil
}

// callOf is the call that was noted, if any.
func callOf(at *atomic.Pointer[string]) string {
	if call := at.Load(); call != nil {
		return *call
	}
	return "none"
}

// wrong says what is not as it must be at the end; "" when all is.
func (r *rig) wrong(n int, lands bool, words string) string {
	pr, notes := r.PullRequest(r.repo, n), r.notes(n)
	switch {
	case pr.Merged != lands:
		return fmt.Sprintf("merged: %v", pr.Merged)
	case len(notes) != 1:
		return fmt.Sprintf("has %d notes", len(notes))
	case !strings.Contains(notes[0].Body, words):
		return fmt.Sprintf("does not say %q: %s", words, strings.SplitN(notes[0].Body, "\n", 4)[2])
	case pr.Open && pr.Has("merge"):
		return "keeps its label"
	}
	for _, c := range r.Statuses(r.repo, pr.Head) {
		if c.Context == StatusContext && c.State == gate.CheckPending {
			return "has a status that stays pending: " + c.Text
		}
	}
	landings := 0
	for _, e := range r.Log() {
		if e.Op == forgetest.OpLand && e.PR == n {
			landings++
		}
	}
	if lands && landings != 1 {
		return fmt.Sprintf("landed %d times", landings)
	}
	return ""
}
