package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"
)

// claim is one lease where it is stored. Held serialises its methods.
type claim interface {
	// prove reads afresh whether the lease is ours. Errors: *BusyError when
	// another was first (ours is gone then), errUnseen when ours cannot be
	// seen, ErrLost; any other: unknown.
	prove(ctx context.Context) error
	// write replaces the record; ErrLost when there is nothing to replace.
	write(ctx context.Context, r record) error
	// drop removes our lease and no other. trusted says that the lease was
	// within its time until now.
	drop(ctx context.Context, trusted bool) error
}

var errUnseen = errors.New("our own lease is not in the forge's list")

// looks is how often Settled reads before it gives up on a list without us.
const looks = 3

// Held is a lease on a queue. Its methods may run concurrently.
type Held struct {
	cfg       Config
	claim     claim
	inherited []byte
	proven    bool          // taking it was the proof, there is nothing to settle
	settled   time.Time     // when the settle time is over
	every     time.Duration // Config.Renew with jitter

	ctx    context.Context
	cancel context.CancelCauseFunc
	expiry *time.Timer
	done   chan struct{} // closed when the renewals have ended

	io   chan struct{} // holds a token while claim is in use; never a mutex, those waits can be long
	rec  record        // as last confirmed; guarded by io
	sent int           // highest seq sent; guarded by io
	beat atomic.Pointer[beat]
}

// beat is the last proof of life.
type beat struct {
	at  stamp // when the last write that succeeded was sent
	err error // of the last renewal, nil when it succeeded
}

// stamp is an instant on both clocks.
type stamp struct{ mono, wall time.Time }

func now() stamp {
	t := time.Now()
	return stamp{mono: t, wall: t.Round(0)}
}

// since is the time from then to s, by the clock that saw more of it pass.
func (s stamp) since(then stamp) time.Duration {
	return max(s.mono.Sub(then.mono), s.wall.Sub(then.wall))
}

// start keeps the lease alive from now on. Its first write was sent at the stamp
// and has been confirmed.
func (h *Held) start(ctx context.Context, sent stamp) *Held {
	spread := fnv.New32a()
	spread.Write([]byte(h.rec.Nonce))
	h.every = time.Duration((0.8 + 0.4*float64(spread.Sum32())/(1<<32)) * float64(h.cfg.Renew))
	h.settled = time.Now().Add(h.cfg.Settle)
	h.sent = h.rec.Seq
	h.done = make(chan struct{})
	h.io = make(chan struct{}, 1)
	h.ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	h.beat.Store(&beat{at: sent})
	h.expiry = time.AfterFunc(h.left(), func() { h.Alive() })
	go h.keep()
	return h
}

// keep renews until the lease ends. It ticks faster than it renews: a renewal
// that did not succeed is repeated at the next tick, and the wall clock is
// looked at soon after a suspended machine wakes.
func (h *Held) keep() {
	defer close(h.done)
	defer h.expiry.Stop()
	tick := h.every / 4
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-t.C:
		}
		if h.Alive() != nil {
			return
		}
		if h.age() < h.every-tick/2 {
			continue // there are more ticks to come before it is due
		}
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Renew)
		h.write(ctx, func(r record) record { return r })
		cancel()
	}
}

// Settled waits the settle time and proves that the lease is ours. Before it
// returned nil nothing may be written to the forge. A *BusyError means that
// another was first; ErrLost that our lease disappeared. Both are final. After
// any other error it may be called again.
func (h *Held) Settled(ctx context.Context) error {
	if h.proven {
		return h.Alive()
	}
	wait := time.Until(h.settled)
	for range looks {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		case <-h.ctx.Done():
			return context.Cause(h.ctx)
		}
		if err := h.prove(ctx); !errors.Is(err, errUnseen) {
			return err
		}
		wait = h.cfg.Settle
	}
	return h.end(errUnseen)
}

// Check reads afresh whether the lease is still ours and nobody edited it. It
// is meant for the moment before landing. ErrLost is final and means: land
// nothing. Any other error: unknown, which is no permission either.
func (h *Held) Check(ctx context.Context) error {
	err := h.prove(ctx)
	if errors.Is(err, errUnseen) {
		return h.end(err)
	}
	if _, busy := errors.AsType[*BusyError](err); busy {
		return h.Alive()
	}
	return err
}

func (h *Held) prove(ctx context.Context) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = h.claim.prove(ctx)
	if _, busy := errors.AsType[*BusyError](err); busy || errors.Is(err, ErrLost) {
		h.end(err)
		return err
	}
	return cmp.Or(h.Alive(), err)
}

// Inherited is the work in flight of the stale lease that this one replaces, as
// JSON, or nil. It stays in the lease until the first Save.
func (h *Held) Inherited() []byte { return h.inherited }

// Save renews the lease and replaces its note, by one edit. ErrLost is final.
// After any other error the note may or may not have been saved; Save may be
// repeated, and until it succeeds renewals write the note before it.
func (h *Held) Save(ctx context.Context, n Note) error {
	return h.write(ctx, func(r record) record {
		r = r.with(n)
		r.Saved = true
		return r
	})
}

func (h *Held) write(ctx context.Context, change func(record) record) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	h.sent++ // also when the last write failed: it may have arrived
	r := change(h.rec)
	r.Seq = h.sent
	sent := now()
	err = h.claim.write(ctx, r)
	switch {
	case err == nil:
		h.rec = r
		h.beat.Store(&beat{at: sent})
		h.expiry.Reset(h.left())
	case errors.Is(err, ErrLost):
		return h.end(err)
	default:
		err = fmt.Errorf("renew the lease: %w", err)
		h.beat.Store(&beat{at: h.beat.Load().at, err: err})
	}
	return cmp.Or(h.Alive(), err)
}

// Alive says, without asking anybody, whether the lease may still be relied on:
// nil, or ErrLost. Call it before every write to the forge.
func (h *Held) Alive() error {
	if h.ctx.Err() == nil && h.left() <= 0 {
		b := h.beat.Load()
		err := fmt.Errorf("last renewed %v ago", now().since(b.at).Round(time.Second))
		if b.err != nil {
			err = fmt.Errorf("%w: %w", err, b.err)
		}
		h.end(err)
	}
	return context.Cause(h.ctx)
}

// Context ends, with a cause that is ErrLost, as soon as the lease may not be
// relied on, and at Release. It is no child of Take's context.
func (h *Held) Context() context.Context { return h.ctx }

// Release ends the renewals and removes our lease, never another's. It may be
// repeated. An error is harmless: the lease becomes stale, and the next Take of
// the same Store removes it at once.
func (h *Held) Release(ctx context.Context) error {
	trusted := h.Alive() == nil
	h.end(errors.New("it was released"))
	select {
	case <-h.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case h.io <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.io }()
	if err := h.claim.drop(ctx, trusted); err != nil {
		return fmt.Errorf("release the lease: %w", err)
	}
	return nil
}

// enter waits until claim is free and gives a context that ends when ctx does,
// when the lease does, or when the lease cannot be renewed any more.
func (h *Held) enter(ctx context.Context) (context.Context, func(), error) {
	select {
	case h.io <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-h.ctx.Done():
		return nil, nil, context.Cause(h.ctx)
	}
	if err := h.Alive(); err != nil {
		<-h.io
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.left())
	stop := context.AfterFunc(h.ctx, cancel)
	return ctx, func() { stop(); cancel(); <-h.io }, nil
}

// end makes the lease unreliable for good; the first reason stays.
func (h *Held) end(why error) error {
	if !errors.Is(why, ErrLost) {
		why = fmt.Errorf("%w: %w", ErrLost, why)
	}
	h.cancel(why)
	return context.Cause(h.ctx)
}

// age is the time since the last write that succeeded was sent.
func (h *Held) age() time.Duration { return now().since(h.beat.Load().at) }

// left is how much longer the lease may be relied on.
func (h *Held) left() time.Duration { return h.cfg.limit() - h.age() }
