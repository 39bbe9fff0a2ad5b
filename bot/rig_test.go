package bot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/retest"
)

// rig is a simulated repository with a few people, and replicas of the bot that
// can be made to crash. It lives in a bubble of virtual time.
type rig struct {
	*testing.T
	*forgetest.Sim
	repo          gate.Repo
	ann, bob, own gate.User // two writers and the owner
	cfg           *config.Config
	chances       uint64
	runs          func(context.Context) retest.Result // what a retest does; nil to pass
	judged        func(retest.Job)                    // told of every retest; may be nil
	lies          func(forge.Forge) forge.Forge       // what the forge shows otherwise; may be nil

	mu      sync.Mutex
	dead    map[string]bool
	onCall  func(c forgetest.Call, do func() error) error // see around
	running sync.WaitGroup
	stops   map[string]context.CancelFunc
	bots    map[string]*Bot
}

// tell runs a story in a bubble.
func tell(t *testing.T, f func(r *rig)) {
	t.Helper()
	t.Setenv("RIG_SECRET", "sixteen-bytes-or-more")
	cfg := config.Default()
	cfg.DataDir = "/sim"
	cfg.Forges = []config.Forge{{Name: "work", WebhookSecretEnv: "RIG_SECRET", Repos: []string{"acme/widgets"}}}
	cfg.Defaults.Retest.Command = "true"
	cfg.Defaults.Branches = []string{"main", "release"}
	cfg.Defaults.Require.Approvals = 0
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, Sim: forgetest.NewSim(), repo: gate.Repo{Forge: "work", Owner: "acme", Name: "widgets"}, cfg: &cfg,
			dead: map[string]bool{}, stops: map[string]context.CancelFunc{}, bots: map[string]*Bot{}}
		r.Sim.Repo(r.repo, gate.RoleAdmin, map[string]string{"README.md": "hello\n"})
		r.own = r.Person(r.repo, "acme", gate.RoleAdmin)
		r.ann = r.Person(r.repo, "ann", gate.RoleWrite)
		r.bob = r.Person(r.repo, "bob", gate.RoleWrite)
		r.Around(r.around)
		defer r.stopAll() // also when the story fails
		f(r)
	})
}

// around lets onCall look at every call of a living replica; the dead do nothing.
func (r *rig) around(ctx context.Context, c forgetest.Call, do func() error) error {
	r.mu.Lock()
	dead := r.dead[c.Replica]
	r.mu.Unlock()
	if dead {
		return errors.New("this replica is dead")
	}
	time.Sleep(20 * time.Millisecond)
	r.mu.Lock()
	on := r.onCall
	r.mu.Unlock()
	if on == nil {
		return do()
	}
	return on(c, do)
}

// sleep lets virtual time pass; then the story may look at what it noted.
func (r *rig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// on sets what happens to calls from now on; nil for nothing.
func (r *rig) on(f func(c forgetest.Call, do func() error) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onCall = f
}

// runner passes everything after ten seconds, unless the rig says otherwise.
type runner struct {
	r *rig
}

func (x runner) Run(ctx context.Context, j retest.Job) retest.Result {
	if x.r.judged != nil {
		x.r.judged(j)
	}
	if x.r.runs != nil {
		return x.r.runs(ctx)
	}
	select {
	case <-time.After(10 * time.Second):
		return retest.Result{Verdict: retest.Passed, Took: 10 * time.Second}
	case <-ctx.Done():
		return retest.Result{Verdict: retest.Broken, Why: "cancelled"}
	}
}

func (runner) Sandbox() retest.Sandbox { return retest.Sandbox{Name: "simulated"} }

// start starts a replica, or starts it again after a crash.
func (r *rig) start(replica string) {
	open := func(_ context.Context, dir string, remote catchup.Remote, committer catchup.Person) (Mirror, error) {
		return r.Mirror(replica, dir, remote, committer)
	}
	chance := func() uint64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.chances++
		return r.chances * 0x9e3779b97f4a7c15
	}
	out := io.Discard
	if testing.Verbose() {
		out = r.Output()
	}
	f := forge.Forge(r.As(replica))
	if r.lies != nil {
		f = r.lies(f)
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("replica", replica)
	b := New(r.cfg, map[string]forge.Forge{"work": f}, open, runner{r}, nil, replica, chance, 2, log)
	ctx, stop := context.WithCancel(r.Context())
	r.mu.Lock()
	r.dead[replica], r.stops[replica], r.bots[replica] = false, stop, b
	r.mu.Unlock()
	r.running.Go(func() {
		if err := b.Run(ctx); err != nil {
			r.Error(err)
		}
	})
}

// crash ends a replica at once: nothing it still wants to do happens.
func (r *rig) crash(replica string) {
	r.mu.Lock()
	r.dead[replica] = true
	stop := r.stops[replica]
	r.mu.Unlock()
	stop()
}

func (r *rig) stopAll() {
	r.mu.Lock()
	for name, stop := range r.stops {
		r.dead[name] = true
		stop()
	}
	r.mu.Unlock()
	r.running.Wait()
}

// wake delivers a webhook about a PR to every replica.
func (r *rig) wake(pr int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bots {
		if w := b.worker(r.repo); w != nil {
			w.hear(forge.Event{Repo: r.repo, PR: pr, Sender: r.ann})
		}
	}
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// opened opens a PR of ann's that adds a file.
func (r *rig) opened(branch, base string) int {
	r.Helper()
	_, err := r.Push(r.repo, r.ann, r.Tip(r.repo, base), map[string]string{branch + ".txt": branch + "\n"}, branch)
	r.must(err)
	n, err := r.Open(r.repo, r.ann, branch, base, "Add "+branch)
	r.must(err)
	return n
}

func (r *rig) labelled(n int) {
	r.Helper()
	r.must(r.Label(r.repo, n, r.bob, "merge"))
}

// until waits, in virtual time.
func (r *rig) until(what string, atMost time.Duration, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(atMost); !r.see(ok); r.sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("never: %s\n%s", what, r.tale())
		}
	}
}

// see asks what calls that come later may change.
func (r *rig) see(ok func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ok()
}

func (r *rig) merged(n int) func() bool {
	return func() bool { return r.PullRequest(r.repo, n).Merged }
}

// notes are the bot's notes on a PR.
func (r *rig) notes(n int) []forge.Comment {
	return slices.DeleteFunc(r.Comments(r.repo, n), func(c forge.Comment) bool {
		return c.By != r.Bot() || !strings.Contains(c.Body, stickyMarker)
	})
}

// says waits until the one note on a PR has the words.
func (r *rig) says(n int, words string, atMost time.Duration) {
	r.Helper()
	r.until("the note says "+words, atMost, func() bool {
		all := r.notes(n)
		return len(all) == 1 && strings.Contains(all[0].Body, words)
	})
}

// tale is what happened so far, for a test that failed.
func (r *rig) tale() string {
	var b strings.Builder
	start := r.Log()[0].At
	for _, e := range r.Log() {
		text, _, _ := strings.Cut(e.Text, "<!-- mergegate:record")
		b.WriteString(strings.Join([]string{e.At.Sub(start).String(), e.Actor, e.Op, fmt.Sprint("#", e.PR), e.Ref, e.From.Short(), e.To.Short(), e.State, strings.Join(strings.Fields(text), " ")}, " "))
		b.WriteByte('\n')
	}
	return b.String()
}

func TestRigLands(t *testing.T) {
	tell(t, func(r *rig) {
		n := r.opened("a", "main")
		r.start("one")
		r.labelled(n)
		r.wake(n)
		r.until("it lands", time.Minute, r.merged(n))
		r.says(n, "Landed", time.Minute)
	})
}
