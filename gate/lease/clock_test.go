package lease

import (
	"testing"
	"time"
)

// A suspended machine stops the monotonic clock, a corrected one moves the wall
// clock: the larger step counts.
func TestAttack11And12ElapsedIsTheLargerOfBothClocks(t *testing.T) {
	then := now()
	after := func(mono, wall time.Duration) stamp {
		return stamp{mono: then.mono.Add(mono), wall: then.wall.Add(wall)}
	}
	for _, c := range []struct{ mono, wall, want time.Duration }{
		{time.Second, time.Hour, time.Hour},
		{time.Minute, -time.Hour, time.Minute},
		{time.Minute, time.Minute, time.Minute},
	} {
		if got := after(c.mono, c.wall).since(then); got != c.want {
			t.Errorf("monotonic %v, wall %v: %v, want %v", c.mono, c.wall, got, c.want)
		}
	}
}

func TestAttack12And13WhenALeaseIsStale(t *testing.T) {
	const wait = 150 * time.Second
	first := time.Now()
	forge := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // years behind ours
	for _, c := range []struct {
		name    string
		age     time.Duration // at first sight
		later   time.Duration // this read
		jump    time.Duration // of the forge's clock in between
		undated bool
		want    time.Duration // from the first sight
	}{
		{name: "fresh", want: wait},
		{name: "age counts", age: 100 * time.Second, later: time.Second, want: 50 * time.Second},
		{name: "old at first sight needs a second read", age: time.Hour, want: 5 * time.Second},
		{name: "old at the second read", age: time.Hour, later: 7 * time.Second, want: 5 * time.Second},
		{name: "forge jumps ahead", age: 10 * time.Second, later: 15 * time.Second, jump: time.Hour, want: 140 * time.Second},
		{name: "forge jumps back", age: 10 * time.Second, later: 15 * time.Second, jump: -time.Hour, want: wait},
		{name: "forge says no time", age: time.Hour, later: time.Minute, undated: true, want: wait},
	} {
		w := sight{updated: forge.Add(-c.age), first: first, age: c.age, dated: !c.undated}
		forgeNow := forge.Add(c.later + c.jump)
		if c.undated {
			forgeNow = time.Time{}
		}
		at := first.Add(c.later)
		got := w.end(at, forgeNow, wait)
		stale, wantStale := !at.Before(got), c.later >= c.want
		if stale != wantStale || !stale && got.Sub(first) != c.want {
			t.Errorf("%s: stale %v after the first sight, want %v", c.name, got.Sub(first), c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := config("a").Validate(); err != nil {
		t.Errorf("the tests' own: %v", err)
	}
	for name, spoil := range map[string]func(*Config){
		"no ttl":          func(c *Config) { c.TTL = 0 },
		"slow renewals":   func(c *Config) { c.Renew = time.Minute },
		"endless settle":  func(c *Config) { c.Settle = time.Minute },
		"negative margin": func(c *Config) { c.Margin = -1 },
		"short key":       func(c *Config) { c.Key = []byte("key") },
		"no holder":       func(c *Config) { c.Holder = "" },
		"no base":         func(c *Config) { c.Base = "" },
	} {
		c := config("a")
		spoil(&c)
		if _, err := NewComments(c, nil).Take(t.Context(), Note{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
