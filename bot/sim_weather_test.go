package bot_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
)

// A fault is something that goes wrong with a call, a delivery, or a replica.
type fault string

const (
	lostRequest fault = "request lost"
	lostReply   fault = "reply lost"
	late        fault = "late by more than the TTL"
	reordered   fault = "overtaken by later calls"
	doubled     fault = "doubled"
	slow        fault = "slow"
	broken5xx   fault = "5xx before the effect"
	broken5xxIn fault = "5xx after the effect"
	status401   fault = "401"
	status403   fault = "403"
	status404   fault = "404"
	status405   fault = "405"
	status409   fault = "409"
	status422   fault = "422"
	status429   fault = "429"
	partialPage fault = "partial page"
	staleRead   fault = "stale read"
	crashBefore fault = "crash before the effect"
	crashAfter  fault = "crash after the effect"
	paused      fault = "paused beyond the TTL"
	down        fault = "forge down"
	expired     fault = "token expired"
	hidden      fault = "repository hidden (404)"
	limited     fault = "rate limit used up"
	rival       fault = "people act between look and effect"
	hookLost    fault = "webhook lost"
	hookTwice   fault = "webhook doubled"
	hookLate    fault = "webhook late"
	hookForged  fault = "webhook forged"
	hangs       fault = "retest hangs"
	noVerdict   fault = "retest broken"
	clockOff    fault = "clock off by an hour"
)

// faults is all of them.
var faults = []fault{
	lostRequest, lostReply, late, reordered, doubled, slow, broken5xx, broken5xxIn, status401,
	status403, status404, status405, status409, status422, status429, partialPage, staleRead,
	crashBefore, crashAfter, paused, down, expired, hidden, limited, rival, hookLost,
	hookTwice, hookLate, hookForged, hangs, noVerdict, clockOff,
}

// perCall are the faults that strike single calls, with the highest probability
// that a seed may draw for each.
var perCall = []struct {
	fault
	most float64
}{
	{lostRequest, .05}, {lostReply, .05}, {late, .02}, {reordered, .05}, {doubled, .05}, {slow, .1},
	{broken5xx, .05}, {broken5xxIn, .05},
	{status401, .02}, {status403, .02}, {status404, .01}, {status405, .3}, {status409, .02}, {status422, .02}, {status429, .02},
	{partialPage, .05}, {staleRead, .1},
	{crashBefore, .02}, {crashAfter, .02}, {paused, .005},
	{hookLost, 1}, {hookTwice, .3}, {hookLate, .5}, {hookForged, .1},
	{hangs, .2}, {noVerdict, .3},
}

// weather is what goes wrong in one world: a probability for each fault, and
// hours of trouble for everybody.
type weather struct {
	p     map[fault]float64
	spell []spell
}

// spell is a time in which every call of a replica (of all, when slot is -1) fails.
type spell struct {
	fault
	slot     int
	from, to time.Duration
}

func newWeather(dice *rand.Rand, length time.Duration, slots int) weather {
	w := weather{p: map[fault]float64{}}
	for _, f := range perCall {
		if dice.IntN(3) == 0 {
			x := dice.Float64()
			w.p[f.fault] = f.most * x * x
		}
	}
	if dice.IntN(4) == 0 {
		w.p[hookLost] = 1
	}
	if dice.IntN(2) == 0 {
		w.p[rival] = dice.Float64() * .6
	}
	for _, f := range []fault{down, expired, hidden, limited} {
		if dice.IntN(8) == 0 {
			from := upTo(dice, length)
			w.spell = append(w.spell, spell{f, dice.IntN(slots+1) - 1, from, from + upTo(dice, 10*time.Minute)})
		}
	}
	return w
}

func upTo(dice *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(dice.Int64N(int64(d)))
}

// die is chance without memory: it answers a question by the question and the
// instant it is asked at, so that the order in which goroutines ask does not matter.
type die uint64

func (w *world) die(about string) die {
	h := uint64(time.Now().UnixNano()) ^ w.seed*0x9e3779b97f4a7c15
	for i := range len(about) {
		h = (h ^ uint64(about[i])) * 0x100000001b3
	}
	d := die(h)
	d.next()
	return d
}

func (d *die) next() uint64 { // splitmix64
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (d *die) float() float64 { return float64(d.next()>>11) / (1 << 53) }

func (d *die) upTo(t time.Duration) time.Duration { return time.Duration(d.next() % uint64(t)) }

// strikes says whether a fault strikes now, and counts it.
func (w *world) strikes(d *die, f fault) bool {
	if w.healed.Load() || w.weather.p[f] == 0 || d.float() >= w.weather.p[f] {
		return false
	}
	w.hit(f)
	return true
}

// lanes is how many actors own instants. An actor's effects happen at instants
// whose nanoseconds leave its own remainder, so no two actors ever act at the
// same one, and the order of everything follows from the instants alone.
const lanes = 64

// until waits for the first instant of a lane that is d or more away; false when
// ctx ended first.
func until(ctx context.Context, lane int, d time.Duration) bool {
	t := time.NewTimer(aligned(lane, d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func aligned(lane int, d time.Duration) time.Duration {
	at := time.Now().Add(d).UnixNano()
	return d + time.Duration((int64(lane)-at%lanes+lanes)%lanes)
}

var (
	errDead    = errors.New("simulated: this replica is dead")
	errTimeout = errors.New("simulated: no answer")
)

// around is the network between the replicas and the forge.
func (w *world) around(ctx context.Context, c forgetest.Call, do func() error) error {
	r := w.life(c.Replica)
	if r.dead.Load() {
		return errDead
	}
	lane := r.lane(c)
	d := w.die(c.Replica + c.Op)
	if !r.travel(ctx, lane, &d) {
		return context.Cause(ctx) // at somebody else's instant: not for the trace
	}
	if r.dead.Load() {
		return errDead
	}
	if w.asked.Add(1) > tooManyCalls {
		w.cancel() // a judge will say so; there is no need to wait for more
	}
	point := crashPoint(c)
	if c.Write && w.strikes(&d, crashBefore) {
		w.crash(r, "before "+point)
		return errDead
	}
	if err, ok := w.fails(ctx, c, &d, lane, do); ok {
		if !r.travel(ctx, lane, &d) {
			return err
		}
		return w.seen(c, err)
	}
	if n := w.about(c); n != 0 && w.strikes(&d, rival) {
		w.rival(n, &d)
	}
	err := do()
	if c.Write && w.strikes(&d, doubled) && until(ctx, lane, d.upTo(2*time.Second)) && !r.dead.Load() {
		err = do()
	}
	if c.Write && w.strikes(&d, crashAfter) {
		w.crash(r, "after "+point)
		return errDead
	}
	switch {
	case w.strikes(&d, lostReply):
		until(ctx, lane, d.upTo(30*time.Second))
		err = errTimeout
	case w.strikes(&d, broken5xxIn):
		err = fmt.Errorf("simulated: the forge answered 502 after the effect")
	case w.strikes(&d, slow):
		until(ctx, lane, d.upTo(20*time.Second))
	}
	switch {
	case !r.travel(ctx, lane, &d):
		return errTimeout
	case r.dead.Load():
		return errDead
	}
	return w.seen(c, err)
}

// travel is the way to the forge, or back. A paused replica goes on when it wakes,
// whatever its contexts say: nothing in it ran meanwhile.
func (r *life) travel(ctx context.Context, lane int, d *die) bool {
	if !until(ctx, lane, time.Millisecond+d.upTo(40*time.Millisecond)) {
		return false
	}
	if r.w.strikes(d, paused) {
		r.paused.Store(time.Now().Add(d.upTo(3 * r.w.cfg.Lease.TTL)).UnixNano())
	}
	for {
		wake := time.Until(time.Unix(0, r.paused.Load()))
		if wake <= 0 {
			return true
		}
		until(context.Background(), lane, wake)
	}
}

// fails says whether a call fails before the caller could see its effect, and how.
func (w *world) fails(ctx context.Context, c forgetest.Call, d *die, lane int, do func() error) (error, bool) {
	r := w.life(c.Replica)
	now := time.Since(w.start)
	for _, s := range w.weather.spell {
		if w.healed.Load() || s.slot >= 0 && s.slot != r.slot || now < s.from || now > s.to {
			continue
		}
		w.hit(s.fault)
		switch s.fault {
		case hidden:
			return refused(404, forge.ErrNotFound, c), true
		case limited:
			return &forge.RateLimited{Until: w.start.Add(s.to)}, true
		}
		return fmt.Errorf("simulated: %s", s.fault), true
	}
	switch {
	case w.strikes(d, lostRequest):
		until(ctx, lane, d.upTo(30*time.Second))
		return errTimeout, true
	case w.strikes(d, broken5xx):
		return errors.New("simulated: the forge answered 502"), true
	case w.strikes(d, status401):
		return errors.New("simulated: the forge answered 401"), true
	case w.strikes(d, status403):
		return refused(403, forge.ErrDenied, c), true
	case w.strikes(d, status404):
		return refused(404, forge.ErrNotFound, c), true
	case w.strikes(d, status422):
		return refused(422, forge.ErrDenied, c), true
	case w.strikes(d, status429):
		return &forge.RateLimited{Until: time.Now().Add(d.upTo(time.Minute))}, true
	case c.Op == "Land" && w.strikes(d, status405):
		return refused(405, forge.ErrBusy, c), true
	case c.Op == "Land" && w.strikes(d, status409):
		return refused(409, forge.ErrMoved, c), true
	case !c.Write && w.strikes(d, partialPage):
		return errors.New("simulated: the second page could not be read"), true
	case c.Write && w.strikes(d, late):
		w.later(r, c, d.upTo(2*w.cfg.Lease.TTL)+w.cfg.Lease.TTL, do)
		return errTimeout, true
	case c.Write && w.strikes(d, reordered):
		w.later(r, c, d.upTo(20*time.Second), do)
		return errTimeout, true
	}
	return nil, false
}

// later is a request that is still on its way when its sender has given up.
func (w *world) later(r *life, c forgetest.Call, after time.Duration, do func() error) {
	w.tasks.Add(1)
	time.AfterFunc(aligned(r.slot*8+laneLate, after), func() {
		defer w.tasks.Done()
		w.note("late effect of %s: %s", r.name, c)
		w.mu.Lock()
		w.late[time.Now()] = true
		w.mu.Unlock()
		do()
	})
}

func refused(status int, kind error, c forgetest.Call) error {
	return &forge.Refusal{Kind: kind, Op: c.Op, Status: status, Text: "simulated"}
}

// seen notes a call and its answer in the trace.
func (w *world) seen(c forgetest.Call, err error) error {
	w.mu.Lock()
	w.trace.call(c, err)
	w.mu.Unlock()
	return err
}

// trace is a running hash of everything that crossed the network, in order, and,
// when somebody wants to read it, its text. Instants have one actor each, so
// there is nobody to share it with.
type trace struct {
	sum  uint64
	text func(format string, args ...any)
}

func (t *trace) add(words ...string) {
	h := t.sum ^ uint64(time.Now().UnixNano())*0x9e3779b97f4a7c15
	for _, word := range words {
		for i := range len(word) {
			h = (h ^ uint64(word[i])) * 0x100000001b3
		}
	}
	t.sum = h
}

func (t *trace) call(c forgetest.Call, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	t.add(c.Replica, c.Op, c.Ref, string(c.Commit), outcome)
	if t.text != nil {
		t.text("%s %s", c, answer(err))
	}
}

func answer(err error) string {
	if err == nil {
		return "ok"
	}
	return "-> " + err.Error()
}
