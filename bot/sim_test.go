package bot_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedsFlag = flag.Int("seeds", 200, "how many worlds the simulation plays")
	huntFlag  = flag.Int("hunt", 2000, "in how many worlds a planted bug must be found")
	plantFlag = flag.String("plant", "", "only the planted bugs whose names contain this")
	seedFlag  = flag.Uint64("seed", 0, "play this one world, and with -v tell everything")
)

const secretEnv = "MERGEGATE_SIMULATED_WEBHOOK_SECRET"

// TestSimulation plays the production bot in worlds where everything goes wrong,
// and lets the judges look at each. See docs/design.md, "The simulated world".
//
//	go test ./bot -run 'TestSimulation$' -args -seeds 20000
//	go test ./bot -run 'TestSimulation$' -v -args -seed 17
func TestSimulation(t *testing.T) {
	t.Setenv(secretEnv, "a secret of the simulated world")
	if *seedFlag != 0 {
		var say func(string, ...any)
		if testing.Verbose() {
			say = teller(os.Stdout)
		}
		bug := plant{}
		for _, p := range plants() {
			if p.name == *plantFlag {
				bug = p
			}
		}
		s := play(t, *seedFlag, bug, say)
		for _, w := range s.wrong {
			t.Errorf("%s: %s", w.judge, w.what)
		}
		t.Logf("seed %d: %v, %d calls, %d landed, trace %x", s.seed, s.took, s.calls, s.landed, s.hash)
		return
	}
	begun := time.Now()
	total := story{faults: map[fault]int{}, points: map[string]int{}}
	bad := 0
	hunt(t, *seedsFlag, plant{}, func(s story) bool {
		total.add(s)
		if len(s.wrong) > 0 {
			if bad++; bad <= 20 {
				t.Errorf("seed %d:\n%s\n  go test ./bot -run 'TestSimulation$' -v -args -seed %[1]d", s.seed, verdicts(s.wrong))
			}
		}
		return bad < 1000
	})
	real := time.Since(begun)
	t.Logf("%d seeds in %v (%.0f a second), %d bad; %.0f virtual hours, %d calls, %d landings, traces %x",
		*seedsFlag, real.Round(time.Second), float64(*seedsFlag)/real.Seconds(), bad, total.took.Hours(), total.calls, total.landed, total.hash)
	t.Logf("faults:\n%s", table(total.faults))
	t.Logf("crash points:\n%s", table(total.points))
	if *seedsFlag >= everything {
		for _, what := range total.missing() {
			t.Errorf("in %d worlds there was never: %s", *seedsFlag, what)
		}
	}
}

// everything is in how many worlds each crash point is hit and each fault happens:
// the rarest write is made twice in a thousand worlds, and seldom is it the one that
// kills.
const everything = 20_000

// missing are the crash points that were not hit, on one side of a write or on both,
// and the faults that did not happen.
func (s *story) missing() (out []string) {
	for _, write := range []string{
		"AddLabel", "CloseIssue", "CreateIssue", "DeleteComment", "EditComment", "EditComment of a lease", "EditIssue", "Land",
		"PostComment", "PostComment of a lease", "React", "RemoveLabel", "SetStatus",
		"git push", "git push of a candidate", "git push of a lease",
	} {
		for _, point := range []string{"before " + write, "after " + write} {
			if s.points[point] == 0 {
				out = append(out, "a crash "+point)
			}
		}
	}
	for _, f := range faults {
		if s.faults[f] == 0 {
			out = append(out, string(f))
		}
	}
	return out
}

// hunt plays the seeds from 1 on two bubbles at a time, until look says to stop.
// look is called for one story at a time.
func hunt(t *testing.T, seeds int, bug plant, look func(story) bool) {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small and short
	var mu sync.Mutex
	next, on := uint64(0), true
	t.Run("worlds", func(t *testing.T) {
		for cpu := range 2 {
			t.Run(fmt.Sprint(cpu), func(t *testing.T) {
				t.Parallel()
				for {
					mu.Lock()
					next++
					seed, stop := next, !on || next > uint64(seeds)
					mu.Unlock()
					if stop {
						return
					}
					s := play(t, seed, bug, nil)
					mu.Lock()
					on = on && look(s)
					mu.Unlock()
				}
			})
		}
	})
}

func (s *story) add(o story) {
	s.took += o.took
	s.calls += o.calls
	s.landed += o.landed
	s.hash ^= o.hash // in whatever order they end
	for k, n := range o.faults {
		s.faults[k] += n
	}
	for k, n := range o.points {
		s.points[k] += n
	}
}

func verdicts(all []wrong) string {
	var b strings.Builder
	for _, w := range all {
		fmt.Fprintf(&b, "  %s: %s\n", w.judge, w.what)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func table[K cmp.Ordered](counts map[K]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "  %8d  %v\n", counts[k], k)
	}
	return b.String()
}

// teller prints what happens with the world's time.
func teller(to *os.File) func(string, ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(to, "%s  %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
}

// A seed is a whole history, the same each time. Without
// that a failing seed could not be looked into.
func TestAttack117SimulationRepeats(t *testing.T) {
	t.Setenv(secretEnv, "a secret of the simulated world")
	for _, seed := range []uint64{98, 131} {
		want := play(t, seed, plant{}, nil)
		for range 49 {
			if got := play(t, seed, plant{}, nil); got.hash != want.hash || got.calls != want.calls {
				t.Fatalf("seed %d: trace %x with %d calls, then %x with %d", seed, want.hash, want.calls, got.hash, got.calls)
			}
		}
	}
}
