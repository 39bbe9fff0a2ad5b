package lease

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mergegate/gate"
	"mergegate/gate/catchup"
)

// remote is a git server in memory, for one ref.
type remote struct {
	sync.Mutex
	at      gate.SHA
	commits map[gate.SHA]string
}

// clone is one replica's way to the remote.
type clone struct {
	*remote
	network
}

func (c *clone) RemoteRefs(ctx context.Context, refs ...string) (map[string]gate.SHA, error) {
	all := map[string]gate.SHA{}
	err := c.call(ctx, "REFS", func() error {
		c.Lock()
		defer c.Unlock()
		if c.at != "" {
			all[refs[0]] = c.at
		}
		return nil
	})
	return all, err
}

func (c *clone) PushRef(ctx context.Context, ref string, from, to gate.SHA) error {
	return c.call(ctx, "PUSH", func() error {
		c.Lock()
		defer c.Unlock()
		if c.at != from {
			return fmt.Errorf("%s is at %q", ref, c.at)
		}
		c.at = to
		return nil
	})
}

func (c *clone) Write(_ context.Context, text string) (gate.SHA, error) {
	id := gate.SHA(fmt.Sprintf("%x", sha1.Sum([]byte(text))))
	c.Lock()
	defer c.Unlock()
	c.commits[id] = text
	return id, nil
}

func (c *clone) Read(ctx context.Context, _ string) (at gate.SHA, text string, err error) {
	err = c.call(ctx, "FETCH", func() error {
		c.Lock()
		defer c.Unlock()
		at, text = c.at, c.commits[c.at]
		return nil
	})
	return at, text, err
}

func (r *remote) clone(name string) (*clone, Store) {
	c := &clone{remote: r}
	return c, NewRef(config(name), c)
}

func newRemote() *remote { return &remote{commits: map[gate.SHA]string{}} }

func TestRefCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newRemote().clone("a")
		want := func(when, calls string) {
			t.Helper()
			if got := c.made(); got != calls {
				t.Errorf("%s: the calls were %q, want %q", when, got, calls)
			}
		}
		release(t, take(t, s, Note{PR: 1}))
		want("first take and release", "REFS PUSH PUSH")
		h := take(t, s, Note{PR: 2})
		want("next take", "PUSH")
		time.Sleep(h.every*4 + time.Second)
		want("two minutes of holding", "PUSH PUSH PUSH PUSH")
		if err := h.Check(t.Context()); err != nil {
			t.Error(err)
		}
		want("check", "REFS")
		release(t, h)
	})
}

func TestOnlyOneHoldsTheRef(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rem := newRemote()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Hour)
			defer cancel()
			var holders atomic.Int32
			failures := make(chan error)
			const replicas = 3
			for i := range uint64(replicas) {
				dice := rand.New(rand.NewPCG(seed, i))
				c, s := rem.clone(fmt.Sprint("bot-", i))
				c.latency = upTo(dice, time.Second)
				c.after = sometimes(dice, "PUSH")
				go func() { failures <- turns(ctx, s, rand.New(rand.NewPCG(seed, i+100)), &holders) }()
			}
			for range replicas {
				if err := <-failures; err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			if rem.at != "" {
				t.Errorf("seed %d: a lease is left over", seed)
			}
		})
	}
}

func TestDeadHolderOfTheRefIsReplacedAndCannotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rem := newRemote()
		ca, a := rem.clone("a")
		_, b := rem.clone("b")
		ha := take(t, a, Note{PR: 12})
		if err := ha.Save(t.Context(), Note{PR: 12, Data: []byte(`"work"`)}); err != nil {
			t.Fatal(err)
		}
		_, err := b.Take(t.Context(), Note{})
		if busy, ok := errors.AsType[*BusyError](err); !ok || busy.Holder != "a" || busy.PR != 12 || !busy.Until.Equal(time.Now().Add(expiry)) {
			t.Errorf("take: %v, want held by a for 12 for %v", err, expiry)
		}
		died := time.Now()
		ca.change(func() { ca.dead = true })
		hb, err := poll(t.Context(), b, Note{PR: 13})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(died); took < expiry || took > expiry+15*time.Second {
			t.Errorf("taken over after %v, want %v and a poll", took, expiry)
		}
		if string(hb.Inherited()) != `"work"` {
			t.Errorf("inherited %s, want the work", hb.Inherited())
		}
		ca.change(func() { ca.dead = false })
		ends(t, ha, 0, "last renewed")
		release(t, ha)
		if err := hb.Check(t.Context()); err != nil {
			t.Errorf("the new holder: %v", err)
		}
		release(t, hb)
	})
}

func TestRefPushWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newRemote().clone("a")
		c.change(func() { c.after = once("PUSH", "connection reset") })
		h := take(t, s, Note{PR: 12})
		c.change(func() { c.after = once("PUSH", "connection reset") })
		if err := h.Save(t.Context(), Note{PR: 13}); err != nil {
			t.Errorf("save: %v", err)
		}
		// The answer to the push and the look after it are both lost.
		lose := map[string]bool{"PUSH": true, "REFS": true}
		c.change(func() {
			c.after = func(op string) error {
				if lose[op] {
					lose[op] = false
					return errDead
				}
				return nil
			}
		})
		if err := h.Save(t.Context(), Note{PR: 14}); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("save: %v, want trouble that may pass", err)
		}
		time.Sleep(time.Minute)
		if err := h.Check(t.Context()); err != nil {
			t.Errorf("check: %v", err)
		}
		c.change(func() { lose["PUSH"], lose["REFS"] = true, true })
		if err := h.Save(t.Context(), Note{PR: 15}); err == nil {
			t.Error("saved without an answer")
		}
		c.change(func() { lose["PUSH"] = true })
		release(t, h)
		if c.at != "" {
			t.Error("the lease is left over")
		}
	})
}

// What a push without any answer left behind is ours to replace at once.
func TestRefLeftOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rem := newRemote()
		c, s := rem.clone("a")
		_, b := rem.clone("b")
		var pushed bool
		c.after = func(op string) error {
			if pushed = pushed || op == "PUSH"; pushed {
				return errDead
			}
			return nil
		}
		if _, err := s.Take(t.Context(), Note{PR: 12, Data: []byte(`"work"`)}); err == nil {
			t.Fatal("took the lease without an answer")
		}
		c.after = nil
		if _, err := b.Take(t.Context(), Note{}); err == nil {
			t.Error("another replica took the queue though a live lease is there")
		}
		h := take(t, s, Note{PR: 12})
		if string(h.Inherited()) != `"work"` {
			t.Errorf("inherited %s, want our own work", h.Inherited())
		}
		release(t, h)
	})
}

func TestRefPushedByAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newRemote().clone("a")
		h := take(t, s, Note{PR: 12})
		by, _ := c.Write(t.Context(), "freed by hand")
		if err := c.PushRef(t.Context(), "", c.at, by); err != nil {
			t.Fatal(err)
		}
		if err := h.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("check: %v, want ErrLost", err)
		}
		release(t, h)
		_, err := s.Take(t.Context(), Note{PR: 12})
		if busy, ok := errors.AsType[*BusyError](err); !ok || !busy.Unknown {
			t.Errorf("take: %v, want held by unknown", err)
		}
		h, err = poll(t.Context(), s, Note{PR: 12})
		if err != nil {
			t.Fatal(err)
		}
		release(t, h)
	})
}

// With the real git on a real repository.
func TestAttack21RefStolenWithAnOldCommit(t *testing.T) {
	server := filepath.Join(t.TempDir(), "server.git")
	if out, err := exec.Command("git", "init", "-q", "--bare", server).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	stealWithAnOldCommit(t, catchup.Remote{URL: server})
}

// stealWithAnOldCommit lets a thief push over a lease that was renewed since the
// thief looked.
func stealWithAnOldCommit(t *testing.T, remote catchup.Remote) {
	t.Helper()
	var mirrors []*catchup.Mirror
	var stores []Store
	for _, name := range []string{"a", "b"} {
		m, err := catchup.Open(t.Context(), filepath.Join(t.TempDir(), name), remote, catchup.Person{Name: "mergegate", Email: "m@localhost"})
		if err != nil {
			t.Fatal(err)
		}
		mirrors = append(mirrors, m)
		stores = append(stores, NewRef(config(name), GitRefs(m)))
	}
	ctx, ref := t.Context(), "refs/mergegate/lease/main"
	h := take(t, stores[0], Note{PR: 12})
	old, err := mirrors[0].RemoteRefs(ctx, ref)
	if err != nil || !old[ref].Valid() {
		t.Fatalf("the ref is at %q, %v", old[ref], err)
	}
	if err := h.Save(ctx, Note{PR: 13, Data: []byte(`"work"`)}); err != nil {
		t.Fatal(err)
	}
	_, err = stores[1].Take(ctx, Note{})
	if busy, ok := errors.AsType[*BusyError](err); !ok || busy.Holder != "a" || busy.PR != 13 {
		t.Errorf("take: %v, want held by a for 13", err)
	}
	// A thief who saw the lease before it was renewed comes too late.
	thief := &refClaim{s: stores[1].(*refStore), at: old[ref]}
	if err := thief.write(ctx, newRecord(config("b"), "N", Note{}, nil)); !errors.Is(err, ErrLost) {
		t.Errorf("steal with an old commit: %v, want ErrLost", err)
	}
	if err := h.Check(ctx); err != nil {
		t.Errorf("check: %v", err)
	}
	release(t, h)
	release(t, take(t, stores[1], Note{PR: 14}))
	if left, err := mirrors[1].RemoteRefs(ctx, ref); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// slow is a clone whose next read takes longer than any lease lives, while others
// go on.
type slow struct {
	*clone
	meanwhile func()
}

func (s *slow) Read(ctx context.Context, ref string) (gate.SHA, string, error) {
	if f := s.meanwhile; f != nil {
		s.meanwhile = nil
		f()
	}
	return s.clone.Read(ctx, ref)
}

// A lease that was taken while we were still reading the one before is new to us,
// however long that took.
func TestRefTakenWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		_, a := r.clone("a")
		_, b := r.clone("b")
		c := &slow{clone: &clone{remote: r}}
		s := NewRef(config("c"), c)
		first := take(t, a, Note{PR: 1})
		var second *Held
		c.meanwhile = func() {
			time.Sleep(10 * time.Minute)
			release(t, first)
			second = take(t, b, Note{PR: 2})
		}
		for range 3 {
			var busy *BusyError
			if _, err := s.Take(t.Context(), Note{}); !errors.As(err, &busy) || busy.Holder != "b" {
				t.Errorf("taken over a fresh lease: %v", err)
			}
			time.Sleep(time.Second)
		}
		release(t, second)
	})
}
