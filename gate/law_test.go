package gate_test

import (
	"slices"

	"mergegate/gate"
)

// law is the judge: it keeps what really happened in the world, apart from what
// gate believes, and holds the invariants of the package comment against it.
type law struct {
	passed    map[gate.SHA]bool         // trees that a retest really passed
	green     map[gate.SHA]bool         // commits on which CI was green while we asked
	approvals map[int]map[string]string // PR, person: the change their standing approval is for
	unread    map[int]bool              // landing asked for, base not read back since
	landed    map[string]int            // PR and change: how often we moved base for it
	asked     map[int]gate.Land         // the last landing asked for
	wrong     string                    // why a landing of ours was not what was tested
	alarmed   bool                      // gate asked for a freeze of its own
	confirmed bool                      // the last step asked for a confirmation
}

func newLaw() law {
	return law{
		passed: map[gate.SHA]bool{}, green: map[gate.SHA]bool{}, approvals: map[int]map[string]string{}, unread: map[int]bool{},
		landed: map[string]int{}, asked: map[int]gate.Land{},
	}
}

func (l *law) approved(pr int, who, change string, stands bool) {
	if l.approvals[pr] == nil {
		l.approvals[pr] = map[string]string{}
	}
	delete(l.approvals[pr], who)
	if stands {
		l.approvals[pr][who] = change
	}
}

// judge holds one step's actions against what was true when it decided.
func (l *law) judge(w *world, in gate.Input, q gate.Queue, actions []gate.Action) {
	w.t.Helper()
	if f := w.queue.Flight; f != nil && f.State == gate.Testing && w.visible(f) {
		red := func(name string) bool { return w.check(f.Candidate, name) != gate.CheckPassed }
		l.green[f.Candidate] = l.green[f.Candidate] || !slices.ContainsFunc(w.wanted(), red)
	}
	confirmed := l.confirmed
	l.confirmed = false
	for _, a := range actions {
		switch a := a.(type) {
		case gate.Confirm:
			l.confirmed = true
		case gate.SetFreeze:
			l.alarmed = l.alarmed || a.Freeze.By == "mergegate"
		case gate.Land:
			l.mayLand(w, in, q, a, confirmed)
		case gate.Push:
			if w.policy.DryRun || in.Frozen != nil {
				w.t.Fatalf("a push in a dry run or a frozen queue: %v\n%s", a, w.trace.String())
			}
		}
	}
}

func (l *law) mayLand(w *world, in gate.Input, q gate.Queue, a gate.Land, confirmed bool) {
	w.t.Helper()
	i := slices.IndexFunc(in.PRs, func(f gate.Facts) bool { return f.PR.Number == a.PR })
	pr := in.PRs[i].PR
	head, candidate := w.commits[a.Head], w.commits[a.Candidate]
	need := max(w.policy.Require.Approvals, in.PRs[i].RequiredApprovals)
	standing := 0
	for _, change := range l.approvals[a.PR] {
		if change == head.change {
			standing++
		}
	}
	for _, rule := range []struct {
		broken bool
		what   string
	}{
		{w.policy.DryRun, "dry run"},
		{in.Frozen != nil, "the queue is frozen"},
		{in.PolicyErr != "", "the policy is unknown"},
		{in.Gone || in.Refused != "", "the branch is gone or not ours"},
		{!pr.Open || pr.Merged || pr.Draft || pr.Base != baseName, "the PR is not there to land"},
		{pr.Head != a.Head, "the head is another one"},
		{!pr.Has(w.policy.Trigger.Label), "nobody asks for it any more"},
		{in.Tip != a.Base, "main is not at the tested base"},
		{candidate.parent != a.Base || candidate.tree != a.Tree, "the candidate is not on the tested base"},
		{candidate.change != head.change, "the candidate is another change"},
		{standing < need, "it is not approved"},
		{!w.reallyPassed(a), "it was never tested green"},
		{!confirmed || !slices.ContainsFunc(in.Done, func(o gate.Outcome) bool {
			return o.Of == gate.Action(gate.Confirm{PR: a.PR, Candidate: a.Candidate, Base: a.Base}) && o.Result == gate.Done
		}), "it was not confirmed in the step before"},
		{l.unread[a.PR], "base was not read back after the last try"},
		{q.Flight == nil || !q.Flight.Asked, "the flight does not say that it asked"},
		{!slices.Contains(w.methods, a.Method), "the method is not allowed"},
	} {
		if rule.broken {
			w.t.Fatalf("asked to land %+v, but %s\n%s", a, rule.what, w.trace.String())
		}
	}
	l.asked[a.PR] = a
}

// reallyPassed says whether everything the policy wants has passed on that tree.
func (w *world) reallyPassed(a gate.Land) bool {
	if len(w.wanted()) > 0 && !w.law.green[a.Candidate] {
		return false
	}
	return w.law.passed[a.Tree] || w.policy.Retest.Command == "" && len(w.wanted()) > 0
}

// wanted are the checks that must pass.
func (w *world) wanted() []string {
	return slices.DeleteFunc(slices.Concat(w.policy.Retest.Checks, w.required), func(p string) bool { return p == "mergegate" })
}

// moved looks at a merge at the moment it happens.
func (l *law) moved(w *world, p *pull, byUs bool) {
	w.t.Helper()
	if !byUs {
		return
	}
	a, m := l.asked[p.Number], p.merged
	if m.before != a.Base || m.tree != a.Tree {
		l.wrong = "landed " + string(m.tree) + " on " + string(m.before)
	}
	key := string(p.Head)
	if l.landed[key]++; l.landed[key] > 1 {
		w.t.Fatalf("%s landed twice\n%s", key, w.trace.String())
	}
}

// end holds the state at rest against the law: everybody has an answer, and a
// landing that was not what was tested has frozen the queue.
func (l *law) end(w *world) {
	w.t.Helper()
	if l.wrong != "" && !l.alarmed {
		w.t.Fatalf("%s, and nobody was told\n%s", l.wrong, w.trace.String())
	}
	for n, p := range w.prs {
		r := p.record
		switch {
		case !r.State.Active() && r.State.Final() && len(r.Why) == 0,
			r.State == gate.Waiting && len(r.Why) == 0,
			r.State.Active() && r.State != gate.Waiting && w.frozen == nil && w.mood.verdict != gate.Running && w.policyErr == "":
			w.t.Fatalf("#%d rests as %q %q, and nobody knows why\n%s", n, r.State, r.Why, w.trace.String())
		case p.Open && r.State.Final() && p.Base == baseName && p.Has(w.policy.Trigger.Label) && w.policyErr == "" && !w.policy.DryRun && w.policy.Enabled && !w.busy[n] && w.mood.label == "":
			w.t.Fatalf("#%d rests as %q, open and with its label\n%s", n, r.State, w.trace.String())
		case p.Merged && p.merged.byUs && r.State != gate.Landed && l.wrong == "":
			w.t.Fatalf("#%d landed, but its record says %s %q\n%s", n, r.State, r.Why, w.trace.String())
		}
	}
	for pr, unread := range l.unread {
		if unread && w.queue.Flight != nil && w.queue.Flight.PR != pr {
			w.t.Fatalf("#%d was asked to land and base was never read back\n%s", pr, w.trace.String())
		}
	}
}
