package lease

import (
	"strings"
	"testing"
	"testing/synctest"
)

// heirs is a dead holder's lease with its work in it, and two who come for it.
func heirs(t *testing.T) (hub *hub, b, c *replica, one, two Store) {
	t.Helper()
	hub = newHub()
	a, s := hub.replica("a")
	h := take(t, s, Note{PR: 1})
	if err := h.Save(t.Context(), Note{PR: 1, Data: []byte(`"old"`)}); err != nil {
		t.Fatal(err)
	}
	a.change(func() { a.dead = true })
	b, one = hub.replica("b")
	c, two = hub.replica("c")
	return hub, b, c, one, two
}

// inherits fails unless whoever comes next, when all are dead, goes on with the work.
func inherits(t *testing.T, hub *hub, work string) {
	t.Helper()
	_, d := hub.replica("d")
	h, err := poll(t.Context(), d, Note{})
	if err != nil {
		t.Fatal(err)
	}
	if string(h.Inherited()) != work {
		t.Errorf("inherited %s, want %s", h.Inherited(), work)
	}
	if n := len(hub.leases()); n != 1 {
		t.Errorf("%d leases, want 1", n)
	}
	release(t, h)
}

// Two come for a dead holder's lease. The first works and dies; the second cannot
// delete its lease, which has a higher number and older work in it.
func TestWorkIsInheritedFromWhoWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, b, c, one, two := heirs(t)
		c.hide = func(x Comment) bool { return strings.Contains(x.Body, "`b`") } // not there yet when it looked
		first, err := poll(t.Context(), one, Note{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := poll(t.Context(), two, Note{})
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Save(t.Context(), Note{PR: 2, Data: []byte(`"new"`)}); err != nil {
			t.Fatal(err)
		}
		b.change(func() { b.dead = true })
		c.change(func() { c.hide, c.before = nil, once("DELETE", "bad gateway") })
		if err := second.Check(t.Context()); err == nil {
			t.Error("the second has the lease too")
		}
		c.change(func() { c.dead = true })
		if n := len(hub.leases()); n != 2 {
			t.Errorf("%d leases, want both", n)
		}
		inherits(t, hub, `"new"`)
	})
}

// The first finds the dead holder's work and dies before it saves any of its own; the
// second has posted without a look and knows of none.
func TestWorkIsInheritedFromWhoFoundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, b, c, one, two := heirs(t)
		if _, err := poll(t.Context(), one, Note{}); err != nil {
			t.Fatal(err)
		}
		two.(*comments).look = false
		if _, err := two.Take(t.Context(), Note{Data: []byte(`"nothing"`)}); err != nil {
			t.Fatal(err)
		}
		b.change(func() { b.dead = true })
		c.change(func() { c.dead = true })
		inherits(t, hub, `"old"`)
	})
}
