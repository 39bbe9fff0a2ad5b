package stories

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/internal/giteatest"
)

// What a landing costs. These are measurements, to be run on a quiet machine:
//
//	go test ./internal/stories -run '^$' -bench . -benchtime 5x

// usual is the lease as the example configuration has it.
const usual = "lease: {ttl: 2m, renew: 30s, settle: 1s}\n"

// BenchmarkCallsPerLanding counts what mergegate asks of the forge for each
// pull request that lands, from the label until it has nothing left to do. Every
// pull request is behind main when its turn comes. Listing the open pull requests
// is polling, and counted apart; so is, on GitHub, what was answered "not
// modified", which costs nothing there.
func BenchmarkCallsPerLanding(b *testing.B) {
	for _, on := range []string{"gitea", "github"} {
		b.Run(on, func(b *testing.B) { benchmarkCalls(b, on) })
	}
}

func benchmarkCalls(b *testing.B, on string) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d labelled at once", n), func(b *testing.B) {
			w := newWorld(b, on, true)
			w.policy = strings.Replace(w.policy, green, "true", 1)
			seen := w.count()
			w.start(usual)
			round := 0
			land := func(n int) {
				round++
				var prs []int
				for i := range n {
					file := fmt.Sprintf("feature%d-%d", round, i)
					prs = append(prs, w.pull(file, map[string]string{file: "1"}))
				}
				w.pushMain(fmt.Sprint("other", round), "moved on")
				seen.rest(w)
				seen.forget()
				for _, pr := range prs {
					w.label(w.bob, pr)
				}
				for _, pr := range prs {
					w.landed(pr)
				}
				seen.rest(w)
			}
			land(1) // makes the mirror and the queue issue
			total := map[string]int{}
			for b.Loop() {
				land(n)
				for what, times := range seen.forget() {
					total[what] += times
				}
			}
			report(b, total, b.N*n)
		})
	}
}

// report prints the requests for each landing, by what they ask for.
func report(b *testing.B, total map[string]int, landings int) {
	var table []string // a benchmark's log shows ten lines at most
	per := map[string]float64{}
	for _, what := range slices.Sorted(maps.Keys(total)) {
		each := float64(total[what]) / float64(landings)
		table = append(table, fmt.Sprintf("%.1f %s", each, what))
		switch {
		case what == "GET R/pulls":
			per["polls/landing"] += each
		case strings.HasPrefix(what, "304 "):
			per["free/landing"] += each
		case strings.HasPrefix(what, "git "):
			per["git/landing"] += each
		default:
			per["calls/landing"] += each
		}
	}
	b.Logf("requests for each landing: %s", strings.Join(table, ", "))
	for unit, each := range per {
		b.ReportMetric(each, unit)
	}
	b.ReportMetric(0, "ns/op") // says nothing: it contains the waiting for quiet
}

// traffic counts requests by what they ask for.
type traffic struct {
	mu    sync.Mutex
	times map[string]int
	last  time.Time
}

// count counts what goes through the proxy from now on.
func (w *world) count() *traffic {
	seen := &traffic{times: map[string]int{}}
	answered := func(r *http.Request, status int) {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		seen.last = time.Now()
		what := asks(r)
		if status == http.StatusNotModified {
			what = "304 " + what
		}
		if what != "" {
			seen.times[what]++
		}
	}
	w.proxy.answered.Store(&answered)
	return seen
}

var (
	repository = regexp.MustCompile(`^/api/v[13]/repos/[^/]+/[^/]+`)
	someone    = regexp.MustCompile(`/collaborators/[^/]+`)
	commit     = regexp.MustCompile(`/[0-9a-f]{40}\b`)
	number     = regexp.MustCompile(`/[0-9]+\b`)
)

// asks is a request without its names and numbers. A git operation is one,
// however many requests it takes.
func asks(r *http.Request) string {
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		if service := r.URL.Query().Get("service"); service != "" {
			return "git " + strings.TrimPrefix(service, "git-")
		}
		return ""
	}
	path := repository.ReplaceAllString(r.URL.Path, "R")
	path = someone.ReplaceAllString(path, "/collaborators/USER")
	path = commit.ReplaceAllString(path, "/SHA")
	return r.Method + " " + number.ReplaceAllString(path, "/N")
}

// forget starts counting anew and gives what was counted.
func (seen *traffic) forget() map[string]int {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	was := seen.times
	seen.times = map[string]int{}
	return was
}

// rest waits until nothing was asked for longer than mergegate waits before it
// looks again at what changed a moment ago.
func (seen *traffic) rest(w *world) {
	w.Helper()
	w.until("mergegate to come to rest", func() bool {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		return time.Since(seen.last) > 4*time.Second
	})
}

// BenchmarkLabelToLanded takes the time from the label until main has moved,
// with a test that does nothing, and beside it the time of the same steps by
// hand: fetch, rebase, push, status, merge. Both take turns on one server, each
// in its own repository, and both speak to it through a proxy. The clock of
// either stops when git's own main has moved; the forge is not asked.
//
// A fresh lease settles before anything is written, so the time depends on how
// long that takes; a pull request that finds the lease held does not wait for it.
func BenchmarkLabelToLanded(b *testing.B) {
	for _, settle := range []string{"1s", "300ms"} {
		b.Run("settle "+settle, func(b *testing.B) {
			gate, hand := newWorld(b, "gitea", true), newWorld(b, "gitea", false)
			gate.policy = strings.Replace(gate.policy, green, "true", 1)
			seen := gate.count()
			gate.start(strings.Replace(usual, "1s", settle, 1))
			somebody := hand.somebody()
			var byGate, byHand []time.Duration
			round := func() {
				byHand = append(byHand, hand.took(len(byHand), somebody.land, func() {}))
				byGate = append(byGate, gate.took(len(byGate), func(pr int, _ string) { gate.label(gate.bob, pr) }, func() { seen.rest(gate) }))
			}
			round() // makes the mirror and the queue issue
			byGate, byHand = byGate[:0], byHand[:0]
			for b.Loop() {
				round()
			}
			b.Logf("gate %v\nby hand %v", byGate, byHand)
			g, h := median(byGate), median(byHand)
			b.ReportMetric(g.Seconds(), "s/gate")
			b.ReportMetric(h.Seconds(), "s/hand")
			b.ReportMetric(g.Seconds()/h.Seconds(), "gate/hand")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// took opens a pull request, moves main on, waits for quiet, and measures how
// long land takes to move main.
func (w *world) took(round int, land func(pr int, branch string), quiet func()) time.Duration {
	w.Helper()
	branch := fmt.Sprintf("branch%d-%d", round, time.Now().UnixNano())
	pr := w.pull(branch, map[string]string{branch: "1"})
	before := w.pushMain("main-"+branch, "moved on")
	quiet()
	started, landed := time.Now(), make(chan time.Duration, 1)
	go func() {
		for w.main() == before && time.Since(started) < patience {
			time.Sleep(2 * time.Millisecond)
		}
		landed <- time.Since(started)
	}()
	land(pr, branch)
	took := <-landed
	w.until(fmt.Sprintf("#%d to land", pr), func() bool { return w.pr(pr).Merged })
	quiet()
	return took
}

// main is what the server's own repository says, read from its files so that
// looking costs the server nothing.
func (w *world) main() string {
	ref := filepath.Join(w.stage.(*giteaStage).server.Dir, "data/gitea-repositories", w.repo()+".git", "refs/heads/main")
	data, _ := os.ReadFile(ref)
	return strings.TrimSpace(string(data))
}

// hands are somebody who lands pull requests without mergegate, in a clone of
// their own.
type hands struct {
	*world
	clone string
	forge giteatest.Server // through the proxy
}

func (w *world) somebody() *hands {
	h := &hands{world: w, clone: filepath.Join(w.TempDir(), "by-hand")}
	h.forge.URL = w.proxy.url
	w.git("clone", "-q", h.forge.CloneURL(w.stage.(*giteaStage).bot, w.repo()), h.clone)
	w.git("-C", h.clone, "config", "user.name", w.bot.name)
	w.git("-C", h.clone, "config", "user.email", w.bot.name+"@example.test")
	return h
}

// land does by hand what mergegate does, and nothing else.
func (h *hands) land(pr int, branch string) {
	h.Helper()
	in := func(args ...string) string { return h.git(append([]string{"-C", h.clone}, args...)...) }
	in("fetch", "-q", "origin", "main", branch)
	head := in("rev-parse", "origin/"+branch)
	in("switch", "-q", "-C", "work", head)
	in("rebase", "-q", "origin/main")
	candidate := in("rev-parse", "HEAD")
	in("push", "-q", "--force-with-lease="+branch+":"+head, "origin", "HEAD:"+branch)
	post := func(path string, body any) error {
		return h.forge.API(h.Context(), h.bot.token, "POST", "/repos/"+h.repo()+path, body, nil)
	}
	h.must(post("/statuses/"+candidate, map[string]string{"context": "by hand", "state": "success"}))
	merge := map[string]string{"Do": "fast-forward-only", "head_commit_id": candidate}
	err := post(fmt.Sprintf("/pulls/%d/merge", pr), merge)
	for later := (*giteatest.Failure)(nil); errors.As(err, &later) && later.Status == http.StatusMethodNotAllowed; {
		time.Sleep(100 * time.Millisecond)
		err = post(fmt.Sprintf("/pulls/%d/merge", pr), merge)
	}
	h.must(err)
	in("fetch", "-q", "origin", "main")
	if main := in("rev-parse", "origin/main"); main != candidate {
		h.Fatalf("main is at %s, not at %s", main, candidate)
	}
}
