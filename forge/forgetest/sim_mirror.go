package forgetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/lease"
	"mergegate/internal/git"
)

// SimMirror is a replica's git mirror of a repository of a Sim. It answers like
// catchup.Mirror, with the same ids, and keeps a lease in a ref as lease.Refs.
type SimMirror struct {
	sim       *Sim
	replica   string
	repo      gate.Repo
	remote    catchup.Remote
	committer catchup.Person
	store     *mirrorStore
}

var _ lease.Refs = (*SimMirror)(nil)

// mirrorStore is what is on the replica's disk.
type mirrorStore struct {
	have map[*commit]bool
	refs map[string]*commit
}

// Mirror opens a replica's mirror of a remote in dir, as catchup.Open does. What
// was fetched into it before is still there, unless Wipe was called.
func (s *Sim) Mirror(replica, dir string, remote catchup.Remote, committer catchup.Person) (*SimMirror, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byURL[remote.URL]
	if r == nil {
		return nil, fmt.Errorf("open mirror: no repository at %s", remote.URL)
	}
	m := &SimMirror{sim: s, replica: replica, repo: r.name, remote: remote, committer: committer}
	key := replica + "\n" + dir
	if m.store = s.mirrors[key]; m.store == nil {
		m.store = &mirrorStore{have: map[*commit]bool{}, refs: map[string]*commit{}}
		s.mirrors[key] = m.store
	}
	return m, nil
}

// Wipe deletes a replica's mirrors. One that is open finds itself empty.
func (s *Sim) Wipe(replica string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, m := range s.mirrors {
		if strings.HasPrefix(key, replica+"\n") {
			clear(m.have)
			clear(m.refs)
		}
	}
}

// reach makes one call to a remote, and gives trouble on the way its name.
func (m *SimMirror) reach(ctx context.Context, remote catchup.Remote, c Call, effect func(r *simRepo) error) error {
	c.Replica, c.Repo = m.replica, m.repo
	if remote.Auth != nil {
		if _, err := remote.Auth(ctx); err != nil {
			return fmt.Errorf("%w: no token: %w", catchup.ErrTransport, err)
		}
	}
	err := m.sim.do(ctx, c, func() error {
		r := m.sim.byURL[remote.URL]
		if r == nil {
			return fmt.Errorf("%w: no repository at %s", catchup.ErrTransport, remote.URL)
		}
		return effect(r)
	})
	var denied *catchup.DeniedError
	switch {
	case err == nil, ctx.Err() != nil, errors.As(err, &denied),
		errors.Is(err, catchup.ErrNoRef), errors.Is(err, catchup.ErrMissing), errors.Is(err, catchup.ErrMoved), errors.Is(err, catchup.ErrTransport):
		return err
	}
	return fmt.Errorf("%w: %w", catchup.ErrTransport, err)
}

// remoteTip is where a ref is in a repository, with the refs of pull requests.
func (s *Sim) remoteTip(r *simRepo, ref string) *commit {
	if ref == "HEAD" {
		ref = "refs/heads/" + r.main
	}
	var n int
	if _, err := fmt.Sscanf(ref, "refs/pull/%d/head", &n); err == nil {
		if p, err := r.pull(n); err == nil {
			return s.git.commits[p.now().Head]
		}
		return nil
	}
	return r.tip(ref)
}

// Fetch is as in catchup.Mirror.
func (m *SimMirror) Fetch(ctx context.Context, want ...string) error {
	return m.reach(ctx, m.remote, Call{Op: "git fetch", Ref: strings.Join(want, " ")}, func(r *simRepo) error {
		var missing []string
		for _, ref := range want {
			if m.sim.remoteTip(r, ref) == nil {
				missing = append(missing, ref)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("%w: %q", catchup.ErrNoRef, missing)
		}
		for _, ref := range want {
			c := m.sim.remoteTip(r, ref)
			m.sim.store(m.store.have, c)
			m.store.refs[ref] = c
		}
		return nil
	})
}

// FetchCommit is as in catchup.Mirror.
func (m *SimMirror) FetchCommit(ctx context.Context, c gate.SHA) error {
	if m.Have(ctx, c) {
		return nil
	}
	return m.reach(ctx, m.remote, Call{Op: "git fetch", Commit: c}, func(r *simRepo) error {
		at := m.sim.git.commits[c]
		if at == nil || !r.have[at] {
			return fmt.Errorf("%w: the remote does not give %s", catchup.ErrMissing, c)
		}
		m.sim.store(m.store.have, at)
		return nil
	})
}

// RemoteRefs is as in catchup.Mirror.
func (m *SimMirror) RemoteRefs(ctx context.Context, refs ...string) (map[string]gate.SHA, error) {
	return m.remoteRefs(ctx, m.remote, refs...)
}

func (m *SimMirror) remoteRefs(ctx context.Context, remote catchup.Remote, refs ...string) (map[string]gate.SHA, error) {
	var at map[string]gate.SHA
	err := m.reach(ctx, remote, Call{Op: "git ls-remote", Ref: strings.Join(refs, " ")}, func(r *simRepo) error {
		at = map[string]gate.SHA{}
		for _, ref := range refs {
			if c := m.sim.remoteTip(r, ref); c != nil {
				at[ref] = c.id
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return at, nil
}

// Push is as in catchup.Mirror.
func (m *SimMirror) Push(ctx context.Context, p catchup.Push) error {
	if (p.SameRepo || p.Remote.URL == m.remote.URL) && slices.Contains(p.Protected, p.Branch) {
		return fmt.Errorf("push: %q is a base branch, which only moves by landing", p.Branch)
	}
	if !p.From.Valid() || !p.To.Valid() {
		return fmt.Errorf("push %q: not a full commit id", p.Branch)
	}
	return m.push(ctx, p.Remote, "refs/heads/"+p.Branch, p.From, p.To)
}

// PushRef is as in catchup.Mirror.
func (m *SimMirror) PushRef(ctx context.Context, ref string, from, to gate.SHA) error {
	if !strings.HasPrefix(ref, "refs/heads/mergegate/") && !strings.HasPrefix(ref, "refs/mergegate/") {
		return fmt.Errorf("push: %q is not a ref of mergegate's own", ref)
	}
	return m.push(ctx, m.remote, ref, from, to)
}

// push reads the ref back after anything that is not a success, as the real one
// does.
func (m *SimMirror) push(ctx context.Context, remote catchup.Remote, ref string, from, to gate.SHA) error {
	if to != "" && !m.Have(ctx, to) {
		return fmt.Errorf("push %q: %w: %s", ref, catchup.ErrMissing, to)
	}
	err := m.reach(ctx, remote, Call{Op: "git push", Write: true, Ref: ref, Commit: to}, func(r *simRepo) error {
		return m.sim.receive(actor{user: m.sim.bot, replica: m.replica}, r, ref, from, to)
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	now, rerr := m.remoteRefs(ctx, remote, ref)
	var denied *catchup.DeniedError
	switch {
	case rerr != nil:
		return fmt.Errorf("push %q: %w: %w", ref, catchup.ErrTransport, err)
	case now[ref] == to:
		return nil
	case now[ref] != from:
		return fmt.Errorf("push: %w: %q is at %q, not at %q", catchup.ErrMoved, ref, now[ref], from)
	case errors.As(err, &denied):
		return fmt.Errorf("push %q: %w", ref, denied)
	}
	return fmt.Errorf("push %q: %w: %w", ref, catchup.ErrTransport, err)
}

// receive is the forge's side of a push with a lease.
func (s *Sim) receive(a actor, r *simRepo, ref string, from, to gate.SHA) error {
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	switch {
	case idOf(r.tip(ref)) != from:
		return errors.New("stale info")
	case r.archived:
		return &catchup.DeniedError{Text: "the repository is archived"}
	case !s.mayPush(a, r, branch):
		return &catchup.DeniedError{Text: "pre-receive hook declined"}
	case isBranch && r.protected[branch].NoPush:
		return &catchup.DeniedError{Text: "not allowed to push to protected branch " + branch}
	}
	s.setRef(a, r, ref, s.git.commits[to], OpRef)
	return nil
}

// mayPush: writers may, and the maintainers of the repository that a fork's pull
// request goes to, if its author lets them.
func (s *Sim) mayPush(a actor, r *simRepo, branch string) bool {
	if r.roles[a.user.ID] >= gate.RoleWrite {
		return true
	}
	if r.parent == nil || r.parent.roles[a.user.ID] < gate.RoleWrite {
		return false
	}
	return slices.ContainsFunc(r.parent.pulls, func(p *pull) bool {
		return p.source == r && p.edits && p.now().Open && p.now().HeadBranch == branch
	})
}

// Have is as in catchup.Mirror.
func (m *SimMirror) Have(_ context.Context, c gate.SHA) bool {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	return m.store.have[m.sim.git.commits[c]]
}

// Ref is as in catchup.Mirror.
func (m *SimMirror) Ref(_ context.Context, ref string) (gate.SHA, error) {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	if c := m.store.refs[ref]; c != nil {
		return c.id, nil
	}
	return "", fmt.Errorf("%w: %q was not fetched", catchup.ErrNoRef, ref)
}

// Dir is no directory that exists: there is nothing to check out.
func (m *SimMirror) Dir() git.Dir { return git.Dir{Path: "/sim/" + m.replica + "/" + m.repo.String()} }

// local reads commits that are in the mirror.
func local[T any](ctx context.Context, m *SimMirror, f func(c []*commit) (T, error), ids ...gate.SHA) (T, error) {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	var none T
	if err := ctx.Err(); err != nil {
		return none, context.Cause(ctx)
	}
	list := make([]*commit, len(ids))
	for i, id := range ids {
		c := m.sim.git.commits[id]
		if c == nil || !m.store.have[c] {
			return none, fmt.Errorf("%w: %s", catchup.ErrMissing, id)
		}
		list[i] = c
	}
	return f(list)
}

// Tree is as in catchup.Mirror.
func (m *SimMirror) Tree(ctx context.Context, c gate.SHA) (gate.SHA, error) {
	return local(ctx, m, func(c []*commit) (gate.SHA, error) { return c[0].tree.id, nil }, c)
}

// Parents is as in catchup.Mirror.
func (m *SimMirror) Parents(ctx context.Context, c gate.SHA) ([]gate.SHA, error) {
	return local(ctx, m, func(c []*commit) ([]gate.SHA, error) { return parentIDs(c[0]), nil }, c)
}

func parentIDs(c *commit) (ids []gate.SHA) {
	for _, p := range c.parents {
		ids = append(ids, p.id)
	}
	return ids
}

// IsAncestor is as in catchup.Mirror.
func (m *SimMirror) IsAncestor(ctx context.Context, a, b gate.SHA) (bool, error) {
	return local(ctx, m, func(c []*commit) (bool, error) { return m.sim.git.isAncestor(c[0], c[1]), nil }, a, b)
}

// MergeBase is as in catchup.Mirror.
func (m *SimMirror) MergeBase(ctx context.Context, a, b gate.SHA) (gate.SHA, error) {
	return local(ctx, m, func(c []*commit) (gate.SHA, error) {
		bases := m.sim.git.mergeBases(c[0], c[1])
		if len(bases) == 0 {
			return "", fmt.Errorf("%w: %s and %s", catchup.ErrUnrelated, a, b)
		}
		return bases[0].id, nil
	}, a, b)
}

// Paths is as in catchup.Mirror.
func (m *SimMirror) Paths(ctx context.Context, from, to gate.SHA) ([]string, error) {
	return local(ctx, m, func(c []*commit) (paths []string, err error) {
		eachChange(c[0].tree, c[1].tree, func(path, _, _ string) { paths = append(paths, path) })
		return paths, nil
	}, from, to)
}

// File is as in catchup.Mirror.
func (m *SimMirror) File(ctx context.Context, c gate.SHA, path string, max int64) ([]byte, error) {
	return local(ctx, m, func(c []*commit) ([]byte, error) {
		text, ok := c[0].tree.at(path)
		if !ok {
			return nil, fmt.Errorf("read %q in %s: %w", path, c[0].id.Short(), fs.ErrNotExist)
		}
		if int64(len(text)) > max {
			return nil, fmt.Errorf("read %q in %s: it has %d bytes, more than %d", path, c[0].id.Short(), len(text), max)
		}
		return []byte(text), nil
	}, c)
}

// Log is as in catchup.Mirror.
func (m *SimMirror) Log(ctx context.Context, from, to gate.SHA, max int) ([]catchup.Commit, error) {
	ids := []gate.SHA{to}
	if from != "" {
		ids = append(ids, from)
	}
	return local(ctx, m, func(c []*commit) (list []catchup.Commit, err error) {
		var old uint32
		if len(c) > 1 {
			old = m.sim.git.reach(c[1])
		}
		for at := c[0]; len(list) < max && (old == 0 || at.mark != old); at = at.parents[0] {
			list = append(list, describe(at))
			if len(at.parents) == 0 {
				break
			}
		}
		return list, nil
	}, ids...)
}

func describe(c *commit) catchup.Commit {
	out := catchup.Commit{ID: c.id, Tree: c.tree.id, Parents: parentIDs(c), Subject: c.subject(), Message: c.message, Time: time.Unix(c.when(), 0).UTC()}
	out.Author, out.Committer = nameOf(c.author), nameOf(c.committer)
	return out
}

func nameOf(line string) catchup.Person {
	name, rest, _ := strings.Cut(line, " <")
	email, _, _ := strings.Cut(rest, "> ")
	return catchup.Person{Name: name, Email: email}
}

// Write implements lease.Refs.
func (m *SimMirror) Write(_ context.Context, text string) (gate.SHA, error) {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	by := person("mergegate", "mergegate@localhost", time.Now().Unix())
	c := m.sim.git.commit(m.sim.git.treeOf(nil), nil, by, by, text)
	m.store.have[c] = true
	return c.id, nil
}

// Read implements lease.Refs.
func (m *SimMirror) Read(ctx context.Context, ref string) (gate.SHA, string, error) {
	if err := m.Fetch(ctx, ref); err != nil {
		return "", "", err
	}
	id, err := m.Ref(ctx, ref)
	if err != nil {
		return "", "", err
	}
	text, err := local(ctx, m, func(c []*commit) (string, error) { return c[0].message, nil }, id)
	return id, text, err
}
