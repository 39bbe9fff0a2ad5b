package gate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mergegate/gate"
)

// act does the first of the pending actions, the way the bot would.
func (w *world) act() {
	w.t.Helper()
	a := w.pending[0]
	w.pending = w.pending[1:]
	o := gate.Outcome{Of: a, Result: gate.Done}
	switch a := a.(type) {
	case gate.Build:
		o.Built = w.build(a)
	case gate.Push:
		o.Result, o.Why = w.push(a), "protected branch"
	case gate.Publish:
		o.Result, o.Why = w.mood.publish, "branch name not allowed"
	case gate.Retest:
		o.Result = ""
		o.Verdict = gate.Verdict{State: w.mood.verdict, Why: w.mood.why, Log: "log1", Tail: "tail"}
		if w.mood.verdict == gate.Passed {
			w.law.passed[a.Tree] = true
			o.Verdict.Why = ""
		}
	case gate.Confirm:
		w.look()
	case gate.Land:
		o.Result, o.Why = w.answerLand(a)
	case gate.Inspect:
		w.look()
		if m := w.prs[a.PR].merged; m.commit != "" && (!m.overtaken || m.commit == a.Candidate) {
			o.Found = gate.Found{Landed: true, Commit: m.commit, Tree: m.tree, OnBase: m.before == a.Base}
		}
		w.law.unread[a.PR] = false
	case gate.Note:
		p := w.prs[a.PR]
		p.sticky = mustJSON(p.record)
		p.pressed = slices.DeleteFunc(p.pressed, func(c gate.Command) bool { return !c.At.After(p.record.Pressed) })
	case gate.SetLabel:
		if w.mood.label == "fails" { // trouble ends the round: nothing more is done
			fmt.Fprintln(&w.trace, "  "+describe(a)+": fails")
			w.done, w.pending = nil, nil
			return
		}
		w.label(a)
	case gate.SetFreeze:
		w.frozen = nil
		if a.Freeze.Reason != "" {
			w.frozen = &a.Freeze
		}
	case gate.Stop:
	default:
		w.t.Fatalf("an action nobody knows: %T", a)
	}
	w.say1("  "+describe(a), o)
	w.done = append(w.done, o)
}

func (w *world) push(a gate.Push) gate.Result {
	p := w.prs[a.PR]
	switch {
	case w.mood.push != gate.Done:
		return w.mood.push
	case p.Head != a.From && p.Head != a.To || !p.Open:
		w.look()
		return gate.Moved
	}
	p.Head = a.To
	w.see(a.PR)
	return gate.Done
}

func (w *world) label(a gate.SetLabel) {
	if a.On {
		w.setLabel(a.PR, "bot")
		w.prs[a.PR].record.Owed = false
	} else {
		w.takeLabel(a.PR, w.policy.Trigger.Label)
	}
	w.see(a.PR)
}

// see takes one's own writes into what was seen.
func (w *world) see(n int) {
	pr := w.seen.prs[n]
	pr.Head, pr.Labels = w.prs[n].Head, w.prs[n].Labels
	w.seen.prs[n] = pr
}

func (w *world) answerLand(a gate.Land) (gate.Result, string) {
	w.law.unread[a.PR] = true
	switch w.mood.land {
	case "denied":
		return gate.Denied, "a required review is missing"
	case "later":
		return gate.Later, ""
	case "never":
		return "", ""
	case "late":
		w.late = append(w.late, a)
		return "", ""
	case "lost":
		w.land(a, "")
		return "", ""
	case "evil":
		return w.land(a, "evil"), ""
	case "overtaken":
		return w.overtaken(a), ""
	}
	return w.land(a, ""), ""
}

// overtaken is a landing whose author pushes in the same moment: a ref update
// knows no PR, so base moves and the PR stays open.
func (w *world) overtaken(a gate.Land) gate.Result {
	p, before := w.prs[a.PR], w.tip()
	if a.Method != gate.FastForward || !p.Open || p.Base != baseName || p.Head != a.Head || w.commits[p.Head].parent != before {
		return w.land(a, "")
	}
	w.advance(p, p.Head, before, true)
	p.Open, p.Merged, p.MergeCommit, p.merged.overtaken = true, false, "", true
	p.Head = w.commit(string(p.Head)+"'", before, w.commits[p.Head].change+"'")
	return gate.Done
}

// tick is one thing happening: one action, or one step. It reports whether
// anything is left to do.
func (w *world) tick() bool {
	w.t.Helper()
	if len(w.pending) > 0 {
		w.act()
		return true
	}
	return w.step()
}

// again is when the queue asks to be looked at again.
func (w *world) again() time.Time {
	var prs []gate.Facts
	for _, p := range w.prs {
		prs = append(prs, gate.Facts{Record: p.record})
	}
	return w.queue.Again(w.now, prs)
}

// run lets the bot work until it comes to rest, waiting out its own pauses.
func (w *world) run() {
	w.t.Helper()
	last, lastActs := "", ""
	for range 3000 {
		if len(w.pending) > 0 {
			w.act()
			continue
		}
		asked := len(w.done) > 0
		if news := w.step(); !news && asked {
			continue // a retest that runs is asked after again
		}
		state, acts := w.state(), fmt.Sprint(w.pending)
		if len(w.pending) > 0 && (state != last || acts != lastActs) {
			last, lastActs = state, acts
			continue
		}
		for len(w.pending) > 0 {
			w.act()
		}
		if again := w.again(); !again.IsZero() {
			w.now = again
			continue
		}
		if w.state() == last {
			return
		}
		last = w.state()
	}
	w.t.Fatalf("it never comes to rest:\n%s", w.trace.String())
}

// state is everything that lasts, as text.
func (w *world) state() string {
	out := fmt.Sprintf("%s %v %v ", mustJSON(w.queue), w.base, w.frozen)
	for _, n := range slices.Sorted(maps.Keys(w.prs)) {
		p := w.prs[n]
		out += fmt.Sprintf("%s %s %v %v;", mustJSON(p.record), p.Head, p.Labels, p.Open)
	}
	return out
}

// until works up to the moment before an action of this kind.
func (w *world) until(kind string) {
	w.t.Helper()
	for range 300 {
		if len(w.pending) > 0 && strings.HasPrefix(describe(w.pending[0]), kind) {
			return
		}
		if again := w.again(); len(w.pending) == 0 && !again.IsZero() {
			w.now = again
		}
		w.tick()
	}
	w.t.Fatalf("nobody came to %q:\n%s", kind, w.trace.String())
}

// show writes down the states and answers that people see now for the first time.
func (w *world) show() {
	for _, n := range slices.Sorted(maps.Keys(w.prs)) {
		r := w.prs[n].record
		line := string(r.State)
		if f := w.queue.Flight; f != nil && f.PR == n {
			line = string(f.State)
		} else if len(r.Why) > 0 {
			line += ": " + strings.Join(r.Why, "; ")
		}
		w.once(fmt.Sprintf("#%d ", n), line)
		w.once(fmt.Sprintf("#%d says: ", n), r.Answer)
	}
}

func (w *world) once(key, text string) {
	if text != w.shown[key] {
		w.shown[key] = text
		if text != "" {
			fmt.Fprintf(&w.trace, "%s%s\n", key, text)
		}
	}
}

// say1 writes an action down, unless it was the same one before.
func (w *world) say1(line string, o gate.Outcome) {
	if strings.HasPrefix(line, "  note") {
		return
	}
	switch {
	case o.Verdict.State != "":
		line += ": " + string(o.Verdict.State)
	case o.Result == "":
		line += ": no reply"
	case o.Result != gate.Done:
		line += ": " + string(o.Result)
	case o.Found.Landed:
		line += ": it is in main as " + string(o.Found.Commit)
	}
	if w.shown["act"] == line {
		return
	}
	w.shown["act"] = line
	fmt.Fprintln(&w.trace, line)
}

func describe(a gate.Action) string {
	switch a := a.(type) {
	case gate.Build:
		return fmt.Sprintf("build %s on %s (%s)", a.Head, a.Base, a.How)
	case gate.Push:
		return fmt.Sprintf("push %s over %s", a.To, a.From)
	case gate.Publish:
		return fmt.Sprintf("publish %s", a.Candidate)
	case gate.Retest:
		return fmt.Sprintf("retest %s on %s", a.Candidate, a.Base)
	case gate.Stop:
		return fmt.Sprintf("stop %s", a.Candidate)
	case gate.Confirm:
		return fmt.Sprintf("confirm %s on %s", a.Candidate, a.Base)
	case gate.Land:
		return fmt.Sprintf("land %s by %s", a.Head, a.Method)
	case gate.Inspect:
		return fmt.Sprintf("inspect %s", a.Candidate)
	case gate.Note:
		return fmt.Sprintf("note #%d", a.PR)
	case gate.SetLabel:
		return fmt.Sprintf("label #%d %s", a.PR, map[bool]string{true: "on", false: "off"}[a.On])
	case gate.SetFreeze:
		if a.Freeze.Reason == "" {
			return "unfreeze"
		}
		return fmt.Sprintf("freeze: %s", a.Freeze.Reason)
	}
	return fmt.Sprintf("%T", a)
}

// wait lets time pass.
func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }
