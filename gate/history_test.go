package gate_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mergegate/gate"
)

// TestHistories plays random histories of three PRs: everything people, CI and a
// forge do, in any order, with crashes, lost leases, and answers that are lost,
// repeated or late. law.go judges every step of each. Then everything heals, and
// everybody must have got an answer. More of them: -rapid.checks=100000.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { history(t, 10, 80, 8) })
}

// FuzzStep is the same, driven by the fuzzer, with short histories: what matters to
// it is how many it can play. A history eats 8 bytes or more for each thing it draws,
// so the seeds are noise that is long enough for a whole one.
func FuzzStep(f *testing.F) {
	for seed := range uint64(8) {
		source := rand.New(rand.NewPCG(seed, 0))
		noise := make([]byte, 0, 1<<13)
		for len(noise) < cap(noise) {
			noise = binary.LittleEndian.AppendUint64(noise, source.Uint64())
		}
		f.Add(noise)
	}
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { history(t, 4, 20, 4) }))
}

// history lets so many events happen, with up to so many ticks after each.
func history(t *rapid.T, fewest, most, ticks int) {
	w := newWorld(t)
	h := teller{t, w, nil, 0}
	h.rules()
	for range rapid.IntRange(fewest, most).Draw(t, "events") {
		h.event()
		for range rapid.IntRange(0, ticks).Draw(t, "ticks") {
			if again := w.again(); len(w.pending) == 0 && !again.IsZero() {
				w.now = again
			}
			w.tick()
			h.old = append(h.old, w.done...)
		}
	}
	h.heal()
	w.run()
	w.law.end(w)
}

type teller struct {
	t      *rapid.T
	w      *world
	old    []gate.Outcome
	commit int
}

func one[T any](h teller, from ...T) T { return rapid.SampledFrom(from).Draw(h.t, "pick") }

func (h *teller) fresh(prefix string) string {
	h.commit++
	return fmt.Sprintf("%s%d", prefix, h.commit)
}

// rules draws a policy, and opens the PRs.
func (h *teller) rules() {
	w, p := h.w, &h.w.policy
	w.methods = one(*h, []gate.Method{gate.FastForward}, []gate.Method{gate.Merge}, []gate.Method{gate.FastForward, gate.Squash}, []gate.Method{gate.Rebase})
	p.Require.Approvals = one(*h, 1, 0, 2)
	p.CatchUp = one(*h, gate.CatchUpRebase, gate.CatchUpMerge, gate.CatchUpCandidate)
	p.Trigger.Approval = one(*h, false, true)
	p.DryRun = one(*h, false, false, false, true)
	p.Retest.Command = one(*h, "make test", "")
	if one(*h, false, true) {
		p.Retest.Checks = []string{"build"}
	}
	w.required = one(*h, nil, []string{"mergegate"}, []string{"mergegate", "lint"})
	w.ci["build"], w.ci["lint"] = gate.CheckPassed, gate.CheckPassed
	for n := range 3 {
		w.open(n+1, h.fresh("c"), "m0").MayPush = one(*h, true, true, false)
		w.approve(n+1, "bob", w.prs[n+1].Head)
		w.approve(n+1, "cat", w.prs[n+1].Head)
		w.setLabel(n+1, "bob")
	}
}

// event makes one thing happen.
func (h *teller) event() {
	w := h.w
	n := one(*h, 1, 2, 3)
	p := w.prs[n]
	who := one(*h, "bob", "cat", "rob", "ann", "mia")
	what := one(*h, "nothing", "push", "push-back", "approve", "withdraw", "object", "label", "unlabel", "say", "open", "draft",
		"retarget", "main", "merge", "verdict", "land", "push-mood", "ci", "conflict", "tag", "crash", "lose-lease", "lose-notes",
		"late", "wait", "stale", "busy", "policy", "role", "repeat", "lose-outcome", "methods")
	fmt.Fprintf(&w.trace, "> %s %d %s\n", what, n, who)
	switch what {
	case "push":
		if p.Open {
			p.Head = w.commit(h.fresh("c"), w.commits[p.Head].parent, fmt.Sprintf("c%d", h.commit))
		}
	case "push-back":
		if p.Open && len(p.record.Same) > 0 {
			p.Head = p.record.Same[0]
		}
	case "approve":
		w.approve(n, who, p.Head)
	case "withdraw":
		w.withdraw(n, who)
	case "object":
		w.review(n, who, p.Head, gate.ChangesRequested)
	case "label":
		w.setLabel(n, who)
	case "unlabel":
		w.takeLabel(n, "merge")
	case "say":
		w.say(n, who, command([]string{one(*h, "/merge", "cancel", "retry", "status", "freeze", "unfreeze", "unfreeze", "priority=urgent", "method=squash"), "day"}))
	case "open":
		p.Open = !p.Open && !p.Merged
	case "draft":
		p.Draft = !p.Draft
	case "retarget":
		w.retarget(n, map[string]string{baseName: "release", "release": baseName}[p.Base])
	case "main":
		w.handPush(h.fresh("m"))
	case "merge":
		if p.Open && p.Base == baseName {
			w.handMerge(n)
		}
	case "lose-notes":
		if !w.law.unread[n] && !p.Merged {
			p.sticky, p.record = nil, gate.Record{}
		}
	case "repeat":
		if len(h.old) > 0 {
			w.done = append(w.done, h.mayRepeat()...)
		}
	case "lose-outcome":
		if len(w.done) > 0 {
			w.done = slices.Delete(slices.Clone(w.done), 0, 1)
		}
	default:
		h.weather(what, p, n, who)
	}
}

// weather changes how the outside world answers.
func (h *teller) weather(what string, p *pull, n int, who string) {
	w := h.w
	switch what {
	case "verdict":
		w.mood.verdict, w.mood.why = one(*h, gate.Passed, gate.Passed, gate.Running, gate.Failed, gate.Broken, ""), "exit 1"
	case "land":
		w.mood.land = one(*h, "ok", "ok", "lost", "never", "late", "denied", "later", "evil", "overtaken")
		w.mood.label = one(*h, "", "", "fails")
	case "push-mood":
		w.mood.push = one(*h, gate.Done, gate.Done, gate.Denied, gate.Later, "")
		w.mood.publish = one(*h, gate.Done, gate.Done, gate.Denied, "")
	case "ci":
		name, state := one(*h, "build", "lint"), one(*h, gate.CheckPassed, gate.CheckPending, gate.CheckFailed)
		if one(*h, true, false) {
			w.ci[name] = state
		} else {
			w.ciOn[p.Head] = map[string]gate.CheckState{name: state}
		}
	case "conflict":
		change := w.commits[p.Head].change
		w.conflicts[change] = !w.conflicts[change]
	case "tag":
		if p.Has("wip") {
			w.takeLabel(n, "wip")
		} else {
			p.Labels = append(slices.Clone(p.Labels), "wip")
		}
	case "crash", "lose-lease":
		w.happen(what)
	case "late":
		w.catchUpLate()
	case "wait":
		w.wait(one(*h, time.Second, 11*time.Minute, time.Hour))
	case "stale":
		w.stale = !w.stale
	case "busy":
		w.busy[n] = !w.busy[n]
	case "policy":
		w.policyErr = one(*h, "", "line 1: no")
	case "role":
		w.people[who].role = one(*h, gate.RoleWrite, gate.RoleWrite, gate.RoleRead)
	case "methods":
		w.methods = one(*h, []gate.Method{gate.FastForward}, []gate.Method{gate.Merge}, nil)
	}
}

// mayRepeat is an outcome from any time before. What base and forge said about
// a landing is only ever handed out once, to the next step; the rest may come late.
func (h *teller) mayRepeat() []gate.Outcome {
	o := one(*h, h.old...)
	switch o.Of.(type) {
	case gate.Build, gate.Push, gate.Publish, gate.Retest:
		return []gate.Outcome{o}
	}
	return nil
}

// heal brings everything back that answers, but takes back nothing that people
// said: who waits for a person then goes on waiting, and says so.
func (h *teller) heal() {
	w := h.w
	fmt.Fprintln(&w.trace, "> heal")
	w.mood = mood{verdict: gate.Passed, land: "ok", push: gate.Done, publish: gate.Done}
	w.stale, w.policyErr = false, ""
	clear(w.busy)
	clear(w.ciOn)
	for _, name := range slices.Collect(maps.Keys(w.ci)) {
		w.ci[name] = gate.CheckPassed
	}
	w.catchUpLate()
	w.wait(time.Hour)
}
