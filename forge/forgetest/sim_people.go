package forgetest

import (
	"slices"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// simURL is where the forge would be. No program can reach it.
const simURL = "sim://forge.test"

func cloneURL(r gate.Repo) string { return simURL + "/" + r.String() + ".git" }

// Repo makes a repository with one commit on main, every method of landing
// allowed, the labels "merge" and "wip", and the bot with the role.
func (s *Sim) Repo(r gate.Repo, bot gate.Role, files map[string]string) gate.SHA {
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.newRepo(r, bot)
	stamp := person("owner", "owner@forge.test", time.Now().Unix())
	root := s.git.commit(s.git.with(s.git.treeOf(nil), files), nil, stamp, stamp, "Begin "+r.String()+"\n")
	owner := s.people[r.Owner]
	s.setRef(actor{user: owner}, repo, "refs/heads/main", root, OpRef)
	s.news = nil // nobody listens yet
	return root.id
}

func (s *Sim) newRepo(r gate.Repo, bot gate.Role) *simRepo {
	owner, ok := s.people[r.Owner]
	if !ok {
		owner = s.account(r.Owner)
	}
	repo := &simRepo{
		id: s.id(), name: r, main: "main", roles: map[int64]gate.Role{owner.ID: gate.RoleAdmin, s.bot.ID: bot},
		labels: []string{"merge", "wip"}, methods: []gate.Method{gate.FastForward, gate.Rebase, gate.Merge, gate.Squash},
		refs: map[string][]refAt{}, have: map[*commit]bool{}, protected: map[string]Protection{},
		threads: map[int]*thread{}, comments: map[int64]place{}, statuses: map[gate.SHA][]gate.Check{},
	}
	s.repos[r], s.byURL[cloneURL(r)] = repo, repo
	return repo
}

// Fork makes a copy of a repository that belongs to somebody.
func (s *Sim) Fork(of gate.Repo, by gate.User) (gate.Repo, error) {
	name := gate.Repo{Forge: of.Forge, Owner: by.Login, Name: of.Name}
	return name, s.locked(func() error {
		parent, err := s.repo(of)
		if err != nil {
			return err
		}
		if s.repos[name] != nil {
			return refuse(409, "there is one already")
		}
		fork := s.newRepo(name, gate.RoleRead)
		fork.parent = parent
		for ref := range parent.refs {
			if c := parent.tip(ref); c != nil {
				fork.refs[ref] = []refAt{{time.Now(), c}}
				s.store(fork.have, c)
			}
		}
		return nil
	})
}

// Person makes an account and gives it a role in the repository.
func (s *Sim) Person(r gate.Repo, login string, role gate.Role) gate.User {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.people[login]
	if !ok {
		u = s.account(login)
	}
	s.repos[r].roles[u.ID] = role
	return u
}

// SetRole changes what somebody, also the bot, may do.
func (s *Sim) SetRole(r gate.Repo, u gate.User, role gate.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[r].roles[u.ID] = role
	s.note(actor{user: s.people[r.Owner]}, Entry{Op: OpRole, Repo: r, Text: u.Login, State: role.String()})
}

// Settings changes what a repository allows.
func (s *Sim) Settings(r gate.Repo, methods []gate.Method, labels []string, archived bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repos[r]
	repo.methods, repo.labels, repo.archived = slices.Clone(methods), slices.Clone(labels), archived
}

// Protect sets what a branch demands.
func (s *Sim) Protect(r gate.Repo, branch string, p Protection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[r].protected[branch] = p
}

// as does something as a person.
func (s *Sim) as(r gate.Repo, by gate.User, role gate.Role, f func(a actor, repo *simRepo) error) error {
	return s.locked(func() error {
		repo, err := s.repo(r)
		if err != nil {
			return err
		}
		if err := repo.may(by, role); err != nil {
			return err
		}
		return f(actor{user: by}, repo)
	})
}

// onPull does something to a pull request as a person: its author, or somebody
// with the role.
func (s *Sim) onPull(r gate.Repo, n int, by gate.User, role gate.Role, f func(a actor, p *pull) error) error {
	return s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		p, err := repo.pull(n)
		if err != nil {
			return err
		}
		if by != p.thread.by {
			if err := repo.may(by, role); err != nil {
				return err
			}
		}
		return f(a, p)
	})
}

// Commit makes a commit on top of others, without pushing it anywhere. A file
// with an empty text is deleted.
func (s *Sim) Commit(by gate.User, message string, files map[string]string, parents ...gate.SHA) gate.SHA {
	s.mu.Lock()
	defer s.mu.Unlock()
	var on []*commit
	for _, p := range parents {
		on = append(on, s.git.commits[p])
	}
	return s.newCommit(by, message, files, on...).id
}

func (s *Sim) newCommit(by gate.User, message string, files map[string]string, on ...*commit) *commit {
	t := s.git.treeOf(nil)
	switch {
	case len(on) == 1:
		t = on[0].tree
	case len(on) > 1:
		t, _ = s.git.merge(on[0], on[1])
	}
	stamp := person(by.Login, by.Login+"@forge.test", time.Now().Unix())
	return s.git.commit(s.git.with(t, files), on, stamp, stamp, message+"\n")
}

// Push commits the files on top of from and forces the branches there.
func (s *Sim) Push(r gate.Repo, by gate.User, from gate.SHA, files map[string]string, branches ...string) (gate.SHA, error) {
	var made gate.SHA
	err := s.as(r, by, gate.RoleWrite, func(a actor, repo *simRepo) error {
		on := s.git.commits[from]
		if on == nil {
			return refuse(404, "")
		}
		c := s.newCommit(by, "Change "+string(from.Short()), files, on)
		made = c.id
		return s.pushTo(a, repo, c, branches...)
	})
	return made, err
}

// PushCommit forces a branch to a commit that exists.
func (s *Sim) PushCommit(r gate.Repo, by gate.User, c gate.SHA, branch string) error {
	return s.as(r, by, gate.RoleWrite, func(a actor, repo *simRepo) error {
		at := s.git.commits[c]
		if at == nil {
			return refuse(404, "")
		}
		return s.pushTo(a, repo, at, branch)
	})
}

func (s *Sim) pushTo(a actor, repo *simRepo, c *commit, branches ...string) error {
	for _, b := range branches {
		if repo.protected[b].NoPush {
			return refuse(403, "not allowed to push to protected branch "+b)
		}
		s.setRef(a, repo, "refs/heads/"+b, c, OpRef)
	}
	return nil
}

// PushBase puts a commit with the files on top of a branch, past the queue.
func (s *Sim) PushBase(r gate.Repo, by gate.User, branch string, files map[string]string) (gate.SHA, error) {
	return s.Push(r, by, s.Tip(r, branch), files, branch)
}

// DeleteBranch deletes a branch; pull requests from it are closed, those onto it
// turn to the default branch.
func (s *Sim) DeleteBranch(r gate.Repo, by gate.User, branch string) error {
	return s.as(r, by, gate.RoleWrite, func(a actor, repo *simRepo) error {
		if branch == repo.main || repo.protected[branch].NoPush {
			return refuse(403, "this branch cannot be deleted")
		}
		if repo.tip("refs/heads/"+branch) == nil {
			return refuse(404, "")
		}
		s.setRef(a, repo, "refs/heads/"+branch, nil, OpRef)
		return nil
	})
}

// Open opens a pull request from a branch of the same repository.
func (s *Sim) Open(r gate.Repo, by gate.User, branch, base, title string) (int, error) {
	return s.OpenFrom(r, by, r, branch, base, title)
}

// OpenFrom opens a pull request from a branch of a fork.
func (s *Sim) OpenFrom(r gate.Repo, by gate.User, fork gate.Repo, branch, base, title string) (int, error) {
	n := 0
	err := s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		source, err := s.repo(fork)
		if err != nil {
			return err
		}
		p, err := s.openPull(a, repo, source, branch, base, title)
		if err == nil {
			n = p.thread.number
		}
		return err
	})
	return n, err
}

// AllowEdits says whether maintainers may push to the branch of a fork.
func (s *Sim) AllowEdits(r gate.Repo, n int, allow bool) error {
	return s.locked(func() error {
		p, err := s.repos[r].pull(n)
		if err == nil {
			p.edits = allow
		}
		return err
	})
}

// Review submits a review for the head. A newer one replaces an older one of
// the same person, whatever they say.
func (s *Sim) Review(r gate.Repo, n int, by gate.User, state gate.ReviewState) error {
	return s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		p, err := repo.pull(n)
		if err != nil {
			return err
		}
		if by == p.thread.by && state != gate.Commented {
			return refuse(422, "approve your own pull is not allowed")
		}
		official := repo.roles[by.ID] >= gate.RoleWrite && state != gate.Commented
		if official {
			for _, v := range p.reviews {
				if v.by == by && v.official {
					v.official, v.dismissed = false, time.Now()
				}
			}
		}
		v := &review{id: s.id(), by: by, state: state, commit: p.now().Head, at: time.Now(), official: official}
		p.reviews = append(p.reviews, v)
		p.change(true, func(*gate.PR) {})
		s.note(a, Entry{Op: OpReview, Repo: r, PR: n, ID: v.id, To: v.commit, State: string(state)})
		s.tell(a, repo, n)
		return nil
	})
}

// Dismiss dismisses somebody's reviews. The forge sends no webhook for it.
func (s *Sim) Dismiss(r gate.Repo, n int, by, whose gate.User) error {
	return s.as(r, by, gate.RoleWrite, func(a actor, repo *simRepo) error {
		p, err := repo.pull(n)
		if err != nil {
			return err
		}
		for _, v := range p.reviews {
			if v.by == whose && v.dismissed.IsZero() && v.state != gate.Commented {
				v.dismissed = time.Now()
				s.note(a, Entry{Op: OpDismiss, Repo: r, PR: n, ID: v.id})
			}
		}
		p.change(true, func(*gate.PR) {})
		return nil
	})
}

// Label puts a label on.
func (s *Sim) Label(r gate.Repo, n int, by gate.User, label string) error {
	return s.onPull(r, n, by, gate.RoleWrite, func(a actor, p *pull) error {
		if err := p.repo.may(by, gate.RoleWrite); err != nil {
			return err // also its author
		}
		return s.label(a, p, label)
	})
}

// Unlabel takes a label off.
func (s *Sim) Unlabel(r gate.Repo, n int, by gate.User, label string) error {
	return s.onPull(r, n, by, gate.RoleWrite, func(a actor, p *pull) error {
		s.unlabel(a, p, label)
		return nil
	})
}

// Comment writes a comment on an issue or a pull request.
func (s *Sim) Comment(r gate.Repo, n int, by gate.User, body string) (int64, error) {
	var id int64
	err := s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		t, err := repo.thread(n)
		if err != nil {
			return err
		}
		c, err := s.comment(a, repo, t, body)
		if err == nil {
			id = c.id
		}
		return err
	})
	return id, err
}

// EditComment changes a comment: one's own, or anybody's with write access.
func (s *Sim) EditComment(r gate.Repo, id int64, by gate.User, body string) error {
	return s.onComment(r, id, by, func(a actor, repo *simRepo) error { return s.editComment(a, repo, id, body) })
}

// DeleteComment deletes a comment: one's own, or anybody's with write access.
func (s *Sim) DeleteComment(r gate.Repo, id int64, by gate.User) error {
	return s.onComment(r, id, by, func(a actor, repo *simRepo) error { return s.deleteComment(a, repo, id) })
}

func (s *Sim) onComment(r gate.Repo, id int64, by gate.User, f func(actor, *simRepo) error) error {
	return s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		p, err := repo.comment(id)
		if err != nil {
			return err
		}
		if p.comment.by != by {
			if err := repo.may(by, gate.RoleWrite); err != nil {
				return err
			}
		}
		return f(a, repo)
	})
}

// Close closes a pull request or an issue.
func (s *Sim) Close(r gate.Repo, n int, by gate.User) error {
	return s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		t, err := repo.thread(n)
		if err == nil {
			s.closeThread(a, repo, t)
		}
		return err
	})
}

// Reopen opens a pull request again whose branch is still there.
func (s *Sim) Reopen(r gate.Repo, n int, by gate.User) error {
	return s.onPull(r, n, by, gate.RoleWrite, func(a actor, p *pull) error {
		pr := p.now()
		if pr.Merged || p.source == nil || pr.Open {
			return refuse(422, "it cannot be reopened")
		}
		head := p.source.tip("refs/heads/" + pr.HeadBranch)
		if head == nil || p.repo.tip("refs/heads/"+pr.Base) == nil {
			return refuse(422, "a branch is gone")
		}
		p.thread.open = true
		p.change(true, func(pr *gate.PR) { pr.Open, pr.Head = true, head.id })
		p.checked = time.Now().Add(s.check)
		s.note(a, Entry{Op: OpReopen, Repo: r, PR: n, To: head.id})
		s.tell(a, p.repo, n)
		return nil
	})
}

// Retarget turns a pull request to another base.
func (s *Sim) Retarget(r gate.Repo, n int, by gate.User, base string) error {
	return s.onPull(r, n, by, gate.RoleWrite, func(a actor, p *pull) error { return s.retarget(a, p, base) })
}

// Draft makes a pull request a draft.
func (s *Sim) Draft(r gate.Repo, n int, by gate.User) error {
	return s.setDraft(r, n, by, true, OpDraft)
}

// Ready makes a draft ready for review.
func (s *Sim) Ready(r gate.Repo, n int, by gate.User) error {
	return s.setDraft(r, n, by, false, OpReady)
}

func (s *Sim) setDraft(r gate.Repo, n int, by gate.User, draft bool, op string) error {
	return s.onPull(r, n, by, gate.RoleWrite, func(a actor, p *pull) error {
		p.change(true, func(pr *gate.PR) { pr.Draft = draft })
		s.note(a, Entry{Op: op, Repo: r, PR: n})
		s.tell(a, p.repo, n)
		return nil
	})
}

// Check is CI's word about a commit.
func (s *Sim) Check(r gate.Repo, by gate.User, c gate.SHA, context string, state forge.StatusState, text string) error {
	return s.as(r, by, gate.RoleWrite, func(a actor, repo *simRepo) error {
		return s.status(a, repo, c, forge.Status{Context: context, State: state, Text: text})
	})
}

// Issue opens an issue.
func (s *Sim) Issue(r gate.Repo, by gate.User, title, body string) (int, error) {
	n := 0
	err := s.as(r, by, gate.RoleNone, func(a actor, repo *simRepo) error {
		n = s.newThread(repo, by, title, body).number
		s.note(a, Entry{Op: OpIssue, Repo: r, PR: n, Text: body})
		return nil
	})
	return n, err
}

// DeleteIssue deletes an issue with all its comments.
func (s *Sim) DeleteIssue(r gate.Repo, n int, by gate.User) error {
	return s.as(r, by, gate.RoleAdmin, func(a actor, repo *simRepo) error {
		t, err := repo.thread(n)
		if err != nil || t.pull != nil {
			return refuse(404, "")
		}
		for _, c := range t.comments {
			c.deleted = time.Now()
		}
		delete(repo.threads, n)
		s.note(a, Entry{Op: OpDeleteIssue, Repo: r, PR: n})
		return nil
	})
}

// Merge lands a pull request by hand, past the queue.
func (s *Sim) Merge(r gate.Repo, n int, by gate.User, method gate.Method) error {
	return s.as(r, by, gate.RoleWrite, func(a actor, repo *simRepo) error {
		return s.land(a, repo, forge.Landing{PR: n, Method: method})
	})
}
