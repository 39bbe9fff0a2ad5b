package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Step takes one queue and what is known, and gives the queue as it must be saved
// before acting, the records that changed, and what to do: in this order, and
// nothing more after an action that failed. It has no other input and no effect.
// Called again with the same facts and no outcomes it asks for the same actions.
func Step(q Queue, in Input) (Queue, []Facts, []Action) {
	if !in.Policy.Enabled {
		return Queue{}, nil, nil
	}
	// Our own status is no evidence, and waiting for it would be waiting for ourselves.
	in.Policy.Retest.Checks = slices.DeleteFunc(slices.Concat(in.Policy.Retest.Checks, in.Checks), func(c string) bool { return c == in.Own })
	s := &step{in: in, frozen: in.Frozen}
	if q.Flight != nil {
		f := *q.Flight
		f.Ours = slices.Clone(f.Ours)
		s.flight = &f
		if f.State == Testing {
			s.ciOf = f.Candidate
		}
	}
	for _, f := range in.PRs {
		if !f.Busy {
			f.Record.Same = slices.Clone(f.Record.Same)
			f.Record.Events = slices.Clone(f.Record.Events)
			if f.Retargeted.After(f.Record.Retargeted) {
				f.Record.Retargeted = f.Retargeted
			}
		}
		s.entries = append(s.entries, &entry{Facts: f, before: f.Record})
	}
	s.board()
	for _, e := range s.entries {
		switch {
		case e.Busy || s.asked(e): // base says first what became of a landing
		case e.PR.Base == in.Base:
			s.listen(e)
			s.leftover(e)
			s.admit(e)
		case e.Record.Request.Base == in.Base: // retargeted: only its end is our business
			s.admit(e)
		}
	}
	s.fly()
	return s.result()
}

// board brings records and flight together. Records are saved when there is
// news for people, the flight before each action, so either may be older: a
// record "in flight" without a flight is queued, and the record of the flight is
// where the flight is. Whatever became of the record, a landing that was asked
// for is settled before anything else.
func (s *step) board() {
	for _, e := range s.entries {
		r := &e.Record
		switch {
		case e.Busy:
		case s.flight != nil && s.flight.PR == e.PR.Number:
			s.turnTo(e.PR.Head)
			if s.flight.State == Landing && s.flight.Tries > 0 && e.PR.Merged {
				s.flight.Asked = true // a landing that was given up came through after all
			}
			if s.flight.Asked && !r.State.Final() || r.State == Queued || r.State.flying() {
				r.State, r.Since = s.flight.State, s.flight.Since
			}
		case s.flight == nil && r.State == Landing:
			s.salvage(e)
		case r.State.flying():
			r.State = Queued
		}
	}
}

// turnTo begins the flight anew when it is about a head that is not there any more: a
// lease that was saved before the author pushed, and the new head was asked for. What
// was made of the old one must not be pushed over the new one. What we pushed stays
// known as ours.
func (s *step) turnTo(head SHA) {
	f := s.flight
	if f.Asked || head == f.Head || head == f.Candidate || slices.Contains(f.Ours, head) {
		return
	}
	if f.State == Testing {
		s.do(Stop{f.PR, f.Candidate})
	}
	f.State, f.Head, f.Candidate, f.Tree, f.Published = CatchingUp, head, "", "", false
}

// salvage rebuilds a flight that was lost together with the lease when its
// landing may have been asked for. What was tested is in the evidence.
func (s *step) salvage(e *entry) {
	ev := e.Record.Evidence
	s.flight = &Flight{
		PR: e.PR.Number, State: Landing, Since: e.Record.Since, Asked: true,
		Head: e.PR.Head, Base: ev.Base, Candidate: ev.Commit, Tree: ev.Tree,
	}
	s.chooseMode(e)
}

// asked says whether the forge was asked to land this PR, and base has not been
// read back since.
func (s *step) asked(e *entry) bool {
	return s.flight != nil && s.flight.PR == e.PR.Number && s.flight.Asked
}

type entry struct {
	Facts
	before  Record
	touched bool
	left    bool // landed, and still open
}

type step struct {
	in      Input
	entries []*entry
	flight  *Flight
	ciOf    SHA // the candidate that in.CI is about
	frozen  *Freeze
	freezes []Action
	actions []Action
}

func (s *step) do(a Action) { s.actions = append(s.actions, a) }

// answer finds what came of an action that was asked for in the last step.
func (s *step) answer(a Action) (Outcome, bool) {
	for _, o := range s.in.Done {
		if o.Of == a {
			return o, true
		}
	}
	return Outcome{}, false
}

func (s *step) entry(pr int) *entry {
	for _, e := range s.entries {
		if e.PR.Number == pr {
			return e
		}
	}
	return nil
}

// result orders the actions: a freeze must not get lost behind the note about it,
// records are saved before labels follow them, and whatever was decided for the
// flight comes last.
func (s *step) result() (Queue, []Facts, []Action) {
	notes, labels := s.freezes, []Action(nil)
	var changed []Facts
	for _, e := range s.entries {
		if e.Busy {
			continue
		}
		has := e.PR.Has(s.in.Policy.Trigger.Label)
		if e.Record.Owed && e.Record.State.Active() && !has {
			// On before the record is saved: an active record without its label
			// would read as "somebody took the label off".
			notes = append(notes, SetLabel{e.PR.Number, true})
		}
		if e.touched {
			notes = append(notes, Note{e.PR.Number})
			changed = append(changed, e.Facts)
		}
		if (e.Record.State == Dropped || e.left) && has && e.PR.Open && !s.in.Policy.DryRun && s.in.PolicyErr == "" {
			labels = append(labels, SetLabel{e.PR.Number, false})
		}
	}
	return Queue{Flight: s.flight}, changed, slices.Concat(notes, labels, s.actions)
}

// move changes a request's state and, when it is new, its history.
func (s *step) move(e *entry, to State, what string, why ...string) {
	r := &e.Record
	same := r.State == to && slices.Equal(r.Why, why)
	r.State.check(to)
	if r.State != to {
		r.Since = s.in.Now
	}
	r.State, r.Why = to, why
	if to.Final() {
		r.Request.Priority, r.Request.Method = Normal, ""
	}
	if !same {
		e.touched = true
		r.happened(s.in.Now, what)
	}
}

func (r *Record) happened(at time.Time, what string) {
	r.Events = append(r.Events, Happened{at.UTC().Truncate(time.Second), what})
	if len(r.Events) > 10 {
		r.Events = r.Events[len(r.Events)-10:]
	}
}

func (s *step) drop(e *entry, why string) {
	s.move(e, Dropped, "dropped: "+why, why)
}

func (s *step) reply(e *entry, format string, args ...any) {
	e.Record.Answer = fmt.Sprintf(format, args...)
	e.touched = true
}

// request starts a request, or starts it again.
func (s *step) request(e *entry, r Request) {
	old := e.Record
	e.Record = Record{
		State: old.State, Since: old.Since, Request: r, Same: old.Same,
		Command: old.Command, Pressed: old.Pressed, LabelAt: old.LabelAt, Retargeted: old.Retargeted, Evidence: old.Evidence, Events: old.Events,
	}
	if !old.Is(e.PR.Head) { // otherwise what was approved before we rebased it still is
		e.Record.Same = []SHA{e.PR.Head}
	}
	e.Record.Owed = true
	e.Requester = RoleUnknown // what was read is about who asked before
	s.move(e, Waiting, fmt.Sprintf("asked for by %s (%s)", r.By.Login, r.Via))
}

// notesGone ends a request whose record somebody deleted or changed.
const notesGone = "my notes on this request are gone, so I do not know who asked for which commit. Ask again"

// listen takes in what people said: commands, approvals, the label.
func (s *step) listen(e *entry) {
	for _, c := range e.Commands {
		if c.Button {
			if !c.At.After(e.before.Pressed) {
				continue
			}
			e.Record.Pressed, e.touched = c.At, true
		} else {
			if c.Comment <= e.before.Command {
				continue
			}
			e.Record.Command, e.touched = c.Comment, true
		}
		s.obey(e, c)
	}
	p, r := s.in.Policy, &e.Record
	if p.Trigger.Approval && s.in.PolicyErr == "" && e.PR.Open && !r.State.Active() && !r.Is(e.PR.Head) {
		need := max(1, p.Require.Approvals, e.RequiredApprovals)
		if ok, against := Approvals(e.PR, *r, e.Reviews); len(ok) >= need && len(against) == 0 {
			s.request(e, Request{By: ok[len(ok)-1], At: s.in.Now, Via: ByApproval, Base: e.PR.Base})
			s.takenBack(e, lastApproval(e.Reviews, ok))
		}
	}
	if !e.Label.At.IsZero() && e.Label.At.After(r.LabelAt) && e.PR.Has(p.Trigger.Label) && e.PR.Open {
		r.LabelAt, e.touched = e.Label.At, true
		switch {
		case r.State.Active() || e.Label.Ours && r.State != "":
		case e.Label.Ours:
			s.request(e, Request{By: e.Label.By, At: e.Label.At, Via: ByLabel, Base: e.PR.Base})
			s.drop(e, notesGone)
		case e.Label.Role < RoleWrite:
			s.request(e, Request{By: e.Label.By, At: e.Label.At, Via: ByLabel, Base: e.PR.Base})
			s.drop(e, fmt.Sprintf("%s set the label, but %s", e.Label.By.Login, mayNot(e.Label.Role)))
			r.Same = nil // nobody asked for this head yet: approvals still may
		default:
			s.request(e, Request{By: e.Label.By, At: e.Label.At, Via: ByLabel, Base: e.PR.Base})
			s.unseen(e, e.Label.Stale)
		}
	}
}

// mayNot says why somebody may not ask for a PR to land.
func mayNot(r Role) string {
	if r == RoleUnknown {
		return "the forge does not let mergegate see who may write here: make its account an administrator of the repository and, in an organization, a member of the teams that write"
	}
	return "asking for a PR to land needs write access to this repository"
}

// leftover takes the label off a PR that is open although its request landed, so
// that nobody waits for what will not come. Either all of its change was in base
// already, or its author pushed in the moment of the landing: base then has what
// was tested, and the PR has a commit more.
func (s *step) leftover(e *entry) {
	r := &e.Record
	if e.before.State != Landed || r.State != Landed || !e.PR.Open || !e.PR.Has(s.in.Policy.Trigger.Label) {
		return
	}
	e.left = true
	if r.Left != e.PR.Head && r.Landed.Commit != "" && r.Landed.Commit != e.PR.Head && !r.Is(e.PR.Head) {
		r.Left, e.touched = e.PR.Head, true
		r.Why = append(slices.Clip(r.Why), fmt.Sprintf("but the commit %s was pushed too late and is not in it", e.PR.Head.Short()))
		r.happened(s.in.Now, "a commit "+e.PR.Head.Short()+" was pushed too late and is left")
	}
}

// takenBack drops a request that was made at the time, when its label has already
// been on and off again.
func (s *step) takenBack(e *entry, at time.Time) {
	if e.Record.State.Active() && !e.Withdrawn.IsZero() && !at.After(e.Withdrawn) {
		s.drop(e, fmt.Sprintf("the label %q was taken off", s.in.Policy.Trigger.Label))
	}
}

// lastApproval is when the newest approval by one of them was given.
func lastApproval(reviews []Review, by []User) time.Time {
	var last time.Time
	for _, r := range reviews {
		if r.State == Approved && slices.Contains(by, r.By) && r.At.After(last) {
			last = r.At
		}
	}
	return last
}

// unseen drops a request for a head that was pushed after it was made, unless
// an approval has to name the head anyway.
func (s *step) unseen(e *entry, stale bool) {
	if stale && max(s.in.Policy.Require.Approvals, e.RequiredApprovals) == 0 {
		s.drop(e, fmt.Sprintf("the commit %s was pushed after the request, and nobody has approved it", e.PR.Head.Short()))
	}
}

// obey carries out one command. The commander's role was read for this step.
func (s *step) obey(e *entry, c Command) {
	r := &e.Record
	writer := c.Role >= RoleWrite
	switch {
	case c.Mistake != "":
		s.reply(e, "@%s %s", c.By.Login, c.Mistake)
	case c.Verb == DoHelp, c.Verb == DoStatus:
		s.reply(e, "%s", string(c.Verb))
	case c.Verb == DoFreeze || c.Verb == DoUnfreeze:
		s.obeyFreeze(e, c)
	case c.Verb == DoCancel:
		switch {
		case !writer && c.By.ID != e.PR.Author.ID:
			s.reply(e, "@%s only people with write access, and the author, may cancel.", c.By.Login)
		case !r.State.Active():
			s.reply(e, "@%s there is nothing to cancel.", c.By.Login)
		default:
			s.drop(e, "cancelled by "+c.By.Login)
		}
	case !writer:
		s.reply(e, "@%s %s.", c.By.Login, mayNot(c.Role))
	case s.in.PolicyErr != "":
		s.reply(e, "@%s the policy on %s cannot be read, so nothing is taken on: %s. Ask again when it is mended.", c.By.Login, s.in.Base, s.in.PolicyErr)
	case !s.in.Policy.Trigger.Command:
		s.reply(e, "@%s commands that ask for landing are switched off here; use the label %q.", c.By.Login, s.in.Policy.Trigger.Label)
	case !e.PR.Open:
		s.reply(e, "@%s this PR is not open.", c.By.Login)
	case c.Verb == DoRetry && r.State != Dropped:
		s.reply(e, "@%s there is nothing to retry; `/merge` asks for this PR to land.", c.By.Login)
	default:
		s.obeyMerge(e, c)
	}
}

func (s *step) obeyMerge(e *entry, c Command) {
	r := &e.Record
	if r.State.Active() {
		if c.Priority == nil && c.Method == "" {
			s.reply(e, "@%s this PR is already on its way.", c.By.Login)
		}
	} else {
		s.request(e, Request{By: c.By, At: c.At, Via: ByCommand, Base: e.PR.Base})
		s.unseen(e, c.Stale)
		s.takenBack(e, c.At)
		if c.Verb == DoRetry {
			r.Evidence = Evidence{}
		}
	}
	if c.Priority != nil {
		r.Request.Priority, e.touched = *c.Priority, true
	}
	if c.Method != "" && !r.State.flying() {
		r.Request.Method, e.touched = c.Method, true
	} else if c.Method != "" {
		s.reply(e, "@%s the method cannot change while the PR is being worked on.", c.By.Login)
	}
}

func (s *step) obeyFreeze(e *entry, c Command) {
	switch {
	case c.Role < RoleMaintain:
		s.reply(e, "@%s freezing and unfreezing needs the maintain or admin role.", c.By.Login)
	case c.Verb == DoFreeze:
		s.frozen = &Freeze{By: c.By.Login, At: c.At, Reason: c.Reason}
		s.freezes = append(s.freezes, SetFreeze{*s.frozen})
		s.reply(e, "@%s the queue of %s is frozen: %s", c.By.Login, s.in.Base, c.Reason)
	case s.frozen == nil:
		s.reply(e, "@%s the queue of %s is not frozen.", c.By.Login, s.in.Base)
	default:
		s.frozen = nil
		s.freezes = append(s.freezes, SetFreeze{})
		s.reply(e, "@%s the queue of %s goes on.", c.By.Login, s.in.Base)
	}
}

// admit brings a request's state up to date with what the forge says. It is the
// only place that ends a request because of something a person did to the PR.
func (s *step) admit(e *entry) {
	r, p := &e.Record, s.in.Policy
	if !r.State.Active() {
		return
	}
	if r.Owed && e.PR.Has(p.Trigger.Label) {
		r.Owed, e.touched = false, true
	}
	ours := s.flight != nil && s.flight.PR == e.PR.Number
	known := r.Is(e.PR.Head) || ours && slices.Contains(s.flight.Ours, e.PR.Head)
	switch {
	case e.PR.Merged:
		s.move(e, Landed, "merged by somebody else", "Merged by somebody else, as "+e.PR.MergeCommit.Short())
		return
	case !e.PR.Open:
		s.drop(e, "the PR was closed")
		return
	case r.Request.Base == "":
		s.drop(e, notesGone)
		return
	case e.PR.Base != r.Request.Base:
		s.drop(e, fmt.Sprintf("the PR was retargeted from %s to %s", r.Request.Base, e.PR.Base))
		return
	case s.in.Gone:
		s.drop(e, fmt.Sprintf("the branch %s is gone: deleted, or renamed. Retarget the PR and ask again", s.in.Base))
		return
	case s.in.Refused != "":
		s.move(e, Waiting, "not possible here: "+s.in.Refused, fmt.Sprintf("a maintainer to end this, or to leave %s out of branches: %s", s.in.Base, s.in.Refused))
		return
	case s.in.PolicyErr != "":
		s.move(e, Waiting, "the policy cannot be read", "a maintainer to mend .mergegate.yaml on "+s.in.Base+": "+s.in.PolicyErr)
		return
	case !slices.ContainsFunc(p.Branches, func(b string) bool { return Match(b, e.PR.Base) }):
		s.drop(e, fmt.Sprintf("mergegate does not look after the branch %s (it does after: %s)", e.PR.Base, strings.Join(p.Branches, ", ")))
		return
	case !r.Owed && !e.PR.Has(p.Trigger.Label):
		s.drop(e, fmt.Sprintf("the label %q was taken off", p.Trigger.Label))
		return
	case e.Requester != RoleUnknown && e.Requester < RoleWrite:
		s.drop(e, fmt.Sprintf("%s, who asked for it, no longer has write access", r.Request.By.Login))
		return
	case !known && r.State == Waiting && max(p.Require.Approvals, e.RequiredApprovals) > 0:
		r.Same, r.Broken, r.Moves, e.touched = []SHA{e.PR.Head}, 0, 0, true
		r.happened(s.in.Now, "a new commit "+e.PR.Head.Short()+" was pushed")
	case !known:
		s.drop(e, fmt.Sprintf("a new commit %s was pushed after the request", e.PR.Head.Short()))
		return
	case e.PR.Draft && r.State != Waiting:
		s.drop(e, "the PR was converted to a draft")
		return
	}
	if !r.Is(e.PR.Head) {
		r.Same = append(r.Same, e.PR.Head) // the lease remembers it too: saved with the next note
	}
	if waits := admission(s.in, e.Facts); len(waits) > 0 {
		s.move(e, Waiting, "waits for "+strings.Join(waits, ", "), waits...)
	} else if r.State == Waiting {
		s.move(e, Queued, "queued")
	}
}
