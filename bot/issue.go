package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/lease"
	"mergegate/templates"
)

// The markers that people and scripts may rely on.
const (
	stickyMarker = templates.PRMarker
	issueMarker  = templates.QueueMarker
	issueTitle   = "Merge queue"
)

// issue is the repository's queue issue: the table people read, the comments
// the leases live in, and what must be remembered of the queues themselves.
type issue struct {
	number int
	record issueRecord
	body   string    // as last written by us
	at     time.Time // when
}

// issueRecord is hidden in the queue issue's body.
type issueRecord struct {
	Frozen map[string]gate.Freeze `json:"frozen,omitempty"` // by base
	Active []int                  `json:"active,omitempty"` // PRs with a request on its way
}

// findIssue finds the queue issue, or creates it. Should two replicas create one
// at the same time, the lower number is the one.
func (w *worker) findIssue(ctx context.Context) error {
	if w.issue.number != 0 {
		return nil
	}
	number, err := FindQueueIssue(ctx, w.forge, w.repo, w.me)
	if errors.Is(err, forge.ErrNotFound) {
		number, err = CreateQueueIssue(ctx, w.forge, w.repo, w.me, w.b.cfg.Defaults.Trigger.Label)
	}
	if err != nil {
		return err
	}
	w.issue = issue{number: number, record: w.issue.record}
	return nil
}

// forgetIssue makes the next round look for the queue issue again, because it was
// closed or deleted, and the leases with it. What was remembered of the queues is
// kept for the next one: a freeze must not end because an issue was deleted.
func (w *worker) forgetIssue() {
	w.issue = issue{record: w.issue.record}
	for _, q := range w.queues {
		if q.held == nil {
			q.store = nil
		}
	}
}

// FindQueueIssue gives the number of the repository's queue issue; forge.ErrNotFound
// if there is none yet.
func FindQueueIssue(ctx context.Context, f forge.Forge, r gate.Repo, me gate.User) (int, error) {
	found, err := f.FindIssues(ctx, r, me, issueMarker)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, fmt.Errorf("the queue issue: %w", forge.ErrNotFound)
	}
	return found[0].Number, nil
}

// CreateQueueIssue makes the queue issue, after looking for one, and gives the
// number of the one that counts.
func CreateQueueIssue(ctx context.Context, f forge.Forge, r gate.Repo, me gate.User, label string) (int, error) {
	made, err := f.CreateIssue(ctx, r, issueTitle, templates.QueueIssue(templates.QueueView{Label: label}))
	n, again := FindQueueIssue(ctx, f, r, me) // also when the answer was lost: this look decides
	switch {
	case again != nil && err != nil:
		return 0, fmt.Errorf("create it: %w", err)
	case again == nil && err == nil && made.Number != n:
		again = f.CloseIssue(ctx, r, made.Number) // another replica was first
	}
	return n, again
}

// readIssue reads what is remembered of the queues; a replica does so whenever
// it takes a lease.
func (w *worker) readIssue(ctx context.Context) error {
	is, err := w.forge.Issue(ctx, w.repo, w.issue.number)
	if errors.Is(err, forge.ErrNotFound) || err == nil && !is.Open {
		w.forgetIssue()
		return errors.New("the queue issue was closed or deleted; a new one will be made")
	}
	if err != nil {
		return fmt.Errorf("read the queue issue: %w", err)
	}
	w.issue.body = is.Body
	var found issueRecord
	if believed, _ := unseal(w.keys, "queue-record", w.about(0), is.Body, &found); believed {
		w.issue.record = found
	} else {
		// A new one, or somebody's hands were in it: what we know from before stands.
		w.log.Info("the queue issue holds no record of ours", "issue", w.issue.number)
	}
	for base, q := range w.queues {
		q.frozen = nil
		if f, ok := w.issue.record.Frozen[base]; ok {
			q.frozen = &f
		}
	}
	return w.readActive(ctx, w.issue.record.Active)
}

// readActive looks at PRs that had a request on its way when that was last noted,
// and are not open any more: somebody closed or merged them while no
// replica was looking.
func (w *worker) readActive(ctx context.Context, prs []int) error {
	for _, n := range prs {
		if w.prs[n] != nil {
			continue
		}
		pr, err := w.forge.PullRequest(ctx, w.repo, n)
		if w.gone(n, err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read #%d: %w", n, err)
		}
		p := &pull{pr: pr}
		comments, _, err := w.forge.Comments(ctx, w.repo, n)
		if err != nil {
			return fmt.Errorf("read the comments of #%d: %w", n, err)
		}
		if err := w.readComments(ctx, p, comments); err != nil {
			return err
		}
		w.prs[n] = p
	}
	return nil
}

// setFreeze stops a queue or lets it go on, and remembers it in the queue issue.
func (w *worker) setFreeze(ctx context.Context, q *queue, f gate.Freeze) error {
	before := q.frozen
	if q.frozen = &f; f == (gate.Freeze{}) {
		q.frozen = nil
	}
	if err := w.table(ctx, q, true); err != nil {
		q.frozen = before // what is not saved would be forgotten by a crash
		return err
	}
	w.log.Warn("freeze", "base", q.base, "frozen", q.frozen != nil, "by", f.By, "reason", f.Reason)
	return nil
}

// about ties a sealed record to its place, so that a copy elsewhere is nothing.
func (w *worker) about(pr int) string {
	return about(w.repo, pr)
}

// leftovers finds leases that no replica may be behind any more, once per idle
// poll: what a dead replica was about may show nowhere else.
func (w *worker) leftovers(ctx context.Context) error {
	if !w.looked.IsZero() && time.Since(w.looked) < w.b.cfg.Poll.Idle {
		return nil
	}
	if err := w.oneIssue(ctx); err != nil {
		return fmt.Errorf("look for the queue issue: %w", err)
	}
	bases, err := w.leasedBases(ctx)
	if err != nil {
		return fmt.Errorf("look for leases left behind: %w", err)
	}
	for _, b := range bases {
		if q := w.queue(b); q.held == nil {
			q.left = true
		}
	}
	w.looked = time.Now()
	return nil
}

// oneIssue finds the queue issue, the open one with the lowest number, and closes
// later ones: a request to create it that came twice, or late, may have left them.
func (w *worker) oneIssue(ctx context.Context) error {
	found, err := w.forge.FindIssues(ctx, w.repo, w.me, issueMarker)
	if err != nil || len(found) == 0 {
		return err
	}
	first := found[0].Number
	if w.issue.number == 0 || first < w.issue.number && !w.holding() {
		w.forgetIssue()
		w.issue.number = first
	}
	for _, is := range found[1:] {
		if is.Number != w.issue.number {
			if err := w.forge.CloseIssue(ctx, w.repo, is.Number); err != nil {
				return err
			}
		}
	}
	return nil
}

// holding says whether this replica holds a lease.
func (w *worker) holding() bool {
	for _, q := range w.queues {
		if q.held != nil {
			return true
		}
	}
	return false
}

func (w *worker) leasedBases(ctx context.Context) ([]string, error) {
	if w.b.cfg.Lease.Store == "ref" {
		var refs []string
		bases := slices.DeleteFunc(slices.Concat(w.b.cfg.Defaults.Branches, w.bases()), func(b string) bool { return strings.ContainsAny(b, "*?") })
		for _, b := range bases {
			refs = append(refs, lease.Ref(b))
		}
		found, err := w.mirror.RemoteRefs(ctx, refs...)
		return slices.DeleteFunc(bases, func(b string) bool { return found[lease.Ref(b)] == "" }), err
	}
	if w.issue.number == 0 {
		return nil, nil
	}
	all, _, err := leaseComments{w, w.issue.number}.List(ctx)
	if errors.Is(err, forge.ErrNotFound) {
		w.forgetIssue()
		return nil, nil
	}
	return lease.Bases(w.keys, w.repo, all), err
}

// leaseStore is where the leases of a queue are.
func (w *worker) leaseStore(q *queue) (lease.Store, error) {
	cfg := lease.Config{
		TTL: w.b.cfg.Lease.TTL, Renew: w.b.cfg.Lease.Renew, Settle: w.b.cfg.Lease.Settle,
		Holder: w.b.holder, Key: w.keys[0], Old: w.keys[1:], Repo: w.repo, Base: q.base, Chance: w.b.chance,
	}
	if w.b.cfg.Lease.Store == "ref" {
		switch m := w.mirror.(type) {
		case lease.Refs: // a simulated one writes its commits itself
			return lease.NewRef(cfg, m), nil
		case lease.Mirror:
			return lease.NewRef(cfg, lease.GitRefs(m)), nil
		}
		return nil, errors.New("this mirror cannot keep a lease in a ref")
	}
	cfg.Issue = w.issue.number
	return lease.NewComments(cfg, leaseComments{w, w.issue.number}), nil
}

// leaseComments are the queue issue's comments as the lease sees them.
type leaseComments struct {
	w     *worker
	issue int
}

func (c leaseComments) List(ctx context.Context) ([]lease.Comment, time.Time, error) {
	all, now, err := c.w.forge.Comments(ctx, c.w.repo, c.issue)
	if err != nil {
		return nil, now, err
	}
	out := make([]lease.Comment, len(all))
	for i, x := range all {
		out[i] = c.comment(x)
	}
	return out, now, nil
}

func (c leaseComments) Post(ctx context.Context, body string) (lease.Comment, error) {
	x, err := c.w.forge.PostComment(ctx, c.w.repo, c.issue, body)
	return c.comment(x), err
}

func (c leaseComments) Edit(ctx context.Context, id int64, body string) error {
	err := c.w.forge.EditComment(ctx, c.w.repo, id, body)
	if errors.Is(err, forge.ErrNotFound) {
		return lease.ErrGone
	}
	return err
}

func (c leaseComments) Delete(ctx context.Context, id int64) error {
	return c.w.forge.DeleteComment(ctx, c.w.repo, id)
}

func (c leaseComments) comment(x forge.Comment) lease.Comment {
	return lease.Comment{ID: x.ID, Mine: x.By.ID == c.w.me.ID, Body: x.Body, Updated: x.Updated}
}
