package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// race lets two to four replicas work in turns on a shared queue, and fails when
// two of them hold it at once, when one never gets it, or when a lease is left
// over. weather sets the troubles of one replica.
func race(t *testing.T, seed uint64, weather func(*replica, *rand.Rand)) {
	hub := newHub()
	dice := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Hour)
	defer cancel()
	var holders atomic.Int32
	failures := make(chan error)
	replicas := 2 + dice.IntN(3)
	for i := range replicas {
		dice := rand.New(rand.NewPCG(seed, uint64(i)+1))
		r, s := hub.replica(fmt.Sprint("bot-", i))
		weather(r, dice)
		go func() { failures <- turns(ctx, s, rand.New(rand.NewPCG(seed, uint64(i)+100)), &holders) }()
	}
	for range replicas {
		if err := <-failures; err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if left := hub.leases(); len(left) > 0 {
		t.Errorf("seed %d: %d leases are left over: %v", seed, len(left), left)
	}
}

func turns(ctx context.Context, s Store, dice *rand.Rand, holders *atomic.Int32) error {
	between := func(a, b time.Duration) time.Duration { return a + time.Duration(dice.Int64N(int64(b-a))) }
	for turn := range 3 {
		time.Sleep(between(0, 10*time.Second))
		h, err := poll(ctx, s, Note{PR: turn})
		if err != nil {
			return fmt.Errorf("turn %d: %w", turn, err)
		}
		err = work(ctx, h, between(10*time.Second, 5*time.Minute), holders)
		if err = errors.Join(err, h.Release(ctx)); err != nil {
			return fmt.Errorf("turn %d: %w", turn, err)
		}
	}
	return nil
}

// work holds the queue for a while.
func work(ctx context.Context, h *Held, d time.Duration, holders *atomic.Int32) error {
	defer holders.Add(-1)
	if n := holders.Add(1); n != 1 {
		return fmt.Errorf("%d replicas hold the queue at once", n)
	}
	select {
	case <-time.After(d):
	case <-h.Context().Done():
		return context.Cause(h.Context())
	}
	err := h.Check(ctx)
	for tries := 0; err != nil && !errors.Is(err, ErrLost) && tries < 9; tries++ {
		time.Sleep(time.Second)
		err = h.Check(ctx)
	}
	return err
}

func upTo(dice *rand.Rand, d time.Duration) func() time.Duration {
	return func() time.Duration { return time.Duration(dice.Int64N(int64(d))) }
}

// sometimes loses one message in ten of these kinds, but never two in a row:
// that could cost the lease.
func sometimes(dice *rand.Rand, ops string) func(string) error {
	lost := false
	return func(op string) error {
		if lost = !lost && strings.Contains(ops, op) && dice.IntN(10) == 0; lost {
			return errDead
		}
		return nil
	}
}

func TestAttack01OnlyOneHolds(t *testing.T) {
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) {
			race(t, seed, func(r *replica, dice *rand.Rand) {
				r.latency = upTo(dice, 4*time.Second)
			})
		})
	}
}

// A list may be some seconds old, as long as it was true then.
func TestAttack04OnlyOneHoldsThoughListsLag(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			race(t, seed, func(r *replica, dice *rand.Rand) {
				r.latency = upTo(dice, time.Second)
				r.lag = upTo(dice, 10*time.Second)
			})
		})
	}
}

// Now and then a request or a reply is lost.
func TestOnlyOneHoldsThoughMessagesAreLost(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			race(t, seed, func(r *replica, dice *rand.Rand) {
				r.latency = upTo(dice, time.Second)
				r.before, r.after = sometimes(dice, "POST EDIT"), sometimes(dice, "POST EDIT")
			})
		})
	}
}

// Take after a clean Release saves the look, unless somebody saw a lease meanwhile.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("a")
		_, b := hub.replica("b")
		release(t, take(t, b, Note{}))
		defer release(t, take(t, a, Note{}))
		b.Look()
		if _, err := b.Take(t.Context(), Note{}); err == nil {
			t.Error("took a queue that is held, without looking")
		}
	})
}
