package retest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mergegate/gate"
	"mergegate/internal/git"
)

// canary is a secret in the environment of the bot, here the test binary.
const canary = "canary-7f3a9c"

func TestMain(m *testing.M) {
	Child()
	if dir := os.Getenv("RETEST_BOT_DIR"); dir != "" {
		os.Exit(victim(dir))
	}
	// What /proc/PID/environ shows is fixed at exec, so the canary must be there before.
	if os.Getenv("RETEST_CANARY") == "" {
		err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), "RETEST_CANARY="+canary))
		fmt.Fprintln(os.Stderr, "start again with a canary:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// repo is a bare repository for tests.
type repo struct {
	t   testing.TB
	dir git.Dir
}

func newRepo(t testing.TB) *repo {
	t.Helper()
	r := &repo{t, git.Dir{Path: filepath.Join(t.TempDir(), "repo.git")}}
	r.git("", "init", "-q", "--bare", r.dir.Path)
	return r
}

func (r *repo) git(stdin string, args ...string) string {
	r.t.Helper()
	out, err := r.dir.Run(r.t.Context(), stdin, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// commit makes a commit of exactly the files. A name ending in "*" is
// executable, one in "@" a symbolic link, one in "#" a submodule.
func (r *repo) commit(files map[string]string) (commit, tree gate.SHA) {
	r.t.Helper()
	var b strings.Builder
	b.WriteString("commit refs/heads/x\ncommitter a <a@b> 0 +0000\ndata 1\nx\ndeleteall\n")
	for name, text := range files {
		mode := "100644"
		if n, ok := strings.CutSuffix(name, "*"); ok {
			name, mode = n, "100755"
		} else if n, ok := strings.CutSuffix(name, "@"); ok {
			name, mode = n, "120000"
		} else if n, ok := strings.CutSuffix(name, "#"); ok {
			fmt.Fprintf(&b, "M 160000 %s %s\n", text, n)
			continue
		}
		fmt.Fprintf(&b, "M %s inline %s\ndata %d\n%s\n", mode, name, len(text), text)
	}
	r.git(b.String(), "fast-import", "--quiet", "--force")
	return gate.SHA(r.git("", "rev-parse", "refs/heads/x")), gate.SHA(r.git("", "rev-parse", "refs/heads/x^{tree}"))
}

// job is a job on a commit with one file.
func (r *repo) job(command string) Job {
	r.t.Helper()
	c, tree := r.commit(map[string]string{"hello": "hello\n"})
	return Job{
		Repo: gate.Repo{Forge: "f", Owner: "o", Name: "r"}, Mirror: r.dir, Commit: c, Tree: tree,
		Base: "1111111111111111111111111111111111111111", Command: command, Timeout: time.Minute,
	}
}

func runner(t testing.TB, dir string, rungs []rung) *Runner {
	t.Helper()
	r, err := newRunner(t.Context(), dir, slog.New(slog.NewTextHandler(t.Output(), nil)), rungs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// eachRung runs the test on every rung of the ladder that this machine has.
func eachRung(t *testing.T, test func(*testing.T, *Runner)) {
	for _, rg := range ladder() {
		t.Run(rg.name, func(t *testing.T) {
			if _, err := exec.LookPath("bwrap"); rg.name == "bubblewrap" && err != nil {
				t.Skip("bwrap is not installed on this machine")
			}
			test(t, runner(t, t.TempDir(), []rung{rg}))
		})
	}
}

// log is the whole log of a result.
func log(t *testing.T, r *Runner, res Result) string {
	t.Helper()
	f, err := r.OpenLog(res.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		command string
		want    Verdict
		exit    int
		why     string
	}{
		{"true", Passed, 0, "exit 0"},
		{"cat hello && exit 3", Failed, 3, "exit 3"},
		{"no-such-program --version", Failed, 127, "command not found (exit 127): "},
		{"./hello", Failed, 126, "command cannot be run (exit 126): "},
		{"./missing", Failed, 127, "command not found (exit 127): "},
		{"kill -SEGV $$", Failed, -1, "killed by SIGSEGV"},
		{"sh -c 'kill -KILL $$'; exit $?", Failed, 137, "exit 137, SIGKILL (out of memory?)"},
		{"sleep 100", TimedOut, -1, "timed out after 200ms"},
		{"if then", Failed, 2, "exit 2"},
		{" ", Broken, -1, "there is no command"},
	} {
		t.Run(tt.command, func(t *testing.T) {
			eachRung(t, func(t *testing.T, r *Runner) {
				job := newRepo(t).job(tt.command)
				if tt.want == TimedOut {
					job.Timeout = 200 * time.Millisecond
				}
				res := r.Run(t.Context(), job)
				if res.Verdict != tt.want || res.Exit != tt.exit || !strings.HasPrefix(res.Why, tt.why) {
					t.Errorf("%s %d %q, want %s %d %q…\n%s", res.Verdict, res.Exit, res.Why, tt.want, tt.exit, tt.why, res.Tail)
				}
			})
		})
	}
}

// Nothing that goes wrong around the command is a verdict on it.
func TestBrokenIsNotRed(t *testing.T) {
	g := newRepo(t)
	good := g.job("true")
	_, otherTree := g.commit(map[string]string{"other": "tree"})
	for name, tt := range map[string]struct {
		change func(*Job)
		why    string
	}{
		"commit is missing":      {func(j *Job) { j.Commit = gate.SHA(strings.Repeat("a", 40)) }, "check out aaaaaaa: git read-tree"},
		"commit is not an id":    {func(j *Job) { j.Commit = "--upload-pack=x" }, "the candidate is not given by full ids"},
		"tree is another":        {func(j *Job) { j.Tree = otherTree }, "check out " + good.Commit.Short() + ": commit " + good.Commit.Short() + " has the tree " + good.Tree.Short()},
		"mirror is missing":      {func(j *Job) { j.Mirror.Path = "/nonexistent" }, "check out "},
		"no time":                {func(j *Job) { j.Timeout = 0 }, "there is no time"},
		"bad variable":           {func(j *Job) { j.Env = map[string]string{"A=B": ""} }, `"A=B" cannot be an environment variable`},
		"NUL in the command":     {func(j *Job) { j.Command = "true\x00" }, "the command contains a NUL byte"},
		"command is far too big": {func(j *Job) { j.Command = strings.Repeat("#", 1<<20) }, "start the shell: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := runner(t, t.TempDir(), ladder())
			job := good
			tt.change(&job)
			if res := r.Run(t.Context(), job); res.Verdict != Broken || !strings.HasPrefix(res.Why, tt.why) {
				t.Errorf("%s %q, want broken %q…", res.Verdict, res.Why, tt.why)
			}
			if res := r.Run(t.Context(), good); res.Verdict != Passed {
				t.Errorf("the next run: %s %q", res.Verdict, res.Why)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/home/me/bin:"+os.Getenv("PATH"))
	eachRung(t, func(t *testing.T, r *Runner) {
		job := newRepo(t).job("env | sort; tty; readlink /proc/self/fd/0; ls -A $HOME; ulimit -c")
		job.Env = map[string]string{"GOFLAGS": "-mod=vendor", "MERGEGATE_TREE": "a lie"}
		res := r.Run(t.Context(), job)
		text := log(t, r, res)
		home, pwd := insideHome, insideTree
		if r.Sandbox().Weak() {
			_, rest, _ := strings.Cut(text, "\nHOME=")
			home, _, _ = strings.Cut(rest, "\n")
			pwd = filepath.Join(filepath.Dir(home), "tree")
		}
		want := fmt.Sprintf("CI=true\nGOFLAGS=-mod=vendor\nHOME=%s\nLANG=C.UTF-8\nMERGEGATE_BASE=%s\nMERGEGATE_CANDIDATE=%s\n"+
			"MERGEGATE_TREE=%s\nPATH=%s\nPWD=%s\nnot a tty\n/dev/null\n0\n", home, job.Base, job.Commit, job.Tree, searchPath(), pwd)
		if text = strings.ReplaceAll(text, "OLDPWD=/\n", ""); text != want {
			t.Errorf("the test sees\n%swant\n%s", text, want)
		}
		if strings.Contains(text, "/home/me") {
			t.Error("PATH names a directory the test cannot see")
		}
	})
}

// An evil test looks for secrets and for a way out. Each probe that succeeds
// prints a line with ESCAPED.
func TestNoWayOut(t *testing.T) {
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("this machine has no /bin/bash, whose /dev/tcp the test connects with")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	eachRung(t, func(t *testing.T, r *Runner) {
		g := newRepo(t)
		secret := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(secret, []byte(canary), 0o600); err != nil {
			t.Fatal(err)
		}
		probes := map[string]string{
			"environ": `cat /proc/[0-9]*/environ /proc/$PPID/environ /proc/1/environ 2>/dev/null | grep -q ` + canary,
			"memory":  `head -c 1 /proc/$FIRST/maps | grep -q . || readlink /proc/$FIRST/fd/3`,
			"bot":     fmt.Sprintf(`kill -0 %d 2>/dev/null`, os.Getpid()),
			"token":   `grep -q ` + canary + ` ` + secret,
			"mirror":  `ls ` + g.dir.Path,
			"logs":    `ls ` + r.dir,
			"shadow":  `test -e /etc/shadow || test -e /etc/ssh || test -e /etc/gitconfig || test -e /root || test -e /var/run/docker.sock`,
			"write":   `touch /usr/evil /evil /etc/evil /run/mergegate /bin/sh`,
			"kernel":  `test -w /proc/sys/kernel/core_pattern || test -w /proc/sysrq-trigger || test -e /sys/kernel || find /proc "(" -path "/proc/[0-9]*" -o -path /proc/pressure ")" -prune -o -type f -writable -print | grep .`,
			"device":  `ls /dev/vda /dev/sda /dev/mem /dev/kmsg`,
			"connect": fmt.Sprintf(`bash -c '</dev/tcp/127.0.0.1/%d'`, listener.Addr().(*net.TCPAddr).Port),
			"route":   `bash -c 'exec 3<>/dev/udp/169.254.169.254/80 && echo x >&3'`,
			"resolv":  `test -e /etc/resolv.conf`,
			"mount":   `mount -t tmpfs x /tmp || unshare -m true`,
			"caps":    `grep -q 'Cap[IPEA][a-z]*:.*[1-9a-f]' /proc/self/status`,
			"setuid":  `grep -q 'NoNewPrivs:.*0' /proc/self/status`,
			"git":     `test -e .git || test -e ../.git || test -e ../index`,
			"tty":     `(: </dev/tty)`,
		}
		var script strings.Builder
		script.WriteString("FIRST=$(awk '{print $4}' /proc/$$/stat)\n")
		for name, probe := range probes {
			fmt.Fprintf(&script, "if { %s; } >/dev/null 2>&1; then echo 'ESCAPED %s'; fi\n", probe, name)
		}
		script.WriteString("echo finished\n")
		res := r.Run(t.Context(), g.job(script.String()))
		text := log(t, r, res)
		if !strings.HasSuffix(text, "finished\n") || res.Verdict != Passed {
			t.Fatalf("%s %q: %s", res.Verdict, res.Why, text)
		}
		if r.Sandbox().Weak() {
			// What even this rung keeps.
			for _, name := range []string{"caps", "setuid", "tty", "memory"} {
				if strings.Contains(text, "ESCAPED "+name+"\n") {
					t.Errorf("without a sandbox: ESCAPED %s", name)
				}
			}
			if !strings.Contains(text, "ESCAPED connect") || !strings.Contains(text, "ESCAPED token") {
				t.Errorf("the probes do not work: even without a sandbox they found only\n%s", text)
			}
		} else if text != "finished\n" {
			t.Error(text)
		}
	})
}

func TestNetworkWhenAsked(t *testing.T) {
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("this machine has no /bin/bash, whose /dev/tcp the test connects with")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	eachRung(t, func(t *testing.T, r *Runner) {
		job := newRepo(t).job(fmt.Sprintf(`bash -c '</dev/tcp/127.0.0.1/%d'`, listener.Addr().(*net.TCPAddr).Port))
		job.Network = true
		if res := r.Run(t.Context(), job); res.Verdict != Passed {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
	})
}

// Tests talk to servers of their own over the loopback device.
func TestLoopbackInside(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("this machine has no python3, which plays the server")
	}
	eachRung(t, func(t *testing.T, r *Runner) {
		job := newRepo(t).job(`python3 -c '
import socket
for family, host in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "localhost"):
    s = socket.socket(family); s.bind((host, 0)); s.listen()
    socket.create_connection(s.getsockname())
'`)
		if res := r.Run(t.Context(), job); res.Verdict != Passed {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
	})
}

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
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after 10 s: %s", what)
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
		if took := time.Since(start) - res.Checkout; took > job.Timeout+2*time.Second {
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
		if res.Verdict != Passed || res.Took > 5*time.Second {
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
		case <-time.After(2 * time.Second):
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
		r, err := newRunner(ctx, filepath.Join(dir, "data", "retest"), slog.Default(), []rung{rg})
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

func TestForkBomb(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root is not limited in processes; TestUnprivileged runs this as another user")
	}
	eachRung(t, func(t *testing.T, r *Runner) {
		job := newRepo(t).job("bomb() { bomb | bomb & }; bomb; sleep 100")
		job.Timeout = time.Second
		start := time.Now()
		if res := r.Run(t.Context(), job); res.Verdict == Passed || res.Verdict == Broken {
			t.Errorf("%s %q", res.Verdict, res.Why)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("returned after %s", took)
		}
		if res := r.Run(t.Context(), newRepo(t).job("true")); res.Verdict != Passed {
			t.Errorf("the next run: %s %q", res.Verdict, res.Why)
		}
	})
}

// Root has rights that would hide a mistake, so the tests run once more as an ordinary user.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests already run as an ordinary user")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "retest.test")
	if out, err := exec.Command("cp", "/proc/"+fmt.Sprint(os.Getpid())+"/exe", binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, "-test.run=^(TestVerdicts|TestNoWayOut|TestTimeout.*|TestNothing.*|TestKilledBot|TestDirty.*)$", "-test.short")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as uid 65534: %v\n%s", err, out)
	}
}

func TestLadderFallsWithAReason(t *testing.T) {
	gitPath, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(gitPath, filepath.Join(bin, "git")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	rungs := ladder()
	s := runner(t, t.TempDir(), rungs).Sandbox()
	if s.Name == "bubblewrap" || len(s.Passed) == 0 || s.Passed[0] != "bubblewrap does not work here: bwrap is not installed" {
		t.Errorf("%v", s)
	}
	// A kernel that refuses user namespaces.
	rungs[1].command = func(v view) (*exec.Cmd, error) {
		cmd, err := namespaces(v)
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_PIDFD | unix.CLONE_DETACHED // EINVAL
		return cmd, err
	}
	s = runner(t, t.TempDir(), rungs).Sandbox()
	if s.Name != "none" || !s.Weak() || len(s.Passed) != 2 || !strings.Contains(s.String(), "not run for forks") {
		t.Errorf("%v", s)
	}
	t.Log(s)
}

func TestOpenLog(t *testing.T) {
	r := runner(t, t.TempDir(), ladder())
	for _, id := range []string{"", "unknown", "../retest", "a/b", "A", strings.Repeat("a", 65)} {
		if _, err := r.OpenLog(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("OpenLog(%q): %v", id, err)
		}
	}
	job := newRepo(t).job("echo started; until test -e go-on; do sleep 0.01; done; echo ended")
	results := make(chan Result, 1)
	go func() { results <- r.Run(t.Context(), job) }()
	var id string
	until(t, "the log can be read while the test runs", func() bool {
		r.mu.Lock()
		for id = range r.live {
		}
		r.mu.Unlock()
		return id != "" && log(t, r, Result{Log: id}) == "started\n"
	})
	trees, err := filepath.Glob(filepath.Join(r.dir, "trees", "*", "*", "tree", "hello"))
	if err != nil || len(trees) != 1 {
		t.Fatal(trees, err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(trees[0]), "go-on"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	res := <-results
	if res.Log != id || res.Tail != "started\nended" || log(t, r, res) != "started\nended\n" {
		t.Errorf("%+v, read live as %s", res, id)
	}
	r.Sweep(time.Hour)
	if got := log(t, r, res); got != "started\nended\n" {
		t.Errorf("after a sweep of old logs: %q", got)
	}
	r.Sweep(-time.Hour)
	if _, err := r.OpenLog(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a sweep of all logs: %v", err)
	}
}

func TestTail(t *testing.T) {
	for name, tt := range map[string]struct{ log, want string }{
		"colours":       {"\x1b[31mred\x1b[0m \x1b]0;title\x07x\n", "red x"},
		"progress":      {"10%\r50%\r100%\ndone\r\n", "100%\ndone"},
		"control":       {"a\x00b\x08c\x07\td", "abc\td"},
		"direction":     {"abc\u202edef\u2066", "abcdef"},
		"not UTF-8":     {"a\xff\xfeb", "a\uFFFDb"},
		"a long line":   {strings.Repeat("é", 400), strings.Repeat("é", 300) + "…"},
		"many lines":    {strings.Repeat("x\n", 100), strings.TrimSpace(strings.Repeat("x\n", 30))},
		"nothing":       {"\n\n", ""},
		"cut escape":    {"a\x1b", "a"},
		"line endings":  {"a\r\nb\r\n", "a\nb"},
		"line seperate": {"a\u2028b", "ab"},
	} {
		if got := cleanTail([]byte(tt.log)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestPlain(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Minute: "30m", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 61 * time.Second: "1m1s",
	} {
		if got := plain(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
