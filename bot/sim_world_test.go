package bot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
)

const (
	// storm is how long at most things go wrong; then everything heals.
	storm = 25 * time.Minute
	// calmFor is what the queue has, after everything healed, to become empty.
	calmFor = 30 * time.Minute
)

// world is one seed: a forge with people, CI and faults, and replicas of the
// production bot.
type world struct {
	seed     uint64
	sim      *forgetest.Sim
	repo     gate.Repo
	cfg      *config.Config
	weather  weather
	bug      plant
	skew     time.Duration // of the forge's clock against the replicas'
	testTime time.Duration
	slots    int
	author   gate.User
	writers  []gate.User // besides the author
	maintain gate.User
	reader   gate.User
	ci       gate.User

	start   time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // replicas
	tasks   sync.WaitGroup // requests that are late
	healed  atomic.Bool
	asked   atomic.Int64  // calls that reached the forge
	calm    time.Duration // when it healed
	trace   trace
	say     func(format string, args ...any) // nil unless somebody reads along

	mu    sync.Mutex // never held while time passes
	lives map[string]*life
	now   []*life // by slot
	prs   []int   // numbers, in the order of the plan; 0: not open yet
	runs  []run
	late  map[time.Time]bool // instants of effects that came late
	ciAt  int                // how much of the log CI has seen
	story
}

// story is what is told of a seed afterwards.
type story struct {
	seed   uint64
	took   time.Duration // virtual
	calls  int
	landed int
	hash   uint64
	faults map[fault]int
	points map[string]int
	wrong  []wrong
}

// wrong is a judge's verdict.
type wrong struct{ judge, what string }

// play lives one seed through in a bubble.
func play(t *testing.T, seed uint64, bug plant, say func(string, ...any)) (s story) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, bug, say)
		w.live()
		w.judge()
		s = w.story
	})
	return s
}

func newWorld(seed uint64, bug plant, say func(string, ...any)) *world {
	dice := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		seed: seed, sim: forgetest.NewSim(), repo: gate.Repo{Forge: "sim", Owner: "acme", Name: "widgets"}, bug: bug, say: say,
		start: time.Now(), slots: 1 + dice.IntN(4), testTime: upTo(dice, 4*time.Minute) + time.Second, lives: map[string]*life{}, late: map[time.Time]bool{},
		story: story{seed: seed, faults: map[fault]int{}, points: map[string]int{}},
	}
	w.now = make([]*life, w.slots)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.cfg = configure(dice)
	length := storm/3 + upTo(dice, storm*2/3)
	w.weather = newWeather(dice, length, w.slots)
	if dice.IntN(8) == 0 {
		w.skew = []time.Duration{-time.Hour, time.Hour}[dice.IntN(2)]
		w.hit(clockOff)
	}
	w.trace.text = say
	w.sim.Around(w.around)
	w.sim.Subscribe(w.deliver)
	if w.weather.p[staleRead] > 0 {
		w.sim.Lag(w.lag)
	}
	w.populate()
	w.plan(dice, length)
	return w
}

// configure draws the operator's file.
func configure(dice *rand.Rand) *config.Config {
	cfg := config.Default()
	cfg.Forges = []config.Forge{{Name: "sim", Type: "gitea", URL: "sim://forge.test", WebhookSecretEnv: secretEnv, Repos: []string{"acme/widgets"}}}
	p := &cfg.Defaults
	p.Require.Approvals = dice.IntN(3) % 2
	p.CatchUp = []gate.CatchUp{gate.CatchUpRebase, gate.CatchUpRebase, gate.CatchUpMerge, gate.CatchUpCandidate}[dice.IntN(4)]
	p.Trigger.Approval = dice.IntN(6) == 0
	p.Comments = []gate.Talk{gate.TalkOutcomes, gate.TalkOutcomes, gate.TalkAll, gate.TalkNone}[dice.IntN(4)]
	switch dice.IntN(3) {
	case 0:
		p.Retest.Checks = []string{"build"}
	case 1:
		p.Retest.Checks, p.Retest.Command = []string{"build"}, "make"
	default:
		p.Retest.Command = "make"
	}
	p.Retest.Timeout, p.Retest.StartTimeout = 8*time.Minute, 5*time.Minute
	if dice.IntN(3) == 0 {
		cfg.Lease.Store = "ref"
	}
	p.Land.DeleteBranch = dice.IntN(4) == 0
	return &cfg
}

// live runs the storm and the calm after it.
func (w *world) live() {
	for slot := range w.slots {
		w.running.Add(1)
		go func() {
			until(w.ctx, slot*8+laneLife, time.Duration(slot)*time.Second+time.Millisecond)
			w.supervise(slot)
		}()
	}
	time.Sleep(aligned(lanePeople, w.calm))
	w.heal()
	time.Sleep(aligned(lanePeople, calmFor))
	w.cancel()
	w.running.Wait()
	w.tasks.Wait()
	w.took = time.Since(w.start)
	for name := range w.lives {
		w.calls += w.sim.Calls(name)
	}
	w.hash = w.trace.sum
}

// heal ends all trouble; people undo what would stop the queue for good.
func (w *world) heal() {
	w.healed.Store(true)
	w.note("everything heals")
	for _, u := range append(w.writers, w.author) {
		w.sim.SetRole(w.repo, u, gate.RoleWrite)
	}
	for _, n := range w.prs {
		if w.sim.PullRequest(w.repo, n).Open {
			w.sim.Comment(w.repo, n, w.maintain, "/merge unfreeze")
		}
	}
}

// lag makes some reads tell of the past.
func (w *world) lag(c forgetest.Call) time.Duration {
	d := w.die("lag" + c.Replica + c.Op)
	if !w.strikes(&d, staleRead) {
		return 0
	}
	return d.upTo(8 * time.Second)
}

func (w *world) hit(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[f]++
}

func (w *world) life(name string) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[name]
}

// note tells whoever reads along, and goes into the trace.
func (w *world) note(format string, args ...any) {
	if w.say != nil {
		w.say(format, args...)
	}
}

func (w *world) fail(judge, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, wrong{judge, fmt.Sprintf(format, args...)})
	if w.say != nil {
		w.say("JUDGE %s: "+format, append([]any{judge}, args...)...)
	}
}

// log is the bot's log: what it calls a bug is one, and the rest is for readers.
func (w *world) log(r *life) *slog.Logger { return slog.New(ear{w, r.name, nil}) }

type ear struct {
	w    *world
	name string
	with []slog.Attr
}

func (e ear) Enabled(_ context.Context, l slog.Level) bool {
	return e.w.say != nil || l >= slog.LevelError
}

func (e ear) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	if r.Level >= slog.LevelError && len(r.Message) > 3 && r.Message[:3] == "BUG" {
		e.w.fail("panic", "%s: %s", e.name, text)
	}
	e.w.note("    %s %s %s", e.name, r.Level, text)
	return nil
}

func (e ear) WithAttrs([]slog.Attr) slog.Handler { return e }
func (e ear) WithGroup(string) slog.Handler      { return e }

// edge is the forge as one replica's client gives it: with the forge's clock,
// and with deliveries as this simulation makes them.
type edge struct {
	forge.Forge
	skew time.Duration
}

func (e edge) Verify(h http.Header, _, secret []byte) bool {
	return h.Get("X-Gitea-Signature") == "yes" && len(secret) > 0
}

func (e edge) Event(_ http.Header, body []byte) (v forge.Event, err error) {
	err = json.Unmarshal(body, &v)
	return v, err
}

func (e edge) at(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(e.skew)
}

func (e edge) pr(p gate.PR) gate.PR {
	p.Updated = e.at(p.Updated)
	return p
}

func (e edge) comment(c forge.Comment) forge.Comment {
	c.Created, c.Updated = e.at(c.Created), e.at(c.Updated)
	return c
}

func (e edge) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	all, err := e.Forge.PullRequests(ctx, r)
	for i := range all {
		all[i] = e.pr(all[i])
	}
	return all, err
}

func (e edge) PullRequest(ctx context.Context, r gate.Repo, n int) (gate.PR, error) {
	p, err := e.Forge.PullRequest(ctx, r, n)
	return e.pr(p), err
}

func (e edge) Reviews(ctx context.Context, r gate.Repo, n int) ([]gate.Review, error) {
	all, err := e.Forge.Reviews(ctx, r, n)
	for i := range all {
		all[i].At = e.at(all[i].At)
	}
	return all, err
}

func (e edge) Checks(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error) {
	all, err := e.Forge.Checks(ctx, r, c)
	for i := range all {
		all[i].At = e.at(all[i].At)
	}
	return all, err
}

func (e edge) Past(ctx context.Context, r gate.Repo, n int, label string) (forge.Past, error) {
	p, err := e.Forge.Past(ctx, r, n, label)
	p.LabelledAt = e.at(p.LabelledAt)
	return p, err
}

func (e edge) Comments(ctx context.Context, r gate.Repo, n int) ([]forge.Comment, time.Time, error) {
	all, now, err := e.Forge.Comments(ctx, r, n)
	for i := range all {
		all[i] = e.comment(all[i])
	}
	return all, e.at(now), err
}

func (e edge) Comment(ctx context.Context, r gate.Repo, id int64) (forge.Comment, error) {
	c, err := e.Forge.Comment(ctx, r, id)
	return e.comment(c), err
}

func (e edge) PostComment(ctx context.Context, r gate.Repo, n int, body string) (forge.Comment, error) {
	c, err := e.Forge.PostComment(ctx, r, n, body)
	return e.comment(c), err
}
