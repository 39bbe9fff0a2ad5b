// Package bot is the service: it looks at the forge, lets gate decide, and acts.
//
// Read round (round.go) first: it is the whole way from news to a landed change.
// Everything else is a detail of one of its lines:
//
//	observe.go   what the forge says, turned into gate's facts
//	read.go      what people said and did on one PR
//	act.go       gate's actions, turned into calls
//	land.go      the landing: fresh reads, the merge call, base read back
//	tell.go      commit status, sticky comment, queue issue
//	jobs.go      retests that run beside the rounds
//	webhook.go   news that wakes a round; it carries no facts
//	web.go       pages, JSON, health, metrics
//
// There is one worker per repository. It serves the queues of all base branches,
// one after another, so nothing in a worker is shared between goroutines but
// what is marked so. Webhook or poll, both only make the worker run a round; a
// lost, doubled, late or forged delivery does no harm.
//
// # Failures
//
// What is the author's to mend becomes a sentence on the PR (gate drops the
// request). Trouble (the forge is down, a token expired, a lease lost) ends the
// round, is shown on the dashboard, and is tried again with back-off. A bug
// panics; the panic ends at the worker, loudly, and a PR that makes gate panic
// is set aside so that the queue goes on.
//
// # What keeps base safe
//
// The lease keeps two replicas from doing the same work. It does not keep base
// safe, and nothing here relies on it for that: Land is pinned to the head and
// the base that were tested, and base is read back afterwards.
package bot

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/retest"
	"mergegate/internal/git"
	"mergegate/internal/web"
)

// StatusContext is the name of mergegate's commit status.
const StatusContext = "mergegate"

// Mirror is what the bot needs of a repository's git mirror; *catchup.Mirror is one.
type Mirror interface {
	Fetch(ctx context.Context, want ...string) error
	FetchCommit(ctx context.Context, c gate.SHA) error
	Have(ctx context.Context, c gate.SHA) bool
	Ref(ctx context.Context, ref string) (gate.SHA, error)
	Build(ctx context.Context, r catchup.Request) (catchup.Result, error)
	Push(ctx context.Context, p catchup.Push) error
	PushRef(ctx context.Context, ref string, from, to gate.SHA) error
	RemoteRefs(ctx context.Context, refs ...string) (map[string]gate.SHA, error)
	Tree(ctx context.Context, c gate.SHA) (gate.SHA, error)
	Parents(ctx context.Context, c gate.SHA) ([]gate.SHA, error)
	IsAncestor(ctx context.Context, a, b gate.SHA) (bool, error)
	MergeBase(ctx context.Context, a, b gate.SHA) (gate.SHA, error)
	Paths(ctx context.Context, from, to gate.SHA) ([]string, error)
	Log(ctx context.Context, from, to gate.SHA, max int) ([]catchup.Commit, error)
	File(ctx context.Context, c gate.SHA, path string, max int64) ([]byte, error)
	Dir() git.Dir
}

// OpenMirror opens, or makes, the mirror of a remote in dir. Commits made in it
// are committed by the given person. Catchup is the real one.
type OpenMirror func(ctx context.Context, dir string, remote catchup.Remote, committer catchup.Person) (Mirror, error)

// Catchup opens a mirror with the real git.
func Catchup(ctx context.Context, dir string, remote catchup.Remote, committer catchup.Person) (Mirror, error) {
	return catchup.Open(ctx, dir, remote, committer)
}

// Runner judges candidates; *retest.Runner is one.
type Runner interface {
	Run(ctx context.Context, j retest.Job) retest.Result
	Sandbox() retest.Sandbox
}

// Bot serves every configured repository. Make one with New.
type Bot struct {
	cfg     *config.Config
	forges  map[string]forge.Forge
	open    OpenMirror
	runner  Runner
	logs    Logs
	log     *slog.Logger
	holder  string
	chance  func() uint64
	metrics *metrics
	started time.Time
	slots   chan struct{} // running retests
	bodies  web.Bodies    // deliveries being read
	heard   heard

	mu      sync.Mutex
	workers map[gate.Repo]*worker
	ready   map[string]error // by forge name: what the last attempt to reach it said
}

// New makes a bot. forges has an entry for each of cfg.Forges, by name. holder
// names this replica to people; chance gives random numbers for nonces and jitter,
// different ones in every replica; retests is how many retest commands may run at once.
func New(cfg *config.Config, forges map[string]forge.Forge, open OpenMirror, runner Runner, logs Logs, holder string, chance func() uint64, retests int, log *slog.Logger) *Bot {
	return &Bot{
		cfg: cfg, forges: forges, open: open, runner: runner, logs: logs, log: log, holder: holder, chance: chance,
		metrics: newMetrics(), started: time.Now(), slots: make(chan struct{}, retests), bodies: web.Bodies{Each: maxDelivery, Total: maxDeliveries},
		workers: map[gate.Repo]*worker{}, ready: map[string]error{},
	}
}

// unsandboxed says whether changes by strangers must not be run here: there is
// no sandbox, and the operator has not said that this does not matter.
func (b *Bot) unsandboxed() bool { return b.runner.Sandbox().Weak() && !b.cfg.Sandbox.Unsafe }

// Run serves until ctx ends; then it stops retests, releases the leases it
// holds and returns. It returns an error only when it could not start.
func (b *Bot) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, conf := range b.cfg.Forges {
		if b.forges[conf.Name] == nil {
			return fmt.Errorf("no forge for %q", conf.Name)
		}
		wg.Go(func() { b.discover(ctx, conf, &wg) })
	}
	wg.Wait()
	return nil
}

// discover starts a worker for each repository the configuration means, and
// looks again from time to time for new ones behind a pattern like "acme/*".
func (b *Bot) discover(ctx context.Context, conf config.Forge, wg *sync.WaitGroup) {
	f := b.forges[conf.Name]
	failures, asked := 0, false
	for ctx.Err() == nil {
		repos, err := conf.Expand(ctx, f.Repos)
		for _, r := range repos {
			r.Forge = conf.Name
			b.start(ctx, conf, f, r, wg)
		}
		wait := b.cfg.Poll.Idle
		if err != nil {
			failures++
			wait = min(backoff(failures), wait)
			b.log.Warn("list repositories", "forge", conf.Name, "err", err, "again_in", wait)
		} else {
			failures = 0
		}
		if again, ok := f.(redeliverer); ok && !asked && err == nil { // not before there is somebody to hear them
			asked = true
			wg.Go(func() { b.missed(ctx, conf.Name, again) })
		}
		pause(ctx, wait)
	}
}

// redeliverer is a forge that does not try a delivery twice, but does when it is
// asked to: GitHub.
type redeliverer interface {
	// Redeliver asks for the deliveries since a time that did not reach us, and
	// says how many. It may be repeated.
	Redeliver(ctx context.Context, since time.Time) (int, error)
}

// keptDeliveries is how far back deliveries are asked for: GitHub forgets them
// after three days.
const keptDeliveries = 3 * 24 * time.Hour

// missed asks for the deliveries that came while nobody was listening. Polling sees
// everything but pressed buttons anyway, so after some failures it gives up.
func (b *Bot) missed(ctx context.Context, name string, f redeliverer) {
	for try := 1; try <= 6 && ctx.Err() == nil; try++ {
		n, err := f.Redeliver(ctx, time.Now().Add(-keptDeliveries))
		if err == nil {
			b.log.Info("asked for missed deliveries again", "forge", name, "count", n)
			return
		}
		b.log.Warn("ask for missed deliveries", "forge", name, "err", err, "again_in", backoff(try))
		pause(ctx, backoff(try))
	}
}

func (b *Bot) start(ctx context.Context, conf config.Forge, f forge.Forge, r gate.Repo, wg *sync.WaitGroup) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.workers[r] != nil {
		return
	}
	w := newWorker(b, conf, f, r)
	b.workers[r] = w
	wg.Go(func() { w.run(ctx) })
}

func (b *Bot) worker(r gate.Repo) *worker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.workers[r]
}

func (b *Bot) reached(forge string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready[forge] = err
}

// mirrorDir is where the git mirror of a repository lives. It may be deleted at
// any time.
func (b *Bot) mirrorDir(r gate.Repo) string {
	return filepath.Join(b.cfg.DataDir, "mirrors", r.Forge, r.Owner, r.Name+".git")
}

// backoff is the pause before try n (from 1): 1 s, 2 s, 4 s, … at most a minute.
func backoff(n int) time.Duration {
	return min(time.Second<<min(n-1, 10), time.Minute)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
