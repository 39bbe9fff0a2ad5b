// Package retest judges a candidate: it runs the repository's test command in
// a clean checkout of exactly that commit, inside a sandbox, and says whether
// the command passed.
//
// # The verdict
//
// Passed means that the command ran and ended with 0. Failed means that it ran
// and did not: another exit code, a signal, too much output. TimedOut is a
// Failed of its own. Everything else is Broken: a checkout that did not work,
// a sandbox that did not start, a cancelled context. Broken is never red and
// never a pass; the caller tries again.
//
// # The checkout
//
// Each repository has a pool of work trees ("slots") that are used again and
// again. What makes this safe is an inventory of the tree: inode, size, mode and
// times of each path, taken before a test runs there; a test cannot restore a
// change time. When the command and all its processes are dead, the tree is
// scrubbed against the inventory, in Go: what is new or has changed is deleted.
// Git never works in a tree where a test ran. It writes into an empty directory:
// every file the first time, later those that differ or were deleted, which are
// then moved in. When anything is odd, the slot is deleted and the next run
// starts from a full checkout.
//
// The tree has no .git: a test gets the files, not the history. Submodules are
// empty directories, LFS files are pointers, symbolic links are links.
//
// # The sandbox
//
// At the start the strongest way that really works here is taken: bubblewrap,
// then Linux namespaces set up by this package, then landlock, then none, which
// is Weak. The first two show a test the same: the machine's programs read-only
// (/usr, /opt, /nix and the harmless part of /etc), its checkout at /checkout,
// and memory at /tmp and $HOME, each empty and at most a quarter of the machine's.
// No network but its own loopback, unless the job asks for the host's. No process
// outside is visible. A file readable by the bot under /usr, /opt or /nix is
// visible to the test too, except in the data directory, the bot's current
// directory and its home: keep secrets out of there.
//
// Landlock shows the same programs where they are, and lets a test write its
// checkout, its home and $TMPDIR, all on the disk. Without the host's network it
// has no sockets at all, not even a loopback. When the bot is root, the test runs
// as another user. See Sandbox.Open for what it does not hide.
//
// In every rung the first process is our own (see Child). It sets resource
// limits, gives up all capabilities, filters system calls that no test needs,
// starts the shell, and tells the end over a socket. Where control groups can be
// made (see groupParents), a test has at most three quarters of the machine's
// memory, and 4096 processes also as root; else the memory is watched, and
// Sandbox.Limits says so. Half of the free disk is the most it may fill. When
// either side of the socket goes, because of a timeout or because the bot was
// killed, every process of the test goes too.
//
// The environment is PATH, HOME, LANG, CI, MERGEGATE_BASE, MERGEGATE_CANDIDATE,
// MERGEGATE_TREE and what the job adds. Standard input is empty, and there is
// no terminal.
//
// # What a repository needs to be tested without a network
//
// Its dependencies must be in the checkout (a vendor directory) or installed on
// the machine under one of the visible directories. Caches under $HOME start
// empty each time. `go test ./...`, for example, needs `go mod vendor` in the
// repository, or a module cache at a visible place named by GOMODCACHE together
// with GOFLAGS=-mod=mod and GOPROXY=off in retest.env; else retest.network.
//
// # What this package never does
//
// It never runs git in a tree that a test has touched, never reports a pass
// without the exit code 0 from our own first process, never gives a test the
// environment or the credentials of the bot, and never follows a link that a
// test has made. It runs on Linux only.
package retest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Verdict is the outcome of a run.
type Verdict string

const (
	Passed   Verdict = "passed"    // the command ended with 0
	Failed   Verdict = "failed"    // it ended otherwise
	TimedOut Verdict = "timed out" // it did not end in time
	Broken   Verdict = "broken"    // it was not judged; try again
)

// Job is one candidate to judge.
type Job struct {
	Repo    gate.Repo
	Mirror  git.Dir // has the objects of Commit and Tree
	Commit  gate.SHA
	Tree    gate.SHA // must be the commit's
	Base    gate.SHA // only shown to the command
	Command string   // run by /bin/sh -c
	Timeout time.Duration
	Network bool
	Env     map[string]string // may replace PATH, HOME, LANG and CI
}

// Result is the judgement.
type Result struct {
	Verdict  Verdict
	Exit     int           // the command's, with Passed and Failed; -1 when it was killed
	Why      string        // one short sentence without markup: "exit 1", "timed out after 30m"
	Tail     string        // the last lines of the log as plain text
	Log      string        // for OpenLog; "" when there is none
	Took     time.Duration // of the command
	Checkout time.Duration // of everything before it
}

// Runner runs jobs. It is safe for concurrent use; each run has a work tree of
// its own. How many run at once is the caller's business.
type Runner struct {
	dir     string
	log     *slog.Logger
	pool    *pool
	rung    rung
	sandbox Sandbox
	hide    []string
	shown   []string // further directories that a test may read
	root    string   // an empty directory, where namespaces mount their root

	limits   limits
	groups   []string // where control groups are made
	groupErr error    // why none can be made

	mu   sync.Mutex
	live map[string]*output
}

// New makes a runner that keeps work trees and logs in dir, and finds the
// strongest sandbox by running `true` in it. The program must call Child first
// thing in main. Tests may also read the directories readOnly. An error means
// that not even `true` without a sandbox ran, or that a directory cannot be
// used. Any number of processes may use the same dir.
func New(ctx context.Context, dir string, readOnly []string, log *slog.Logger) (*Runner, error) {
	for _, name := range readOnly {
		if info, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("show a directory to tests: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("show a directory to tests: %s is none", name)
		}
	}
	return newRunner(ctx, dir, readOnly, log, ladder())
}

func newRunner(ctx context.Context, dir string, readOnly []string, log *slog.Logger, rungs []rung) (*Runner, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// Others may pass the data directory, but not look into it: what is in there
	// is closed by itself, and another user may have to run tests (see openUp).
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o711), os.MkdirAll(filepath.Join(dir, "logs"), 0o700)); err != nil {
		return nil, fmt.Errorf("prepare the retest directory: %w", err)
	}
	pool, err := newPool(filepath.Join(dir, "trees"))
	if err != nil {
		return nil, fmt.Errorf("prepare the retest directory: %w", err)
	}
	r := &Runner{
		dir: dir, log: log, pool: pool, hide: private(filepath.Dir(dir)), shown: readOnly,
		root: filepath.Join(pool.dir, "root"), limits: defaultLimits(), live: map[string]*output{},
	}
	if err := os.Mkdir(r.root, 0o755); err != nil {
		return nil, fmt.Errorf("prepare the retest directory: %w", err)
	}
	r.groups, r.groupErr = findGroups()
	if err := r.probe(ctx, rungs); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close waits until the work trees have been cleaned, and deletes them. Runs
// must have ended. Logs stay. A process that dies without Close does no harm:
// the next Sweep deletes what it left.
func (r *Runner) Close() error { return r.pool.close() }

// Sandbox says which sandbox tests run in, and why not in a stronger one.
func (r *Runner) Sandbox() Sandbox { return r.sandbox }

// Sweep deletes logs and idle work trees that were not used for the given
// time, and everything left by dead processes. Trouble is logged.
func (r *Runner) Sweep(keep time.Duration) {
	before := time.Now().Add(-keep)
	if err := errors.Join(r.sweepLogs(before), r.pool.sweep(before)); err != nil {
		r.warn(err)
	}
	sweepGroups(r.groups)
}

func (r *Runner) warn(err error) { r.log.Warn("clean up after a retest", "err", err) }

// Run judges a job, and may be repeated. It returns when every process of the
// test is dead: well within a second after the job's timeout or the end of the
// context, or after at most 20 where the machine has too much to do.
func (r *Runner) Run(ctx context.Context, job Job) Result {
	if err := job.check(); err != nil {
		return broken(ctx, err)
	}
	start := time.Now()
	if err := r.folders(); err != nil {
		return broken(ctx, err)
	}
	s, err := r.prepare(ctx, job)
	if err != nil {
		return broken(ctx, err)
	}
	checkout := time.Since(start)
	out, err := r.newOutput()
	if err != nil {
		r.pool.put(s, r.warn)
		return broken(ctx, err)
	}
	res := r.execute(ctx, s, job, out)
	r.closeOutput(out)
	res.Log, res.Tail, res.Checkout = out.id, cleanTail(out.bytes()), checkout
	return res
}

// folders makes the runner's directories where they are missing: the data
// directory may be deleted at any time.
func (r *Runner) folders() error {
	passable := fs.FileMode(0o700)
	if r.pool.owner != 0 {
		passable = 0o711 // see openUp
	}
	for _, f := range []struct {
		path string
		mode fs.FileMode
	}{
		{filepath.Dir(r.dir), 0o711}, {r.dir, passable}, {filepath.Join(r.dir, "logs"), 0o700},
		{r.pool.parent, passable}, {r.pool.dir, passable}, {r.pool.bin.path, 0o700}, {r.root, 0o755},
	} {
		if err := os.Mkdir(f.path, f.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("prepare the retest directory: %w", err)
		}
	}
	return nil
}

// prepare takes a slot and checks the candidate out. A used slot that makes
// trouble is deleted, and a new one tried once.
func (r *Runner) prepare(ctx context.Context, job Job) (*slot, error) {
	for {
		s, err := r.pool.take(ctx, job.Repo)
		if err != nil {
			return nil, fmt.Errorf("get a work tree: %w", err)
		}
		used := s.at != ""
		if err = s.checkout(ctx, job.Mirror, job.Commit, job.Tree); err == nil {
			return s, nil
		}
		r.pool.discard(s, r.warn)
		if !used || ctx.Err() != nil {
			return nil, fmt.Errorf("check out %s: %w", job.Commit.Short(), err)
		}
		r.log.Info("start from a full checkout", "repo", job.Repo.String(), "err", err)
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check refuses a job that cannot be run as it is.
func (j Job) check() error {
	switch {
	case !j.Commit.Valid() || !j.Tree.Valid():
		return errors.New("the candidate is not given by full ids")
	case strings.TrimSpace(j.Command) == "":
		return errors.New("there is no command to run: set retest.command")
	case strings.ContainsRune(j.Command, 0):
		return errors.New("the command contains a NUL byte: mend retest.command")
	case j.Timeout <= 0:
		return errors.New("there is no time to run the command: set retest.timeout")
	}
	for name, value := range j.Env {
		if !envName.MatchString(name) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("%q cannot be an environment variable: mend retest.env", name)
		}
	}
	return nil
}

// broken is the result when nothing was judged.
func broken(ctx context.Context, err error) Result {
	why := cleanTail([]byte(strings.ReplaceAll(err.Error(), "\n", " ")))
	if ctx.Err() != nil {
		why = "cancelled"
	}
	return Result{Verdict: Broken, Exit: -1, Why: why}
}
