package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Comment is a comment on the queue issue.
type Comment struct {
	ID      int64
	Mine    bool // the author's account id is the bot's
	Body    string
	Updated time.Time // on the forge's clock
}

// Comments are the comments of the queue issue. Calls return soon after their
// context has ended. Ids grow and are never used again.
type Comments interface {
	// List gives every comment, in any order, or an error; and the forge's
	// clock when it answered, zero when it did not say.
	List(ctx context.Context) (all []Comment, now time.Time, err error)
	// Post is not idempotent. After an error the comment may exist.
	Post(ctx context.Context, body string) (Comment, error)
	// Edit is ErrGone when the comment was deleted.
	Edit(ctx context.Context, id int64, body string) error
	// Delete is nil when the comment is already gone.
	Delete(ctx context.Context, id int64) error
}

// NewComments keeps the lease in a comment. Leases of other bases may be on the
// same issue.
func NewComments(cfg Config, c Comments) Store {
	return &comments{cfg: cfg, forge: c, look: true, ours: own{chance: cfg.Chance}}
}

type comments struct {
	cfg   Config
	forge Comments
	seen  map[int64]sight
	look  bool // list before posting: there is a reason to expect a lease
	ours  own
}

// sight is a lease comment as this replica first saw it in its present form.
type sight struct {
	body    string
	updated time.Time
	first   time.Time     // on our monotonic clock
	age     time.Duration // on the forge's clock, at first
	dated   bool          // age is known
}

// confirm is how far apart the two reads are that find a lease stale by the
// forge's clock.
const confirm = 5 * time.Second

// end is when a lease that stays as it is will be stale after wait without an
// edit. The age by the forge's clock counts only as far as our own clock agrees
// with it since the first sight, so that a correction of the forge's clock does
// not make a live lease look old.
func (w sight) end(at, forgeNow time.Time, wait time.Duration) time.Time {
	end := w.first.Add(wait)
	if !w.dated || forgeNow.IsZero() {
		return end
	}
	age := min(forgeNow.Sub(w.updated), w.age+at.Sub(w.first))
	byForge := at.Add(wait - age)
	if again := w.first.Add(confirm); byForge.Before(again) {
		byForge = again
	}
	if byForge.Before(end) {
		return byForge
	}
	return end
}

// found is a comment that is a lease on our queue, or may be.
type found struct {
	id    int64
	rec   *record   // nil: somebody edited it, its holder is unknown
	end   time.Time // when it is stale if it stays as it is
	stale bool
}

func (f found) busy() *BusyError {
	if f.rec == nil {
		return &BusyError{Until: f.end, Unknown: true}
	}
	return &BusyError{Holder: f.rec.Holder, PR: f.rec.PR, Until: f.end}
}

// is says whether f came from the attempt with this nonce.
func (f found) is(nonce string) bool { return f.rec != nil && f.rec.Nonce == nonce }

// survey lists the leases on our queue, lowest id first.
func (s *comments) survey(ctx context.Context) ([]found, error) {
	all, forgeNow, err := s.forge.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the leases in issue %d of %s: %w", s.cfg.Issue, s.cfg.Repo, err)
	}
	at := time.Now()
	seen := map[int64]sight{}
	var leases []found
	for _, c := range all {
		if !c.Mine || !strings.Contains(c.Body, mark) {
			continue
		}
		f, ttl := found{id: c.ID}, s.cfg.TTL
		r, ok := parseAny(s.cfg.keys(), c.Body)
		if ok && r.Repo == repoName(s.cfg.Repo) && r.Issue == s.cfg.Issue {
			if r.Base != s.cfg.Base {
				continue
			}
			f.rec, ttl = &r, r.ttl()
		}
		w, known := s.seen[c.ID]
		if !known || w.body != c.Body || !w.updated.Equal(c.Updated) {
			w = sight{body: c.Body, updated: c.Updated, first: at, age: forgeNow.Sub(c.Updated), dated: !forgeNow.IsZero()}
		}
		seen[c.ID] = w
		f.end = w.end(at, forgeNow, ttl+s.cfg.grace())
		f.stale = !at.Before(f.end)
		leases = append(leases, f)
	}
	s.seen = seen
	slices.SortFunc(leases, func(a, b found) int { return cmp.Compare(a.id, b.id) })
	return leases, nil
}

func (s *comments) Look() { s.look = true }

func (s *comments) Take(ctx context.Context, n Note) (*Held, error) {
	if err := s.cfg.Validate(); err != nil {
		return nil, err
	}
	var from *record
	if s.look {
		var err error
		if from, err = s.approach(ctx); err != nil {
			return nil, err
		}
	}
	s.look = true
	r := newRecord(s.cfg, s.ours.begin(), n, from)
	body, err := r.comment(s.cfg.Key)
	if err != nil {
		return nil, err
	}
	sent := now()
	id, err := s.post(ctx, body, r.Nonce)
	if err != nil {
		return nil, err
	}
	c := &comment{s: s, id: id, nonce: r.Nonce}
	return (&Held{cfg: s.cfg, claim: c, inherited: from.work(), rec: r}).start(ctx, sent), nil
}

// approach looks whether the queue is free, but for stale leases and what an
// attempt of ours left behind. It gives the one of these with the newest work, nil
// if there is none. They stay until prove removes them, when our new lease carries
// that work.
func (s *comments) approach(ctx context.Context) (from *record, err error) {
	leases, err := s.survey(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range leases {
		if !f.stale && !s.ours.has(f.rec) {
			return nil, f.busy()
		}
		if f.rec != nil && (from == nil || compareWork(f.rec, from) >= 0) {
			from = f.rec
		}
	}
	return from, nil
}

// post posts our lease. When the answer is lost it looks for the nonce. If that
// is not there, the request may still arrive, and the next Take replaces it.
func (s *comments) post(ctx context.Context, body, nonce string) (int64, error) {
	c, err := s.forge.Post(ctx, body)
	if err == nil {
		return c.ID, nil
	}
	err = fmt.Errorf("post the lease in issue %d of %s: %w", s.cfg.Issue, s.cfg.Repo, err)
	leases, lerr := s.survey(ctx)
	if lerr != nil {
		return 0, errors.Join(err, lerr)
	}
	for _, f := range leases {
		if f.is(nonce) {
			return f.id, nil
		}
	}
	return 0, err
}

// comment is our lease.
type comment struct {
	s         *comments
	id        int64
	nonce     string
	confirmed int // seq of the last edit that succeeded
	sent      int // seq of the last edit that was tried
	gone      bool
}

// prove finds us first in line. It then removes stale leases and what other
// attempts of ours left behind.
func (c *comment) prove(ctx context.Context) error {
	leases, err := c.s.survey(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(leases, func(f found) bool { return f.id == c.id })
	if at < 0 {
		return errUnseen
	}
	own := leases[at]
	if !own.is(c.nonce) || own.rec.Seq > c.sent {
		return fmt.Errorf("%w: somebody edited comment %d", ErrLost, c.id)
	}
	if own.rec.Seq < c.confirmed {
		return fmt.Errorf("the forge shows an old version of comment %d; read again", c.id)
	}
	var remove []int64
	for i, f := range leases {
		switch {
		case i == at:
		case f.stale || c.s.ours.has(f.rec):
			remove = append(remove, f.id)
		case i < at:
			c.remove(ctx) // if it stays, the next Take removes it
			return f.busy()
		}
	}
	for _, id := range remove {
		if err := c.s.forge.Delete(ctx, id); err != nil {
			return fmt.Errorf("remove the old lease, comment %d: %w", id, err)
		}
	}
	return nil
}

func (c *comment) write(ctx context.Context, r record) error {
	body, err := r.comment(c.s.cfg.Key)
	if err != nil {
		return err
	}
	c.sent = r.Seq
	err = c.s.forge.Edit(ctx, c.id, body)
	if errors.Is(err, ErrGone) {
		c.gone = true
		c.s.ours.ended(c.nonce)
		return fmt.Errorf("%w: somebody deleted comment %d", ErrLost, c.id)
	}
	if err == nil {
		c.confirmed = r.Seq
	}
	return err
}

// drop deletes our comment. While the lease is trusted nobody had the right to
// touch it, so it is not looked at first. Later it is, though ids are never used
// again: a forge restored from a backup might.
func (c *comment) drop(ctx context.Context, trusted bool) error {
	if c.gone {
		return nil
	}
	if !trusted {
		leases, err := c.s.survey(ctx)
		if err != nil {
			return err
		}
		foreign := func(f found) bool { return f.id == c.id && !f.is(c.nonce) }
		if slices.ContainsFunc(leases, foreign) {
			return nil
		}
	}
	if err := c.remove(ctx); err != nil {
		return err
	}
	c.s.look = !trusted
	return nil
}

func (c *comment) remove(ctx context.Context) error {
	if err := c.s.forge.Delete(ctx, c.id); err != nil {
		return fmt.Errorf("delete comment %d: %w", c.id, err)
	}
	c.gone = true
	c.s.ours.ended(c.nonce)
	return nil
}
