package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mergegate/gate"
)

// Refs are the refs of a git remote and commits that carry a text.
type Refs interface {
	// RemoteRefs says where the named refs are on the remote now. Those that
	// do not exist are left out.
	RemoteRefs(ctx context.Context, refs ...string) (map[string]gate.SHA, error)
	// PushRef moves a remote ref only if it is at from. "" stands for a ref
	// that does not exist. After an error it may have moved.
	PushRef(ctx context.Context, ref string, from, to gate.SHA) error
	// Write makes a local commit without files. Texts that differ give ids
	// that differ.
	Write(ctx context.Context, text string) (gate.SHA, error)
	// Read fetches the ref and gives its commit and the text in it.
	Read(ctx context.Context, ref string) (gate.SHA, string, error)
}

// NewRef keeps the lease in refs/mergegate/lease/<base> of a git remote.
func NewRef(cfg Config, r Refs) Store {
	return &refStore{cfg: cfg, git: r, ref: Ref(cfg.Base), look: true, ours: own{chance: cfg.Chance}}
}

type refStore struct {
	cfg  Config
	git  Refs
	ref  string
	look bool // read before pushing: there is a reason to expect a lease
	seen view
	ours own
}

// view is the lease that was there when we wanted ours, as first seen.
type view struct {
	commit gate.SHA
	rec    *record   // nil: not written with our key
	first  time.Time // on our monotonic clock
}

func (s *refStore) end() time.Time {
	ttl := s.cfg.TTL
	if s.seen.rec != nil {
		ttl = s.seen.rec.ttl()
	}
	return s.seen.first.Add(ttl + s.cfg.grace())
}

// where reads the ref; "" when it does not exist.
func (s *refStore) where(ctx context.Context) (gate.SHA, error) {
	at, err := s.git.RemoteRefs(ctx, s.ref)
	if err != nil {
		return "", fmt.Errorf("read the lease %s of %s: %w", s.ref, s.cfg.Repo, err)
	}
	return at[s.ref], nil
}

// watch reads the lease that is there, once per commit.
func (s *refStore) watch(ctx context.Context, at gate.SHA) error {
	if at == s.seen.commit {
		return nil
	}
	first, asked := time.Now(), at
	at, text, err := s.git.Read(ctx, s.ref)
	if err != nil {
		return fmt.Errorf("read the lease %s of %s: %w", s.ref, s.cfg.Repo, err)
	}
	if at != asked {
		first = time.Now() // another took it meanwhile: it was never seen before
	}
	v := view{commit: at, first: first}
	if r, ok := parseAny(s.cfg.keys(), text); ok && r.Repo == repoName(s.cfg.Repo) && r.Base == s.cfg.Base {
		v.rec = &r
	}
	s.seen = v
	return nil
}

func (s *refStore) busy() *BusyError {
	if s.seen.rec == nil {
		return &BusyError{Until: s.end(), Unknown: true}
	}
	return &BusyError{Holder: s.seen.rec.Holder, PR: s.seen.rec.PR, Until: s.end()}
}

func (s *refStore) Look() { s.look = true }

func (s *refStore) Take(ctx context.Context, n Note) (*Held, error) {
	if err := s.cfg.Validate(); err != nil {
		return nil, err
	}
	var at gate.SHA
	var from *record
	if s.look {
		var err error
		if at, from, err = s.approach(ctx); err != nil {
			return nil, err
		}
	}
	s.look = true
	r := newRecord(s.cfg, s.ours.begin(), n, from)
	c := &refClaim{s: s, nonce: r.Nonce, at: at}
	sent := now()
	if err := c.write(ctx, r); err != nil {
		if !errors.Is(err, ErrLost) {
			return nil, fmt.Errorf("push the lease %s of %s: %w", s.ref, s.cfg.Repo, err)
		}
		if _, _, err := s.approach(ctx); err != nil {
			return nil, err // as a rule a *BusyError: another was faster
		}
		return nil, fmt.Errorf("push the lease %s of %s: it was taken and released at the same moment; try again", s.ref, s.cfg.Repo)
	}
	h := &Held{cfg: s.cfg, claim: c, inherited: from.work(), rec: r, proven: true}
	return h.start(ctx, sent), nil
}

// approach gives the commit to push over and the lease in it: none, a stale
// one, or what an attempt of ours left behind.
func (s *refStore) approach(ctx context.Context) (gate.SHA, *record, error) {
	at, err := s.where(ctx)
	if err != nil || at == "" {
		return "", nil, err
	}
	if err := s.watch(ctx, at); err != nil {
		return "", nil, err
	}
	if time.Now().Before(s.end()) && !s.ours.has(s.seen.rec) {
		return "", nil, s.busy()
	}
	return s.seen.commit, s.seen.rec, nil
}

// refClaim is our lease.
type refClaim struct {
	s     *refStore
	nonce string
	at    gate.SHA   // where the ref is, as last confirmed
	tried []gate.SHA // pushed since, with an answer that was no answer
}

func (c *refClaim) prove(ctx context.Context) error {
	at, err := c.s.where(ctx)
	if err != nil {
		return err
	}
	return c.adopt(at)
}

// adopt takes note of where the ref is; ErrLost when that is none of ours.
func (c *refClaim) adopt(at gate.SHA) error {
	if at != c.at && !slices.Contains(c.tried, at) {
		return fmt.Errorf("%w: somebody moved %s", ErrLost, c.s.ref)
	}
	c.at = at
	return nil
}

// write moves the ref to a new commit. Whatever the push answers, the ref
// itself says whether it moved.
func (c *refClaim) write(ctx context.Context, r record) error {
	line, err := r.line(c.s.cfg.Key)
	if err != nil {
		return err
	}
	to, err := c.s.git.Write(ctx, line+"\n")
	if err != nil {
		return err
	}
	c.tried = append(c.tried, to)
	if err = c.s.git.PushRef(ctx, c.s.ref, c.at, to); err == nil {
		c.at, c.tried = to, nil
		return nil
	}
	at, rerr := c.s.where(ctx)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	if lost := c.adopt(at); lost != nil {
		return lost
	}
	if at != to {
		return err
	}
	c.tried = nil
	return nil
}

// drop deletes the ref if it is at a commit of ours, in one step.
func (c *refClaim) drop(ctx context.Context, trusted bool) error {
	if c.at == "" {
		return nil
	}
	err := c.s.git.PushRef(ctx, c.s.ref, c.at, "")
	if err != nil {
		at, rerr := c.s.where(ctx)
		switch {
		case rerr != nil:
			return errors.Join(err, rerr)
		case at == c.at:
			return err
		case slices.Contains(c.tried, at):
			c.at = at
			if err := c.s.git.PushRef(ctx, c.s.ref, at, ""); err != nil {
				return err
			}
		}
	}
	c.at, c.s.look = "", !trusted
	c.s.ours.ended(c.nonce)
	return nil
}
