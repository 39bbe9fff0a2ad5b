package stories

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// The forge merges, but its answer is lost.
func TestReplyOfTheMergeIsLost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		var merges atomic.Int64
		w.proxy.on(func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool {
			if r.Method != "POST" || !strings.HasSuffix(r.URL.Path, "/merge") {
				return false
			}
			answer := forward()
			if strings.Contains(answer.String(), "try again later") {
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

// SIGKILL in each state, and a new start with an empty data directory or the old one.
func TestKilledInEachState(t *testing.T) {
	for _, state := range []string{"after the request", "before the push", "after the push", "testing", "before the merge", "after the merge", "before the outcome"} {
		t.Run(state, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				bot := w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.pushMain("other", "moved on")
				killed := make(chan struct{})
				w.killAt(bot, state, killed)
				if state == "testing" {
					w.policy = strings.Replace(w.policy, "command: '", "command: 'sleep 2; ", 1)
				}
				w.label(w.bob, pr)
				<-killed
				<-bot.done
				w.proxy.meddle.Store(nil)
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
// itself is let through or not.
func (w *world) killAt(bot *replica, state string, killed chan struct{}) {
	statuses := 0
	done := false
	kill := func() {
		done = true
		bot.kill()
		close(killed)
		panic(http.ErrAbortHandler)
	}
	w.proxy.on(func(_ http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool {
		if done {
			return false
		}
		post := r.Method == "POST"
		status := post && strings.Contains(r.URL.Path, "/statuses/")
		if status {
			statuses++
		}
		edit := r.Method == "PATCH" && strings.Contains(r.URL.Path, "/issues/comments/")
		merge := post && strings.HasSuffix(r.URL.Path, "/merge")
		switch {
		case state == "after the request" && post && strings.HasSuffix(r.URL.Path, "/issues/1/comments"):
			forward()
			kill()
		case state == "before the push" && edit:
			forward()
			kill()
		case state == "after the push" && status && statuses == 1:
			kill()
		case state == "testing" && status && statuses == 1:
			forward()
			kill()
		case state == "before the merge" && merge:
			kill()
		case state == "after the merge" && merge:
			if strings.Contains(forward().String(), "try again later") {
				panic(http.ErrAbortHandler)
			}
			kill()
		case state == "before the outcome" && status && statuses == 2:
			forward()
			kill()
		}
		return false
	})
}

// Two replicas: one works, nothing is done twice.
func TestTwoReplicas(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
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
		w.start("lease: {store: ref, ttl: 10s, renew: 2s}\n")
		pr := w.pull("left", map[string]string{"left": "1"})
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		w.landed(pr)
		w.mainIsGreen()
	})
}

func TestPeopleAndTheLeaseComment(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world, lease comment)
	}{
		{"deleted", func(w *world, lease comment) {
			w.api(w.alice, "DELETE", fmt.Sprintf("/repos/%s/issues/comments/%d", w.repo, lease.ID), nil, nil)
		}},
		{"edited", func(w *world, lease comment) {
			w.api(w.alice, "PATCH", fmt.Sprintf("/repos/%s/issues/comments/%d", w.repo, lease.ID), map[string]string{"body": "gone fishing"}, nil)
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
	w.api(w.alice, "GET", "/repos/"+w.repo+"/issues?type=issues&state=open", nil, &all)
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
			if c.User.Login == w.bot.Name && strings.Contains(c.Body, "<!-- mergegate:lease") {
				out = append(out, c)
			}
		}
	}
	return out
}
