package bot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mergegate/bot"
	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/retest"
	"mergegate/templates"
)

// plant is a bug put between the production bot and its world, and the judges
// one of whom has to find it.
type plant struct {
	name   string
	judges []string
	forge  func(w *world, r *life, f forge.Forge) forge.Forge
	mirror func(w *world, r *life, m bot.Mirror) bot.Mirror
	runner func(w *world, x bot.Runner) bot.Runner
}

func (p plant) wrapForge(w *world, r *life, f forge.Forge) forge.Forge {
	if p.forge == nil {
		return f
	}
	return p.forge(w, r, f)
}

func (p plant) wrapMirror(w *world, r *life, m bot.Mirror) bot.Mirror {
	if p.mirror == nil {
		return m
	}
	return p.mirror(w, r, m)
}

func (p plant) wrapRunner(w *world, x bot.Runner) bot.Runner {
	if p.runner == nil {
		return x
	}
	return p.runner(w, x)
}

// TestAttack116PlantedBugs puts each bug into the same worlds, and wants each found by a
// judge whose business it is. A simulation that finds no bugs has only shown that
// it looks at nothing.
func TestAttack116PlantedBugs(t *testing.T) {
	t.Setenv(secretEnv, "a secret of the simulated world")
	var table strings.Builder
	for _, p := range plants() {
		if !strings.Contains(p.name, *plantFlag) {
			continue
		}
		first, by := uint64(0), ""
		played, begun := 0, time.Now()
		hunt(t, *huntFlag, p, func(s story) bool {
			played++
			if judge := p.foundIn(t, s); judge != "" {
				first, by = s.seed, judge
			}
			return first == 0
		})
		t.Logf("%s: %d worlds in %v", p.name, played, time.Since(begun).Round(time.Second))
		if first == 0 {
			t.Errorf("%s: no judge of %v found it in %d worlds", p.name, p.judges, played)
			continue
		}
		fmt.Fprintf(&table, "  %-32s %-6s seed %d\n", p.name, by, first)
	}
	t.Logf("planted bugs, who found them, and where:\n%s", table.String())
}

// foundIn says which of the judges found the bug: one who finds nothing wrong with
// the same world without it. "" when none did.
func (p plant) foundIn(t *testing.T, s story) string {
	for _, w := range s.wrong {
		if !slices.Contains(p.judges, w.judge) {
			continue
		}
		sound := play(t, s.seed, plant{}, nil)
		if !slices.ContainsFunc(sound.wrong, func(o wrong) bool { return o.judge == w.judge }) {
			return w.judge
		}
	}
	return ""
}

func plants() []plant {
	onLand := func(f func(w *world, e buggy, ctx context.Context, l forge.Landing) error) func(*world, *life, forge.Forge) forge.Forge {
		return func(w *world, _ *life, under forge.Forge) forge.Forge {
			b := buggy{Forge: under, repo: w.repo}
			b.land = func(ctx context.Context, l forge.Landing) error { return f(w, b, ctx, l) }
			return b
		}
	}
	change := func(f func(w *world, b *buggy)) func(*world, *life, forge.Forge) forge.Forge {
		return func(w *world, _ *life, under forge.Forge) forge.Forge {
			b := buggy{Forge: under, repo: w.repo}
			f(w, &b)
			return b
		}
	}
	verdict := func(f func(retest.Result) retest.Result) func(*world, bot.Runner) bot.Runner {
		return func(_ *world, x bot.Runner) bot.Runner { return judged{x, f} }
	}
	return []plant{
		{name: "no base fence", judges: []string{"S1"}, forge: onLand(func(_ *world, e buggy, ctx context.Context, l forge.Landing) error {
			if l.Method == gate.FastForward {
				l.Method = gate.Merge
			}
			err := e.Forge.Land(ctx, e.repo, l)
			for tries := 0; errors.Is(err, forge.ErrBusy) && tries < 12; tries++ { // the forge looks at a base that moved
				err = e.Forge.Land(ctx, e.repo, l)
			}
			return err
		})},
		{name: "no head pin", judges: []string{"S1", "S2", "S6"}, forge: onLand(func(_ *world, e buggy, ctx context.Context, l forge.Landing) error {
			l.Head = ""
			return e.Forge.Land(ctx, e.repo, l)
		})},
		{name: "a refused landing tried anew", judges: []string{"S1", "S2", "S6"}, forge: onLand(func(_ *world, e buggy, ctx context.Context, l forge.Landing) error {
			err := e.Forge.Land(ctx, e.repo, l)
			if pr, again := e.Forge.PullRequest(ctx, e.repo, l.PR); err != nil && again == nil {
				l.Head, l.Method = pr.Head, gate.Merge
				err = e.Forge.Land(ctx, e.repo, l)
			}
			return err
		})},
		{name: "told before it happened", judges: []string{"told"}, forge: onLand(func(_ *world, e buggy, ctx context.Context, l forge.Landing) error {
			e.Forge.SetStatus(ctx, e.repo, l.Head, forge.Status{Context: bot.StatusContext, State: forge.StatusSuccess, Text: "Landed as " + l.Head.Short()})
			return e.Forge.Land(ctx, e.repo, l)
		})},
		{name: "stale approval accepted", judges: []string{"S2"}, forge: change(func(w *world, b *buggy) {
			b.reviews = func(n int, all []gate.Review) []gate.Review {
				for i := range all {
					all[i].Commit, all[i].Dismissed = w.sim.PullRequest(w.repo, n).Head, false
				}
				return all
			}
		})},
		{name: "no checks are good checks", judges: []string{"S1", "S6"}, forge: change(func(_ *world, b *buggy) {
			b.checks = func(all []gate.Check) []gate.Check {
				if len(all) == 0 || all[len(all)-1].State == gate.CheckPending {
					return []gate.Check{{Context: "build", State: gate.CheckPassed, By: gate.User{Login: "ci"}}}
				}
				return all
			}
		})},
		{name: "page two of the PRs forgotten", judges: []string{"L1"}, forge: change(func(_ *world, b *buggy) {
			b.prs = func(all []gate.PR) []gate.PR { return all[:min(len(all), 2)] }
		})},
		{name: "page two of comments forgotten", judges: []string{"L1", "L2", "note", "S5", "calls"}, forge: change(func(_ *world, b *buggy) {
			b.comments = func(_ int, all []forge.Comment) []forge.Comment { return all[:min(len(all), 2)] }
		})},
		{name: "a withdrawn label is not seen", judges: []string{"wanted"}, forge: change(func(_ *world, b *buggy) {
			b.pr = func(p gate.PR) gate.PR {
				if !p.Has("merge") {
					p.Labels = append(slices.Clone(p.Labels), "merge")
				}
				return p
			}
		})},
		{name: "everybody may ask", judges: []string{"wanted"}, forge: change(func(_ *world, b *buggy) {
			b.role = func(gate.Role) gate.Role { return gate.RoleAdmin }
		})},
		{name: "leases taken by label", judges: []string{"lease"}, forge: func(w *world, r *life, under forge.Forge) forge.Forge {
			b := buggy{Forge: under, repo: w.repo}
			b.comments = func(n int, all []forge.Comment) []forge.Comment {
				return slices.DeleteFunc(all, func(c forge.Comment) bool {
					return strings.Contains(c.Body, leaseMark) && !strings.Contains(c.Body, `"`+r.name+`"`)
				})
			}
			return b
		}},
		{name: "any lease deleted", judges: []string{"S5"}, forge: change(func(w *world, b *buggy) {
			b.post = func(ctx context.Context, n int, body string) {
				if !strings.Contains(body, leaseMark) {
					return
				}
				for _, c := range w.sim.Comments(w.repo, n) {
					if strings.Contains(c.Body, leaseMark) {
						b.Forge.DeleteComment(ctx, w.repo, c.ID)
					}
				}
			}
		})},
		{name: "leases look old", judges: []string{"S5"}, forge: change(func(_ *world, b *buggy) { b.ahead = time.Hour })},
		{name: "no deadline: no renewal arrives", judges: []string{"lease"}, forge: change(func(_ *world, b *buggy) {
			b.instead = func(_ context.Context, _ int64, body string) (error, bool) {
				return nil, strings.Contains(body, leaseMark)
			}
		})},
		{name: "leases left behind", judges: []string{"L2"}, forge: change(func(w *world, b *buggy) { b.keepComments = true })},
		{name: "a note with every word", judges: []string{"note"}, forge: change(func(w *world, b *buggy) {
			b.instead = func(ctx context.Context, id int64, body string) (error, bool) {
				for _, pr := range w.sim.PullRequests(w.repo) {
					for _, c := range w.sim.Comments(w.repo, pr.Number) {
						if c.ID == id && strings.Contains(body, templates.PRMarker) {
							_, err := b.Forge.PostComment(ctx, w.repo, pr.Number, body)
							return err, true
						}
					}
				}
				return nil, false
			}
		})},
		{name: "no last word in the status", judges: []string{"status"}, forge: change(func(_ *world, b *buggy) {
			b.status = func(s forge.Status) bool { return s.State == forge.StatusPending }
		})},
		{name: "nothing written to who is dropped", judges: []string{"L1"}, forge: change(func(_ *world, b *buggy) {
			b.silent = func(body string) bool { return strings.Contains(body, templates.PRMarker) }
		})},
		{name: "the runner lost is a pass", judges: []string{"S1", "S6"}, runner: verdict(func(r retest.Result) retest.Result {
			if r.Verdict == retest.Broken {
				r.Verdict = retest.Passed
			}
			return r
		})},
		{name: "a timeout is a pass", judges: []string{"S1", "S6"}, runner: verdict(func(r retest.Result) retest.Result {
			if r.Verdict == retest.TimedOut {
				r.Verdict = retest.Passed
			}
			return r
		})},
		{name: "red is green", judges: []string{"S1", "S6"}, runner: verdict(func(r retest.Result) retest.Result {
			r.Verdict = retest.Passed
			return r
		})},
		{name: "pushed by force", judges: []string{"push"}, mirror: func(w *world, _ *life, m bot.Mirror) bot.Mirror { return pushing{m, w, true} }},
		{name: "own push taken for the author's", judges: []string{"blame"}, mirror: func(w *world, _ *life, m bot.Mirror) bot.Mirror { return pushing{m, w, false} }},
		{name: "asks a hundred times", judges: []string{"calls"}, forge: change(func(_ *world, b *buggy) { b.times = 100 })},
	}
}

// buggy is a forge's client with bugs; what is not set is as it was.
type buggy struct {
	forge.Forge
	repo         gate.Repo
	land         func(context.Context, forge.Landing) error
	reviews      func(int, []gate.Review) []gate.Review
	checks       func([]gate.Check) []gate.Check
	prs          func([]gate.PR) []gate.PR
	pr           func(gate.PR) gate.PR
	comments     func(int, []forge.Comment) []forge.Comment
	role         func(gate.Role) gate.Role
	post         func(context.Context, int, string)
	instead      func(context.Context, int64, string) (error, bool)
	status       func(forge.Status) bool
	silent       func(string) bool
	keepComments bool
	ahead        time.Duration
	times        int
}

func (b buggy) Land(ctx context.Context, r gate.Repo, l forge.Landing) error {
	if b.land == nil {
		return b.Forge.Land(ctx, r, l)
	}
	return b.land(ctx, l)
}

func (b buggy) Reviews(ctx context.Context, r gate.Repo, n int) ([]gate.Review, error) {
	all, err := b.Forge.Reviews(ctx, r, n)
	if err == nil && b.reviews != nil {
		all = b.reviews(n, all)
	}
	return all, err
}

func (b buggy) Checks(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error) {
	all, err := b.Forge.Checks(ctx, r, c)
	if err == nil && b.checks != nil {
		all = b.checks(all)
	}
	return all, err
}

func (b buggy) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	for range b.times {
		b.Forge.PullRequests(ctx, r)
	}
	all, err := b.Forge.PullRequests(ctx, r)
	if err == nil && b.prs != nil {
		all = b.prs(all)
	}
	for i := range all {
		if b.pr != nil {
			all[i] = b.pr(all[i])
		}
	}
	return all, err
}

func (b buggy) PullRequest(ctx context.Context, r gate.Repo, n int) (gate.PR, error) {
	p, err := b.Forge.PullRequest(ctx, r, n)
	if err == nil && b.pr != nil {
		p = b.pr(p)
	}
	return p, err
}

func (b buggy) Comments(ctx context.Context, r gate.Repo, n int) ([]forge.Comment, time.Time, error) {
	all, now, err := b.Forge.Comments(ctx, r, n)
	if err == nil && b.comments != nil {
		all = b.comments(n, all)
	}
	return all, now.Add(b.ahead), err
}

func (b buggy) Role(ctx context.Context, r gate.Repo, u gate.User) (gate.Role, error) {
	role, err := b.Forge.Role(ctx, r, u)
	if err == nil && b.role != nil {
		role = b.role(role)
	}
	return role, err
}

func (b buggy) PostComment(ctx context.Context, r gate.Repo, n int, body string) (forge.Comment, error) {
	if b.silent != nil && b.silent(body) {
		return forge.Comment{ID: 1 << 40, Body: body}, nil
	}
	if b.post != nil {
		b.post(ctx, n, body)
	}
	return b.Forge.PostComment(ctx, r, n, body)
}

func (b buggy) EditComment(ctx context.Context, r gate.Repo, id int64, body string) error {
	if b.silent != nil && b.silent(body) {
		return nil
	}
	if b.instead != nil {
		if err, done := b.instead(ctx, id, body); done {
			return err
		}
	}
	return b.Forge.EditComment(ctx, r, id, body)
}

func (b buggy) DeleteComment(ctx context.Context, r gate.Repo, id int64) error {
	if b.keepComments {
		return nil
	}
	return b.Forge.DeleteComment(ctx, r, id)
}

func (b buggy) SetStatus(ctx context.Context, r gate.Repo, c gate.SHA, s forge.Status) error {
	if b.status != nil && !b.status(s) {
		return nil
	}
	return b.Forge.SetStatus(ctx, r, c, s)
}

// judged is a runner whose verdicts are changed on the way.
type judged struct {
	bot.Runner
	change func(retest.Result) retest.Result
}

func (j judged) Run(ctx context.Context, job retest.Job) retest.Result {
	return j.change(j.Runner.Run(ctx, job))
}

// pushing is a mirror that pushes without looking, or something else than it was told.
type pushing struct {
	bot.Mirror
	w     *world
	force bool
}

func (p pushing) Push(ctx context.Context, x catchup.Push) error {
	if p.force {
		d := p.w.die("force")
		if n := p.w.about(forgetest.Call{Op: "git push", Ref: "refs/heads/" + x.Branch}); n != 0 && !p.w.healed.Load() && d.next()%2 == 0 {
			p.w.pushHead(n, &d) // the author is a moment faster
		}
		x.From = p.w.sim.Tip(p.w.repo, x.Branch)
		return p.Mirror.Push(ctx, x)
	}
	if err := p.Mirror.Push(ctx, x); err != nil {
		return err
	}
	files := p.w.sim.Files(x.To)
	made := p.w.sim.Commit(p.w.sim.Bot(), "Again", files, p.w.sim.Parents(x.To)...)
	return p.w.sim.PushCommit(p.w.repo, p.w.sim.Bot(), made, x.Branch)
}
