package stories

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The forge merges, but its answer is lost.
func TestReplyOfTheMergeIsLost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		var merges atomic.Int64
		w.proxy.on(func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool {
			if !landing(r) {
				return false
			}
			answer := forward()
			if later(answer) {
				rw.WriteHeader(http.StatusMethodNotAllowed)
				rw.Write(answer.Bytes())
				return true
			}
			merges.Add(1)
			panic(http.ErrAbortHandler) // the connection breaks
		})
		w.label(w.bob, pr)
		w.landed(pr)
		if n := merges.Load(); n != 1 {
			t.Errorf("the forge was asked to merge %d times", n)
		}
		w.mainIsGreen()
	})
}

// SIGKILL around each thing that mergegate does, and a new start.
func TestKilledInEachState(t *testing.T) {
	for _, state := range []string{"after the request", "after a save", "before the push", "after the push", "testing", "before the landing", "after the landing", "before the outcome"} {
		t.Run(state, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				bot := w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.pushMain("other", "moved on")
				killed := make(chan struct{})
				w.killAt(bot, state, killed)
				w.label(w.bob, pr)
				select {
				case <-killed:
				case <-time.After(patience):
					t.Fatalf("mergegate never came to the point\n%s", w.logs())
				}
				w.proxy.off()
				bot.run()
				w.landed(pr)
				if main := w.mainIsGreen(); len(main) != 3 {
					t.Errorf("main has %d commits, want 3", len(main))
				}
			})
		})
	}
}

// killAt ends the program at the request that belongs to the state. What comes
// after something lets the forge carry it out first; the answer is always lost.
func (w *world) killAt(bot *replica, state string, killed chan struct{}) {
	var done atomic.Bool
	var statuses atomic.Int64
	w.proxy.on(func(_ http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool {
		path := r.URL.Path
		note := r.Method == "POST" && strings.HasSuffix(path, "/issues/1/comments")
		save := r.Method == "PATCH" && strings.Contains(path, "/issues/comments/")
		push := r.Method == "POST" && strings.HasSuffix(path, "/git-receive-pack")
		status := r.Method == "POST" && strings.Contains(path, "/statuses/")
		nth := int64(0)
		if status {
			nth = statuses.Add(1)
		}
		at := map[string]bool{
			"after the request": note, "after a save": save, "before the push": push, "after the push": push, "testing": status && nth == 1,
			"before the landing": landing(r), "after the landing": landing(r), "before the outcome": status && nth == 2,
		}
		if !at[state] || done.Load() {
			return false
		}
		if !strings.HasPrefix(state, "before the ") && later(forward()) {
			panic(http.ErrAbortHandler) // nothing happened yet; it will ask again
		}
		if done.CompareAndSwap(false, true) {
			bot.kill()
			close(killed)
		}
		panic(http.ErrAbortHandler)
	})
}

// Two replicas: one works, nothing is done twice.
func TestTwoReplicas(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		if h, ok := w.stage.(*hubStage); ok && h.app.ID != 0 && w.hooks {
			differs(t, "webhooks")
			w.poll = "2s"
		}
		a, b := w.start(), w.start()
		var prs []int
		for i := range 4 {
			name := fmt.Sprintf("feature%d", i)
			prs = append(prs, w.pull(name, map[string]string{name: "1"}))
		}
		for _, pr := range prs {
			w.label(w.bob, pr)
		}
		for _, pr := range prs {
			w.landed(pr) // which also fails on a second comment
		}
		if main := w.mainIsGreen(); len(main) != 5 {
			t.Errorf("main has %d commits, want 5", len(main))
		}
		if issues := w.queueIssues(); len(issues) != 1 {
			t.Errorf("queue issues: %v", issues)
		}
		a.stop()
		b.stop()
		if left := w.leases(); len(left) != 0 {
			t.Errorf("leases left behind after a polite stop: %v", left)
		}
	})
}

// One replica dies while it works; the other takes over within TTL, margin and a poll.
func TestTakeover(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		a := w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		b := w.start()
		a.kill()
		w.replicas = []*replica{b}
		w.ci(candidate, "ci", "success")
		w.landed(pr)
	})
}

// A lease kept in a ref.
func TestRefLease(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start("lease: {store: ref, ttl: 12s, renew: 3s}\n")
		pr := w.pull("left", map[string]string{"left": "1"})
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		w.landed(pr)
		w.mainIsGreen()
	})
}

func TestAttack14And15And16PeopleAndTheLeaseComment(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world, lease comment)
	}{
		{"deleted", func(w *world, lease comment) {
			w.erase(w.alice, lease.ID)
		}},
		{"edited", func(w *world, lease comment) {
			w.edit(w.alice, lease.ID, "gone fishing")
		}},
		{"copied by somebody else", func(w *world, lease comment) {
			w.comment(w.bob, w.queueIssues()[0], lease.Body)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.manual()
				w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.label(w.bob, pr)
				candidate := w.testing(pr)
				w.until("the lease to be there", func() bool { return len(w.leases()) == 1 })
				c.do(w, w.leases()[0])
				w.ci(candidate, "ci", "success")
				w.landed(pr)
				w.mainIsGreen()
			})
		})
	}
}

// queueIssues are the numbers of the open issues with the queue's marker.
func (w *world) queueIssues() (numbers []int) {
	w.Helper()
	var all []struct {
		Number int    `json:"number"`
		Body   string `json:"body"`
	}
	w.get(&all, "/issues?state=open")
	for _, i := range all {
		if strings.Contains(i.Body, "<!-- mergegate:queue -->") {
			numbers = append(numbers, i.Number)
		}
	}
	return numbers
}

// leases are the bot's lease comments.
func (w *world) leases() (out []comment) {
	w.Helper()
	for _, n := range w.queueIssues() {
		for _, c := range w.comments(n) {
			if c.User.Login == w.bot.name && strings.Contains(c.Body, "<!-- mergegate:lease") {
				out = append(out, c)
			}
		}
	}
	return out
}
