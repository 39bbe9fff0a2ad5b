package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/lease"
)

// companyFor is how long a replica that saw another reckons with it.
const companyFor = time.Hour

// hold takes the lease of the queue unless we have it. A replica that is alone reads
// while the lease settles; one that has company waits until the lease is proved.
func (w *worker) hold(ctx context.Context, q *queue) error {
	if q.held != nil {
		if q.held.Alive() == nil {
			return w.enter(ctx, q)
		}
		w.lost(q)
	}
	if err := w.findIssue(ctx); err != nil {
		return fmt.Errorf("queue issue: %w", err)
	}
	if q.store == nil || !bytes.Equal(q.storeKey, w.keys[0]) {
		store, err := w.leaseStore(q)
		if err != nil {
			return err
		}
		q.store, q.storeKey = store, w.keys[0]
	}
	if q.left {
		q.store.Look()
	}
	data, err := json.Marshal(w.leased(q))
	if err != nil {
		return err
	}
	held, err := q.store.Take(ctx, lease.Note{Data: data})
	if errors.Is(err, forge.ErrNotFound) {
		w.forgetIssue()
		return fmt.Errorf("the queue issue is gone; a new one will be made: %w", err)
	}
	if err != nil {
		return err
	}
	q.held, q.settled, q.flight, q.saved, q.taken, q.sweep, q.left = held, false, gate.Queue{}, nil, time.Now(), q.left, false
	q.entered = false
	var before leased
	if data := held.Inherited(); data != nil {
		if err := json.Unmarshal(data, &before); err != nil {
			w.log.Warn("the work in flight of the lease before ours cannot be read; starting over", "err", err)
			before = leased{}
		}
		q.before = append(q.before, before.Active...)
		q.landed = before.Landed
		if q.flight = before.Queue; q.flight.Flight != nil {
			w.log.Info("going on with the work of a lease that ran out", "base", q.base, "pr", q.flight.Flight.PR, "state", q.flight.Flight.State)
		}
	}
	if held.Inherited() != nil { // whoever held it was cut off
		q.doubted = time.Now().Add(w.lateFor())
	}
	if q.inherited = q.flight; q.inherited.Flight != nil {
		w.company = time.Now()
	}
	return w.enter(ctx, q)
}

// enter reads what a fresh lease and the queue issue say of the work so far; nothing
// goes on without that, for a freeze may be written there. Work that we inherited is
// named in our lease alone: that is kept, and the reading tried again, while a lease
// that inherited nothing is given back.
func (w *worker) enter(ctx context.Context, q *queue) error {
	if err := w.proveFirst(ctx, q); err != nil || q.entered {
		return err
	}
	for _, p := range w.under(q) {
		p.read = false // whoever held the lease before us may have written
	}
	if err := errors.Join(w.readIssue(ctx), w.readActive(ctx, q.before)); err != nil {
		if w.issue.number == 0 || len(q.before) == 0 && q.inherited.Flight == nil {
			w.release(ctx, q)
		}
		return err
	}
	for _, n := range q.before {
		if p := w.prs[n]; p != nil {
			p.owed = true
		}
	}
	for n, r := range q.landed {
		if p := w.prs[n]; p != nil {
			p.told, p.again = r, time.Now().Add(w.lateFor())
		}
	}
	q.entered, q.before, q.landed = true, nil, nil
	return nil
}

// proveFirst waits for the proof that a fresh lease is ours before anything is read,
// where there is another replica: it may hold the queue until then, and what was
// read meanwhile would be out of date when we come to write.
func (w *worker) proveFirst(ctx context.Context, q *queue) error {
	if q.settled || w.company.IsZero() || time.Since(w.company) > companyFor {
		return nil
	}
	err := w.settle(ctx, q)
	var busy *lease.BusyError
	if errors.As(err, &busy) || errors.Is(err, lease.ErrLost) {
		w.lost(q)
	}
	for _, p := range w.under(q) {
		p.read = false
	}
	return err
}

// under are the PRs that a lease of the queue has to do with.
func (w *worker) under(q *queue) []*pull {
	return slices.DeleteFunc(w.known(), func(p *pull) bool { return p.pr.Base != q.base && p.record.Request.Base != q.base })
}

// leased is what the lease carries, so that whoever takes it next goes on.
type leased struct {
	gate.Queue
	// Active are the PRs that the holder has something to say about. One that is
	// closed before a note tells its end is found in no list of open ones.
	Active []int `json:"active,omitempty"`
	// Landed is what landed and could not be told yet, by number: the PR alone does
	// not show by whom, and the flight is already another's.
	Landed map[int]gate.Record `json:"landed,omitempty"`
}

func (w *worker) leased(q *queue) leased {
	l := leased{Queue: q.flight, Landed: map[int]gate.Record{}}
	for _, p := range w.mine(q) {
		l.Active = append(l.Active, p.pr.Number)
		if p.unsaved && p.record.State == gate.Landed {
			l.Landed[p.pr.Number] = p.record
		}
	}
	return l
}

// quickProof is how long after the lease was taken its proof may come, so that what
// was read before it is still good to write by.
const quickProof = 5 * time.Second

// errOutdated: another may have held the queue since its facts were read.
var errOutdated = errors.New("the lease was proved so late that what was read before is out of date")

// settleNow waits until the lease is proved ours; only then may anything be written.
// After errOutdated the lease is ours, and everything has to be read again.
func (w *worker) settleNow(ctx context.Context, q *queue, needed bool) error {
	if q.settled || !needed {
		return nil
	}
	if err := w.settle(ctx, q); err != nil {
		return err
	}
	if time.Since(q.taken) < quickProof+w.b.cfg.Lease.Settle {
		for _, p := range w.mine(q) {
			p.early = true
		}
		return nil
	}
	q.flight = q.inherited
	for _, p := range w.under(q) {
		p.outdated()
	}
	return errOutdated
}

func (w *worker) settle(ctx context.Context, q *queue) error {
	if err := q.held.Settled(ctx); err != nil {
		return err
	}
	q.settled = true
	w.b.metrics.leases.Inc()
	return nil
}

// save puts the work in flight into the lease when an action depends on it
// being found there after a crash.
func (w *worker) save(ctx context.Context, q *queue, actions []gate.Action) error {
	writing := slices.ContainsFunc(actions, writes)
	if writing && !q.settled {
		w.fetchAhead(ctx, actions)
	}
	if err := w.settleNow(ctx, q, writing); err != nil {
		return err
	}
	data, err := json.Marshal(w.leased(q))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(actions, depends) || string(data) == string(q.saved) {
		return nil
	}
	pr := 0
	if q.flight.Flight != nil {
		pr = q.flight.Flight.PR
	}
	if err := q.held.Save(ctx, lease.Note{PR: pr, Data: data}); err != nil {
		return fmt.Errorf("save the work in flight: %w", err)
	}
	q.saved = data
	return nil
}

// fetchAhead fetches what the actions will build from, while a fresh lease
// settles. It may fail: build meets the same trouble, and says so.
func (w *worker) fetchAhead(ctx context.Context, actions []gate.Action) {
	for _, a := range actions {
		if b, ok := a.(gate.Build); ok {
			_ = w.need(ctx, b.PR, b.Head)
		}
	}
}

// writes says whether an action changes anything outside this process.
func writes(a gate.Action) bool {
	switch a.(type) {
	case gate.Build, gate.Inspect, gate.Confirm, gate.Stop:
		return false
	}
	return true
}

// depends says whether an action must not happen before the flight is saved.
func depends(a gate.Action) bool {
	switch a.(type) {
	case gate.Push, gate.Publish, gate.Land:
		return true
	}
	return false
}

// whileHeld is a context that ends with the lease.
func (w *worker) whileHeld(ctx context.Context, q *queue) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	held := q.held.Context()
	stop := context.AfterFunc(held, func() { cancel(context.Cause(held)) })
	return ctx, func() { stop(); cancel(nil) }
}

// lost forgets everything that rested on the lease.
func (w *worker) lost(q *queue) {
	w.jobs.stop(func(r gate.Retest) bool { return q.flight.Flight != nil && q.flight.Flight.PR == r.PR })
	q.held, q.settled, q.flight, q.saved, q.rest = nil, false, gate.Queue{}, nil, ""
	for _, p := range w.under(q) {
		p.outdated()
	}
}

// outdated forgets what was decided about a PR and not written: its note has to be read
// again, also when it is in no list of open ones any more.
func (p *pull) outdated() { p.read, p.unsaved, p.owed = false, false, p.owed || p.unsaved }

func (w *worker) release(ctx context.Context, q *queue) {
	if q.held == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := q.held.Release(ctx); err != nil {
		w.log.Info("release the lease; it will run out by itself", "base", q.base, "err", err)
	}
	q.held, q.settled, q.flight, q.saved = nil, false, gate.Queue{}, nil
}

// deferTo says when to come back to a queue that another replica works on: when
// its lease can have ended, but not later than the active poll, with jitter so
// that replicas do not come back together.
func (w *worker) deferTo(q *queue, busy *lease.BusyError) time.Duration {
	w.company = time.Now()
	q.left = true // its holder may die and leave work behind: come back even if nothing shows
	if time.Since(q.saidBusy) > time.Minute {
		w.log.Info("another replica works on this queue", "base", q.base, "holder", busy.Holder, "pr", busy.PR)
		q.saidBusy = time.Now()
	}
	wait := min(max(time.Until(busy.Until), time.Second), w.b.cfg.Poll.Active)
	return wait*4/5 + time.Duration(w.b.chance()%uint64(wait*2/5+1))
}
