package forgetest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// SimForge is the forge as one replica of the bot sees it.
type SimForge struct {
	sim     *Sim
	replica string
}

var _ forge.Forge = (*SimForge)(nil)

// As is the forge for a replica: with the bot's account, and under its name in
// Call and in the log.
func (s *Sim) As(replica string) *SimForge { return &SimForge{s, replica} }

func (f *SimForge) actor() actor { return actor{user: f.sim.bot, replica: f.replica} }

// do makes one call. Whatever goes wrong on the way, an answer that came with an
// error is none.
func (s *Sim) do(ctx context.Context, c Call, effect func() error) error {
	s.mu.Lock()
	s.calls[c.Replica]++
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	do := func() error { return s.locked(effect) }
	if s.around == nil {
		return do()
	}
	return s.around(ctx, c, do)
}

// ask makes a call about a repository and gives its answer.
func ask[T any](ctx context.Context, f *SimForge, c Call, effect func(r *simRepo) (T, error)) (T, error) {
	c.Replica = f.replica
	var out, none T
	err := f.sim.do(ctx, c, func() error {
		r, err := f.sim.repo(c.Repo)
		if err != nil {
			return err
		}
		if r.roles[f.sim.bot.ID] < gate.RoleRead {
			return refuse(404, "")
		}
		if c.Write && r.archived {
			return refuse(423, "the repository is archived")
		}
		out, err = effect(r)
		return err
	})
	if err != nil {
		return none, err
	}
	return out, nil
}

// tell makes a call whose answer is only whether it went through.
func tell(ctx context.Context, f *SimForge, c Call, effect func(r *simRepo) error) error {
	c.Write = true
	_, err := ask(ctx, f, c, func(r *simRepo) (struct{}, error) { return struct{}{}, effect(r) })
	return err
}

// asOf gives the moment that a read tells about, once it is answered.
func (f *SimForge) asOf(c Call) func() time.Time {
	if f.sim.lag == nil {
		return time.Now
	}
	c.Replica = f.replica
	lag := f.sim.lag(c)
	return func() time.Time { return time.Now().Add(-lag) }
}

// Me implements forge.Forge.
func (f *SimForge) Me(ctx context.Context) (gate.User, error) {
	err := f.sim.do(ctx, Call{Replica: f.replica, Op: "Me"}, func() error { return nil })
	if err != nil {
		return gate.User{}, err
	}
	return f.sim.bot, nil
}

// Repos implements forge.Forge.
func (f *SimForge) Repos(ctx context.Context, owner string) ([]gate.Repo, error) {
	var out []gate.Repo
	err := f.sim.do(ctx, Call{Replica: f.replica, Op: "Repos", Text: owner}, func() error {
		out = nil
		for name, r := range f.sim.repos {
			if name.Owner == owner && r.roles[f.sim.bot.ID] >= gate.RoleWrite && !r.archived {
				out = append(out, name)
			}
		}
		slices.SortFunc(out, func(a, b gate.Repo) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Repository implements forge.Forge.
func (f *SimForge) Repository(ctx context.Context, r gate.Repo) (forge.Repository, error) {
	return ask(ctx, f, Call{Op: "Repository", Repo: r}, func(repo *simRepo) (forge.Repository, error) {
		return forge.Repository{
			ID: repo.id, Archived: repo.archived, DefaultBranch: repo.main, CloneURL: cloneURL(r), HasIssues: true,
			Role: repo.roles[f.sim.bot.ID], Methods: slices.Clone(repo.methods),
		}, nil
	})
}

// Branch implements forge.Forge.
func (f *SimForge) Branch(ctx context.Context, r gate.Repo, name string) (forge.Branch, error) {
	c := Call{Op: "Branch", Repo: r, Ref: name}
	asOf := f.asOf(c)
	return ask(ctx, f, c, func(repo *simRepo) (forge.Branch, error) {
		at := asOf()
		tip := repo.tipAsOf("refs/heads/"+name, at)
		if tip == nil {
			return forge.Branch{}, refuse(404, "")
		}
		rule, protected := repo.protected[name]
		role := repo.roles[f.sim.bot.ID]
		b := forge.Branch{
			Tip: tip.id, Protected: protected, CanMerge: role >= gate.RoleWrite,
			RequiredApprovals: rule.Approvals, RequiredChecks: slices.Clone(rule.Checks),
		}
		if role < gate.RoleAdmin {
			b.Opaque = protected && rule.Approvals > 0
			return b, nil
		}
		b.DismissStale, b.BlockOutdated = rule.DismissStale, rule.BlockOutdated
		return b, nil
	})
}

// answer is a pull request as the forge tells it.
func (f *SimForge) answer(p *pull, pr gate.PR, at time.Time) gate.PR {
	if tip := p.repo.tipAsOf("refs/heads/"+pr.Base, at); tip != nil {
		pr.BaseTip = tip.id
	}
	pr.Labels = slices.Clone(pr.Labels)
	pr.Fork = p.source != p.repo && p.source != nil
	if p.source != nil {
		pr.HeadRepo, pr.HeadURL = p.source.name.String(), cloneURL(p.source.name)
		pr.MayPush = !pr.Fork || p.edits
	}
	return pr
}

// PullRequests implements forge.Forge.
func (f *SimForge) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	c := Call{Op: "PullRequests", Repo: r}
	asOf := f.asOf(c)
	return ask(ctx, f, c, func(repo *simRepo) ([]gate.PR, error) {
		at := asOf()
		out := []gate.PR{}
		for _, p := range repo.pulls {
			if pr, ok := p.asOf(at); ok && pr.Open {
				out = append(out, f.answer(p, pr, at))
			}
		}
		return out, nil
	})
}

// PullRequest implements forge.Forge.
func (f *SimForge) PullRequest(ctx context.Context, r gate.Repo, n int) (gate.PR, error) {
	c := Call{Op: "PullRequest", Repo: r, PR: n}
	asOf := f.asOf(c)
	return ask(ctx, f, c, func(repo *simRepo) (gate.PR, error) {
		at := asOf()
		p, err := repo.pull(n)
		if err != nil {
			return gate.PR{}, err
		}
		pr, ok := p.asOf(at)
		if !ok {
			return gate.PR{}, refuse(404, "")
		}
		return f.answer(p, pr, at), nil
	})
}

// Reviews implements forge.Forge.
func (f *SimForge) Reviews(ctx context.Context, r gate.Repo, n int) ([]gate.Review, error) {
	c := Call{Op: "Reviews", Repo: r, PR: n}
	asOf := f.asOf(c)
	return ask(ctx, f, c, func(repo *simRepo) ([]gate.Review, error) {
		at := asOf()
		p, err := repo.pull(n)
		if err != nil {
			return nil, err
		}
		var out []gate.Review
		for _, v := range p.reviews {
			if !v.at.After(at) {
				out = append(out, gate.Review{By: v.by, State: v.state, Commit: v.commit, Counts: v.official,
					Dismissed: !v.dismissed.IsZero() && !v.dismissed.After(at), At: v.at.Truncate(time.Second)})
			}
		}
		return out, nil
	})
}

// Checks implements forge.Forge.
func (f *SimForge) Checks(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error) {
	return ask(ctx, f, Call{Op: "Checks", Repo: r, Commit: c}, func(repo *simRepo) ([]gate.Check, error) {
		out := slices.Clone(repo.statuses[c])
		slices.SortFunc(out, func(a, b gate.Check) int { return strings.Compare(a.Context, b.Context) })
		return out, nil
	})
}

// Role implements forge.Forge. A bot that is no administrator sees only who may
// write, as on Gitea.
func (f *SimForge) Role(ctx context.Context, r gate.Repo, u gate.User) (gate.Role, error) {
	return ask(ctx, f, Call{Op: "Role", Repo: r, Text: u.Login}, func(repo *simRepo) (gate.Role, error) {
		if known, ok := f.sim.people[u.Login]; !ok || known.ID != u.ID {
			return gate.RoleNone, nil
		}
		role := max(repo.roles[u.ID], gate.RoleRead) // it is public
		if repo.roles[f.sim.bot.ID] < gate.RoleAdmin && u.Login != r.Owner {
			role = min(role, gate.RoleWrite)
		}
		return role, nil
	})
}

// lateNote is how long after a label or a comment a push may be noted that was
// there before, see forge/gitea.
const lateNote = 3 * time.Second

// Past implements forge.Forge.
func (f *SimForge) Past(ctx context.Context, r gate.Repo, n int, label string) (forge.Past, error) {
	c := Call{Op: "Past", Repo: r, PR: n, Ref: label}
	asOf := f.asOf(c)
	return ask(ctx, f, c, func(repo *simRepo) (forge.Past, error) {
		at := asOf()
		p, err := repo.pull(n)
		if err != nil {
			return forge.Past{}, err
		}
		var past forge.Past
		var comments []happened
		for _, e := range p.events {
			if e.at.After(at) {
				break
			}
			e.at = e.at.Truncate(time.Second)
			switch e.kind {
			case "label":
				if strings.EqualFold(e.label, label) {
					past.LabelledBy, past.LabelledAt, past.PushedSince = e.by, e.at, false
				}
			case "comment":
				if e.comment.deleted.IsZero() {
					comments = append(comments, e)
				}
			case "retarget":
				past.Retargeted = e.at
			case "push":
				past.PushedSince = past.PushedSince || !past.LabelledAt.IsZero() && e.at.Sub(past.LabelledAt) > lateNote
				for _, said := range comments {
					if e.at.Sub(said.at) > lateNote && !slices.Contains(past.Outdated, said.comment.id) {
						past.Outdated = append(past.Outdated, said.comment.id)
					}
				}
			}
		}
		return past, nil
	})
}

// AddLabel implements forge.Forge.
func (f *SimForge) AddLabel(ctx context.Context, r gate.Repo, n int, label string) error {
	return tell(ctx, f, Call{Op: "AddLabel", Repo: r, PR: n, Ref: label}, func(repo *simRepo) error {
		p, err := repo.pull(n)
		if err != nil {
			return err
		}
		if err := repo.may(f.sim.bot, gate.RoleWrite); err != nil {
			return err
		}
		return f.sim.label(f.actor(), p, label)
	})
}

// RemoveLabel implements forge.Forge.
func (f *SimForge) RemoveLabel(ctx context.Context, r gate.Repo, n int, label string) error {
	return tell(ctx, f, Call{Op: "RemoveLabel", Repo: r, PR: n, Ref: label}, func(repo *simRepo) error {
		p, err := repo.pull(n)
		if err != nil {
			return err
		}
		if err := repo.may(f.sim.bot, gate.RoleWrite); err != nil {
			return err
		}
		f.sim.unlabel(f.actor(), p, label)
		return nil
	})
}

// Comments implements forge.Forge.
func (f *SimForge) Comments(ctx context.Context, r gate.Repo, n int) ([]forge.Comment, time.Time, error) {
	c := Call{Op: "Comments", Repo: r, PR: n}
	asOf := f.asOf(c)
	out, err := ask(ctx, f, c, func(repo *simRepo) ([]forge.Comment, error) {
		at := asOf()
		t, err := repo.thread(n)
		if err != nil {
			return nil, err
		}
		out := []forge.Comment{}
		for _, c := range t.comments {
			if said, ok := c.asOf(at); ok {
				out = append(out, said)
			}
		}
		return out, nil
	})
	return out, time.Now().Truncate(time.Second), err
}

// Comment implements forge.Forge.
func (f *SimForge) Comment(ctx context.Context, r gate.Repo, id int64) (forge.Comment, error) {
	c := Call{Op: "Comment", Repo: r, Comment: id}
	asOf := f.asOf(c)
	return ask(ctx, f, c, func(repo *simRepo) (forge.Comment, error) {
		at := asOf()
		p, ok := repo.comments[id]
		if !ok {
			return forge.Comment{}, refuse(404, "")
		}
		said, ok := p.comment.asOf(at)
		if !ok {
			return forge.Comment{}, refuse(404, "")
		}
		return said, nil
	})
}

// PostComment implements forge.Forge.
func (f *SimForge) PostComment(ctx context.Context, r gate.Repo, n int, body string) (forge.Comment, error) {
	return ask(ctx, f, Call{Op: "PostComment", Write: true, Repo: r, PR: n, Text: body}, func(repo *simRepo) (forge.Comment, error) {
		t, err := repo.thread(n)
		if err != nil {
			return forge.Comment{}, err
		}
		c, err := f.sim.comment(f.actor(), repo, t, body)
		if err != nil {
			return forge.Comment{}, err
		}
		said, _ := c.asOf(time.Now())
		return said, nil
	})
}

// EditComment implements forge.Forge.
func (f *SimForge) EditComment(ctx context.Context, r gate.Repo, id int64, body string) error {
	return tell(ctx, f, Call{Op: "EditComment", Repo: r, Comment: id, Text: body}, func(repo *simRepo) error {
		return f.sim.editComment(f.actor(), repo, id, body)
	})
}

// DeleteComment implements forge.Forge.
func (f *SimForge) DeleteComment(ctx context.Context, r gate.Repo, id int64) error {
	return tell(ctx, f, Call{Op: "DeleteComment", Repo: r, Comment: id}, func(repo *simRepo) error {
		if _, err := repo.comment(id); err != nil {
			return nil
		}
		return f.sim.deleteComment(f.actor(), repo, id)
	})
}

// React implements forge.Forge.
func (f *SimForge) React(ctx context.Context, r gate.Repo, id int64, reaction string) error {
	return tell(ctx, f, Call{Op: "React", Repo: r, Comment: id, Text: reaction}, func(repo *simRepo) error {
		p, err := repo.comment(id)
		if err == nil {
			f.sim.note(f.actor(), Entry{Op: OpReact, Repo: r, PR: p.thread.number, ID: id, Text: reaction})
		}
		return err
	})
}

// SetStatus implements forge.Forge.
func (f *SimForge) SetStatus(ctx context.Context, r gate.Repo, c gate.SHA, st forge.Status) error {
	return tell(ctx, f, Call{Op: "SetStatus", Repo: r, Commit: c, Ref: st.Context, Text: st.Text}, func(repo *simRepo) error {
		return f.sim.status(f.actor(), repo, c, st)
	})
}

func (t *thread) issue(r gate.Repo) forge.Issue {
	return forge.Issue{Number: t.number, By: t.by, Title: t.title, Body: t.body, URL: simURL + "/" + r.String() + "/issues", Open: t.open}
}

// FindIssues implements forge.Forge.
func (f *SimForge) FindIssues(ctx context.Context, r gate.Repo, by gate.User, marker string) ([]forge.Issue, error) {
	return ask(ctx, f, Call{Op: "FindIssues", Repo: r, Text: marker}, func(repo *simRepo) ([]forge.Issue, error) {
		var out []forge.Issue
		for _, t := range repo.threads {
			if t.pull == nil && t.open && t.by.ID == by.ID && strings.Contains(t.body, marker) {
				out = append(out, t.issue(r))
			}
		}
		slices.SortFunc(out, func(a, b forge.Issue) int { return a.Number - b.Number })
		return out, nil
	})
}

// Issue implements forge.Forge.
func (f *SimForge) Issue(ctx context.Context, r gate.Repo, n int) (forge.Issue, error) {
	return ask(ctx, f, Call{Op: "Issue", Repo: r, PR: n}, func(repo *simRepo) (forge.Issue, error) {
		t, err := repo.thread(n)
		if err != nil {
			return forge.Issue{}, err
		}
		return t.issue(r), nil
	})
}

// CreateIssue implements forge.Forge.
func (f *SimForge) CreateIssue(ctx context.Context, r gate.Repo, title, body string) (forge.Issue, error) {
	return ask(ctx, f, Call{Op: "CreateIssue", Write: true, Repo: r, Text: body}, func(repo *simRepo) (forge.Issue, error) {
		t := f.sim.newThread(repo, f.sim.bot, title, body)
		f.sim.note(f.actor(), Entry{Op: OpIssue, Repo: r, PR: t.number, Text: body})
		return t.issue(r), nil
	})
}

// EditIssue implements forge.Forge.
func (f *SimForge) EditIssue(ctx context.Context, r gate.Repo, n int, body string) error {
	return tell(ctx, f, Call{Op: "EditIssue", Repo: r, PR: n, Text: body}, func(repo *simRepo) error {
		t, err := repo.thread(n)
		if err != nil {
			return err
		}
		t.body = body
		f.sim.note(f.actor(), Entry{Op: OpEditIssue, Repo: r, PR: n, Text: body})
		return nil
	})
}

// CloseIssue implements forge.Forge.
func (f *SimForge) CloseIssue(ctx context.Context, r gate.Repo, n int) error {
	return tell(ctx, f, Call{Op: "CloseIssue", Repo: r, PR: n}, func(repo *simRepo) error {
		t, err := repo.thread(n)
		if err == nil {
			f.sim.closeThread(f.actor(), repo, t)
		}
		return err
	})
}

// Land implements forge.Forge.
func (f *SimForge) Land(ctx context.Context, r gate.Repo, l forge.Landing) error {
	return tell(ctx, f, Call{Op: "Land", Repo: r, PR: l.PR, Ref: l.Base, Commit: l.Head, Text: string(l.Method)}, func(repo *simRepo) error {
		return f.sim.land(f.actor(), repo, l)
	})
}

// GitAuth implements forge.Forge; there is no git over HTTP to show it to.
func (f *SimForge) GitAuth(context.Context, gate.Repo) (string, error) { return "", nil }

// Verify implements forge.Forge: nothing is delivered over HTTP.
func (f *SimForge) Verify(http.Header, []byte, []byte) bool { return false }

// Event implements forge.Forge: nothing is delivered over HTTP, see Subscribe.
func (f *SimForge) Event(http.Header, []byte) (forge.Event, error) { return forge.Event{}, nil }
