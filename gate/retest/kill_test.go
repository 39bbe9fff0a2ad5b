package retest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// until polls until the condition holds.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after 30 s: %s", what)
		}
	}
}

func number(t *testing.T) string {
	return fmt.Sprintf("9%d.%d", os.Getpid(), time.Now().UnixNano()%1e6)
}

func TestTimeoutKillsEverything(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		n := number(t)
		job := newRepo(t).job(stubborn(n) + "sleep " + n)
		job.Timeout = 500 * time.Millisecond
		start := time.Now()
		res := r.Run(t.Context(), job)
		if took := time.Since(start) - res.Checkout; took > job.Timeout+20*time.Second {
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
		n := number(t)
		res := r.Run(t.Context(), newRepo(t).job(stubborn(n)+"exit 0"))
		if res.Verdict != Passed {
			t.Errorf("%s %q after %s: %s", res.Verdict, res.Why, res.Took, res.Tail)
		}
		if left := sleepers(t, n); left > 0 {
			t.Errorf("%d processes survived", left)
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
		case <-time.After(30 * time.Second):
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

func TestKilledBot(t *testing.T) {
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

func TestFloodOfOutput(t *testing.T) {
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

func TestMemoryLimit(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		if r.groupErr != nil {
			t.Skip("no control group can be made here:", r.groupErr)
		}
		// The limit is most of the machine. The test gets a smaller one, from a group in between.
		between, err := newGroup(r.groups)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := between.close(); err != nil {
				t.Error(err)
			}
		}()
		for _, dir := range between.dirs {
			for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
				err := os.WriteFile(filepath.Join(dir, file), []byte("67108864"), 0)
				if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
					t.Fatal(err)
				}
			}
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids"), 0) // v2
		}
		r.groups = between.dirs
		res := r.Run(t.Context(), newRepo(t).job("tail -c 300000000 /dev/zero | tail -c 200000000 >/dev/null; test $? = 0"))
		if res.Verdict != Failed || !strings.HasPrefix(res.Why, "killed: out of memory (limit ") {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
	})
}

// More processes than one test may have, but not so many that a missing limit
// would hurt the machine that runs this test.
func TestProcessLimit(t *testing.T) {
	r := runner(t, t.TempDir(), ladder())
	if os.Getuid() == 0 && r.groupErr != nil {
		t.Skip("root is limited by a control group only, and none can be made here:", r.groupErr)
	}
	n := number(t)
	command := fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep %s & i=$((i+1)); done; echo all", maxProcesses+100, n)
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
}
