package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxMoves is how often base may move under a request before a person is asked
// who keeps pushing.
const maxMoves = 3

// maxTries is how often the forge may put a landing off before the request is
// dropped. With the back-off of later that is about an hour.
const maxTries = 16

// passAfter is how often the forge may put a landing off before others may pass.
const passAfter = 3

// later is the back-off before try n: 1 s, 2 s, 4 s, … at most 5 minutes.
func later(n int) time.Duration {
	return min(time.Second<<min(n, 10), 5*time.Minute)
}

// fly works on the one request in flight, or picks the next. It goes as far as
// the outcomes at hand allow, and asks for the one thing it needs next.
func (s *step) fly() {
	if s.flight != nil {
		e := s.entry(s.flight.PR)
		if e != nil && e.Busy {
			return
		}
		if e == nil || !e.Record.State.flying() {
			s.end()
		}
	}
	if s.flight == nil {
		s.pick()
	}
	if s.flight == nil || s.in.Now.Before(s.flight.NotBefore) {
		return
	}
	e := s.entry(s.flight.PR)
	for {
		before := *s.flight
		if s.frozen != nil && !before.Asked && (before.State != Testing || before.Base != s.in.Tip) {
			return // a verdict is still taken in, nothing else
		}
		switch before.State {
		case CatchingUp:
			s.catchUp(e)
		case Testing:
			s.test(e)
		case Landing:
			s.land(e)
		}
		if s.flight == nil {
			s.pick()
			if s.flight == nil {
				return
			}
			e = s.entry(s.flight.PR)
		} else if s.flight.State == before.State && s.flight.Base == before.Base {
			return
		}
	}
}

// end takes the flight down, and with it a retest nobody waits for.
func (s *step) end() {
	if s.flight.State == Testing {
		s.do(Stop{s.flight.PR, s.flight.Candidate})
	}
	s.flight = nil
}

// pick takes the first of the queue. A frozen queue picks nobody.
func (s *step) pick() {
	if s.frozen != nil || s.in.PolicyErr != "" || s.in.Gone || s.in.Refused != "" {
		return
	}
	var queued []Facts
	for _, e := range s.entries {
		if e.Record.State == Queued && !e.Busy && !e.Record.NotBefore.After(s.in.Now) {
			queued = append(queued, e.Facts)
		}
	}
	if len(queued) == 0 {
		return
	}
	e := s.entry(Order(queued)[0].PR.Number)
	s.flight = &Flight{PR: e.PR.Number, State: CatchingUp, Since: s.in.Now, Head: e.PR.Head, Base: s.in.Tip, Tries: e.Record.Tries}
	s.enter(e, CatchingUp, "catching up with "+s.in.Base+" "+s.in.Tip.Short())
}

// chooseMode settles how this PR is caught up and how it will land.
func (s *step) chooseMode(e *entry) {
	f, p := s.flight, s.in.Policy
	f.Mode = p.CatchUp
	if e.Record.Mode != "" {
		f.Mode = e.Record.Mode
	}
	if f.Mode != CatchUpCandidate && !e.PR.MayPush {
		s.fallBack(e, "its branch cannot be pushed to by mergegate")
	}
	if p.DryRun {
		f.Mode = CatchUpCandidate
	}
	mode := f.Mode
	if f.Candidate != "" && f.Candidate == f.Head {
		// A head that already contains base is landed as it is: the strongest
		// method is open to it even when its branch may not be pushed to.
		mode = CatchUpRebase
	}
	f.Method = Strongest(s.wanted(e), mode, s.in.Methods)
}

// wanted is the method asked for: for this PR alone, or by the policy.
func (s *step) wanted(e *entry) Method {
	if m := e.Record.Request.Method; m != "" {
		return m
	}
	return s.in.Policy.Land.Method
}

// fallBack leaves the PR's branch alone from now on, and says so.
func (s *step) fallBack(e *entry, why string) {
	s.flight.Mode = CatchUpCandidate
	e.Record.Mode, e.Record.ModeWhy, e.touched = CatchUpCandidate, why, true
}

func (s *step) enter(e *entry, to State, what string) {
	if s.flight.State != to {
		s.flight.Since = s.in.Now
	}
	s.flight.State = to
	r := &e.Record
	r.State.check(to)
	if r.State != to {
		r.State, r.Since, r.Why = to, s.in.Now, nil
		r.happened(s.in.Now, what)
		e.touched = e.touched || to == Landing // with the evidence, which salvage needs
	}
}

// ends drops the request in flight and takes the flight down.
func (s *step) ends(e *entry, why string) {
	s.drop(e, why)
	s.end()
}

// How says what kind of commit the candidate is.
func (f *Flight) How() Method {
	switch {
	case f.Mode == CatchUpMerge:
		return Merge
	case f.Mode == CatchUpCandidate && f.Method != "":
		return f.Method
	}
	return Rebase
}

func (s *step) catchUp(e *entry) {
	f := s.flight
	if f.Base != s.in.Tip {
		f.Base, f.Candidate, f.Tree, f.Published = s.in.Tip, "", "", false
	}
	if f.Candidate == "" {
		s.chooseMode(e)
		o, ok := s.answer(Build{f.PR, f.Head, f.Base, f.How()})
		if !ok || o.Result != Done {
			s.do(Build{f.PR, f.Head, f.Base, f.How()})
			return
		}
		if !s.built(e, o.Built) {
			return
		}
	}
	if !s.show(e) {
		return
	}
	s.enter(e, Testing, fmt.Sprintf("testing %s on %s %s", f.Candidate.Short(), s.in.Base, f.Base.Short()))
}

// built takes in a candidate; false when there is none to go on with.
func (s *step) built(e *entry, b Built) bool {
	f := s.flight
	switch {
	case b.Conflict != "":
		files := "files"
		if b.Files == 1 {
			files = "file"
		}
		why := fmt.Sprintf("Conflict with %s in %d %s", s.in.Base, b.Files, files)
		s.ends(e, why)
		e.Record.Conflict = b.Conflict
	case b.Refused != "":
		s.ends(e, b.Refused)
	case b.InBase:
		s.move(e, Landed, "already in "+s.in.Base, "Its whole change is already in "+s.in.Base)
		s.end()
	case b.CannotPush != "" && b.Candidate != f.Head && f.Mode != CatchUpCandidate:
		s.fallBack(e, b.CannotPush)
		s.catchUp(e)
	default:
		f.Candidate, f.Tree = b.Candidate, b.Tree
		s.chooseMode(e)
		return s.methodFits(e)
	}
	return false
}

// methodFits ends the request when nothing the repository allows can land it.
func (s *step) methodFits(e *entry) bool {
	if s.flight.Method != "" || s.in.Policy.DryRun {
		return true
	}
	why := "only the methods merge and squash can land a PR whose branch stays as it is"
	if e.Record.ModeWhy != "" {
		why += " (" + e.Record.ModeWhy + ")"
	}
	if m := s.wanted(e); m != "" && m != Auto {
		why += fmt.Sprintf(", and %s was asked for", m)
	} else {
		why += fmt.Sprintf(", and only %s is allowed here", joined(s.in.Methods))
	}
	s.ends(e, why+". Rebase it on "+s.in.Base+" yourself and ask again")
	return false
}

// show puts the candidate where CI and the forge need it; true when it is there.
func (s *step) show(e *entry) bool {
	f := s.flight
	switch {
	case f.Candidate == e.PR.Head || s.hidden(e):
		return true
	case f.Mode != CatchUpCandidate:
		if !slices.Contains(f.Ours, f.Candidate) {
			f.Ours = append(f.Ours, f.Candidate)
		}
		push := Push{f.PR, e.PR.Head, f.Candidate}
		switch o, _ := s.answer(push); o.Result {
		case Denied:
			s.fallBack(e, o.Why)
			f.Candidate = ""
			s.catchUp(e)
		case Moved:
			s.retry(e) // the next facts show the new head
		default:
			s.do(push)
		}
		return false
	case len(s.in.Policy.Retest.Checks) > 0 && !f.Published:
		publish := Publish{f.PR, f.Candidate}
		switch o, _ := s.answer(publish); o.Result {
		case Done:
			f.Published = true
		case Denied:
			s.ends(e, "The forge refuses the branch that shows the candidate to CI: "+o.Why)
			return false
		default:
			s.do(publish)
			return false
		}
	}
	return true
}

// retry comes back to the flight after a growing pause, and gives up in the end.
func (s *step) retry(e *entry) {
	f := s.flight
	f.Tries++
	f.NotBefore = s.in.Now.Add(later(f.Tries - 1))
	if f.Tries > maxTries {
		s.ends(e, "the forge kept putting it off; ask again, or look at its log")
	}
}

// letPass sends a request that the forge keeps putting off back to the queue, with
// its place, and until its next try others go first. Not while an answer of the
// forge is unclear: then the landing may still come through, and base must not
// move under it by our doing.
func (s *step) letPass(e *entry) {
	f := s.flight
	if f == nil || f.Unclear || f.Tries < passAfter || !slices.ContainsFunc(s.entries, func(o *entry) bool {
		return o != e && o.Record.State == Queued && !o.Busy && !o.Record.NotBefore.After(s.in.Now)
	}) {
		return
	}
	e.Record.Tries, e.Record.NotBefore = f.Tries, f.NotBefore
	s.move(e, Queued, "the forge puts the landing off; others may pass until it is tried again")
	s.end()
}

// again goes back to catching up because base moved, keeping the place.
func (s *step) again(e *entry) {
	f, r := s.flight, &e.Record
	r.Moves++
	e.touched = true
	if r.Moves > maxMoves {
		s.ends(e, fmt.Sprintf("%s moved %d times while this PR was being worked on: somebody keeps pushing to it. Ask again when that has stopped", s.in.Base, r.Moves))
		return
	}
	if f.State == Testing {
		s.do(Stop{f.PR, f.Candidate})
	}
	f.Head, f.Asked, f.Denied = e.PR.Head, false, ""
	s.enter(e, CatchingUp, fmt.Sprintf("%s moved to %s, catching up again", s.in.Base, s.in.Tip.Short()))
}

func (s *step) test(e *entry) {
	f, p, r := s.flight, s.in.Policy.Retest, &e.Record
	if f.Base != s.in.Tip {
		s.again(e)
		return
	}
	v := s.verdict(e)
	switch v.State {
	case Passed:
		r.Evidence = Evidence{Base: f.Base, Commit: f.Candidate, Tree: f.Tree, Policy: p.Fingerprint(), At: s.in.Now, Log: v.Log}
		r.Broken = 0
		s.enter(e, Landing, "the retest passed")
	case Failed:
		why := v.Why
		if !strings.HasPrefix(why, "Cannot reach") {
			why = "Retest failed: " + why
		}
		s.ends(e, why)
		r.Log, r.Tail = v.Log, v.Tail
	case Broken:
		r.Broken++
		if r.Broken >= max(1, s.in.Policy.Attempts) {
			s.ends(e, fmt.Sprintf("the retest could not be done (%d attempts): %s. This says nothing about the change", r.Broken, v.Why))
			r.Log, r.Tail = v.Log, v.Tail
			return
		}
		r.happened(s.in.Now, "the retest could not be done: "+v.Why)
		e.touched = true
		f.NotBefore = s.in.Now.Add(later(r.Broken))
	}
}

// verdict asks for what the policy wants and joins the answers. Evidence for an
// identical tree under an identical policy stands in for the command.
func (s *step) verdict(e *entry) Verdict {
	f, p := s.flight, s.in.Policy.Retest
	v := Verdict{State: Passed}
	if p.Command != "" {
		ev := e.Record.Evidence
		if ev.Tree == f.Tree && f.Tree != "" && ev.Policy == p.Fingerprint() {
			v.Log = ev.Log
		} else {
			q := Retest{f.PR, f.Candidate, f.Base, f.Tree}
			o, ok := s.answer(q)
			if !ok || o.Verdict.State == "" {
				s.do(q)
				v = Verdict{State: Running}
			} else {
				v = o.Verdict
			}
		}
	}
	if len(p.Checks) > 0 && !s.hidden(e) {
		var ci []Check
		if f.Candidate == s.ciOf {
			ci = s.in.CI
		}
		v = both(v, JudgeChecks(p, ci, s.in.Own, f.Since, s.in.Now))
	}
	if !p.Configured() {
		return Verdict{State: Broken, Why: "no retest is configured"}
	}
	return v
}
