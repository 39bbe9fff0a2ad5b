// Package land is the gate without a forge: it lands one branch of a plain git
// remote on another, tested on exactly the tip it lands on.
//
// The way of one branch, all of it under a lease file (gate/lease):
//
//	fetch      both branches
//	catch up   the branch onto the tip, in memory
//	retest     exactly that commit, in the sandbox
//	push       the branch, with a lease on the head that was read
//	advance    the target, by compare-and-swap on the tip that was tested on
//
// The lease saves work: two processes do not test what only one can land. What
// keeps the target safe is the last comparison. A process that was paused for
// however long, or lost its lease without noticing, is refused there when the
// target is not the tip it tested on, and otherwise lands what it tested, where
// it tested it.
//
// Nothing is kept between the steps that a crash could spoil. After a crash the
// branch is where it was, or caught up (the next landing tests it and lands it),
// or landed (the next says that it is up to date). A push whose answer was lost
// is read back.
package land

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/lease"
	"mergegate/gate/retest"
)

// Request is one branch to land.
type Request struct {
	Remote    catchup.Remote
	Branch    string // to land; names without refs/heads/
	Onto      string // the target
	Command   string // the test, run by /bin/sh -c
	Env       map[string]string
	Timeout   time.Duration // of the test
	Network   bool          // for the test
	ReadOnly  []string      // directories that the test may read besides the machine's programs
	Committer catchup.Person
	Lease     *lease.File
	Wait      time.Duration // for the lease; 0 asks once
	Dir       string        // for mirrors, work trees and logs; shared by all processes
	Log       *slog.Logger
	Say       func(string) // progress, for people
}

// Outcome is how a landing ended.
type Outcome string

const (
	Landed   Outcome = "landed"     // the target is at the tested commit, or was and went on
	UpToDate Outcome = "up to date" // the target has the whole change already; nothing was tested
	Conflict Outcome = "conflict"   // the change does not apply
	Red      Outcome = "red"        // the test failed, or did not end in time
	Busy     Outcome = "busy"       // another holds the lease, and Wait is 0
	Timeout  Outcome = "timeout"    // another held the lease for all of Wait
	Failed   Outcome = "failed"     // anything else
)

// Result is the outcome with its evidence. Fields that do not apply are zero.
type Result struct {
	Outcome   Outcome  `json:"outcome"`
	Why       string   `json:"why"` // one sentence
	Branch    string   `json:"branch"`
	Onto      string   `json:"onto"`
	Head      gate.SHA `json:"head,omitempty"`      // of the branch, as read
	Base      gate.SHA `json:"base,omitempty"`      // the target's tip that was tested on
	Candidate gate.SHA `json:"candidate,omitempty"` // what was tested, and landed if it did
	Tree      gate.SHA `json:"tree,omitempty"`      // of the candidate
	Commits   int      `json:"commits,omitempty"`   // that the candidate has on top of base
	Files     []File   `json:"files,omitempty"`     // in conflict
	Tail      string   `json:"tail,omitempty"`      // the test's last lines, as plain text
	Log       string   `json:"log,omitempty"`       // the file with more of them
	Attempts  int      `json:"attempts,omitempty"`  // more than 1 when somebody went around the lease
	Waited    float64  `json:"waited_s"`            // for the lease
	Took      float64  `json:"took_s"`              // in all
}

// File is a path in conflict.
type File struct {
	Path string       `json:"path"`
	Kind catchup.Kind `json:"kind"`
	// ByCommit is the commit of the target that last touched it; "" if unknown.
	ByCommit gate.SHA `json:"by_commit,omitempty"`
}

// attempts is how often a landing is begun anew because a branch moved, or
// because the lease was lost.
const attempts = 3

// errAgain says that what was built or tested is not what is wanted any more.
var errAgain = errors.New("try again")

// Run lands a branch. The result says what happened, also together with an
// error. It may be repeated, and run by any number of processes at once.
// Outcome Failed comes with an error; a branch that is not there is
// catchup.ErrNoRef.
func Run(ctx context.Context, r Request) (Result, error) {
	start := time.Now()
	var waited time.Duration
	res := Result{Branch: r.Branch, Onto: r.Onto}
	var err error
	for n := 1; n <= attempts; n++ {
		var once Result
		once, err = r.attempt(ctx, &waited)
		once.Branch, once.Onto, once.Attempts = r.Branch, r.Onto, n
		res = once
		if err == nil || ctx.Err() != nil || !errors.Is(err, errAgain) && !errors.Is(err, lease.ErrLost) {
			break
		}
		r.Say("again: " + err.Error())
	}
	res.Waited, res.Took = waited.Seconds(), time.Since(start).Seconds()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("stopped: %w", context.Cause(ctx))
		}
		res.Outcome, res.Why = Failed, err.Error()
	}
	return res, err
}

// attempt waits for the lease and goes the whole way once.
func (r Request) attempt(ctx context.Context, waited *time.Duration) (Result, error) {
	start := time.Now()
	held, busy, err := r.take(ctx)
	*waited += time.Since(start)
	if err != nil {
		return Result{}, err
	}
	if busy != nil {
		if r.Wait == 0 {
			return Result{Outcome: Busy, Why: busy.Error()}, nil
		}
		return Result{Outcome: Timeout, Why: fmt.Sprintf("waited %v: %v", r.Wait, busy)}, nil
	}
	defer func() {
		if err := held.Release(context.WithoutCancel(ctx)); err != nil {
			r.Say(err.Error())
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(held.Context(), func() { cancel(context.Cause(held.Context())) })
	defer stop()
	w, err := r.open(ctx)
	if err != nil {
		return Result{}, cause(ctx, err)
	}
	defer w.close()
	res, err := w.land(ctx, held)
	return res, cause(ctx, err)
}

// cause adds why ctx ended to an error that came of it.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}

// work is one attempt, with the lease in hand.
type work struct {
	Request
	mirror *catchup.Mirror
	runner *retest.Runner
	close  func()
	logs   func(id string) string
}

// land goes from fetch to advance. Nothing is written to the remote before the
// test has passed and the lease was proven once more.
func (w *work) land(ctx context.Context, held *lease.FileHeld) (Result, error) {
	res, err := w.catchUp(ctx)
	if err != nil || res.Outcome != "" {
		return res, err
	}
	w.Say(fmt.Sprintf("testing %s on %s %s", res.Candidate.Short(), w.Onto, res.Base.Short()))
	if err := w.test(ctx, &res); err != nil || res.Outcome != "" {
		return res, err
	}
	if err := held.Check(ctx); err != nil {
		return res, err
	}
	// From here on an interrupt would only make it unclear what happened.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pushLimit)
	defer cancel()
	if res.Candidate != res.Head {
		push := catchup.Push{Remote: w.Remote, Branch: w.Branch, From: res.Head, To: res.Candidate, Protected: []string{w.Onto}, SameRepo: true}
		if err := w.push(ctx, w.Branch, func() error { return w.mirror.Push(ctx, push) }); err != nil {
			return res, err
		}
		if err := held.Check(ctx); err != nil {
			return res, err
		}
	}
	err = w.push(ctx, w.Onto, func() error { return w.mirror.Advance(ctx, w.Onto, res.Base, res.Candidate) })
	if err != nil {
		return res, err
	}
	res.Outcome, res.Why = Landed, fmt.Sprintf("%s is at %s", w.Onto, res.Candidate.Short())
	return res, nil
}

// pushLimit bounds the two pushes together.
const pushLimit = 5 * time.Minute

// push makes one push. It is repeated while its answer is no answer: each is a
// compare-and-swap, and succeeds when an earlier one did. A branch that moved is
// a reason to begin anew.
func (w *work) push(ctx context.Context, branch string, push func() error) error {
	err := push()
	for pause := time.Second; errors.Is(err, catchup.ErrTransport) && pause < time.Minute; pause *= 2 {
		w.Say(fmt.Sprintf("no clear answer to the push of %s; asking again in %v", branch, pause))
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		err = push()
	}
	if errors.Is(err, catchup.ErrMoved) {
		return fmt.Errorf("%w: somebody pushed: %w", errAgain, err)
	}
	return err
}
