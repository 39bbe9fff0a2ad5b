package lease

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FileConfig describes a lease in a file, for processes that share a disk and
// no forge.
//
// The file exists while somebody holds the lease; its one line of JSON says
// who. Every look and every change is made under flock(2) on the file itself,
// for microseconds, so that looking and changing are one step: of two processes
// that find the lease stale one replaces it and the other then finds a fresh
// one. The kernel drops the lock of a process that dies. A process stopped
// within those microseconds makes the others wait until it goes on or dies; it
// cannot make two holders.
//
// A lease is stale when its holder gave no sign of life for its TTL: by the
// kernel's clock since boot, which nobody sets and which a suspended machine
// does not stop, when the holder was on this machine and this boot; else by the
// file system's clock; or when this process saw it unchanged for that long. A
// file that is no lease (torn by a crash, written by a person) is held by an
// unknown holder until it is stale in the same way; an empty one is free.
//
// On a network file system flock must reach the server, as it does on NFS
// since Linux 2.6.12.
type FileConfig struct {
	Path   string
	Holder string        // this process, or a name that a successor of it uses again
	TTL    time.Duration // at most an hour
	Clock  Clock
}

// Clock tells machines and boots apart, and tells the time on one of them.
type Clock interface {
	Boot() string         // the same for all processes of one boot of one machine
	Since() time.Duration // since boot, suspension included
}

// maxFileTTL bounds how long a lease file can stand in the way of the others.
const maxFileTTL = time.Hour

// NewFile prepares a lease file; it does not touch it.
func NewFile(c FileConfig) (*File, error) {
	switch {
	case c.TTL < 100*time.Millisecond || c.TTL > maxFileTTL:
		return nil, fmt.Errorf("the lease's ttl is %v; use 100ms to %v", c.TTL, maxFileTTL)
	case strings.TrimSpace(c.Holder) == "" || len(c.Holder) > 200:
		return nil, errors.New("the lease's holder needs a name of at most 200 bytes")
	}
	var err error
	c.Path, err = filepath.Abs(c.Path)
	return &File{FileConfig: c}, err
}

// File is a lease file as one process sees it. It remembers what it saw. Its
// methods must not run concurrently; those of FileHeld may.
type File struct {
	FileConfig
	seen  string        // the content
	first time.Duration // when it was first seen so
}

// fileRecord is the content of a lease file.
type fileRecord struct {
	Holder string    `json:"holder"`
	Work   string    `json:"work,omitempty"` // for people
	Since  time.Time `json:"since"`          // for people
	Nonce  string    `json:"nonce"`          // of this taking
	Seq    int       `json:"seq"`
	TTL    int64     `json:"ttl_ms"`
	Boot   string    `json:"boot"`    // the holder's Clock.Boot
	Beat   int64     `json:"beat_ms"` // its Clock.Since at the last sign of life
}

// FileBusyError says that another holds the lease.
type FileBusyError struct {
	Holder string        // "" when unknown
	Work   string        // what it does, in its own words
	Left   time.Duration // until the lease is stale if its holder is dead
	Locked bool          // not even the file could be read: a process was stopped with its lock in hand
}

func (e *FileBusyError) Error() string {
	if e.Locked {
		return "the lease file stays locked: a process was stopped while it looked at it, and must go on or be killed"
	}
	who := "an unknown holder (the file is no lease of ours)"
	if e.Holder != "" {
		who = fmt.Sprintf("%q for %q", e.Holder, e.Work)
	}
	return fmt.Sprintf("the lease is held by %s; stale in %v if that holder is dead", who, e.Left.Round(100*time.Millisecond))
}

// Take asks for the lease once, without waiting. It is a *FileBusyError when
// another holds it. A holder of the same name gets it at once, and the process
// that had it under that name has lost it. The lease keeps itself alive until
// Release; ctx only bounds the asking.
func (f *File) Take(ctx context.Context, work string) (*FileHeld, error) {
	mine := fileRecord{
		Holder: f.Holder, Work: work, Since: time.Now().UTC().Truncate(time.Second),
		Nonce: rand.Text(), TTL: f.TTL.Milliseconds(), Boot: f.Clock.Boot(),
	}
	err := f.locked(ctx, true, func(file *os.File, data []byte) error {
		busy, err := f.judge(file, data)
		if err != nil {
			return err
		}
		if busy != nil {
			return busy
		}
		mine.Beat = f.Clock.Since().Milliseconds()
		if err := writeRecord(file, mine); err != nil {
			return errors.Join(err, os.Remove(f.Path)) // it was free, so it is again
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return holdFile(ctx, f.FileConfig, mine), nil
}

// judge says who stands in the way of taking the lease; nil for nobody.
func (f *File) judge(file *os.File, data []byte) (*FileBusyError, error) {
	now := f.Clock.Since()
	if string(data) != f.seen {
		f.seen, f.first = string(data), now
	}
	if len(data) == 0 {
		return nil, nil
	}
	r, known := f.read(data)
	ttl := f.TTL
	if known {
		if r.Holder == f.Holder {
			return nil, nil
		}
		ttl = time.Duration(r.TTL) * time.Millisecond
	}
	age := now - time.Duration(r.Beat)*time.Millisecond
	if !known || r.Boot != f.Clock.Boot() {
		var err error
		if age, err = fileAge(file); err != nil {
			return nil, err
		}
	}
	left := ttl - max(age, now-f.first)
	if left <= 0 {
		return nil, nil
	}
	return &FileBusyError{Holder: r.Holder, Work: r.Work, Left: left}, nil
}

// read is false for a file that no process of ours can have written.
func (f *File) read(data []byte) (fileRecord, bool) {
	var r fileRecord
	if json.Unmarshal(data, &r) != nil || r.Holder == "" || r.Nonce == "" || r.TTL <= 0 || r.TTL > maxFileTTL.Milliseconds() {
		return fileRecord{}, false
	}
	if r.Boot == f.Clock.Boot() && r.Beat > f.Clock.Since().Milliseconds() {
		return fileRecord{}, false
	}
	return r, true
}

// fileAge is the time since the file was written, by the file system's clock
// alone, so that no two clocks are compared.
func fileAge(file *os.File) (time.Duration, error) {
	probe, err := os.CreateTemp(filepath.Dir(file.Name()), ".mergegate-clock-*")
	if err != nil {
		return 0, fmt.Errorf("ask the file system for its time: %w", err)
	}
	defer os.Remove(probe.Name())
	defer probe.Close()
	now, err := probe.Stat()
	if err != nil {
		return 0, err
	}
	then, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return now.ModTime().Sub(then.ModTime()), nil
}

const (
	lockPause = 2 * time.Millisecond
	lockLimit = 2 * time.Second // in all, for something that takes microseconds
	maxLease  = 4 << 10         // bytes of a lease file that are read
)

// locked runs do with the file open, locked and read. Without create, a file
// that is not there is fs.ErrNotExist.
func (c FileConfig) locked(ctx context.Context, create bool, do func(*os.File, []byte) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockLimit, &FileBusyError{Locked: true})
	defer cancel()
	for {
		done, err := c.tryLocked(create, do)
		if done {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// tryLocked is not done when another process has the lock, or when the file was
// removed between opening and locking it.
func (c FileConfig) tryLocked(create bool, do func(*os.File, []byte) error) (done bool, err error) {
	flag := os.O_RDWR | unix.O_NONBLOCK
	if create {
		flag |= os.O_CREATE
	}
	file, err := os.OpenFile(c.Path, flag, 0o666)
	if err != nil {
		return true, fmt.Errorf("open the lease file: %w", err)
	}
	defer file.Close() // unlocks
	info, err := file.Stat()
	if err != nil {
		return true, fmt.Errorf("look at the lease file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return true, fmt.Errorf("the lease %s is not a regular file; name another", c.Path)
	}
	if err := flock(file); errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	} else if err != nil {
		return true, fmt.Errorf("lock the lease file %s: %w", c.Path, err)
	}
	if there, err := os.Stat(c.Path); err != nil || !os.SameFile(info, there) {
		return false, nil
	}
	data, err := io.ReadAll(io.LimitReader(file, maxLease))
	if err != nil {
		return true, fmt.Errorf("read the lease file: %w", err)
	}
	return true, do(file, bytes.TrimRight(data, " \n"))
}

func flock(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = raw.Control(func(fd uintptr) { locked = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	return errors.Join(err, locked)
}

// writeRecord writes in place and to a fixed length, so that renewing needs no
// space on a full disk.
func writeRecord(file *os.File, r fileRecord) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	const length = 1 << 10
	if len(line) >= length {
		return fmt.Errorf("the lease would be %d bytes long; shorten the names in it", len(line))
	}
	line = append(line, bytes.Repeat([]byte(" "), length-len(line)-1)...)
	if _, err := file.WriteAt(append(line, '\n'), 0); err != nil {
		return fmt.Errorf("write the lease file: %w", err)
	}
	return file.Truncate(length)
}

// notMine says that the file is not, or no longer, the lease that r is.
func (c FileConfig) notMine(data []byte, r fileRecord) error {
	var now fileRecord
	if err := json.Unmarshal(data, &now); err != nil {
		return fmt.Errorf("%w: somebody wrote over %s", ErrLost, c.Path)
	}
	if now.Nonce != r.Nonce {
		return fmt.Errorf("%w: %q has it now", ErrLost, now.Holder)
	}
	return nil
}

// beat renews the lease r. ErrLost when it is not there any more.
func (c FileConfig) beat(ctx context.Context, r fileRecord) error {
	err := c.locked(ctx, false, func(file *os.File, data []byte) error {
		if err := c.notMine(data, r); err != nil {
			return err
		}
		return writeRecord(file, r)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: somebody removed %s", ErrLost, c.Path)
	}
	return err
}

// remove ends the lease r, and no other.
func (c FileConfig) remove(ctx context.Context, r fileRecord) error {
	err := c.locked(ctx, false, func(_ *os.File, data []byte) error {
		if c.notMine(data, r) != nil {
			return nil
		}
		return os.Remove(c.Path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
