package lease

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallsOfAQuietQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		r, s := hub.replica("a")
		want := func(when, calls string) {
			t.Helper()
			if got := r.made(); got != calls {
				t.Errorf("%s: the calls were %q, want %q", when, got, calls)
			}
		}
		h := take(t, s, Note{PR: 1})
		want("first take", "LIST POST LIST")
		time.Sleep(h.every*4 + time.Second)
		want("two minutes of holding", "EDIT EDIT EDIT EDIT")
		if err := h.Save(t.Context(), Note{PR: 2}); err != nil {
			t.Fatal(err)
		}
		want("hand over", "EDIT")
		time.Sleep(h.every / 2)
		want("soon after a save", "")
		if err := h.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("check", "LIST")
		release(t, h)
		want("release", "DELETE")
		h = take(t, s, Note{PR: 3})
		want("next take", "POST LIST")
		release(t, h)
		want("next release", "DELETE")
		if n := len(hub.list(0)); n != 0 {
			t.Errorf("%d comments are left", n)
		}
	})
}

func TestBusySaysWhoHoldsAndForWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("bot-a")
		b, other := hub.replica("bot-b")
		h := take(t, a, Note{PR: 12})
		defer release(t, h)
		if err := h.Save(t.Context(), Note{PR: 13}); err != nil {
			t.Fatal(err)
		}
		saved := time.Now()
		time.Sleep(10 * time.Second)
		_, err := other.Take(t.Context(), Note{PR: 14})
		busy, ok := errors.AsType[*BusyError](err)
		if !ok || busy.Holder != "bot-a" || busy.PR != 13 || busy.Unknown {
			t.Fatalf("take: %v, want held by bot-a for 13", err)
		}
		if d := busy.Until.Sub(saved); d < expiry-time.Second || d > expiry+time.Second {
			t.Errorf("busy until %v after the last edit, want %v", d, expiry)
		}
		if strings.Contains(b.made(), "POST") {
			t.Error("it posted though the queue was visibly busy")
		}
	})
}

func TestLoserLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("bot-a")
		_, b := hub.replica("bot-b")
		ha, err := a.Take(t.Context(), Note{})
		if err != nil {
			t.Fatal(err)
		}
		defer release(t, ha)
		// b's first list is fresh, but let it believe that the queue is free.
		b.(*comments).look = false
		hb, err := b.Take(t.Context(), Note{})
		if err != nil {
			t.Fatal(err)
		}
		err = hb.Settled(t.Context())
		if busy, ok := errors.AsType[*BusyError](err); !ok || busy.Holder != "bot-a" {
			t.Errorf("settled: %v, want held by bot-a", err)
		}
		ends(t, hb, 0, "held by bot-a")
		if got := hub.leases(); len(got) != 1 || !strings.Contains(got[0].Body, "bot-a") {
			t.Errorf("leases on the issue: %v, want only bot-a's", got)
		}
		release(t, hb)
		if err := ha.Settled(t.Context()); err != nil {
			t.Errorf("the first one: %v", err)
		}
	})
}

func TestAttack07DeadHolderIsReplacedInTime(t *testing.T) {
	for _, undated := range []bool{false, true} {
		t.Run(fmt.Sprintf("undated=%v", undated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := newHub()
				ra, a := hub.replica("a")
				rb, b := hub.replica("b")
				rb.change(func() { rb.undated = undated })
				take(t, a, Note{PR: 12})
				time.Sleep(10 * time.Minute)
				last := hub.leases()[0].Updated
				if undated { // then only watching it tells its age
					last = time.Now()
				}
				ra.change(func() { ra.dead = true })
				h, err := poll(t.Context(), b, Note{PR: 13})
				if err != nil {
					t.Fatal(err)
				}
				defer release(t, h)
				took := time.Since(last)
				if most := expiry + 15*time.Second + config("").Settle; took < expiry || took > most {
					t.Errorf("taken over %v after the last renewal, want %v to %v", took, expiry, most)
				}
				if got := hub.leases(); len(got) != 1 || !strings.Contains(got[0].Body, "`b`") {
					t.Errorf("leases on the issue: %v, want only b's", got)
				}
			})
		})
	}
}

func TestWorkIsInheritedAlsoFromASuccessorThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const work = `{"head":"<!-- -->"}`
		hub := newHub()
		ra, a := hub.replica("a")
		rb, b := hub.replica("b")
		_, c := hub.replica("c")
		h := take(t, a, Note{PR: 12})
		if h.Inherited() != nil {
			t.Errorf("inherited %s from nobody", h.Inherited())
		}
		if err := h.Save(t.Context(), Note{PR: 12, Data: []byte(work)}); err != nil {
			t.Fatal(err)
		}
		ra.change(func() { ra.dead = true })
		if _, err := poll(t.Context(), b, Note{PR: 13, Data: []byte(`"b's own"`)}); err != nil {
			t.Fatal(err)
		}
		rb.change(func() { rb.dead = true }) // before it saved anything
		hc, err := poll(t.Context(), c, Note{})
		if err != nil {
			t.Fatal(err)
		}
		defer release(t, hc)
		if !sameJSON(t, hc.Inherited(), []byte(work)) {
			t.Errorf("inherited %s, want %s", hc.Inherited(), work)
		}
	})
}

func TestAttack08And10PausedHolderWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		ra, a := hub.replica("a")
		_, b := hub.replica("b")
		ha := take(t, a, Note{PR: 12})
		paused := make(chan struct{})
		ra.change(func() { ra.paused = paused })
		hb, err := poll(t.Context(), b, Note{PR: 13})
		if err != nil {
			t.Fatal(err)
		}
		defer release(t, hb)
		time.Sleep(time.Minute)
		close(paused) // what was on its way arrives now
		ends(t, ha, 0, "last renewed")
		if err := ha.Save(t.Context(), Note{PR: 12}); !errors.Is(err, ErrLost) {
			t.Errorf("save: %v, want ErrLost", err)
		}
		if err := ha.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("check: %v, want ErrLost", err)
		}
		release(t, ha)
		if err := hb.Check(t.Context()); err != nil {
			t.Errorf("the new holder: %v", err)
		}
		if got := hub.leases(); len(got) != 1 || !strings.Contains(got[0].Body, "`b`") {
			t.Errorf("leases on the issue: %v, want only b's", got)
		}
	})
}

func TestAttack15PersonDeletesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("a")
		_, b := hub.replica("b")
		h := take(t, a, Note{PR: 12})
		defer release(t, h)
		hub.remove(hub.leases()[0].ID)
		release(t, take(t, b, Note{PR: 13})) // the queue is free at once
		ends(t, h, 45*time.Second, "somebody deleted")
	})
}

func TestAttack15DeletedLeaseFailsTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("a")
		h := take(t, a, Note{PR: 12})
		defer release(t, h)
		hub.remove(hub.leases()[0].ID)
		if err := h.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("check: %v, want ErrLost", err)
		}
	})
}

func TestAttack14PersonEditsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		ra, a := hub.replica("a")
		_, b := hub.replica("b")
		h := take(t, a, Note{PR: 12})
		c := hub.leases()[0]
		hub.edit(c.ID, strings.Replace(c.Body, `"pr":12`, `"pr":13`, 1))
		if err := h.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("check: %v, want ErrLost", err)
		}
		_, err := b.Take(t.Context(), Note{})
		if busy, ok := errors.AsType[*BusyError](err); !ok || !busy.Unknown {
			t.Errorf("take: %v, want held by unknown", err)
		}
		ra.change(func() { ra.dead = true })
		time.Sleep(100 * time.Second)
		hub.edit(c.ID, hub.leases()[0].Body) // saved again, as it is
		edited := time.Now()
		hb, err := poll(t.Context(), b, Note{})
		if err != nil {
			t.Fatal(err)
		}
		release(t, hb)
		if took := time.Since(edited); took < expiry || took > expiry+17*time.Second {
			t.Errorf("taken over after %v, want %v and a poll", took, expiry)
		}
	})
}

func TestAttack16And17CopiesByOthersDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		for i := range 150 {
			hub.say(i%3 == 0, fmt.Sprint("chatter ", i))
		}
		elsewhere := config("c")
		elsewhere.Base = "release/1"
		_, a := hub.replica("a")
		rb, b := hub.replica("b")
		hc := take(t, NewComments(elsewhere, rb), Note{PR: 1})
		defer release(t, hc)
		h := take(t, a, Note{PR: 12})
		for _, c := range hub.leases() {
			hub.say(false, c.Body)
		}
		release(t, h)
		hb := take(t, b, Note{PR: 13})
		if err := errors.Join(hb.Check(t.Context()), hc.Check(t.Context())); err != nil {
			t.Error(err)
		}
		release(t, hb)
		if n := len(hub.list(0)); n != 150+2+1 {
			t.Errorf("%d comments, want the 150, two copies and the other queue's lease", n)
		}
	})
}

// A lease that was written for another place did not get here by our doing.
func TestLeaseFromElsewhereIsUnknown(t *testing.T) {
	for name, move := range map[string]func(*Config){
		"repository": func(c *Config) { c.Repo.Name = "gadgets" },
		"forge":      func(c *Config) { c.Repo.Forge = "home" },
		"issue":      func(c *Config) { c.Issue++ },
		"key":        func(c *Config) { c.Key = []byte("a key from somewhere else") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := newHub()
				ra, a := hub.replica("a")
				there := config("b")
				move(&there)
				h := take(t, NewComments(there, ra), Note{})
				defer release(t, h)
				_, err := a.Take(t.Context(), Note{})
				if busy, ok := errors.AsType[*BusyError](err); !ok || !busy.Unknown {
					t.Errorf("take: %v, want held by unknown", err)
				}
			})
		})
	}
}

func TestAttack18RenewalRefused(t *testing.T) {
	for _, answer := range []string{"403 forbidden", "500 internal error", "429 too many requests"} {
		t.Run(answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := newHub()
				r, s := hub.replica("a")
				h := take(t, s, Note{PR: 12})
				defer release(t, h)
				time.Sleep(10 * time.Minute)
				last := h.age()
				refuse := func(op string) error {
					if op == "EDIT" {
						return errors.New(answer)
					}
					return nil
				}
				r.change(func() { r.before = refuse })
				if err := h.Save(t.Context(), Note{PR: 12}); err == nil || errors.Is(err, ErrLost) {
					t.Errorf("save: %v, want trouble that may pass", err)
				}
				limit := config("").TTL * 2 / 3
				time.Sleep(limit - last - time.Second)
				if err := h.Alive(); err != nil {
					t.Errorf("one second early: %v", err)
				}
				ends(t, h, time.Second, answer)
			})
		})
	}
}

// Somebody restores an older text of the lease: no permission, until the next
// renewal has mended it.
func TestOldTextIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("a")
		h := take(t, a, Note{PR: 12})
		defer release(t, h)
		old := hub.leases()[0]
		time.Sleep(10 * time.Minute)
		hub.edit(old.ID, old.Body)
		if err := h.Check(t.Context()); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("check: %v, want trouble that may pass", err)
		}
		time.Sleep(time.Minute)
		if err := h.Check(t.Context()); err != nil {
			t.Errorf("check after a renewal: %v", err)
		}
	})
}

func TestLostRenewalsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		r, s := hub.replica("a")
		h := take(t, s, Note{PR: 12})
		defer release(t, h)
		// Twice in a row: the first is repeated before the next is due.
		r.change(func() {
			r.before = once("EDIT", "502 bad gateway")
			r.after = once("EDIT", "connection reset")
		})
		time.Sleep(10 * time.Minute)
		if err := h.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A forge that hangs must not hold up the end of the lease.
func TestHangingForge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		r, s := hub.replica("a")
		h := take(t, s, Note{PR: 12})
		paused := make(chan struct{})
		r.change(func() { r.paused = paused })
		saved := make(chan error)
		go func() { saved <- h.Save(t.Context(), Note{PR: 12}) }()
		ends(t, h, config("").TTL*2/3, "last renewed")
		close(paused)
		if err := <-saved; !errors.Is(err, ErrLost) {
			t.Errorf("save: %v, want ErrLost", err)
		}
		release(t, h)
	})
}

func TestAttack04OwnCommentIsNotInTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		r, s := hub.replica("a")
		r.hide = func(c Comment) bool { return c.Mine }
		h, err := s.Take(t.Context(), Note{PR: 12})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Settled(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("settled: %v, want ErrLost", err)
		}
		release(t, h)
		if n := len(hub.leases()); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

func TestAttack02And03PostWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		r, s := hub.replica("a")
		r.change(func() { r.after = once("POST", "connection reset") })
		h := take(t, s, Note{PR: 12})
		if n := len(hub.leases()); n != 1 {
			t.Errorf("reply lost: %d leases, want 1", n)
		}
		release(t, h)

		r.change(func() { r.before = once("POST", "connection refused") })
		if _, err := s.Take(t.Context(), Note{PR: 12}); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("request lost: %v, want the forge's trouble", err)
		}
		h = take(t, s, Note{PR: 12})
		if n := len(hub.leases()); n != 1 {
			t.Errorf("request lost: %d leases, want 1", n)
		}
		release(t, h)
	})
}

// A post whose answer and list were lost arrives late: our next attempt cleans
// it up without waiting, and another replica waits no longer than for a dead one.
func TestPostArrivesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		r, s := hub.replica("a")
		_, b := hub.replica("b")
		r.change(func() { r.dead = true })
		s.(*comments).look = false
		if _, err := s.Take(t.Context(), Note{PR: 12, Data: []byte(`"work"`)}); err == nil {
			t.Fatal("took a lease from a dead forge")
		}
		late := newRecord(config("a"), s.(*comments).ours.nonces[0], Note{PR: 12, Data: []byte(`"work"`)}, nil)
		body, err := late.comment(config("").Key)
		if err != nil {
			t.Fatal(err)
		}
		hub.say(true, body)
		r.change(func() { r.dead = false })
		if _, err := b.Take(t.Context(), Note{}); err == nil {
			t.Error("another replica took the queue though a live lease is there")
		}
		h := take(t, s, Note{PR: 12})
		if n := len(hub.leases()); n != 1 {
			t.Errorf("%d leases, want 1", n)
		}
		if string(h.Inherited()) != `"work"` {
			t.Errorf("inherited %s, want our own work", h.Inherited())
		}
		hub.say(true, body) // and once more
		if err := h.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(hub.leases()); n != 1 {
			t.Errorf("%d leases after the check, want 1", n)
		}
		release(t, h)
	})
}

// A lower id that becomes visible late, as a database may do, wins.
func TestAttack05LowerIDAppearsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub()
		_, a := hub.replica("a")
		rb, b := hub.replica("b")
		ha := take(t, a, Note{PR: 12})
		defer release(t, ha)
		rb.hide = func(c Comment) bool { return strings.Contains(c.Body, "`a`") }
		hb := take(t, b, Note{PR: 13})
		rb.change(func() { rb.hide = nil })
		if err := hb.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("check of the higher id: %v, want ErrLost", err)
		}
		release(t, hb)
		if err := ha.Check(t.Context()); err != nil {
			t.Errorf("check of the lower id: %v", err)
		}
	})
}
