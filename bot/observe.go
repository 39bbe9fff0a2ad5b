package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
)

// How long answers that change rarely are believed. Landing never rests on them
// alone: the forge checks its own rules again.
const (
	settingsFor = time.Minute
	rolesFor    = time.Minute
)

// pull is one PR as this replica knows it.
type pull struct {
	pr        gate.PR
	record    gate.Record
	unsaved   bool    // record has news that the sticky comment does not hold yet
	sticky    int64   // id of our comment; 0 for none
	copies    []int64 // ids of comments of ours that say the same and should not be there
	reviews   []gate.Review
	without   []gate.User // whose review does not count only because of what they may do now
	turned    time.Time   // when its base was changed last
	turnedOf  time.Time   // PR.Updated when that was read
	turnedAt  time.Time   // when that was
	label     gate.Ask
	withdrawn time.Time // see gate.Facts
	commands  []gate.Command
	pressed   []gate.Command // buttons, until a record that knows of them is saved
	requester gate.Role
	author    gate.Role // looked up only without a sandbox
	poison    string    // why gate cannot digest it

	owed    bool      // it may have a request, and its note could not be read yet
	early   bool      // its note was read before the lease was proved
	body    string    // our comment, as it was read
	read    bool      // comments and reviews were read since we took the lease
	doubt   bool      // a comment of ours may or may not have been posted
	seen    time.Time // PR.Updated when they were last read
	readAt  time.Time // when that was
	first   time.Time // when this PR.Updated was first seen
	shown   forge.Status
	on      gate.SHA    // the commit it was shown on
	missing gate.SHA    // a commit that the forge says is gone
	missed  int         // how often in a row
	unsure  bool        // a status was sent and may have arrived, or may yet
	posted  bool        // our comment was posted, and not seen in a list since
	doubted time.Time   // until then what we sent in vain may still arrive
	again   time.Time   // when to look once more at a request that has ended
	told    gate.Record // its end, as we told it
	state   gate.State
	statAt  time.Time
	pushed  time.Time // when we last moved its branch
	landed  bool      // it landed since it was read: the forge shows it otherwise by now

	counted time.Time // Record.Since of the end that the metrics know
}

// remember takes in a record that gate changed; it is not saved yet.
func (p *pull) remember(r gate.Record) {
	p.record, p.unsaved = r, true
	p.commands = slices.DeleteFunc(p.commands, func(c gate.Command) bool { return c.Comment <= r.Command })
}

type seenRole struct {
	role gate.Role
	at   time.Time
}

// look lists the open PRs and notices those that are no longer among them.
func (w *worker) look(ctx context.Context) error {
	w.mu.Lock()
	dirty := w.dirty
	w.dirty = map[int]bool{}
	w.mu.Unlock()
	list, err := w.forge.PullRequests(ctx, w.repo)
	if err != nil {
		w.mu.Lock()
		for n := range dirty {
			w.dirty[n] = true
		}
		w.mu.Unlock()
		return fmt.Errorf("list pull requests: %w", err)
	}
	open := map[int]bool{}
	for _, pr := range list {
		open[pr.Number] = true
		p := w.prs[pr.Number]
		if p == nil {
			p = &pull{}
			w.prs[pr.Number] = p
		}
		if dirty[pr.Number] || !pr.Updated.Equal(p.pr.Updated) || pr.Head != p.pr.Head {
			p.poison = ""
		}
		if dirty[pr.Number] {
			p.seen = time.Time{}
		}
		p.update(pr)
	}
	for _, p := range w.known() {
		p.comesBack()
		n := p.pr.Number
		switch {
		case open[n]:
		case p.record.State.Active() || p.unsaved || p.owed || len(p.copies) > 0 || w.flying(n): // its end is still to be told
			pr, err := w.forge.PullRequest(ctx, w.repo, n)
			gone := w.gone(n, err)
			if err != nil && !gone {
				return fmt.Errorf("read #%d: %w", n, err)
			}
			if gone && !p.record.State.Active() {
				delete(w.prs, n) // there is nobody left to tell
				continue
			}
			if gone {
				pr = p.pr
				pr.Open = false
			}
			p.update(pr)
		case p.again.IsZero():
			delete(w.prs, n)
		default:
			p.pr.Open = false
		}
	}
	return nil
}

// gone says whether an answer means that a PR is not there any more. Said once it may
// be trouble of another kind, and what is still to be told of the PR would be lost.
func (w *worker) gone(pr int, err error) bool {
	if !errors.Is(err, forge.ErrNotFound) {
		delete(w.absent, pr)
		return false
	}
	w.absent[pr]++
	return w.absent[pr] >= believeGone
}

// buttons takes in what was pressed since the last round. A press names a commit;
// what its author may do is read now.
func (w *worker) buttons(ctx context.Context) error {
	w.mu.Lock()
	pressed := w.pressed
	w.pressed = nil
	w.mu.Unlock()
	for i, e := range pressed {
		role, err := w.role(ctx, e.Sender)
		if err != nil {
			w.mu.Lock()
			w.pressed = append(pressed[i:len(pressed):len(pressed)], w.pressed...) // heard in the next round
			w.mu.Unlock()
			return err
		}
		c := gate.Command{Button: true, By: e.Sender, Role: role, At: time.Now(), Verb: gate.DoMerge}
		if e.Button == forge.ButtonRemove {
			c.Verb = gate.DoCancel
		}
		for _, p := range w.known() {
			if p.pr.Head == e.Commit {
				p.pressed, p.seen = append(p.pressed, c), time.Time{}
			}
		}
	}
	return nil
}

func (w *worker) flying(n int) bool {
	for _, q := range w.queues {
		if q.flight.Flight != nil && q.flight.Flight.PR == n {
			return true
		}
	}
	return false
}

// asksFor is the base that the request is for. A record that was begun anew because
// somebody deleted our note names none; its end is told where the PR points.
func (p *pull) asksFor() string { return cmp.Or(p.record.Request.Base, p.pr.Base) }

// bases are the branches that have a PR to look at, or a queue in progress.
func (w *worker) bases() []string {
	var out []string
	for _, p := range w.prs {
		out = append(out, p.pr.Base)
		if p.record.State.Active() {
			out = append(out, p.asksFor())
		}
	}
	for b, q := range w.queues {
		if q.held != nil || q.left {
			out = append(out, b)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (w *worker) queue(base string) *queue {
	q := w.queues[base]
	if q == nil {
		q = &queue{base: base, policy: w.b.cfg.Defaults}
		w.queues[base] = q
	}
	return q
}

// known are the PRs of the repository that we know of, by number.
func (w *worker) known() []*pull {
	return slices.SortedFunc(maps.Values(w.prs), func(a, b *pull) int { return a.pr.Number - b.pr.Number })
}

// mine are the PRs this queue is about: into its base, or asked for there.
func (w *worker) mine(q *queue) []*pull {
	var out []*pull
	for _, p := range w.known() {
		active := p.record.State.Active() || q.flight.Flight != nil && q.flight.Flight.PR == p.pr.Number
		elsewhere := p.record.State.Active() && p.asksFor() != q.base
		here := p.pr.Base == q.base && !elsewhere || (active || p.unsaved) && p.asksFor() == q.base
		asked := p.pr.Open && (p.pr.Has(q.policy.Trigger.Label) || len(p.commands)+len(p.pressed) > 0 || w.approvalAsks(q, p))
		if p.poison == "" && here && (active || p.unsaved || p.owed || len(p.copies) > 0 || asked) {
			out = append(out, p)
		}
	}
	return out
}

// approvalAsks says whether approvals alone may ask for this PR to land.
func (w *worker) approvalAsks(q *queue, p *pull) bool {
	if !q.policy.Trigger.Approval || p.record.Is(p.pr.Head) {
		return false
	}
	ok, _ := gate.Approvals(p.pr, p.record, p.reviews)
	return len(ok) > 0
}

// peek reads unlabelled PRs that changed, for commands and approvals. It needs
// no lease: it writes nothing.
func (w *worker) peek(ctx context.Context, q *queue) error {
	for _, p := range w.known() {
		if p.pr.Base == q.base {
			if err := w.regained(ctx, p); err != nil {
				return err
			}
		}
		if w.peeks(q, p) && p.changed() {
			if err := w.read(ctx, q, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// regained looks whether somebody may write again whose review did not count: nothing
// of that shows on the PR.
func (w *worker) regained(ctx context.Context, p *pull) error {
	for _, u := range p.without {
		role, err := w.role(ctx, u)
		if err != nil {
			return err
		}
		if role >= gate.RoleWrite {
			p.seen = time.Time{}
		}
	}
	return nil
}

// peeks says whether a PR is read although nobody has asked for it yet.
func (w *worker) peeks(q *queue, p *pull) bool {
	t := q.policy.Trigger
	return p.pr.Open && p.pr.Base == q.base && !p.pr.Has(t.Label) && !p.record.State.Active() && (t.Command || t.Approval)
}

// grain is how long a forge's "updated" may stay the same although something
// happens: forges count whole seconds.
const grain = 2 * time.Second

func (p *pull) update(pr gate.PR) {
	if !pr.Updated.Equal(p.pr.Updated) {
		p.first = time.Now()
	}
	if pr.Merged && !p.pr.Merged {
		p.seen = time.Time{} // another replica may have landed it, and says so on it
	}
	p.pr, p.landed = pr, false
}

// changed says whether the PR must be looked at closely again: it was updated, or
// it was read so soon after an update that another one in the same second would
// not show.
func (p *pull) changed() bool {
	return p.doubt || !p.seen.Equal(p.pr.Updated) || p.racy() && time.Since(p.first) >= grain
}

func (p *pull) racy() bool { return p.readAt.Sub(p.first) < grain }

// due says whether a round could change anything: something differs from what was
// seen when the last round came to rest, or its time has come.
func (w *worker) due(q *queue) bool {
	if q.held != nil || q.left || len(w.unsaved(q)) > 0 {
		return true
	}
	mine := w.mine(q)
	if len(mine) == 0 {
		return false
	}
	if slices.ContainsFunc(mine, (*pull).changed) {
		return true
	}
	return q.rest != w.signature(q)
}

// signature is what a round at rest depends on, as text.
func (w *worker) signature(q *queue) string {
	var b strings.Builder
	fmt.Fprintln(&b, q.tip, q.gone, q.branch.Refused, q.badRules, q.frozen, w.methods(q), q.branch.RequiredApprovals, q.branch.RequiredChecks)
	for _, p := range w.mine(q) {
		fmt.Fprintln(&b, p.pr.Number, p.pr.Head, p.pr.Base, p.pr.Draft, p.pr.Open, p.pr.Labels, p.landed, len(p.commands), len(p.pressed), p.reviews, p.record.NotBefore.After(time.Now()), p.copies)
	}
	return b.String()
}

// observe reads everything about the PRs of the queue that is not known since we
// took the lease.
func (w *worker) observe(ctx context.Context, q *queue) error {
	if err := w.refresh(ctx, q); err != nil {
		return err
	}
	if f := q.flight.Flight; f != nil && w.prs[f.PR] == nil {
		pr, err := w.forge.PullRequest(ctx, w.repo, f.PR)
		if err != nil {
			return fmt.Errorf("read #%d: %w", f.PR, err)
		}
		w.prs[f.PR] = &pull{pr: pr}
	}
	for _, p := range w.mine(q) {
		if p.read && !p.changed() {
			continue
		}
		p.owed = true
		if err := w.read(ctx, q, p); err != nil {
			return err
		}
		p.read = true
	}
	return nil
}

// ownPush recognises mergegate's own rebase when nothing remembers it any more:
// the lease was deleted between the push and the note. A rebase is a function of
// head and base, so making it again gives the same commit, or it is not ours.
func (w *worker) ownPush(ctx context.Context, q *queue, p *pull) error {
	r := &p.record
	if !r.State.Active() || r.Is(p.pr.Head) || len(r.Same) == 0 || !p.pr.Open || p.pr.Base != q.base {
		return nil
	}
	if f := q.flight.Flight; f != nil && slices.Contains(f.Ours, p.pr.Head) {
		return nil
	}
	from := r.Same[len(r.Same)-1]
	if err := w.need(ctx, p.pr.Number, p.pr.Head); err != nil {
		if _, refused := errors.AsType[*catchup.RefusedError](err); refused || errors.Is(err, catchup.ErrNoRef) || errors.Is(err, catchup.ErrMissing) {
			return nil // nothing that we pushed is gone or refused, so it is not ours
		}
		return err
	}
	if err := w.mirror.FetchCommit(ctx, from); err != nil {
		if _, refused := errors.AsType[*catchup.RefusedError](err); refused || errors.Is(err, catchup.ErrMissing) {
			return nil // gone from the forge: it cannot be compared, so it is not ours
		}
		return err
	}
	base, err := w.mirror.MergeBase(ctx, q.tip, p.pr.Head)
	if err != nil {
		return nil
	}
	for _, how := range []gate.Method{gate.Rebase, gate.Merge} {
		request, err := w.request(ctx, p.pr, how, base, from)
		if err != nil {
			return err
		}
		b, err := w.mirror.Build(ctx, request)
		if err == nil && b.Candidate == p.pr.Head {
			r.Same = append(r.Same, p.pr.Head)
			w.log.Info("recognised our own push", "pr", p.pr.Number, "head", p.pr.Head.Short())
			return nil
		}
	}
	return nil
}

// need makes sure that a PR's head is in the mirror.
func (w *worker) need(ctx context.Context, n int, head gate.SHA) error {
	if w.mirror.Have(ctx, head) {
		return nil
	}
	if err := w.mirror.Fetch(ctx, fmt.Sprintf("refs/pull/%d/head", n)); err != nil {
		return fmt.Errorf("fetch #%d: %w", n, err)
	}
	if w.mirror.Have(ctx, head) {
		return nil
	}
	return w.mirror.FetchCommit(ctx, head)
}

// readCI reads what CI says about the candidate, once in a round.
func (w *worker) readCI(ctx context.Context, q *queue) error {
	f := q.flight.Flight
	wanted := len(q.policy.Retest.Checks)+len(q.branch.RequiredChecks) > 0
	if f == nil || f.State != gate.Testing || !wanted || q.ciOf == f.Candidate {
		return nil
	}
	checks, err := w.forge.Checks(ctx, w.repo, f.Candidate)
	if err != nil {
		return fmt.Errorf("read the CI checks of %s: %w", f.Candidate.Short(), err)
	}
	q.ci, q.ciOf = checks, f.Candidate
	return nil
}

// methods are the ways to land that repository and branch allow.
func (w *worker) methods(q *queue) []gate.Method {
	return slices.DeleteFunc(slices.Clone(w.info.Methods), func(m gate.Method) bool { return slices.Contains(q.branch.Forbidden, m) })
}

// input puts together what gate decides on.
func (w *worker) input(q *queue, done []gate.Outcome) gate.Input {
	in := gate.Input{
		Now: time.Now(), Base: q.base, Tip: q.tip, Gone: q.gone, Refused: q.branch.Refused, Policy: q.policy, PolicyErr: q.badRules,
		Methods: w.methods(q), Own: StatusContext, Checks: q.branch.RequiredChecks, Frozen: q.frozen, CI: q.ci, Done: done,
		Unsandboxed: w.b.unsandboxed(),
	}
	for _, p := range w.mine(q) {
		in.PRs = append(in.PRs, gate.Facts{
			PR: p.pr, Record: p.record, Reviews: p.reviews, Retargeted: p.turned, Label: p.label, Withdrawn: p.withdrawn, Commands: slices.Concat(p.commands, p.pressed),
			Requester: p.requester, Author: p.author, RequiredApprovals: q.branch.RequiredApprovals,
			Busy: p.landed && p.record.State == gate.Landed,
		})
	}
	return in
}
