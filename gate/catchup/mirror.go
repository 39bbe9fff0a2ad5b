// Package catchup makes candidates: the exact commits mergegate means to land.
//
// A Mirror is a bare repository of ours with the few refs that were asked for.
// Build replays a change onto the base tip there, in memory: for each commit c
// with parent p and the tip t so far, a throw-away commit with t's tree and
// parent p makes p the merge base, so that `git merge-tree --write-tree` of it
// and c is the three-way merge that a cherry-pick does (the engine is git's
// own "ort"). Nothing is ever checked out. Push writes the result to a
// branch, and only if the branch is still where it was read.
//
// Invariants
//
//   - The same (base, head, method, message, author, committer) gives the same
//     candidate id, on every replica, today and after a restart, with the same
//     git. A bot recognises its own push by building it again. No clock is read.
//   - Author, author date, encoding and message are kept byte for byte. A
//     signature is not: it would be wrong.
//   - A branch moves only by compare-and-swap (--force-with-lease with the
//     expected id), never when it is a protected base of the same repository.
//   - A conflict is a value (Result.Conflict). ErrUnrelated, ErrMissing, ErrNoRef,
//     ErrMoved, *RefusedError and *DeniedError are refusals with a meaning;
//     ErrTransport means the remote did not answer and nothing is known; every
//     other error is trouble on this machine.
//
// As `git rebase` does, merge commits are flattened, commits that become empty
// are left out, and commits that were empty from the start are kept. There are
// two differences. Attributes in the repository (merge drivers, line endings)
// have no say. And a commit whose twin is already in base is tried first, and
// left out only if it does not apply; so a change that was reverted in base can
// land again.
//
// A Mirror is safe for concurrent use by the queues of one process. Fetches
// wait for each other, because git locks refs by files; everything else runs
// side by side, also with a fetch. One directory must not be opened by two
// processes. A mirror that was deleted, or is found to be corrupt, is built anew by
// the next Fetch; calls that run at that moment fail and may be repeated.
//
// The package moves a base branch only by Advance, never reads configuration from a
// repository, and never runs anything that a repository contains.
package catchup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

var (
	// ErrNoRef: the remote answered, and has no such ref.
	ErrNoRef = errors.New("no such ref on the remote")
	// ErrMissing: a commit is not in the mirror, or, for FetchCommit, not on the remote.
	ErrMissing = errors.New("commit not found")
	// ErrUnrelated: the two histories have no commit in common.
	ErrUnrelated = errors.New("the histories have no common commit")
	// ErrMoved: the branch is not where the caller said. Nothing was written.
	ErrMoved = errors.New("the branch has moved")
	// ErrTransport: the remote could not be reached, or did not answer like
	// git. Nothing is known; read back before doing anything else.
	ErrTransport = errors.New("the remote cannot be reached")

	errNotID = errors.New("not a full commit id")
)

// RefusedError: the objects of a change are not taken, or the change is more than
// git can be trusted with here. It stays so until a person changes the branch.
type RefusedError struct{ Text string } // one sentence without a full stop, printable

func (e *RefusedError) Error() string { return e.Text }

// Remote is where a repository is fetched from and pushed to.
type Remote struct {
	URL string // http(s) without user and password, or an absolute path
	// Auth gives the value of the Authorization header for one command; nil
	// for none. It is called for each command, so it may renew a token.
	Auth func(ctx context.Context) (string, error)
}

// Person is a name and an e-mail address as git writes them.
type Person struct{ Name, Email string }

// Mirror is a bare repository that only this process uses.
type Mirror struct {
	dir       git.Dir
	remote    Remote
	committer Person
	limits    git.Limits // of one fetch; zero for those of fetch.go
	size      sizes      // of one change; zero for those of measure.go

	fetching chan struct{} // holds a token while somebody fetches or repairs
	suspect  atomic.Bool   // git failed where it should not; look at the mirror before the next fetch
	checked  time.Time     // of the last look; guarded by fetching
}

// marker is the file that shows that a directory is ours to delete.
const marker = "mergegate-mirror"

// Open opens the mirror in dir, creating it when it is not there, and emptying
// it when it is broken. A directory with anything else in it is an error.
// Commits that Build makes are committed by committer.
func Open(ctx context.Context, dir string, r Remote, committer Person) (*Mirror, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := (git.Dir{}).Remote(r.URL, ""); err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	if committer.ident() != committer.Name+" <"+committer.Email+">" || committer.Name == "" {
		return nil, fmt.Errorf("open mirror: %q <%q> cannot be a committer; give a plain name and address", committer.Name, committer.Email)
	}
	m := &Mirror{dir: git.Dir{Path: dir}, remote: r, committer: committer, fetching: make(chan struct{}, 1)}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	if len(entries) > 0 {
		if _, err := os.Lstat(filepath.Join(dir, marker)); err != nil {
			return nil, fmt.Errorf("open mirror: %s is not empty and not a mirror of ours; choose another directory or empty it", dir)
		}
		if m.sound(ctx) {
			return m, m.removeLocks()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if err := m.rebuild(ctx); err != nil {
		return nil, fmt.Errorf("create mirror: %w", err)
	}
	return m, nil
}

// Dir is the mirror as a git directory, to check out from. It is only to be
// read. A checkout that fails while Fetch rebuilds the mirror may be repeated.
func (m *Mirror) Dir() git.Dir { return m.dir }

// sound looks at what costs little: that git accepts the directory, and that
// every ref leads to an object that can be read.
func (m *Mirror) sound(ctx context.Context) bool {
	out, err := m.dir.Run(ctx, "", "rev-parse", "--is-bare-repository")
	if err != nil || out != "true\n" {
		return false
	}
	_, err = m.dir.Run(ctx, "", "for-each-ref", "--format=%(objecttype)")
	return err == nil
}

// rebuild leaves an empty mirror.
func (m *Mirror) rebuild(ctx context.Context) error {
	if err := os.RemoveAll(m.dir.Path); err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir.Path, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.dir.Path, marker), nil, 0o600); err != nil {
		return err
	}
	// HEAD names a branch that never exists: newer gits read attributes from
	// HEAD in a bare repository, which would let base decide how files merge.
	_, err := m.dir.Run(ctx, "", "init", "--quiet", "--bare", "--template=", "--object-format=sha1",
		"--initial-branch=mergegate/unborn")
	return err
}

// repair makes a mirror anew that somebody deleted. It looks closely at one in which
// git failed, and empties it if it is corrupt; at most once in ten minutes, because
// a hostile change can make git fail as often as it likes.
func (m *Mirror) repair(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(m.dir.Path, marker)); errors.Is(err, fs.ErrNotExist) {
		if err := m.rebuild(ctx); err != nil {
			return fmt.Errorf("make the deleted mirror anew: %w", err)
		}
		return nil
	}
	if !m.suspect.Load() || time.Since(m.checked) < 10*time.Minute {
		return nil
	}
	if m.sound(ctx) {
		_, err := m.dir.Run(ctx, "", "fsck", "--full", "--no-progress", "--no-dangling")
		if err == nil {
			m.checked = time.Now()
			m.suspect.Store(false)
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := m.rebuild(ctx); err != nil {
		return fmt.Errorf("rebuild corrupt mirror: %w", err)
	}
	m.checked = time.Now()
	m.suspect.Store(false)
	return nil
}

// removeLocks removes the lock files that killed git processes left on refs and
// configuration, and packs that never arrived. Only one process uses the mirror
// and fetches wait for each other, so whatever is there when no fetch runs is
// stale.
func (m *Mirror) removeLocks() error {
	half, _ := filepath.Glob(filepath.Join(m.dir.Path, "objects", "pack", "tmp_*"))
	for _, name := range half {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return filepath.WalkDir(m.dir.Path, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "objects" || e.Name() == "worktrees"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".lock") && !e.IsDir():
			return os.Remove(path)
		}
		return nil
	})
}

// Have says whether the commit is in the mirror.
func (m *Mirror) Have(ctx context.Context, c gate.SHA) bool {
	if !c.Valid() {
		return false
	}
	_, err := m.dir.Run(ctx, "", "cat-file", "-e", string(c)+"^{commit}")
	return err == nil
}

// Ref is what the ref was at the last Fetch of it; ErrNoRef if it was never
// fetched.
func (m *Mirror) Ref(ctx context.Context, ref string) (gate.SHA, error) {
	if err := checkRef(ref); err != nil {
		return "", err
	}
	out, err := m.dir.Run(ctx, "", "for-each-ref", "--format=%(refname) %(objectname)", "--", ref)
	if err != nil {
		return "", fmt.Errorf("read %q: %w", ref, err)
	}
	for line := range strings.Lines(out) { // a pattern also matches refs below it
		if name, id, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); name == ref {
			return gate.SHA(id), nil
		}
	}
	return "", fmt.Errorf("%w: %q was not fetched", ErrNoRef, ref)
}

// trouble explains why git failed on commits that should be there. It makes the
// mirror suspect, also when one is missing: a damaged pack looks like that.
func (m *Mirror) trouble(ctx context.Context, err error, commits ...gate.SHA) error {
	if ctx.Err() != nil {
		return err
	}
	m.suspect.Store(true)
	for _, c := range commits {
		if !m.Have(ctx, c) {
			return fmt.Errorf("%w: %s", ErrMissing, c)
		}
	}
	return err
}

// lock waits until no fetch runs. The returned function ends the lock.
func (m *Mirror) lock(ctx context.Context) (func(), error) {
	select {
	case m.fetching <- struct{}{}:
		return func() { <-m.fetching }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
