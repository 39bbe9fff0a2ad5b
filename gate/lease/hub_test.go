package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/gate"
)

func config(holder string) Config {
	return Config{
		TTL: 2 * time.Minute, Renew: 30 * time.Second, Settle: 2 * time.Second,
		Holder: holder, Key: []byte("a key that replicas share"),
		Repo: gate.Repo{Forge: "work", Owner: "acme", Name: "widgets"}, Issue: 7, Base: "main", Chance: rand.Uint64,
	}
}

// expiry is when a dead holder's lease may be taken over: TTL and margin.
const expiry = 150 * time.Second

// hub is a forge with one issue. Its clock has a grain of a second.
type hub struct {
	mu      sync.Mutex // never held while time passes
	last    int64
	now     map[int64]Comment
	history []snapshot
}

type snapshot struct {
	at       time.Time
	comments map[int64]Comment
}

func newHub() *hub { return &hub{now: map[int64]Comment{}} }

func (h *hub) update(f func(map[int64]Comment)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.now)
	h.history = append(h.history, snapshot{time.Now(), maps.Clone(h.now)})
}

// say posts a comment as a person or as the bot.
func (h *hub) say(mine bool, body string) (c Comment) {
	h.update(func(all map[int64]Comment) {
		h.last++
		c = Comment{ID: h.last, Mine: mine, Body: body, Updated: time.Now().Truncate(time.Second)}
		all[c.ID] = c
	})
	return c
}

func (h *hub) edit(id int64, body string) error {
	err := ErrGone
	h.update(func(all map[int64]Comment) {
		if c, ok := all[id]; ok {
			c.Body, c.Updated = body, time.Now().Truncate(time.Second)
			all[id], err = c, nil
		}
	})
	return err
}

func (h *hub) remove(id int64) { h.update(func(all map[int64]Comment) { delete(all, id) }) }

// list is what the issue looked like some time ago, newest first.
func (h *hub) list(lag time.Duration) []Comment {
	h.mu.Lock()
	defer h.mu.Unlock()
	then := time.Now().Add(-lag)
	for _, s := range slices.Backward(h.history) {
		if !s.at.After(then) {
			return slices.SortedFunc(maps.Values(s.comments), func(a, b Comment) int { return int(b.ID - a.ID) })
		}
	}
	return nil
}

// leases are the comments that look like leases of the bot.
func (h *hub) leases() []Comment {
	return slices.DeleteFunc(h.list(0), func(c Comment) bool { return !c.Mine || !strings.Contains(c.Body, mark) })
}

// network is one replica's way to a server, and its troubles. Set them with
// change: renewals run at the same time.
type network struct {
	mu      sync.Mutex // never held while time passes
	calls   []string
	latency func() time.Duration  // of one way; nil: none
	before  func(op string) error // request lost or refused
	after   func(op string) error // reply lost
	paused  chan struct{}         // not nil: calls wait until it is closed, whatever their context says
	dead    bool
}

var errDead = errors.New("connection refused")

func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// made gives the calls made since it was last asked.
func (n *network) made() (calls string) {
	n.change(func() { calls, n.calls = strings.Join(n.calls, " "), nil })
	return calls
}

// call runs one request there and back.
func (n *network) call(ctx context.Context, op string, effect func() error) error {
	var paused chan struct{}
	n.change(func() { n.calls, paused = append(n.calls, op), n.paused })
	if paused != nil {
		<-paused
	}
	if err := n.travel(ctx, op, &n.before); err != nil {
		return err
	}
	var err error
	n.change(func() { err = effect() })
	return errors.Join(err, n.travel(ctx, op, &n.after))
}

// travel is one way, on which a message may be lost.
func (n *network) travel(ctx context.Context, op string, lose *func(string) error) (err error) {
	var d time.Duration
	n.change(func() {
		if n.latency != nil {
			d = n.latency()
		}
		if *lose != nil {
			err = (*lose)(op)
		}
		if n.dead {
			err = errDead
		}
	})
	select {
	case <-time.After(d):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// replica is one replica's way to the hub.
type replica struct {
	*hub
	network
	name    string
	lag     func() time.Duration // of lists; nil: fresh
	hide    func(Comment) bool   // missing from lists
	undated bool
}

func (r *replica) List(ctx context.Context) (all []Comment, now time.Time, err error) {
	err = r.call(ctx, "LIST", func() error {
		var lag time.Duration
		if r.lag != nil {
			lag = r.lag()
		}
		all = r.list(lag)
		if r.hide != nil {
			all = slices.DeleteFunc(all, r.hide)
		}
		if !r.undated {
			now = time.Now().Truncate(time.Second)
		}
		return nil
	})
	return all, now, err
}

func (r *replica) Post(ctx context.Context, body string) (c Comment, err error) {
	err = r.call(ctx, "POST", func() error { c = r.say(true, body); return nil })
	return c, err
}

func (r *replica) Edit(ctx context.Context, id int64, body string) error {
	return r.call(ctx, "EDIT", func() error { return r.edit(id, body) })
}

func (r *replica) Delete(ctx context.Context, id int64) error {
	return r.call(ctx, "DELETE", func() error { r.remove(id); return nil })
}

func (h *hub) replica(name string) (*replica, Store) {
	r := &replica{hub: h, name: name}
	return r, NewComments(config(name), r)
}

// once gives an error to the first call of the kind.
func once(op, text string) func(string) error {
	var done atomic.Bool
	return func(got string) error {
		if got != op || done.Swap(true) {
			return nil
		}
		return errors.New(text)
	}
}

// take takes the lease and settles it, or ends the test.
func take(t *testing.T, s Store, n Note) *Held {
	t.Helper()
	h, err := s.Take(t.Context(), n)
	if err == nil {
		err = h.Settled(t.Context())
	}
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	return h
}

func release(t *testing.T, h *Held) {
	t.Helper()
	if err := h.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
}

// poll takes the lease as a bot does: again at Until, but at least every 15 s.
func poll(ctx context.Context, s Store, n Note) (*Held, error) {
	const every = 15 * time.Second
	for {
		h, err := s.Take(ctx, n)
		if err == nil {
			if err = h.Settled(ctx); err == nil {
				return h, nil
			}
			if rerr := h.Release(ctx); rerr != nil {
				err = errors.Join(err, rerr)
			}
		}
		wait := every
		if busy, ok := errors.AsType[*BusyError](err); ok {
			wait = min(every, max(time.Until(busy.Until), time.Second))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// ends waits for the end of the lease and checks that it came in time, and why.
func ends(t *testing.T, h *Held, within time.Duration, why string) {
	t.Helper()
	select {
	case <-h.Context().Done():
	case <-time.After(within + 1): // not at the same instant
		t.Fatalf("the lease still counts after %v", within)
	}
	err := context.Cause(h.Context())
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), why) {
		t.Errorf("the lease ended with %q, want ErrLost and %q", err, why)
	}
}
