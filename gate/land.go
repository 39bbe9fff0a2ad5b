package gate

import (
	"fmt"
	"strings"
)

// hidden says that CI cannot see the candidate, because a dry run pushes nothing.
func (s *step) hidden(e *entry) bool {
	return s.in.Policy.DryRun && s.flight.Candidate != e.PR.Head
}

func (s *step) land(e *entry) {
	f := s.flight
	if f.Asked {
		s.inspect(e)
		return
	}
	if f.Base != s.in.Tip {
		s.again(e)
		return
	}
	if s.in.Policy.DryRun {
		first := ""
		if s.hidden(e) && len(s.in.Policy.Retest.Checks) > 0 {
			first = fmt.Sprintf("been shown to CI (%s), and if that passes ", strings.Join(s.in.Policy.Retest.Checks, ", "))
		}
		s.ends(e, fmt.Sprintf("Dry run: %s would have %slanded on %s %s. Nothing was pushed", f.Candidate.Short(), first, s.in.Base, f.Base.Short()))
		return
	}
	if e.PR.Head != f.lands() {
		f.Head, f.Candidate, f.Tree, f.Published = e.PR.Head, "", "", false
		s.enter(e, CatchingUp, "the head is not where it was, catching up again")
		return
	}
	if s.chooseMode(e); !s.methodFits(e) { // the repository's settings may have changed
		return
	}
	confirm := Confirm{f.PR, f.Candidate, f.Base}
	if o, _ := s.answer(confirm); o.Result != Done {
		s.do(confirm)
		return
	}
	f.Asked, f.PutOff = true, false
	s.do(f.landing())
}

func (f *Flight) landing() Land {
	return Land{f.PR, f.lands(), f.Candidate, f.Base, f.Tree, f.Method}
}

// lands is the head that the PR must have at landing.
func (f *Flight) lands() SHA {
	if f.Mode == CatchUpCandidate {
		return f.Head
	}
	return f.Candidate
}

// inspect settles a landing that was asked for: base itself says what happened,
// the forge's answer only says why it did not.
func (s *step) inspect(e *entry) {
	f := s.flight
	if s.in.Gone {
		s.ends(e, fmt.Sprintf("the branch %s is gone, so nobody can say whether it landed as %s", s.in.Base, f.Candidate.Short()))
		return
	}
	o, heard := s.answer(f.landing())
	switch o.Result {
	case Denied:
		f.Denied = "The forge refuses to merge: " + o.Why
	case Later, Moved:
		f.PutOff = true
	}
	q := Inspect{f.PR, f.Candidate, f.Base, f.Tree, e.PR.Merged}
	seen, _ := s.answer(q)
	if seen.Result != Done {
		s.do(q)
		return
	}
	switch {
	case seen.Found.Landed && seen.Found.OnBase && seen.Found.Tree == f.Tree:
		e.Record.Landed = LandedAs{Commit: seen.Found.Commit, Tree: f.Tree, Base: f.Base, Method: f.Method}
		s.move(e, Landed, "landed as "+seen.Found.Commit.Short(), "Landed as "+seen.Found.Commit.Short())
		s.end()
	case seen.Found.Landed:
		s.alarm(e, seen.Found)
	case e.PR.Merged:
		s.move(e, Landed, "merged by somebody else", "Merged by somebody else, as "+e.PR.MergeCommit.Short())
		s.end()
	case f.Base != s.in.Tip:
		s.again(e)
	case f.Denied != "":
		s.ends(e, f.Denied)
	default:
		f.Asked, f.Unclear = false, f.Unclear || !f.PutOff
		s.retry(e)
		if soon := s.in.Now.Add(later(passAfter)); !heard && f.NotBefore.After(soon) {
			f.NotBefore = soon // whoever asked is gone, and the lease has run out since: that was pause enough
		}
		s.letPass(e)
	}
}

// alarm: base holds something else than what was tested. Nothing more lands
// until a person has looked. The flight stays until the freeze is there to see:
// a freeze that gets lost is asked for again.
func (s *step) alarm(e *entry, got Found) {
	f := s.flight
	why := fmt.Sprintf("#%d landed as %s with tree %s, but tree %s on %s was tested", f.PR, got.Commit.Short(), got.Tree.Short(), f.Tree.Short(), f.Base.Short())
	if got.Tree == f.Tree {
		why = fmt.Sprintf("#%d landed as %s, but not on the tested base %s: %s moved in between", f.PR, got.Commit.Short(), f.Base.Short(), s.in.Base)
	}
	const by = "mergegate"
	if s.in.Frozen == nil || s.in.Frozen.By != by {
		s.frozen = &Freeze{By: by, At: s.in.Now, Reason: why}
		s.freezes = append(s.freezes, SetFreeze{*s.frozen})
		return
	}
	e.Record.Landed = LandedAs{Commit: got.Commit, Tree: got.Tree, Base: f.Base, Method: f.Method, Mismatch: true}
	s.move(e, Landed, "ALARM: "+why, "ALARM: "+why)
	s.end()
}
