package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Limits are what one fetch may cost.
type Limits struct {
	Time time.Duration
	Size int64 // bytes of packed objects
}

// Refused: the remote offers something that git must not take, or that goes
// beyond the limits. Asking again gives the same answer until a person changes
// what is there.
type Refused struct{ Why string } // one sentence without a full stop, printable

func (e *Refused) Error() string { return e.Why }

var (
	errLarge = errors.New("the objects are larger than the limit")
	errSlow  = errors.New("the fetch took longer than the limit")
)

// Fetch fetches refspecs or ids from the remote of d, and nothing else: no tags,
// no submodules, no FETCH_HEAD. What the remote offers and must not be taken is a
// *Refused; then nothing was stored. It may be repeated; two fetches of one
// directory at the same time are the caller's to prevent.
func (d Dir) Fetch(ctx context.Context, l Limits, specs ...string) error {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(l.Time, func() { cancel(errSlow) })
	defer timer.Stop()
	go d.watch(limited, l.Size, cancel)
	said, err := d.start(limited, nil, nil, append([]string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
		"--no-show-forced-updates", "--no-recurse-submodules", "--end-of-options", d.remote}, specs...)...)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errLarge):
		return &Refused{Why: fmt.Sprintf("its commits are more than %s of packed objects, which is the limit", size(l.Size))}
	case errors.Is(err, errSlow):
		return &Refused{Why: fmt.Sprintf("fetching its commits took longer than %v, which is the limit", l.Time)}
	case err != nil:
		return refusal(err)
	case strings.Contains(said, "shallow roots are not allowed"):
		return &Refused{Why: "the forge has only a shallow copy of the history, on which nothing can be rebased; fetch the rest there"}
	}
	return nil
}

// watch cancels when the packs that are being written outgrow the limit.
func (d Dir) watch(ctx context.Context, limit int64, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if d.arriving() > limit {
				cancel(errLarge)
				return
			}
		}
	}
}

// arriving is the size of packs that are not complete.
func (d Dir) arriving() (sum int64) {
	names, _ := filepath.Glob(filepath.Join(d.Path, "objects", "pack", "tmp_*"))
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// refusal turns git's words about what it was offered into a *Refused; any
// other error stays as it is.
func refusal(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	if Crashed(err) {
		return &Refused{Why: "git crashes on its objects"}
	}
	for line := range strings.Lines(e.Stderr) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "mismatched algorithms"):
			return &Refused{Why: "the repository names its objects by SHA-256, which mergegate does not support; use a repository with SHA-1 names"}
		case strings.HasPrefix(line, "error: object ") || strings.HasPrefix(line, "fatal: fsck error"):
			return &Refused{Why: "git's check refuses its objects: " + clip(strings.TrimPrefix(strings.TrimPrefix(line, "error: "), "fatal: "))}
		case strings.Contains(line, "died of signal 11"), strings.Contains(line, "Out of memory"):
			return &Refused{Why: "git cannot digest its objects: " + clip(strings.TrimPrefix(strings.TrimPrefix(line, "error: "), "fatal: "))}
		}
	}
	return err
}

// Crashed says whether git died of what it read, such as a tree so deep that its
// stack was not enough, and was not killed by somebody.
func Crashed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && slices.Contains([]syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT}, status.Signal())
}

func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
