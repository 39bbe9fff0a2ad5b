package retest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mergegate/gate"
)

// slot is one work tree, used by one run at a time. Between two runs its tree
// is exactly what its inventory says, less the spoiled paths.
type slot struct {
	key       string // of the repository
	dir       string
	at        gate.SHA  // the tree that is checked out; "" before the first time
	inv       inventory // of what is on disk
	spoiled   []string  // paths that the last test changed or deleted
	idleSince time.Time
	owner     int // who must own the files; 0 for the bot's own user
}

func (s *slot) tree() string { return filepath.Join(s.dir, "tree") }

// home and tmp are a test's $HOME and $TMPDIR where it has no file system of its own.
func (s *slot) home() string { return filepath.Join(s.dir, "home") }
func (s *slot) tmp() string  { return filepath.Join(s.dir, "tmp") }

// pool keeps the slots of this process. It has a directory of its own, locked
// for as long as the process lives, so that two processes on one data_dir never
// share a tree, and what a dead process left behind is known to be nobody's.
type pool struct {
	parent string // holds one directory and one lock file for each process
	dir    string
	lock   *os.File
	bin    *trash
	owner  int // of the files in work trees; 0 for the bot's own user

	mu        sync.Mutex
	idle      map[string][]*slot
	scrubbing map[string]int
	changed   chan struct{} // closed and replaced when a slot has been scrubbed
	wg        sync.WaitGroup
}

func newPool(parent string) (*pool, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	dir := filepath.Join(parent, strings.ToLower(rand.Text()))
	lock, err := lockFile(dir+".lock", os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("lock the work trees: %w", err)
	}
	p := &pool{
		parent: parent, dir: dir, lock: lock, bin: &trash{path: filepath.Join(dir, "trash")},
		idle: map[string][]*slot{}, scrubbing: map[string]int{}, changed: make(chan struct{}),
	}
	return p, os.MkdirAll(p.bin.path, 0o700)
}

// user is who owns what tests write: -1 for nobody in particular.
func (p *pool) user() int {
	if p.owner == 0 {
		return -1
	}
	return p.owner
}

// lockFile opens a file and locks it against other processes, and against
// other opens in this one. It does not wait.
func lockFile(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

// take gives out a slot of the repository: an idle one; else one that is just
// being scrubbed, which is sooner ready than a full checkout; else a new one.
func (p *pool) take(ctx context.Context, repo gate.Repo) (*slot, error) {
	sum := sha256.Sum256([]byte(repo.Forge + "\x00" + repo.Owner + "\x00" + repo.Name))
	key := hex.EncodeToString(sum[:8])
	for {
		p.mu.Lock()
		if idle := p.idle[key]; len(idle) > 0 {
			s := idle[len(idle)-1]
			p.idle[key] = idle[:len(idle)-1]
			s.owner = p.owner
			p.mu.Unlock()
			return s, nil
		}
		scrubbing, changed := p.scrubbing[key], p.changed
		p.mu.Unlock()
		if scrubbing == 0 {
			return p.fresh(key)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
}

// fresh makes an empty slot.
func (p *pool) fresh(key string) (*slot, error) {
	s := &slot{key: key, dir: filepath.Join(p.dir, key+"-"+strings.ToLower(rand.Text())), owner: p.owner}
	return s, os.MkdirAll(s.tree(), 0o755)
}

// put takes a slot back and scrubs it in the background; trouble is returned
// through failed, and costs the slot.
func (p *pool) put(s *slot, failed func(error)) {
	p.mu.Lock()
	p.scrubbing[s.key]++
	p.mu.Unlock()
	p.wg.Go(func() {
		spoiled, err := s.inv.scrub(s.tree(), p.bin)
		err = errors.Join(err, p.bin.tossPath(s.home()), p.bin.tossPath(s.tmp()))
		s.spoiled, s.idleSince = spoiled, time.Now()
		p.mu.Lock()
		if p.scrubbing[s.key]--; p.scrubbing[s.key] == 0 {
			delete(p.scrubbing, s.key)
		}
		if err == nil {
			p.idle[s.key] = append(p.idle[s.key], s)
		}
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			err = errors.Join(err, p.bin.tossPath(s.dir))
		}
		if err = errors.Join(err, p.bin.empty()); err != nil {
			failed(err)
		}
	})
}

// discard deletes a slot in the background.
func (p *pool) discard(s *slot, failed func(error)) {
	p.wg.Go(func() {
		if err := errors.Join(p.bin.tossPath(s.dir), p.bin.empty()); err != nil {
			failed(err)
		}
	})
}

// sweep deletes slots that have been idle since before the given time, and all
// directories of dead processes.
func (p *pool) sweep(before time.Time) error {
	var errs []error
	p.mu.Lock()
	for key, slots := range p.idle {
		var keep []*slot
		for _, s := range slots {
			if s.idleSince.Before(before) {
				errs = append(errs, p.bin.tossPath(s.dir))
			} else {
				keep = append(keep, s)
			}
		}
		if p.idle[key] = keep; keep == nil {
			delete(p.idle, key)
		}
	}
	p.mu.Unlock()
	locks, err := filepath.Glob(filepath.Join(p.parent, "*.lock"))
	errs = append(errs, err)
	for _, name := range locks {
		lock, err := lockFile(name, 0)
		if err != nil {
			continue // its process lives
		}
		if err = p.bin.tossPath(strings.TrimSuffix(name, ".lock")); err == nil {
			err = os.Remove(name)
		}
		errs = append(errs, err)
		lock.Close()
	}
	return errors.Join(append(errs, p.bin.empty())...)
}

// close waits for the scrubs, deletes the pool's directory and gives up its lock.
func (p *pool) close() error {
	p.wg.Wait()
	defer p.lock.Close()
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		if e.Name() != filepath.Base(p.bin.path) {
			err = errors.Join(err, p.bin.tossPath(filepath.Join(p.dir, e.Name())))
		}
	}
	return errors.Join(err, p.bin.empty(), os.RemoveAll(p.dir), os.Remove(p.lock.Name()))
}
