package land

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/lease"
	"mergegate/gate/retest"
)

// keepLogs is how long logs of tests stay.
const keepLogs = 14 * 24 * time.Hour

// take asks for the lease until it is ours or Wait is over. busy says who has
// it then.
func (r Request) take(ctx context.Context) (held *lease.FileHeld, busy *lease.FileBusyError, err error) {
	deadline := time.Now().Add(r.Wait)
	for told := ""; ; {
		held, err := r.Lease.Take(ctx, r.Branch+" onto "+r.Onto)
		busy, isBusy := errors.AsType[*lease.FileBusyError](err)
		if !isBusy {
			return held, nil, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, busy, nil
		}
		if who := busy.Holder + busy.Work; who != told {
			r.Say("waiting: " + busy.Error())
			told = who
		}
		pause := min(left, busy.Left+time.Millisecond, 50*time.Millisecond+rand.N(100*time.Millisecond))
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// open prepares a mirror and a test runner. Both are kept for the next landing.
func (r Request) open(ctx context.Context) (*work, error) {
	dir, unlock, err := ownDir(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", r.Dir, err)
	}
	w := &work{Request: r, close: unlock}
	w.mirror, err = catchup.Open(ctx, filepath.Join(dir, "mirror"), r.Remote, r.Committer)
	if err != nil {
		unlock()
		return nil, err
	}
	tests := filepath.Join(r.Dir, "retest")
	w.runner, err = retest.New(ctx, tests, r.ReadOnly, r.Log)
	if err != nil {
		unlock()
		return nil, fmt.Errorf("start the retest runner: %w", err)
	}
	w.logs = func(id string) string { return filepath.Join(tests, "logs", id+".log") }
	w.close = func() {
		w.runner.Sweep(keepLogs)
		if err := w.runner.Close(); err != nil {
			r.Log.Warn("clean up after the test", "err", err)
		}
		unlock()
	}
	return w, nil
}

// ownDir gives this process a directory below dir that no other uses: the first
// of 0, 1, … whose lock is free. As a rule that is 0, because landings take
// turns; a paused process that lost its turn still sits in one.
func ownDir(dir string) (string, func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	for n := range 1000 {
		own := filepath.Join(dir, strconv.Itoa(n))
		f, err := os.OpenFile(own+".lock", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return "", nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return own, func() { f.Close() }, nil
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil, err
		}
	}
	return "", nil, errors.New("a thousand processes are in there")
}

// catchUp fetches both branches and makes the candidate.
func (w *work) catchUp(ctx context.Context) (Result, error) {
	var res Result
	head, onto := "refs/heads/"+w.Branch, "refs/heads/"+w.Onto
	err := w.mirror.Fetch(ctx, head, onto)
	if err != nil {
		return res, err
	}
	if res.Head, err = w.mirror.Ref(ctx, head); err != nil {
		return res, err
	}
	if res.Base, err = w.mirror.Ref(ctx, onto); err != nil {
		return res, err
	}
	w.Say(fmt.Sprintf("catching up %s %s with %s %s", w.Branch, res.Head.Short(), w.Onto, res.Base.Short()))
	built, err := w.mirror.Build(ctx, catchup.Request{Base: res.Base, Head: res.Head, Method: gate.Rebase})
	if err != nil {
		return res, err
	}
	switch {
	case built.Conflict != nil:
		res.Outcome = Conflict
		for _, f := range built.Conflict.Files {
			res.Files = append(res.Files, File{Path: f.Path, Kind: f.Kind, ByCommit: f.ByCommit})
		}
		res.Why = fmt.Sprintf("commit %s does not apply to %s %s; rebase %s onto it by hand", built.Conflict.At.Short(), w.Onto, res.Base.Short(), w.Branch)
		return res, nil
	case built.InBase:
		res.Outcome, res.Why = UpToDate, fmt.Sprintf("%s %s has all of %s", w.Onto, res.Base.Short(), w.Branch)
		return res, nil
	}
	for _, c := range built.Flattened {
		w.Say(fmt.Sprintf("left out: what the merge commit %s did beyond merging", c.Short()))
	}
	res.Candidate, res.Tree, res.Commits = built.Candidate, built.Tree, built.Commits
	return res, nil
}

// test judges the candidate.
func (w *work) test(ctx context.Context, res *Result) error {
	if s := w.runner.Sandbox(); s.Weak() {
		w.Say("the test runs without a sandbox: " + s.String())
	}
	got := w.runner.Run(ctx, retest.Job{
		Repo: gate.Repo{Forge: "land", Name: w.Remote.URL}, Mirror: w.mirror.Dir(),
		Commit: res.Candidate, Tree: res.Tree, Base: res.Base,
		Command: w.Command, Timeout: w.Timeout, Network: w.Network, Env: w.Env,
	})
	res.Tail = got.Tail
	if got.Log != "" {
		res.Log = w.logs(got.Log)
	}
	switch got.Verdict {
	case retest.Passed:
		res.Tail = ""
		return nil
	case retest.Failed, retest.TimedOut:
		res.Outcome, res.Why = Red, got.Why
		return nil
	}
	return fmt.Errorf("the test could not be run: %s", got.Why)
}
