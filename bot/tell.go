package bot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/templates"
)

const (
	// statusEvery is how often a status is renewed when only its numbers changed:
	// a place in the queue, the minutes a test has taken.
	statusEvery = 5 * time.Minute
	// tableEvery is how often the queue issue is written while the queue is busy.
	tableEvery = 15 * time.Second
)

// unsaved are the PRs whose record the sticky comment does not hold yet.
func (w *worker) unsaved(q *queue) []*pull {
	return slices.DeleteFunc(w.mine(q), func(p *pull) bool { return !p.unsaved })
}

// copied are the PRs that carry more than one sticky comment of ours.
func (w *worker) copied(q *queue) []*pull {
	return slices.DeleteFunc(w.mine(q), func(p *pull) bool { return len(p.copies) == 0 })
}

// lines is what there is to say about each PR of the queue now.
func (w *worker) lines(q *queue) []gate.Line { return gate.Lines(q.flight, w.input(q, nil)) }

func (w *worker) line(q *queue, pr int) gate.Line {
	for _, l := range w.lines(q) {
		if l.PR == pr {
			return l
		}
	}
	return gate.Line{PR: pr, Base: q.base}
}

// tell shows the state of every PR of the queue: commit status, sticky comment
// where the record changed, queue issue. It says nothing twice.
func (w *worker) tell(ctx context.Context, q *queue) error {
	for _, p := range w.unsaved(q) {
		if err := w.note(ctx, q, p); err != nil {
			return err
		}
	}
	for _, p := range w.copied(q) {
		for _, id := range p.copies {
			if err := w.forge.DeleteComment(ctx, w.repo, id); err != nil {
				return fmt.Errorf("delete the second note on #%d: %w", p.pr.Number, err)
			}
		}
		p.copies = nil
	}
	for _, l := range w.lines(q) {
		p := w.prs[l.PR]
		if !l.State.Active() {
			continue
		}
		changed := p.state != l.State
		if err := w.show(ctx, q, p, p.pr.Head, w.status(l)); err != nil {
			return err
		}
		if changed && p.state == l.State && q.policy.Comments == gate.TalkAll {
			if err := w.note(ctx, q, p); err != nil {
				return err
			}
		}
	}
	if err := w.leaseLabel(ctx, q); err != nil {
		return err
	}
	return w.table(ctx, q, false)
}

// status is a line as a commit status.
func (w *worker) status(l gate.Line) forge.Status {
	s := forge.Status{Context: StatusContext, State: forge.StatusPending, Text: templates.Status(l, time.Now()), URL: w.prURL(l.PR)}
	switch {
	case l.Alarm, l.Left != "", l.State == gate.Dropped:
		s.State = forge.StatusFailure
	case l.State == gate.Landed:
		s.State = forge.StatusSuccess
	}
	return s
}

// show posts a status unless it is there already. A change of mere numbers waits
// until the last status is statusEvery old.
func (w *worker) show(ctx context.Context, q *queue, p *pull, on gate.SHA, s forge.Status) error {
	state := w.line(q, p.pr.Number).State
	if s == p.shown && on == p.on && !state.Final() { // the last word is always said: another replica may have spoken since
		return nil
	}
	if !state.Final() && on == p.on && s.State == p.shown.State && state == p.state && time.Since(p.statAt) < statusEvery && state != gate.Waiting && !strings.HasPrefix(s.Text, "Frozen") {
		return nil
	}
	if err := w.settleNow(ctx, q, true); err != nil {
		return err
	}
	there, err := w.setStatus(ctx, p, on, s)
	if err != nil {
		p.shown, p.on, p.statAt = forge.Status{}, on, time.Time{} // or not: it is not known what it shows
	}
	if err != nil || !there {
		return err
	}
	p.shown, p.on, p.state, p.statAt = s, on, state, time.Now()
	return nil
}

// note saves a PR's record in the sticky comment. For a request that ended, the
// status comes first: were it the other way round, a crash in between would leave
// a status that says "queued" for ever.
func (w *worker) note(ctx context.Context, q *queue, p *pull) error {
	n, r := p.pr.Number, p.record
	line := w.line(q, n)
	if r.State.Final() {
		if err := w.closeOld(ctx, p, w.status(line)); err != nil {
			return err
		}
		if err := w.show(ctx, q, p, w.endOn(p), w.status(line)); err != nil {
			return err
		}
		if err := w.retire(ctx, q, p); err != nil {
			return err
		}
	}
	body, err := w.comment(q, p, line)
	if err != nil {
		return err
	}
	if err := w.upsert(ctx, q, p, body); err != nil {
		return fmt.Errorf("write to #%d: %w", n, err)
	}
	if r.State.Final() {
		if err := w.alone(ctx, p); err != nil {
			return err
		}
		w.comeBack(q, p)
	}
	p.unsaved = false
	p.pressed = slices.DeleteFunc(p.pressed, func(c gate.Command) bool { return !c.At.After(r.Pressed) })
	w.log.Info("request", "pr", n, "head", p.pr.Head.Short(), "state", r.State, "why", strings.Join(r.Why, "; "))
	w.count(p)
	return nil
}

// alone deletes what a doubled request to post our note left, for nobody reads the
// comments of a PR again once it has ended.
func (w *worker) alone(ctx context.Context, p *pull) error {
	if !p.posted {
		return nil
	}
	comments, _, err := w.forge.Comments(ctx, w.repo, p.pr.Number)
	if err != nil {
		return fmt.Errorf("look for a second note on #%d: %w", p.pr.Number, err)
	}
	id, copies, _, _ := w.findNote(p.pr.Number, comments)
	for _, c := range append(copies, id) {
		if c == 0 || c == p.sticky {
			continue
		}
		if err := w.forge.DeleteComment(ctx, w.repo, c); err != nil {
			return fmt.Errorf("delete the second note on #%d: %w", p.pr.Number, err)
		}
	}
	p.posted = false
	return nil
}

// closeOld says how a request ended also on the commit that still shows it as under
// way, or may, when that is not the one whose status comes last.
func (w *worker) closeOld(ctx context.Context, p *pull, end forge.Status) error {
	ended := p.shown.State == forge.StatusSuccess || p.shown.State == forge.StatusFailure
	if p.on == "" || p.on == w.endOn(p) || ended {
		return nil
	}
	_, err := w.setStatus(ctx, p, p.on, end)
	return err
}

// believeGone is how often in a row a forge must say that a commit is not there.
// Said once it may be trouble of another kind, and a status would stay for ever.
const believeGone = 3

// setStatus sets a status. There is false when the commit is gone; then so is
// whoever would read it.
func (w *worker) setStatus(ctx context.Context, p *pull, on gate.SHA, s forge.Status) (there bool, err error) {
	err = w.forge.SetStatus(ctx, w.repo, on, s)
	if errors.Is(err, forge.ErrNotFound) {
		if p.missing != on {
			p.missing, p.missed = on, 0
		}
		if p.missed++; p.missed >= believeGone {
			return false, nil
		}
	} else if p.missing == on {
		p.missing = ""
	}
	p.unsure = err != nil && !errors.Is(err, forge.ErrNotFound)
	if err != nil {
		w.doubted(p)
		return false, fmt.Errorf("set the status of #%d: %w", p.pr.Number, err)
	}
	return true, nil
}

// retire deletes the branch that showed the candidate to CI.
func (w *worker) retire(ctx context.Context, q *queue, p *pull) error {
	ref := candidateRef(q.base, p.pr.Number)
	leftBranch := p.record.Mode == gate.CatchUpCandidate || q.policy.CatchUp == gate.CatchUpCandidate
	if !leftBranch || len(q.policy.Retest.Checks)+len(q.branch.RequiredChecks) == 0 {
		return nil
	}
	refs, err := w.mirror.RemoteRefs(ctx, ref)
	if err != nil || refs[ref] == "" {
		return err
	}
	return w.mirror.PushRef(ctx, ref, refs[ref], "")
}

// leaseLabel moves the label that shows people which PR the lease is held for.
func (w *worker) leaseLabel(ctx context.Context, q *queue) error {
	label, now := q.policy.LeaseLabel, 0
	if q.flight.Flight != nil {
		now = q.flight.Flight.PR
	}
	if label == "" || now == q.labelled {
		return nil
	}
	if q.labelled != 0 {
		if err := w.forge.RemoveLabel(ctx, w.repo, q.labelled, label); err != nil && !errors.Is(err, forge.ErrNotFound) {
			return fmt.Errorf("take the label %q off #%d: %w", label, q.labelled, err)
		}
		q.labelled = 0
	}
	if now != 0 {
		if err := w.forge.AddLabel(ctx, w.repo, now, label); err != nil {
			return fmt.Errorf("put the label %q on #%d: %w", label, now, err)
		}
	}
	q.labelled = now
	return nil
}

// endOn is the commit that the last status of a request goes to.
func (w *worker) endOn(p *pull) gate.SHA {
	if p.record.Landed.Method == gate.FastForward && p.record.Left == "" {
		return p.record.Landed.Commit
	}
	return p.pr.Head
}

// unmoved fails if a note that was read before the lease was proved is not what it was:
// another replica may have held the lease until then.
func (w *worker) unmoved(ctx context.Context, q *queue, p *pull) error {
	early := p.early
	p.early = false
	if !early || p.sticky == 0 {
		return nil
	}
	c, err := w.forge.Comment(ctx, w.repo, p.sticky)
	if err != nil && !errors.Is(err, forge.ErrNotFound) {
		return fmt.Errorf("read our comment: %w", err)
	}
	if err != nil || c.Body == p.body {
		return nil
	}
	p.outdated()
	if f := q.flight.Flight; f != nil && f.PR == p.pr.Number && !f.Asked {
		q.flight = q.inherited
	}
	return errOutdated
}

func (w *worker) upsert(ctx context.Context, q *queue, p *pull, body string) error {
	if err := w.unmoved(ctx, q, p); err != nil {
		return err
	}
	if p.sticky != 0 {
		err := w.forge.EditComment(ctx, w.repo, p.sticky, body)
		if errors.Is(err, forge.ErrNotFound) {
			p.doubt = true // deleted, or out of sight for a moment: look before posting another
		}
		if err != nil {
			w.doubted(p)
		}
		return err
	}
	c, err := w.forge.PostComment(ctx, w.repo, p.pr.Number, body)
	if err != nil {
		p.doubt = true // it may be there: look before posting again
		w.doubted(p)
		return err
	}
	p.sticky, p.posted = c.ID, true
	if p.seen.Equal(p.pr.Updated) {
		p.pr.Updated, p.seen, p.first = c.Updated, c.Updated, time.Now() // our own comment is no news
	}
	return nil
}

// comment is the text of the sticky comment.
func (w *worker) comment(q *queue, p *pull, l gate.Line) (string, error) {
	r := p.record
	hidden, err := seal(w.keys[0], "record", w.about(p.pr.Number), r)
	if err != nil {
		return "", err
	}
	if q.policy.Comments == gate.TalkNone {
		return stickyMarker + "\nmergegate keeps its notes on this PR here.\n" + hidden + "\n", nil
	}
	v := templates.PRView{
		Line: l, Label: q.policy.Trigger.Label, ModeWhy: r.ModeWhy, PageURL: w.prURL(l.PR), QueueURL: w.queueURL(q.base),
		Events: r.Events, Record: hidden,
	}
	if r.Answer != string(gate.DoStatus) {
		v.Answer = r.Answer
	}
	if r.State == gate.Dropped {
		v.Conflict, v.Tail = r.Conflict, r.Tail
		if r.Log != "" {
			v.LogURL = w.b.cfg.ExternalURL + "/log/" + r.Log
		}
	}
	if r.State == gate.Landed && !r.Landed.Mismatch {
		v.Landed = r.Landed
		v.Took = r.Since.Sub(r.Request.At)
	}
	return templates.PRComment(v), nil
}

// table writes the queue issue when it differs from what is there.
func (w *worker) table(ctx context.Context, q *queue, now bool) error {
	if w.issue.number == 0 || !now && time.Since(later(w.issue.at, q.taken)) < tableEvery {
		return nil
	}
	var tables []templates.QueueTable
	var active []int
	for _, base := range w.bases() {
		other := w.queues[base]
		if other == nil {
			continue
		}
		t := templates.QueueTable{Base: base, Frozen: other.frozen, Lines: w.lines(other)}
		for _, l := range t.Lines {
			if l.State.Active() {
				active = append(active, l.PR)
			}
		}
		if len(t.Lines) > 0 || t.Frozen != nil {
			tables = append(tables, t)
		}
	}
	record := issueRecord{Frozen: maps.Clone(w.issue.record.Frozen), Active: active}
	if record.Frozen == nil {
		record.Frozen = map[string]gate.Freeze{}
	}
	delete(record.Frozen, q.base)
	if q.frozen != nil {
		record.Frozen[q.base] = *q.frozen
	}
	hidden, err := seal(w.keys[0], "queue-record", w.about(0), record)
	if err != nil {
		return err
	}
	body := templates.QueueIssue(templates.QueueView{
		Queues: tables, Label: q.policy.Trigger.Label, PageURL: w.b.cfg.ExternalURL, Record: hidden,
	})
	if body == w.issue.body {
		return nil
	}
	if err := w.settleNow(ctx, q, true); err != nil {
		return err
	}
	if err := w.forge.EditIssue(ctx, w.repo, w.issue.number, body); err != nil {
		return fmt.Errorf("write the queue issue: %w", err)
	}
	w.issue.body, w.issue.record, w.issue.at = body, record, time.Now()
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// count keeps the metrics of requests that ended.
func (w *worker) count(p *pull) {
	r := p.record
	if !r.State.Final() || p.counted.Equal(r.Since) {
		return
	}
	p.counted = r.Since
	w.b.metrics.ended.WithLabelValues(w.repo.Forge, w.repo.String(), string(r.State)).Inc()
	if r.State == gate.Landed {
		w.b.metrics.waited.WithLabelValues(w.repo.Forge, w.repo.String()).Observe(r.Since.Sub(r.Request.At).Seconds())
	}
	if r.Landed.Mismatch {
		w.b.metrics.alarms.WithLabelValues(w.repo.Forge, w.repo.String()).Inc()
		w.log.Error("ALARM: what landed is not what was tested; the queue is frozen", "pr", p.pr.Number, "why", strings.Join(r.Why, "; "))
	}
	w.history(p)
}

// conflictReport renders a conflict for the PR's comment.
func (w *worker) conflictReport(c catchup.Conflict, pr gate.PR, base string) string {
	v := templates.ConflictView{Base: base, At: c.At, Subject: c.Subject, Commands: c.Commands(base, pr.HeadBranch, "origin")}
	if pr.Fork {
		v.Commands = c.Commands(base, pr.HeadBranch, w.info.CloneURL) // origin is the author's fork
	}
	if pr.AGit {
		v.Commands = nil // there is no branch to push to
	}
	for _, f := range c.Files {
		if f.ByPR == 0 {
			f.ByPR = w.broughtBy[f.ByCommit]
		}
		v.Files = append(v.Files, templates.ConflictFile{
			Path: f.Path, Kind: string(f.Kind), Other: f.Other,
			ByCommit: f.ByCommit, BySubject: f.BySubject, ByPR: f.ByPR,
		})
	}
	return templates.Conflict(v)
}

func (w *worker) prURL(pr int) string {
	return fmt.Sprintf("%s/p/%s/%s/%s/%d", w.b.cfg.ExternalURL, url.PathEscape(w.repo.Forge), url.PathEscape(w.repo.Owner), url.PathEscape(w.repo.Name), pr)
}

func (w *worker) queueURL(base string) string {
	return fmt.Sprintf("%s/r/%s/%s/%s/%s", w.b.cfg.ExternalURL, url.PathEscape(w.repo.Forge), url.PathEscape(w.repo.Owner), url.PathEscape(w.repo.Name), url.PathEscape(base))
}
