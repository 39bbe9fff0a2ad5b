package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// bootClock is a machine's clock that tests move.
type bootClock struct {
	boot string
	at   atomic.Int64
}

func (c *bootClock) Boot() string             { return c.boot }
func (c *bootClock) Since() time.Duration     { return time.Duration(c.at.Load()) }
func (c *bootClock) pass(d time.Duration)     { c.at.Add(int64(d)) }
func newClock(since time.Duration) *bootClock { return newBoot("this boot", since) }
func newBoot(name string, since time.Duration) *bootClock {
	c := &bootClock{boot: name}
	c.pass(since)
	return c
}

// fileTTL is longer than any test: what makes leases stale here is the clock of
// the test, never the real one.
const fileTTL = 10 * time.Minute

func leaseFile(t *testing.T, path, holder string, clock Clock) *File {
	t.Helper()
	f, err := NewFile(FileConfig{Path: path, Holder: holder, TTL: fileTTL, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// dies ends a holder without release.
func (h *FileHeld) dies() {
	h.cancel(errors.New("dead"))
	<-h.done
}

func mustTake(t *testing.T, f *File) *FileHeld {
	t.Helper()
	h, err := f.Take(t.Context(), "work of "+f.Holder)
	if err != nil {
		t.Fatalf("%s: %v", f.Holder, err)
	}
	t.Cleanup(h.dies)
	return h
}

func mustBeBusy(t *testing.T, f *File) *FileBusyError {
	t.Helper()
	_, err := f.Take(t.Context(), "work of "+f.Holder)
	busy, ok := errors.AsType[*FileBusyError](err)
	if !ok {
		t.Fatalf("%s: %v, want busy", f.Holder, err)
	}
	return busy
}

func TestFileIsHeldByOne(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	a, b := leaseFile(t, path, "a", clock), leaseFile(t, path, "b", clock)
	held := mustTake(t, a)
	if busy := mustBeBusy(t, b); busy.Holder != "a" || busy.Work != "work of a" || busy.Left != fileTTL {
		t.Errorf("busy: %+v", busy)
	}
	clock.pass(fileTTL - time.Minute)
	if err := held.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.pass(fileTTL - time.Minute)
	if busy := mustBeBusy(t, b); busy.Left != time.Minute {
		t.Errorf("a renewed lease is stale in %v, want 1m", busy.Left)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a released lease leaves its file: %v", err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Errorf("a second release: %v", err)
	}
	mustTake(t, b)
}

// TestStaleFileHasOneWinner lets many find the same stale lease at once.
func TestStaleFileHasOneWinner(t *testing.T) {
	for round := range 40 {
		path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
		mustTake(t, leaseFile(t, path, "dead", clock)).dies()
		clock.pass(fileTTL)
		var winners atomic.Int64
		var wg sync.WaitGroup
		start := make(chan struct{})
		for n := range 12 {
			f := leaseFile(t, path, fmt.Sprintf("racer %d", n), clock)
			wg.Go(func() {
				<-start
				h, err := f.Take(context.Background(), "race")
				if err == nil {
					winners.Add(1)
					h.dies()
				} else if _, busy := errors.AsType[*FileBusyError](err); !busy {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if winners.Load() != 1 {
			t.Fatalf("round %d: %d winners", round, winners.Load())
		}
	}
}

// TestPausedHolderOfTheFile wakes when another has long taken over.
func TestPausedHolderOfTheFile(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	paused := mustTake(t, leaseFile(t, path, "paused", clock))
	clock.pass(3 * fileTTL)
	next := mustTake(t, leaseFile(t, path, "next", clock))
	if err := paused.Check(t.Context()); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "next") {
		t.Errorf("the paused holder's check: %v", err)
	}
	if !errors.Is(context.Cause(paused.Context()), ErrLost) {
		t.Error("the paused holder's work was not stopped")
	}
	if err := paused.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := next.Check(t.Context()); err != nil {
		t.Errorf("the new lease did not survive the old holder's release: %v", err)
	}
}

// TestPausedHolderNobodyReplaced still has what nobody took.
func TestPausedHolderNobodyReplaced(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	held := mustTake(t, leaseFile(t, path, "a", clock))
	clock.pass(3 * fileTTL)
	if err := held.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBeBusy(t, leaseFile(t, path, "b", clock))
}

func TestSameHolderTakesItsFileAgain(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	before := mustTake(t, leaseFile(t, path, "job 7", clock))
	after := mustTake(t, leaseFile(t, path, "job 7", clock))
	if err := before.Check(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("two hold it under one name: %v", err)
	}
	if err := before.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := after.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFileThatIsNoLease is what crashes, people and full disks leave.
func TestFileThatIsNoLease(t *testing.T) {
	clock := newClock(time.Hour)
	line := func(change func(*fileRecord)) string {
		r := fileRecord{Holder: "x", Nonce: "n", TTL: 1000, Boot: clock.boot, Beat: 1000}
		change(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, content := range map[string]string{
		"garbage":     "\x00\xff garbage",
		"torn":        line(func(*fileRecord) {})[:40],
		"no holder":   line(func(r *fileRecord) { r.Holder = "" }),
		"no nonce":    line(func(r *fileRecord) { r.Nonce = "" }),
		"no ttl":      line(func(r *fileRecord) { r.TTL = 0 }),
		"for ever":    line(func(r *fileRecord) { r.TTL = 1 << 60 }),
		"from future": line(func(r *fileRecord) { r.Beat = 1 << 60 }),
		"huge":        strings.Repeat("a", 1<<20),
	} {
		path := filepath.Join(t.TempDir(), "main.lease")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f := leaseFile(t, path, "b", clock)
		if busy := mustBeBusy(t, f); busy.Holder != "" || busy.Left > fileTTL || busy.Left < fileTTL-time.Minute {
			t.Errorf("%s: %+v", name, busy)
		}
		clock.pass(fileTTL)
		mustTake(t, f)
		mustBeBusy(t, leaseFile(t, path, "c", clock))
	}

	path := filepath.Join(t.TempDir(), "main.lease")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	held := mustTake(t, leaseFile(t, path, "b", clock)) // an empty file is free
	if err := os.WriteFile(path, []byte("scribble"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := held.Check(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("a lease that was written over: %v", err)
	}
}

func TestPersonRemovesTheFile(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	held := mustTake(t, leaseFile(t, path, "a", clock))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := held.Check(t.Context()); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "removed") {
		t.Errorf("check: %v", err)
	}
	mustTake(t, leaseFile(t, path, "b", clock))
}

// TestClockOfTheFile moves every clock that is not the kernel's since boot.
func TestClockOfTheFile(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	mustTake(t, leaseFile(t, path, "a", clock))
	for _, jump := range []time.Duration{-time.Hour, time.Hour, 24 * time.Hour} {
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(jump)); err != nil {
			t.Fatal(err)
		}
		if busy := mustBeBusy(t, leaseFile(t, path, "b", clock)); busy.Left != fileTTL {
			t.Errorf("dates off by %v: stale in %v", jump, busy.Left)
		}
	}
}

// TestFileOfAnotherBoot cannot be judged by the clock since boot: that of
// another machine runs from another moment.
func TestFileOfAnotherBoot(t *testing.T) {
	path, theirs, ours := filepath.Join(t.TempDir(), "main.lease"), newBoot("other boot", 9000*time.Hour), newClock(time.Minute)
	held := mustTake(t, leaseFile(t, path, "a", theirs))
	late := leaseFile(t, path, "b", ours)
	if busy := mustBeBusy(t, late); busy.Holder != "a" || busy.Left < fileTTL-time.Minute {
		t.Errorf("busy: %+v", busy)
	}
	ours.pass(fileTTL - time.Second)
	if err := held.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBeBusy(t, late) // it changed
	ours.pass(fileTTL - time.Second)
	mustBeBusy(t, late)
	ours.pass(time.Second)
	mustTake(t, late).dies() // seen unchanged for the TTL

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mustTake(t, leaseFile(t, path, "a", theirs)).dies()
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-fileTTL-time.Minute)); err != nil {
		t.Fatal(err)
	}
	mustTake(t, leaseFile(t, path, "c", ours)) // old by the file system's clock: one look is enough
}

// TestFileKeepsItselfAlive needs the real clock: a holder that does nothing
// keeps a short lease for many times its TTL.
func TestFileKeepsItselfAlive(t *testing.T) {
	clock, err := MachineClock()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "main.lease")
	f, err := NewFile(FileConfig{Path: path, Holder: "a", TTL: 3 * time.Second, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	held := mustTake(t, f)
	deadline := time.Now().Add(time.Minute)
	for {
		data, err := os.ReadFile(path)
		var r fileRecord
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if err == nil && r.Seq >= 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not renewed within a minute: %v %s", err, data)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestFileStaysLocked is a process stopped in the middle of a look: the others
// wait, and it does not cost its holder the lease before its time.
func TestFileStaysLocked(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "main.lease"), newClock(time.Hour)
	held := mustTake(t, leaseFile(t, path, "a", clock))
	stopped, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer stopped.Close()
	if err := flock(stopped); err != nil {
		t.Fatal(err)
	}
	if busy := mustBeBusy(t, leaseFile(t, path, "b", clock)); !busy.Locked {
		t.Errorf("busy: %+v", busy)
	}
	if err := held.Check(t.Context()); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("the holder's check: %v", err)
	}
	clock.pass(fileTTL)
	if err := held.Check(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("the holder's check after the TTL: %v", err)
	}
	stopped.Close()
	mustTake(t, leaseFile(t, path, "b", clock))
}

func TestFileThatCannotBeALease(t *testing.T) {
	dir, clock := t.TempDir(), newClock(time.Hour)
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, filepath.Join(dir, "none", "main.lease"), "/dev/null"} {
		_, err := leaseFile(t, path, "a", clock).Take(t.Context(), "")
		if _, busy := errors.AsType[*FileBusyError](err); err == nil || busy {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, c := range []FileConfig{{Path: "x", Holder: "a"}, {Path: "x", Holder: "a", TTL: 2 * time.Hour}, {Path: "x", Holder: " ", TTL: time.Minute}} {
		if _, err := NewFile(c); err == nil {
			t.Errorf("%+v passes", c)
		}
	}
}
