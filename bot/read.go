package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mergegate/bot/chat"
	"mergegate/forge"
	"mergegate/gate"
)

// read reads one PR's comments (our record and new commands are in them), its
// reviews, and who set the label.
func (w *worker) read(ctx context.Context, q *queue, p *pull) error {
	n, at, begun := p.pr.Number, p.pr.Updated, time.Now()
	comments, _, err := w.forge.Comments(ctx, w.repo, n)
	if err != nil {
		return fmt.Errorf("read the comments of #%d: %w", n, err)
	}
	p.read = p.read && q.settled // what was decided before the lease is proved is no word yet
	if err := w.readComments(ctx, p, comments); err != nil {
		return err
	}
	if err := w.readLabel(ctx, q, p); err != nil {
		return err
	}
	if q.policy.Require.Approvals > 0 || q.branch.RequiredApprovals > 0 || q.policy.Trigger.Approval {
		if err := w.readReviews(ctx, p); err != nil {
			return err
		}
	}
	if err := w.readPast(ctx, q, p); err != nil {
		return err
	}
	if err := w.readRoles(ctx, p); err != nil {
		return err
	}
	if err := w.ownPush(ctx, q, p); err != nil {
		return err
	}
	p.seen, p.readAt, p.doubt, p.owed = at, begun, false, false
	return nil
}

// readLabel looks at the PR itself where the list does not show the label of a request
// that is on its way: the list may be older than the note, and than the label that
// another replica put on for a command.
func (w *worker) readLabel(ctx context.Context, q *queue, p *pull) error {
	if !p.record.State.Active() || p.record.Owed || !p.pr.Open || p.pr.Has(q.policy.Trigger.Label) {
		return nil
	}
	pr, err := w.forge.PullRequest(ctx, w.repo, p.pr.Number)
	if err != nil {
		return fmt.Errorf("read #%d: %w", p.pr.Number, err)
	}
	p.update(pr)
	return nil
}

// readReviews reads what reviewers said, and what each whose approval counts may do
// now: forges remember what they might when they gave it.
func (w *worker) readReviews(ctx context.Context, p *pull) error {
	reviews, err := w.forge.Reviews(ctx, w.repo, p.pr.Number)
	if err != nil {
		return fmt.Errorf("read the reviews of #%d: %w", p.pr.Number, err)
	}
	p.without = nil
	for i, r := range reviews {
		if !r.Counts || r.Dismissed || r.State == gate.Commented || r.By.ID == p.pr.Author.ID {
			continue
		}
		role, err := w.role(ctx, r.By)
		if err != nil {
			return err
		}
		if reviews[i].Counts = role >= gate.RoleWrite || role == gate.RoleUnknown; !reviews[i].Counts {
			p.without = append(p.without, r.By)
		}
	}
	p.reviews = reviews
	return nil
}

// past reads a PR's timeline.
func (w *worker) past(ctx context.Context, q *queue, p *pull) (forge.Past, error) {
	of, at := p.pr.Updated, time.Now()
	past, err := w.forge.Past(ctx, w.repo, p.pr.Number, q.policy.Trigger.Label)
	if err != nil {
		return past, fmt.Errorf("read the past of #%d: %w", p.pr.Number, err)
	}
	p.turned, p.turnedOf, p.turnedAt = past.Retargeted, of, at
	return past, nil
}

// readTurned reads whether the base was changed, unless nothing happened to the PR
// since that was read last.
func (w *worker) readTurned(ctx context.Context, q *queue, p *pull) error {
	if p.turnedOf.Equal(p.pr.Updated) && p.turnedAt.Sub(p.first) >= grain {
		return nil
	}
	_, err := w.past(ctx, q, p)
	return err
}

// readPast reads who set the label, whether the head was pushed after it or after a
// command, and when the base was changed, for a request that may begin.
func (w *worker) readPast(ctx context.Context, q *queue, p *pull) error {
	label := q.policy.Trigger.Label
	p.label, p.withdrawn = gate.Ask{}, time.Time{}
	if p.record.State.Active() {
		return nil
	}
	if !p.pr.Has(label) && len(p.commands)+len(p.pressed) == 0 && !w.approvalAsks(q, p) {
		return nil
	}
	past, err := w.past(ctx, q, p)
	if err != nil {
		return err
	}
	for i, c := range p.commands {
		p.commands[i].Stale = slices.Contains(past.Outdated, c.Comment)
	}
	ours := past.LabelledBy.ID == w.me.ID
	if !p.pr.Has(label) && ours && past.LabelledAt.After(p.record.Since) {
		return w.readWithdrawal(ctx, p, label, past.LabelledAt)
	}
	if !p.pr.Has(label) || !past.LabelledAt.After(p.record.LabelAt) {
		return nil
	}
	p.label = gate.Ask{By: past.LabelledBy, At: past.LabelledAt, Ours: ours, Stale: past.PushedSince}
	if !p.label.Ours {
		p.label.Role, err = w.role(ctx, past.LabelledBy)
	}
	return err
}

// readWithdrawal takes note that somebody took the label off which we put on for a
// wish that no note of ours knows of, because we crashed in between. The list may
// be older than the label, so the PR itself has the word.
func (w *worker) readWithdrawal(ctx context.Context, p *pull, label string, at time.Time) error {
	pr, err := w.forge.PullRequest(ctx, w.repo, p.pr.Number)
	if err != nil {
		return fmt.Errorf("read #%d: %w", p.pr.Number, err)
	}
	if !pr.Has(label) {
		p.withdrawn = at
	}
	return nil
}

// readRoles looks up what the person who asked may do now, and without a
// sandbox also what the author may do.
func (w *worker) readRoles(ctx context.Context, p *pull) (err error) {
	p.requester, p.author = gate.RoleUnknown, gate.RoleUnknown
	if w.b.unsandboxed() {
		if p.author, err = w.role(ctx, p.pr.Author); err != nil {
			return err
		}
	}
	if r := p.record; r.State.Active() && r.Request.By.ID != w.me.ID {
		p.requester, err = w.role(ctx, r.Request.By)
	}
	return err
}

func (w *worker) readComments(ctx context.Context, p *pull, comments []forge.Comment) error {
	newer := p.read && p.unsaved
	if err := w.vanished(ctx, p, comments); err != nil {
		return err
	}
	var record gate.Record
	p.commands = nil
	var old bool
	p.sticky, p.copies, record, old = w.findNote(p.pr.Number, comments)
	p.early, p.body = false, ""
	for _, c := range comments {
		if c.ID == p.sticky {
			p.posted, p.body = false, c.Body
		}
	}
	if !newer { // what we decided and could not write yet is newer
		p.record, p.unsaved = record, old
		p.putRight()
	}
	for _, c := range comments {
		if c.ID <= p.record.Command || c.By.ID == w.me.ID || !c.Updated.Equal(c.Created) {
			continue
		}
		for _, cmd := range chat.Parse(c.Body) {
			role, err := w.role(ctx, c.By)
			if err != nil {
				return err
			}
			p.commands = append(p.commands, command(c, cmd, role))
			w.ack(ctx, c.ID)
		}
	}
	return nil
}

// vanished fails when a list of comments is older than our own note: what it does
// not show would be taken for deleted, and what was asked for with it.
func (w *worker) vanished(ctx context.Context, p *pull, comments []forge.Comment) error {
	if p.sticky == 0 || slices.ContainsFunc(comments, func(c forge.Comment) bool { return c.ID == p.sticky }) {
		return nil
	}
	_, err := w.forge.Comment(ctx, w.repo, p.sticky)
	if errors.Is(err, forge.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read our comment on #%d: %w", p.pr.Number, err)
	}
	return fmt.Errorf("the list of comments on #%d does not show our own yet; it is read again", p.pr.Number)
}

// findNote finds our sticky comment and the record in it. A request to post it that
// was doubled on its way, or a list that did not show it yet, may have left several:
// the one of the newest request holds, and of those the one that tells its end, or else
// the one that was written last; the others are copies to be deleted. old: it was
// sealed with a previous key.
func (w *worker) findNote(pr int, comments []forge.Comment) (id int64, copies []int64, rec gate.Record, old bool) {
	var written time.Time
	sealed := false
	for _, c := range comments {
		if c.By.ID != w.me.ID || !strings.Contains(c.Body, stickyMarker) {
			continue
		}
		var r gate.Record
		ok, before := unseal(w.keys, "record", w.about(pr), c.Body, &r)
		if !ok {
			w.log.Warn("our notes in the sticky comment were changed by somebody and are not believed", "pr", pr)
			r = gate.Record{}
		}
		holds := c.Updated.After(written)
		switch {
		case !sameRequest(r.Request, rec.Request):
			holds = r.Request.At.After(rec.Request.At)
		case r.State.Final() != rec.State.Final():
			holds = r.State.Final()
		}
		if id != 0 && (sealed && !ok || sealed == ok && !holds) {
			copies = append(copies, c.ID)
			continue
		}
		if id != 0 {
			copies = append(copies, id)
		}
		id, rec, written, sealed, old = c.ID, r, c.Updated, ok, before
	}
	return id, copies, rec, old
}

// role says what somebody may do in the repository.
func (w *worker) role(ctx context.Context, u gate.User) (gate.Role, error) {
	if r, ok := w.roles[u.ID]; ok && time.Since(r.at) < rolesFor {
		return r.role, nil
	}
	r, err := w.forge.Role(ctx, w.repo, u)
	if err != nil {
		return gate.RoleUnknown, fmt.Errorf("what may %s do: %w", u.Login, err)
	}
	w.roles[u.ID] = seenRole{r, time.Now()}
	return r, nil
}
