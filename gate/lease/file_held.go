package lease

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileHeld is a lease file that is ours.
type FileHeld struct {
	conf   FileConfig
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the renewals have ended

	mu     sync.Mutex // held for one look at the file, which is short
	rec    fileRecord
	beaten time.Duration // Clock.Since before the last renewal that succeeded
}

// holdFile keeps the lease r, which was just written, alive.
func holdFile(ctx context.Context, c FileConfig, r fileRecord) *FileHeld {
	h := &FileHeld{conf: c, rec: r, beaten: time.Duration(r.Beat) * time.Millisecond, done: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go h.keep()
	return h
}

func (h *FileHeld) keep() {
	defer close(h.done)
	t := time.NewTicker(h.conf.TTL / 5)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-t.C:
			_ = h.Check(h.ctx) // what is final ends h.ctx
		}
	}
}

// Check proves that the lease is ours and renews it in the same step: for the
// TTL from now nobody else can have it. ErrLost is final. Any other error means
// that nothing was learned; it becomes ErrLost when two thirds of the TTL have
// passed since the last success.
func (h *FileHeld) Check(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return context.Cause(h.ctx)
	}
	now := h.conf.Clock.Since()
	next := h.rec
	next.Seq, next.Beat = next.Seq+1, now.Milliseconds()
	err := h.conf.beat(ctx, next)
	switch {
	case err == nil:
		h.rec, h.beaten = next, now
	case errors.Is(err, ErrLost):
		h.cancel(err)
	case h.conf.Clock.Since()-h.beaten > h.conf.TTL*2/3:
		err = fmt.Errorf("%w: %w", ErrLost, err)
		h.cancel(err)
	default:
		err = fmt.Errorf("renew the lease: %w", err)
	}
	return err
}

// Context ends, with a cause that is ErrLost, when the lease is lost, and at
// Release.
func (h *FileHeld) Context() context.Context { return h.ctx }

// Release ends the renewals and removes the lease if it is still ours. It may
// be repeated; an error is harmless, because the lease becomes stale.
func (h *FileHeld) Release(ctx context.Context) error {
	h.cancel(fmt.Errorf("%w: it was released", ErrLost))
	<-h.done
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.conf.remove(ctx, h.rec); err != nil {
		return fmt.Errorf("release the lease: %w", err)
	}
	return nil
}

// MachineClock is the clock of this machine.
func MachineClock() (Clock, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("tell this boot of the machine from others: %w", err)
	}
	return machineClock(strings.TrimSpace(string(id))), nil
}

type machineClock string

func (c machineClock) Boot() string { return string(c) }

func (machineClock) Since() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("the kernel has no clock since boot: %v", err)) // since Linux 2.6.39 it has
	}
	return time.Duration(t.Nano())
}
