package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/lease"
	"mergegate/templates"
)

// maxSteps ends a round that would not come to rest. A landing takes about ten
// steps; whatever needs more than this is a bug, and said so.
const maxSteps = 40

// worker serves one repository. What stands above me is shared with other
// goroutines; everything else belongs to run.
type worker struct {
	b     *Bot
	conf  config.Forge
	forge forge.Forge
	repo  gate.Repo
	log   *slog.Logger
	jobs  *jobs

	wake    chan struct{}
	acks    chan int64 // comments to react to at once
	myself  atomic.Pointer[gate.User]
	mu      sync.Mutex
	dirty   map[int]bool         // PRs that a webhook named since the last round
	acked   map[int64]bool       // comments we have reacted to
	pressed []forge.Event        // buttons, since the last round
	view    atomic.Pointer[view] // what the pages show

	me     gate.User
	keys   [][]byte // that seal our records: the present one, then those of previous secrets
	mirror Mirror
	info   forge.Repository
	infoAt time.Time
	roles  map[int64]seenRole
	absent map[int]int // how often in a row the forge said that a PR is not there
	prs    map[int]*pull
	queues map[string]*queue
	issue  issue
	// broughtBy says which PR brought a commit to base, as far as we saw it.
	broughtBy map[gate.SHA]int
	looked    time.Time // for leases left behind
	company   time.Time // when another replica was last seen at work
	failing   trouble
}

// trouble is what stands in the way of a worker's rounds.
type trouble struct {
	times int
	err   error
	since time.Time
	next  time.Time
}

// queue is one base branch's queue as this replica knows it.
type queue struct {
	base      string
	store     lease.Store
	storeKey  []byte      // what it was made with
	held      *lease.Held // nil while we do not hold the lease
	settled   bool        // the lease was proved ours: writes are allowed
	flight    gate.Queue
	inherited gate.Queue          // the flight as it was when the lease was taken
	saved     []byte              // the flight as last saved in the lease
	entered   bool                // what the lease and the queue issue say of the work so far was read
	landed    map[int]gate.Record // what they could not tell of any more, until it is known to be ours to tell
	before    []int               // the PRs that leases before ours had something to say about, until they were read
	saidBusy  time.Time
	left      bool      // there is a lease that is not ours
	doubted   time.Time // until then what the last holder sent may still arrive
	sweep     bool      // there was one when ours was taken: proving ours removes it once it is stale

	tip      gate.SHA
	gone     bool // the branch is not there
	policy   gate.Policy
	policyOf gate.SHA // the commit the policy was read from
	badRules string   // why it could not be
	branch   forge.Branch
	branchAt time.Time
	frozen   *gate.Freeze
	ci       []gate.Check // of the candidate ciOf, read in this round
	ciOf     gate.SHA

	rest     string    // signature of what was seen when the last round had nothing left to do
	next     time.Time // not before this, unless something changes
	labelled int       // the PR that carries the lease label
	taken    time.Time // when the lease was taken
	failing  trouble

	ended []templates.Row        // the last requests that ended, newest first
	pages []templates.PRPageView // the same, in full
}

func newWorker(b *Bot, conf config.Forge, f forge.Forge, r gate.Repo) *worker {
	w := &worker{
		b: b, conf: conf, forge: f, repo: r,
		log:  b.log.With("forge", r.Forge, "repo", r.String()),
		wake: make(chan struct{}, 1), acks: make(chan int64, 16), dirty: map[int]bool{},
		roles: map[int64]seenRole{}, absent: map[int]int{}, prs: map[int]*pull{}, queues: map[string]*queue{}, acked: map[int64]bool{}, broughtBy: map[gate.SHA]int{},
	}
	w.jobs = &jobs{done: w.poke, all: map[gate.Retest]*job{}}
	return w
}

// poke makes a round due, at most one.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// news is a webhook's: look at this PR closely in the next round.
func (w *worker) news(pr int) {
	w.mu.Lock()
	if pr != 0 {
		w.dirty[pr] = true
	}
	w.mu.Unlock()
	w.poke()
}

// run makes rounds until ctx ends, then lets go of everything it holds.
func (w *worker) run(ctx context.Context) {
	defer w.leave()
	go w.acknowledge(ctx)
	for ctx.Err() == nil {
		next, err := w.guarded(ctx)
		w.b.reached(w.repo.Forge, err)
		if err != nil && ctx.Err() == nil {
			next = w.inTrouble(&w.failing, "", err)
		} else {
			w.failing = trouble{}
		}
		w.publish()
		timer := time.NewTimer(next)
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// inTrouble notes what stood in the way, and says when to try again.
func (w *worker) inTrouble(t *trouble, base string, err error) time.Duration {
	if t.times == 0 {
		t.since = time.Now()
	}
	t.times++
	t.err = err
	wait := backoff(t.times)
	if errors.Is(err, forge.ErrDenied) {
		w.infoAt = time.Time{} // perhaps our own rights are gone: the next round says so
	}
	var limited *forge.RateLimited
	if errors.As(err, &limited) {
		wait = max(wait, time.Until(limited.Until))
	}
	t.next = time.Now().Add(wait)
	w.b.metrics.troubles.WithLabelValues(w.repo.Forge, w.repo.String()).Inc()
	w.log.Warn("round", "base", base, "err", err, "attempt", t.times, "again_in", wait)
	return wait
}

// guarded runs a round; a panic in it is a bug, told loudly, and ends there.
func (w *worker) guarded(ctx context.Context) (next time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.b.metrics.panics.Inc()
			w.log.Error("BUG: a round panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("a bug in mergegate: %v", p)
		}
	}()
	return w.round(ctx)
}

// leave stops retests and releases the leases, so that another replica need not
// wait for them to run out.
func (w *worker) leave() {
	w.jobs.stop(func(gate.Retest) bool { return true })
	w.jobs.wg.Wait()
	for _, base := range slices.Sorted(maps.Keys(w.queues)) {
		w.release(context.Background(), w.queues[base])
	}
}

// round is the whole path from news to merge. Read this first.
func (w *worker) round(ctx context.Context) (time.Duration, error) {
	w.b.metrics.rounds.Inc()
	if err := w.prepare(ctx); err != nil { // who are we, what may we, which mirror
		return 0, err
	}
	if err := w.look(ctx); err != nil { // 0 the list of open PRs: is there anything to do?
		return 0, err
	}
	if err := w.buttons(ctx); err != nil { // what was pressed on our reports
		return 0, err
	}
	if err := w.leftovers(ctx); err != nil { // and leases that a dead replica left behind
		return 0, err
	}
	next := w.b.cfg.Poll.Idle
	for _, base := range w.bases() {
		q := w.queue(base)
		again := time.Until(q.failing.next)
		if again <= 0 {
			var err error
			if again, err = w.serve(ctx, q); err != nil && ctx.Err() == nil {
				again = w.inTrouble(&q.failing, base, err) // the other queues go on
			} else {
				q.failing = trouble{}
			}
		}
		next = min(next, again)
	}
	return next, nil
}

// serve works on one queue until it comes to rest.
func (w *worker) serve(ctx context.Context, q *queue) (time.Duration, error) {
	if err := w.rules(ctx, q); err != nil { // base tip, policy of that very commit, protection
		return 0, err
	}
	if err := w.peek(ctx, q); err != nil { // did somebody command or approve on an unlabelled PR?
		return 0, err
	}
	if q.held == nil && (!q.policy.Enabled || !w.due(q)) {
		return w.calm(q), nil
	}
	err := w.hold(ctx, q) // 1 take the lease, or come back when it can have ended
	var busy *lease.BusyError
	if errors.As(err, &busy) {
		return w.deferTo(q, busy), nil
	}
	if err != nil {
		return 0, fmt.Errorf("lease: %w", err)
	}
	ctx, cancel := w.whileHeld(ctx, q) // no work outlives the lease
	defer cancel()
	err = w.work(ctx, q)
	switch {
	case err == nil:
		return w.calm(q), nil
	case errors.Is(err, errOutdated):
		return 10 * time.Millisecond, nil
	case errors.As(err, &busy):
		w.lost(q)
		return w.deferTo(q, busy), nil
	case errors.Is(context.Cause(ctx), lease.ErrLost) || errors.Is(err, lease.ErrLost):
		w.lost(q)
		w.log.Warn("the lease was lost; whatever was under way is given up and looked at afresh", "base", q.base, "err", err)
		return time.Second, nil
	}
	return 0, err
}

// work steps until nothing is left to do that could be done now.
func (w *worker) work(ctx context.Context, q *queue) error {
	if err := w.observe(ctx, q); err != nil { // 2 ask the forge for facts; webhooks carry none
		return err
	}
	if err := w.provide(ctx, q); err != nil {
		return fmt.Errorf("get the candidate in flight: %w", err)
	}
	w.jobs.stop(func(r gate.Retest) bool { return !w.flying(r.PR) })
	done := w.jobs.outcomes()
	q.ci, q.ciOf = nil, ""
	for range maxSteps {
		if err := w.readCI(ctx, q); err != nil {
			return err
		}
		in := w.input(q, done)
		flight, changed, actions, err := w.step(q, in) // 3 decide
		if err != nil {
			return err
		}
		if len(actions) == 0 && sameQueue(flight, q.flight) {
			if err := w.settleNow(ctx, q, q.sweep || len(w.unsaved(q))+len(w.copied(q)) > 0); err != nil {
				return err
			}
			return w.rested(ctx, q)
		}
		q.flight = flight
		for _, f := range changed {
			w.prs[f.PR.Number].remember(f.Record)
		}
		if err := w.save(ctx, q, actions); err != nil { // 4 save before acting
			return err
		}
		if done, err = w.actAll(ctx, q, actions); err != nil { // 5 act; each answer feeds the next step
			return err
		}
		done = append(done, w.jobs.outcomes()...)
	}
	return fmt.Errorf("the queue of %s did not come to rest after %d steps; this is a bug", q.base, maxSteps)
}

// step is gate.Step, with a PR that makes it panic set aside: a poison PR never
// stops the queue.
func (w *worker) step(q *queue, in gate.Input) (flight gate.Queue, changed []gate.Facts, actions []gate.Action, err error) {
	try := func(flying gate.Queue, in gate.Input) (fault any) {
		defer func() { fault = recover() }()
		flight, changed, actions = gate.Step(flying, in)
		return nil
	}
	fault := try(q.flight, in)
	if fault == nil {
		return flight, changed, actions, nil
	}
	w.b.metrics.panics.Inc()
	w.log.Error("BUG: gate.Step panicked", "base", q.base, "panic", fmt.Sprint(fault))
	for i := range in.PRs {
		without, flying := in, q.flight
		without.PRs = slices.Delete(slices.Clone(in.PRs), i, i+1)
		if flying.Flight != nil && flying.Flight.PR == in.PRs[i].PR.Number {
			flying = gate.Queue{}
		}
		if try(flying, without) == nil {
			w.prs[in.PRs[i].PR.Number].poison = fmt.Sprint(fault)
			w.log.Error("this PR is set aside until it changes", "pr", in.PRs[i].PR.Number)
			return flight, changed, actions, nil
		}
	}
	return flight, nil, nil, fmt.Errorf("a bug in mergegate: %v", fault)
}

// rested ends a round that has nothing left to do now: tell, and let go of the
// lease if nobody is in the queue.
func (w *worker) rested(ctx context.Context, q *queue) error {
	if err := w.tell(ctx, q); err != nil {
		return err
	}
	q.next = q.flight.Again(time.Now(), w.input(q, nil).PRs)
	if q.flight.Flight == nil {
		if err := w.table(ctx, q, true); err != nil {
			return err
		}
		w.release(ctx, q)
	}
	q.rest = w.signature(q)
	return nil
}

// calm says when the queue wants to be looked at again without news.
func (w *worker) calm(q *queue) time.Duration {
	mine := w.mine(q)
	for _, p := range w.known() {
		if p.seen.Equal(p.pr.Updated) && p.racy() && (slices.Contains(mine, p) || w.peeks(q, p)) {
			return max(grain-time.Since(p.first), 10*time.Millisecond)
		}
	}
	wait := w.b.cfg.Poll.Active
	if q.flight.Flight == nil && !slices.ContainsFunc(w.known(), func(p *pull) bool { return p.pr.Base == q.base && p.record.State.Active() }) {
		wait = w.b.cfg.Poll.Idle
	}
	if until := time.Until(q.next); until > 0 { // what was due already has been done
		wait = min(wait, max(until, 10*time.Millisecond))
	}
	return wait
}

func sameQueue(a, b gate.Queue) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}
