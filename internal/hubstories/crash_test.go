package hubstories

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"mergegate/forge/localhub"
)

// GitHub moves main, but its answer is lost.
func TestReplyOfTheLandingIsLost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", "left", "1")
		w.hub.Fault(localhub.Fault{Method: "PATCH", Path: "/git/refs/heads/main", Times: 1, After: true, Drop: true})
		w.label(bob, pr)
		w.landed(pr)
		moves := 0
		for _, e := range w.hub.Exchanges() {
			if e.Method == "PATCH" && strings.HasSuffix(e.Path, "/git/refs/heads/main") {
				moves++
			}
		}
		if moves != 1 {
			t.Errorf("GitHub was asked to move main %d times", moves)
		}
		w.mainIsGreen()
	})
}

// SIGKILL in each state, and a new start.
func TestKilledInEachState(t *testing.T) {
	for _, state := range []string{"after the request", "testing", "before the landing", "after the landing"} {
		t.Run(state, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				bot := w.start()
				pr := w.pull("left", "left", "1")
				w.pushMain("other", "moved on")
				killed := make(chan struct{})
				w.killAt(bot, state, killed)
				w.label(bob, pr)
				<-killed
				bot.run()
				w.landed(pr)
				if main := w.mainIsGreen(); len(main) != 3 {
					t.Errorf("main has %d commits, want 3", len(main))
				}
			})
		})
	}
}

// killAt ends the program at the request that belongs to the state; the request
// itself is carried out, but for the one before the landing.
func (w *world) killAt(bot *replica, state string, killed chan struct{}) {
	var done atomic.Bool
	w.on(func(_ http.ResponseWriter, r *http.Request, forward func()) bool {
		is := map[string]bool{
			"after the request":  r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/issues/1/comments"),
			"testing":            r.Method == "POST" && strings.Contains(r.URL.Path, "/statuses/"),
			"before the landing": landing(r), "after the landing": landing(r),
		}
		if !is[state] || !done.CompareAndSwap(false, true) {
			return false
		}
		if state != "before the landing" {
			forward()
		}
		bot.kill()
		close(killed)
		panic(http.ErrAbortHandler)
	})
}

// Two replicas: one works, nothing is done twice.
func TestTwoReplicas(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.poll = "2s" // only one of them hears the App's webhook
		a, b := w.start(), w.start()
		var prs []int
		for i := range 3 {
			name := fmt.Sprintf("feature%d", i)
			prs = append(prs, w.pull(name, name, "1"))
		}
		for _, pr := range prs {
			w.label(bob, pr)
		}
		for _, pr := range prs {
			w.landed(pr) // which also fails on a second comment
		}
		if main := w.mainIsGreen(); len(main) != 4 {
			t.Errorf("main has %d commits, want 4", len(main))
		}
		a.stop()
		b.stop()
		if left := w.leases(); len(left) != 0 {
			t.Errorf("leases left behind after a polite stop: %v", left)
		}
	})
}

// One replica dies while it works; the other takes over.
func TestTakeover(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		a := w.start()
		pr := w.pull("left", "left", "1")
		w.label(bob, pr)
		candidate := w.testing(pr)
		b := w.start()
		a.kill()
		w.replicas = []*replica{b}
		w.ci(candidate, "success")
		w.landed(pr)
	})
}

// A running bot survives whatever stands in its way, says so on its page, blames
// nobody's PR, and goes on without a restart.
func TestTroublePasses(t *testing.T) {
	for _, c := range []struct {
		name, says string
		begin, end func(w *world)
	}{
		{"forge down", "502", func(w *world) {
			w.on(func(rw http.ResponseWriter, r *http.Request, _ func()) bool {
				if strings.Contains(r.Header.Get("Authorization"), w.tokens[alice]) {
					return false
				}
				http.Error(rw, "down", http.StatusBadGateway)
				return true
			})
		}, func(w *world) { w.meddle.Store(nil) }},
		{"installation suspended", "suspended",
			func(w *world) { w.must(w.hub.Suspend(w.installation, true)) },
			func(w *world) { w.must(w.hub.Suspend(w.installation, false)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.manual()
				bot := w.start()
				pr := w.pull("left", "left", "1")
				w.label(bob, pr)
				candidate := w.testing(pr)
				c.begin(w)
				w.ci(candidate, "success")
				w.until("the page to say what is wrong", func() bool { return strings.Contains(bot.page("/"), c.says) })
				if text := w.sticky(pr); strings.Contains(text, "ropped") || w.pr(pr).Merged {
					t.Errorf("the PR was blamed, or landed:\n%s", text)
				}
				c.end(w)
				w.landed(pr)
			})
		})
	}
}

// An installation's tokens end; the next call makes a new one.
func TestTokensEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		w.start()
		pr := w.pull("left", "left", "1")
		w.label(bob, pr)
		candidate := w.testing(pr)
		w.hub.ExpireTokens()
		w.ci(candidate, "success")
		w.landed(pr)
	})
}
