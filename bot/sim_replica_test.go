package bot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"mergegate/bot"
	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/retest"
)

// The lanes of one replica: what may act at the same time.
const (
	laneWork  = iota // the rounds
	laneLease        // renewals; Held lets one call at a time through
	laneReact        // acknowledging commands beside the rounds
	laneTest         // retests
	laneHook         // deliveries to it
	laneLate         // its requests that are late
	laneLife         // its starts
)

// life is one process of a replica, from its start to its end.
type life struct {
	w       *world
	slot    int
	name    string // slot and number of the life
	dead    atomic.Bool
	died    time.Duration
	paused  atomic.Int64 // until this instant
	cancel  context.CancelFunc
	handler http.Handler
	mirror  bot.Mirror
	chances atomic.Uint64
}

func (r *life) lane(c forgetest.Call) int {
	class := laneWork
	switch {
	case c.Op == "React":
		class = laneReact
	case c.Op == "EditComment" && strings.Contains(c.Text, "mergegate:lease"), strings.Contains(c.Ref, "mergegate/lease"):
		class = laneLease
	}
	return r.slot*8 + class
}

// crash ends a life at once: nothing it does from now on reaches anybody.
func (w *world) crash(r *life, point string) {
	if r.dead.Swap(true) {
		return
	}
	w.mu.Lock()
	w.points[point]++
	w.mu.Unlock()
	w.note("%s crashes %s", r.name, point)
	r.died = time.Since(w.start)
	r.cancel()
}

// crashPoint names an effect as people speak of it.
func crashPoint(c forgetest.Call) string {
	text := ""
	switch {
	case strings.Contains(c.Text, "mergegate:lease"):
		text = " of a lease"
	case strings.Contains(c.Ref, "mergegate/lease"):
		text = " of a lease"
	case strings.HasPrefix(c.Ref, "refs/heads/mergegate/"):
		text = " of a candidate"
	}
	return c.Op + text
}

// supervise keeps a replica running, life after life, until the world ends.
func (w *world) supervise(slot int) {
	defer w.running.Done()
	for n := 1; w.ctx.Err() == nil; n++ {
		r := w.born(slot, n)
		w.serve(r)
		if !r.dead.Load() {
			return // it was told to stop
		}
		d := w.die("down" + r.name)
		if slot > 0 && d.float() < .1 {
			w.note("%s stays dead", r.name)
			return
		}
		if !until(w.ctx, slot*8+laneLife, time.Second+d.upTo(4*time.Minute)) {
			return
		}
	}
}

func (w *world) born(slot, n int) *life {
	r := &life{w: w, slot: slot, name: fmt.Sprintf("%c%d", 'a'+slot, n)}
	w.mu.Lock()
	w.lives[r.name], w.now[slot] = r, r
	w.mu.Unlock()
	w.note("%s starts", r.name)
	return r
}

// serve runs the production bot.
func (w *world) serve(r *life) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	r.cancel = cancel
	open := func(_ context.Context, dir string, remote catchup.Remote, by catchup.Person) (bot.Mirror, error) {
		m, err := w.sim.Mirror(r.name, dir, remote, by)
		r.mirror = m
		return w.bug.wrapMirror(w, r, m), err
	}
	chance := func() uint64 {
		d := w.die(r.name + "chance" + string(rune(r.chances.Add(1))))
		return d.next()
	}
	f := w.bug.wrapForge(w, r, edge{w.sim.As(r.name), w.skew})
	b := bot.New(w.cfg, map[string]forge.Forge{"sim": f}, open, w.bug.wrapRunner(w, runner{w, r}), runner{w, r}, r.name, chance, 2, w.log(r))
	r.handler = b.Handler("simulated")
	if err := b.Run(ctx); err != nil {
		w.fail("bot", "Run: %v", err)
	}
}

// deliver sends a webhook to each replica, or does not.
func (w *world) deliver(e forge.Event) {
	for slot := range w.slots {
		r := w.inSlot(slot)
		if r == nil {
			continue
		}
		d := w.die(fmt.Sprint("hook", r.name, e.PR, e.Branch, e.Commit, e.Comment))
		if w.strikes(&d, hookLost) {
			continue
		}
		times, after := 1, d.upTo(300*time.Millisecond)
		if w.strikes(&d, hookTwice) {
			times = 2
		}
		if w.strikes(&d, hookLate) {
			after = d.upTo(10 * time.Minute)
		}
		for range times {
			time.AfterFunc(aligned(slot*8+laneHook, after), func() { w.hook(slot, e, "yes") })
			after += d.upTo(time.Minute)
		}
		if w.strikes(&d, hookForged) {
			forged := e
			forged.PR, forged.Button, forged.Commit = 1+int(d.next()%5), forge.ButtonRequeue, gate.SHA(strings.Repeat("0", 40))
			time.AfterFunc(aligned(slot*8+laneHook, after), func() { w.hook(slot, forged, "no") })
		}
	}
}

// inSlot is who lives there now.
func (w *world) inSlot(slot int) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[slot]
}

// hook is one delivery to whoever lives in the slot by then.
func (w *world) hook(slot int, e forge.Event, signed string) {
	r := w.inSlot(slot)
	if r == nil || r.handler == nil || r.dead.Load() || w.ctx.Err() != nil {
		return
	}
	body, _ := json.Marshal(e)
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/webhook/sim", bytes.NewReader(body))
	req.Header.Set("X-Gitea-Signature", signed)
	r.handler.ServeHTTP(rec, req)
	if want := map[string]int{"yes": http.StatusAccepted, "no": http.StatusUnauthorized}[signed]; rec.Code != want && rec.Code != http.StatusServiceUnavailable {
		w.fail("webhook", "a delivery signed %q was answered %d", signed, rec.Code)
	}
}

// runner is the machine that runs retests, as one life sees it. What a tree
// deserves is in the tree.
type runner struct {
	w *world
	r *life
}

func (x runner) Sandbox() retest.Sandbox { return retest.Sandbox{Name: "simulated"} }

func (x runner) OpenLog(string) (io.ReadSeekCloser, error) { return nil, fs.ErrNotExist }

func (x runner) Run(ctx context.Context, j retest.Job) retest.Result {
	w := x.w
	d := w.die("retest" + x.r.name + string(j.Commit))
	lane := x.r.slot*8 + laneTest
	if w.strikes(&d, hangs) {
		if !until(ctx, lane, j.Timeout) {
			return retest.Result{Verdict: retest.Broken, Why: "cancelled"}
		}
		w.ran(j, retest.TimedOut)
		return retest.Result{Verdict: retest.TimedOut, Why: "timed out", Took: j.Timeout}
	}
	took := 5*time.Second + d.upTo(w.testTime)
	if !until(ctx, lane, took) || x.r.dead.Load() {
		return retest.Result{Verdict: retest.Broken, Why: "cancelled"}
	}
	if w.strikes(&d, noVerdict) || !x.r.mirror.Have(ctx, j.Commit) {
		return retest.Result{Verdict: retest.Broken, Why: "the checkout failed"}
	}
	v := retest.Failed
	if green(w.sim.Files(j.Commit)) {
		v = retest.Passed
	}
	w.ran(j, v)
	return retest.Result{Verdict: v, Why: "exit 1", Exit: 1, Tail: "red", Log: "log", Took: took}
}

// green is what the tests of the simulated project say: no file says "red", and
// the two halves do not work together.
func green(files map[string]string) bool {
	for _, text := range files {
		if strings.Contains(text, "red") {
			return false
		}
	}
	return files["half-a"] == "" || files["half-b"] == ""
}

// run is one retest that came to a verdict.
type run struct {
	at                 time.Duration
	commit, base, tree gate.SHA
	verdict            retest.Verdict
}

func (w *world) ran(j retest.Job, v retest.Verdict) {
	w.note("retest of %s (tree %s) on %s: %s", j.Commit.Short(), j.Tree.Short(), j.Base.Short(), v)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = append(w.runs, run{time.Since(w.start), j.Commit, j.Base, j.Tree, v})
}
