package retest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"mergegate/gate"
	"mergegate/internal/git"
)

// stubborn is a command that hides processes in every way and does not end.
// They can be recognised by the number they sleep.
func stubborn(seconds string) string {
	return strings.ReplaceAll(`
trap '' TERM HUP INT
(setsid sh -c 'trap "" TERM HUP; sleep N' &)
setsid sh -c '(setsid sh -c "trap \"\" TERM; sleep N" </dev/null >/dev/null 2>&1 &)'
nohup sleep N >/dev/null 2>&1 &
`, "N", seconds)
}

// sleepers counts the processes of this machine that sleep that number.
func sleepers(t *testing.T, seconds string) int {
	t.Helper()
	n := 0
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cmdlines {
		text, _ := os.ReadFile(name)
		if strings.HasPrefix(string(text), "sleep\x00"+seconds) {
			n++
		}
	}
	return n
}

// killSleepers cleans up where the rung cannot.
func killSleepers(t *testing.T, seconds string) {
	t.Helper()
	until(t, "what is left has been killed", func() bool {
		cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range cmdlines {
			text, _ := os.ReadFile(name)
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && strings.HasPrefix(string(text), "sleep\x00"+seconds) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return sleepers(t, seconds) == 0
	})
}

// until polls until the condition holds.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after a minute: %s", what)
		}
	}
}

func number(t *testing.T) string {
	return fmt.Sprintf("9%d.%d", os.Getpid(), time.Now().UnixNano()%1e6)
}

func TestAttack75And76TimeoutKillsEverything(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		n := number(t)
		job := newRepo(t).job(stubborn(n) + "sleep " + n)
		job.Timeout = 500 * time.Millisecond
		start := time.Now()
		res := r.Run(t.Context(), job)
		if took := time.Since(start) - res.Checkout; took > job.Timeout+time.Minute {
			t.Errorf("returned only after %s", took)
		}
		if res.Verdict != TimedOut || res.Why != "timed out after 500ms" {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		if left := sleepers(t, n); left > 0 {
			t.Errorf("%d processes survived", left)
		}
	})
}

func TestNothingSurvivesThePass(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		for range 2 {
			n := number(t)
			res := r.Run(t.Context(), newRepo(t).job(stubborn(n)+"exit 0"))
			if res.Verdict != Passed {
				t.Errorf("%s %q after %s: %s", res.Verdict, res.Why, res.Took, res.Tail)
			}
			if left := sleepers(t, n); left > 0 {
				t.Errorf("%d processes survived", left)
			}
			r.groupErr = errors.New("none, for the test") // which would kill them as well
		}
	})
}

func TestCancel(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		n := number(t)
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan Result, 1)
		job := newRepo(t).job(stubborn(n) + "sleep " + n)
		go func() { results <- r.Run(ctx, job) }()
		until(t, "the test runs", func() bool { return sleepers(t, n) == 4 })
		cancel()
		select {
		case res := <-results:
			if res.Verdict != Broken || res.Why != "cancelled" {
				t.Errorf("%s %q", res.Verdict, res.Why)
			}
		case <-time.After(time.Minute):
			t.Fatal("Run goes on after its context ended")
		}
		if left := sleepers(t, n); left > 0 {
			t.Errorf("%d processes survived", left)
		}
	})
}

// victim is the bot in another process, for TestKilledBot. It runs a test that does not end.
func victim(dir string) int {
	ctx := context.Background()
	for _, rg := range ladder() {
		if rg.name != os.Getenv("RETEST_BOT_RUNG") {
			continue
		}
		r, err := newRunner(ctx, filepath.Join(dir, "data", "retest"), nil, slog.Default(), []rung{rg})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(r.Run(ctx, Job{
			Mirror: git.Dir{Path: filepath.Join(dir, "repo.git")}, Commit: gate.SHA(os.Getenv("RETEST_BOT_COMMIT")),
			Tree: gate.SHA(os.Getenv("RETEST_BOT_TREE")), Command: os.Getenv("RETEST_BOT_COMMAND"), Timeout: time.Hour,
		}))
	}
	return 0
}

func TestAttack86KilledBot(t *testing.T) {
	for _, rg := range ladder() {
		t.Run(rg.name, func(t *testing.T) {
			if _, err := exec.LookPath("bwrap"); rg.name == "bubblewrap" && err != nil {
				t.Skip("bwrap is not installed on this machine")
			}
			n := number(t)
			g := newRepo(t)
			job := g.job(stubborn(n) + "sleep " + n)
			dir := filepath.Dir(g.dir.Path)
			passable(t, dir)
			bot := exec.Command("/proc/self/exe")
			bot.Stdout, bot.Stderr = t.Output(), t.Output()
			bot.Env = append(os.Environ(), "RETEST_BOT_DIR="+dir, "RETEST_BOT_RUNG="+rg.name,
				"RETEST_BOT_COMMIT="+string(job.Commit), "RETEST_BOT_TREE="+string(job.Tree), "RETEST_BOT_COMMAND="+job.Command)
			if err := bot.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, "the test runs", func() bool { return sleepers(t, n) == 4 })
			if err := bot.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = bot.Wait()
			until(t, "all processes of the test are dead", func() bool { return sleepers(t, n) == 0 })

			// What it left behind goes with the next sweep, and only that.
			data := filepath.Join(dir, "data", "retest")
			r := runner(t, data, []rung{rg})
			other := runner(t, data, []rung{rg})
			r.Sweep(time.Hour)
			left, err := filepath.Glob(filepath.Join(data, "trees", "*.lock"))
			if err != nil || len(left) != 2 {
				t.Errorf("locks after the sweep: %v %v, want those of the two who live", left, err)
			}
			if res := other.Run(t.Context(), g.job("true")); res.Verdict != Passed {
				t.Errorf("%s %q", res.Verdict, res.Why)
			}
		})
	}
}

func TestAttack81Output(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		for command, want := range map[string]string{
			"printf 'a\\377\\000\\033[31mb\\r\\nc'":              "ab\nc",
			"head -c 5000000 /dev/zero | tr '\\0' x; echo end":   "…",
			"head -c 5000000 /dev/urandom; echo; echo; echo end": "end",
		} {
			res := r.Run(t.Context(), newRepo(t).job(command))
			if res.Verdict != Passed || !strings.HasSuffix(strings.ReplaceAll(res.Tail, "\uFFFD", ""), want) || !utf8.ValidString(res.Tail) || len(res.Tail) > tailLines*(tailWidth+4)*4 {
				t.Errorf("%s: %s %q: %q", command, res.Verdict, res.Why, res.Tail)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res := r.Run(t.Context(), newRepo(t).job("head -c 500000000 /dev/zero | tr '\\0' x")) // one line
		runtime.ReadMemStats(&after)
		if res.Verdict != Failed || res.Why != "killed: more than 100 MiB of output" || len(log(t, r, res)) > keepHead+keepTail+100 {
			t.Errorf("%s %q", res.Verdict, res.Why)
		}
		if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
			t.Errorf("the bot's heap grew by %d MiB", grown>>20)
		}
	})
}

func TestAttack81FloodOfOutput(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		res := r.Run(t.Context(), newRepo(t).job(`echo first; head -c 1000000000 /dev/zero`))
		if res.Verdict != Failed || res.Why != "killed: more than 100 MiB of output" {
			t.Errorf("%s %q", res.Verdict, res.Why)
		}
		text := log(t, r, res)
		if len(text) > keepHead+keepTail+100 || !strings.HasPrefix(text, "first\n\x00") || !strings.Contains(text, " bytes left out here]\n") {
			t.Errorf("the log has %d bytes and starts with %q", len(text), text[:10])
		}
	})
}

func TestAttack78MemoryHog(t *testing.T) {
	hog := "tail -c 300000000 /dev/zero | tail -c 200000000 >/dev/null; test $? = 0"
	t.Run("control group", func(t *testing.T) {
		eachRung(t, func(t *testing.T, r *Runner) {
			if r.groupErr != nil {
				t.Log("no control group can be made here, so the memory is watched:", r.groupErr)
			}
			r.limits.memory = 64 << 20
			res := r.Run(t.Context(), newRepo(t).job(hog))
			if res.Verdict != Failed || !strings.HasPrefix(res.Why, "killed: out of memory (limit 64 MiB") {
				t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
			}
		})
	})
	t.Run("watched", func(t *testing.T) {
		eachRung(t, func(t *testing.T, r *Runner) {
			r.groupErr = errors.New("none, for the test")
			r.limits.memory = 64 << 20
			for _, command := range []string{hog + "; sleep 50", hog + "& sleep 50"} {
				res := r.Run(t.Context(), newRepo(t).job(command))
				if res.Verdict != Failed || res.Why != "killed: out of memory (limit 64 MiB, looked at every 200ms)" {
					t.Errorf("%s: %s %q: %s", command, res.Verdict, res.Why, res.Tail)
				}
			}
			if limits := strings.Join(r.missing(), "; "); !strings.Contains(limits, "memory is only watched, 200ms apart (no control group: none, for the test)") {
				t.Errorf("nobody is told: %q", limits)
			}
		})
	})
}

// unlimited says whether nothing limits the processes of a test here, and looks
// whether people are told. Then a test would hurt the machine that runs it.
func unlimited(t *testing.T, r *Runner) bool {
	t.Helper()
	if os.Getuid() != 0 || r.groupErr == nil || r.pool.owner != 0 {
		return false
	}
	if limits := strings.Join(r.Sandbox().Limits, "; "); !strings.Contains(limits, "no limit on processes for root") {
		t.Errorf("nobody is told that root's processes are not limited: %q", limits)
	}
	return true
}

// A fork bomb ends with its test, on each rung, and the next test runs.
func TestAttack77ForkBomb(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		if unlimited(t, r) {
			return
		}
		r.limits.processes = 400
		n := number(t)
		job := newRepo(t).job("b() { sleep " + n + " & b & b & wait; }; b; sleep 100")
		job.Timeout = time.Second
		if res := r.Run(t.Context(), job); res.Verdict != TimedOut && res.Verdict != Failed {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		until(t, "the bomb is dead", func() bool { return sleepers(t, n) == 0 })
		if res := r.Run(t.Context(), newRepo(t).job("true")); res.Verdict != Passed {
			t.Errorf("the next run: %s %q", res.Verdict, res.Why)
		}
	})
}

// A test that wants more processes than it may have is told so.
func TestAttack77ProcessLimit(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		if unlimited(t, r) {
			return
		}
		r.limits.processes = 400
		n := number(t)
		command := fmt.Sprintf("i=0; while [ $i -lt 500 ]; do sleep %s & i=$((i+1)); done; echo all", n)
		res := r.Run(t.Context(), newRepo(t).job(command))
		if res.Verdict != Failed || strings.Contains(res.Tail, "all") || !strings.Contains(strings.ToLower(res.Tail), "fork") {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		if left := sleepers(t, n); left > 0 {
			t.Errorf("%d processes survived", left)
		}
		if res := r.Run(t.Context(), newRepo(t).job("true")); res.Verdict != Passed {
			t.Errorf("the next run: %s %q", res.Verdict, res.Why)
		}
	})
}

// The guard is our process above the command. Where the test can end it, that
// is no pass, and the rung says so.
func TestAttack76TestKillsItsGuard(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		n := number(t)
		job := newRepo(t).job("(setsid sleep " + n + " &); for s in STOP TERM INT HUP QUIT ABRT SEGV USR1 KILL; do kill -$s $PPID; done; sleep 1; exit 0")
		job.Timeout = 20 * time.Second
		res := r.Run(t.Context(), job)
		if slices.Contains(r.Sandbox().Open, killsGuard) {
			if res.Verdict == Passed {
				t.Errorf("a pass without a guard: %q", res.Why)
			}
			killSleepers(t, n)
			return
		}
		if res.Verdict != Passed {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		if left := sleepers(t, n); left > 0 {
			t.Errorf("%d processes survived", left)
		}
	})
}

func TestAttack79ProcessorHog(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		for _, command := range []string{"while :; do :; done", "sleep 1000", "exec sleep 1000 <&- >&- 2>&-"} {
			job := newRepo(t).job(command)
			job.Timeout = 300 * time.Millisecond
			if res := r.Run(t.Context(), job); res.Verdict != TimedOut || res.Why != "timed out after 300ms" {
				t.Errorf("%s: %s %q", command, res.Verdict, res.Why)
			}
		}
	})
}

func TestAttack80DiskFill(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		r.limits.disk = 32 << 20
		for _, command := range []string{
			"head -c 64M /dev/zero >big; sleep 50", // one file
			"i=0; while [ $i -lt 64 ]; do head -c 1M /dev/zero >f$i; i=$((i+1)); done; sleep 50",
			"mkdir d; head -c 64M /dev/zero >d/big; chmod 000 d; sleep 50", // where nobody may look
		} {
			g := newRepo(t)
			res := r.Run(t.Context(), g.job(command))
			if res.Verdict != Failed || res.Why != "killed: out of disk (limit 32 MiB)" {
				t.Errorf("%s: %s %q: %s", command, res.Verdict, res.Why, res.Tail)
			}
			if res := r.Run(t.Context(), g.job("test $(ls -A | wc -l) = 1")); res.Verdict != Passed {
				t.Errorf("what was written is still there: %s %q", res.Verdict, res.Why)
			}
		}
		if r.rung.bare {
			return
		}
		// What lies in memory ends at its own size, and takes nothing from others.
		res := r.Run(t.Context(), newRepo(t).job(`
for d in $HOME /tmp /dev/shm; do
	n=$(($(df -k --output=avail $d | tail -1) + 4))
	if [ $n -gt 16000000 ]; then echo "not tried, this machine is too large: No space left on device"; else fallocate -l ${n}K $d/x; fi
done; exit 1`))
		if res.Verdict != Failed || strings.Count(res.Tail, "No space left on device") != 3 {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
	})
}
