package bot

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
)

// forgetful is a forge that keeps deliveries which nobody heard. It fails the
// first times it is asked for them.
type forgetful struct {
	forge.Forge
	fails int

	mu    sync.Mutex
	asked []time.Time
}

func (f *forgetful) Repos(context.Context, string) ([]gate.Repo, error) { return nil, nil }

func (f *forgetful) Redeliver(_ context.Context, since time.Time) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, since)
	if len(f.asked) <= f.fails {
		return 0, errors.New("502")
	}
	return 2, nil
}

// At its start the bot asks for what it missed, once, and again only after a failure.
func TestMissedDeliveries(t *testing.T) {
	for _, fails := range []int{0, 2, 100} {
		synctest.Test(t, func(t *testing.T) {
			f := &forgetful{fails: fails}
			cfg := config.Default()
			cfg.Forges = []config.Forge{{Name: "hub", Repos: []string{"acme/*"}}}
			b := New(&cfg, map[string]forge.Forge{"hub": f}, nil, nil, nil, "me", nil, 1, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			start := time.Now()
			go func() { done <- b.Run(ctx) }()
			time.Sleep(24 * time.Hour)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if want := min(fails+1, 6); len(f.asked) != want {
				t.Fatalf("with %d failures it asked %d times, want %d", fails, len(f.asked), want)
			}
			if back := start.Sub(f.asked[0]); back != 3*24*time.Hour {
				t.Errorf("it asked for what came in the last %v", back)
			}
		})
	}
}
