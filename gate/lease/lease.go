// Package lease gives one replica at a time the right to work on one queue.
//
// # Where the lease lives
//
// In a comment on the repository's queue issue (NewComments), or in a git ref
// (NewRef). Both keep the same record: who holds the queue, for which PR, and
// the work in flight, so that a successor can go on. The record carries an
// HMAC, because everybody with write access may edit a bot's comment or push a
// ref.
//
// # The comment protocol
//
// A forge has no compare-and-swap for comments, but it numbers them. So: post a
// comment, wait the settle time, list; the lowest id among the live leases
// holds the queue, everybody else deletes their own comment and comes back.
// This is Lamport's bakery with the forge handing out the numbers. A replica
// that does not find its own comment in the list has no evidence about anything
// and holds nothing. A holder renews by editing its comment. A lease is stale,
// and may be deleted by anybody, once it stayed unchanged for its TTL plus the
// margin: by the observer's monotonic clock, or by the forge's clock on two
// reads five seconds apart. Comparing two clocks of the forge needs no agreement
// between the replicas' clocks.
//
// The successor posts its own lease, which already carries the work it
// inherits, before it deletes the stale one: a crash between the two loses
// nothing. Where several are left behind, the one that its holder worked with is
// inherited, not those of who came second to it (compareWork).
//
// # The ref protocol
//
// refs/mergegate/lease/<base> points at a commit whose message is the record.
// Taking, renewing, stealing and releasing are each one compare-and-swap push,
// so there is nothing to settle. Commit dates are a foreign clock and are never
// looked at: a ref is stale when this replica saw it unchanged for its TTL plus
// the margin.
//
// # Invariants
//
//   - A replica deletes or overwrites only its own lease, or a stale one.
//   - Nobody edits another's comment; a new holder always has a new id.
//   - A holder that could not renew for two thirds of its TTL stops being one,
//     a third of the TTL and the margin before anybody may take its place. The
//     time is the larger of the monotonic and the wall clock, because a
//     suspended machine stops the first and a corrected clock moves the second.
//   - A comment by another account is never a lease, whatever it says. A lease
//     comment of the bot that somebody edited is held by an unknown holder until
//     it is stale.
//
// # What it does not promise
//
// Two holders at once are rare, not impossible: a paused process wakes between
// its check and its write, a forge's list may miss a comment. No lease can
// exclude that. The lease saves work; what keeps the base branch safe is the
// comparison at landing, which must never be dropped because of the lease.
//
// # What it costs
//
// Comments, quiet queue: two calls to take (post, list), one per renewal or
// save, one per check, one to release. The list before the post is made only
// when there is a reason to expect company: the first time, after the queue was
// busy, after a doubtful end. Leaving it out is safe, because only the list
// after the post decides. Refs: one push to take, one per renewal or save, one
// to release.
package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mergegate/gate"
)

// ErrGone is what Comments.Edit returns for a comment that was deleted.
var ErrGone = errors.New("the comment is gone")

// ErrLost says that the lease may not be relied on any more: stop, land nothing.
var ErrLost = errors.New("the lease is lost")

// BusyError says that another holds the queue.
type BusyError struct {
	Holder  string    // its Config.Holder; "" when unknown
	PR      int       // what it works on; 0 for none
	Until   time.Time // when the lease can be stale, on our clock, if its holder is dead
	Unknown bool      // somebody edited the lease: its holder cannot be told
}

func (e *BusyError) Error() string {
	until := e.Until.UTC().Format(time.RFC3339)
	if e.Unknown {
		return "the queue is held by an unknown holder, because its lease was edited; delete the lease, or wait until " + until
	}
	return fmt.Sprintf("the queue is held by %s for pull request %d, at least until %s", e.Holder, e.PR, until)
}

// Config says which queue is meant, by whom, and how long things take. All
// replicas of one queue share Key, and should share TTL.
type Config struct {
	TTL    time.Duration // a lease that was not renewed for this long may be dead
	Renew  time.Duration // between renewals, ±20 %; at most a third of TTL
	Settle time.Duration // between posting and believing; unused by refs
	Margin time.Duration // added to TTL before another takes over; 0 means TTL/4
	Holder string        // this replica's name, shown to people
	Key    []byte        // authenticates records; at least 16 bytes
	Old    [][]byte      // keys of before, whose records are still believed
	Repo   gate.Repo
	Issue  int // the queue issue; 0 with refs
	Base   string
	// Chance gives random numbers for nonces, which must never repeat among the
	// replicas. It may be called concurrently.
	Chance func() uint64
}

// Validate says what is wrong with c, nil if nothing.
func (c Config) Validate() error {
	switch {
	case c.TTL <= 0 || c.Renew <= 0 || c.Settle < 0 || c.Margin < 0:
		return errors.New("lease: ttl and renew must be positive, settle and margin not negative")
	case c.Renew > c.TTL/3:
		return fmt.Errorf("lease: renew %v is too long for ttl %v; use at most a third of it, so that one lost renewal does not cost the lease", c.Renew, c.TTL)
	case c.Settle > c.TTL/6:
		return fmt.Errorf("lease: settle %v is too long for ttl %v; use at most a sixth of it", c.Settle, c.TTL)
	case len(c.Key) < 16:
		return errors.New("lease: the key needs at least 16 bytes")
	case c.Chance == nil:
		return errors.New("lease: there is no source of chance, so attempts could not be told apart")
	case c.Holder == "" || c.Base == "":
		return errors.New("lease: holder and base must be named")
	}
	return nil
}

// keys are those by which a record is believed.
func (c Config) keys() [][]byte { return append([][]byte{c.Key}, c.Old...) }

// limit is how long a holder trusts a lease without renewing it.
func (c Config) limit() time.Duration { return c.TTL * 2 / 3 }

// grace is what others add to a lease's TTL before it is stale.
func (c Config) grace() time.Duration {
	if c.Margin == 0 {
		return c.TTL / 4
	}
	return c.Margin
}

// Note is what the lease says about the work.
type Note struct {
	PR   int    // the pull request the queue is held for; 0 for none
	Data []byte // the work in flight: JSON or nil; people can read it
}

// Store is where the leases of one queue are. One Store belongs to one queue of
// one replica: it remembers what it saw. It holds one lease at a time, and Take
// must not run at the same time as another method of the Store or of its Held.
type Store interface {
	// Take asks for the queue. It returns a *BusyError when another holds it;
	// come back at Until, with jitter. After any other error Take may be
	// repeated: it looks for what a lost answer left behind.
	//
	// The lease keeps itself alive until Release, also after ctx has ended.
	// Nothing may be written to the forge before Held.Settled returned nil.
	Take(ctx context.Context, note Note) (*Held, error)
	// Look makes the next Take look before it asks, because somebody saw a lease.
	// Without that, a Take after our own Release saves the look.
	Look()
}
