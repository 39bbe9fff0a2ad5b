package retest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	if len(os.Args) == 2 && os.Args[1] == "evil" {
		os.Exit(evil())
	}
	if os.Getenv("RETEST_NARROW") != "" {
		runtime.LockOSThread()
		os.Exit(narrow())
	}
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
	passable(t, dir)
	r, err := newRunner(t.Context(), dir, nil, slog.New(slog.NewTextHandler(t.Output(), nil)), rungs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // undo what the weak rung did to this process
	})
	return r
}

// passable lets another user reach a temporary directory of a test. For all
// others these are closed.
func passable(t testing.TB, dir string) {
	t.Helper()
	for top := filepath.Clean(os.TempDir()); strings.HasPrefix(dir, top+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
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
	tests := []struct {
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
	}
	eachRung(t, func(t *testing.T, r *Runner) {
		g := newRepo(t)
		for _, tt := range tests {
			job := g.job(tt.command)
			if tt.want == TimedOut {
				job.Timeout = 200 * time.Millisecond
			}
			res := r.Run(t.Context(), job)
			if res.Verdict != tt.want || res.Exit != tt.exit || !strings.HasPrefix(res.Why, tt.why) {
				t.Errorf("%s: %s %d %q, want %s %d %q…\n%s", tt.command, res.Verdict, res.Exit, res.Why, tt.want, tt.exit, tt.why, res.Tail)
			}
		}
	})
}

// Nothing that goes wrong around the command is a verdict on it.
func TestAttack88BrokenIsNotRed(t *testing.T) {
	g := newRepo(t)
	good := g.job("true")
	_, otherTree := g.commit(map[string]string{"other": "tree"})
	for name, tt := range map[string]struct {
		change func(*Job)
		why    string
	}{
		"commit is missing":      {func(j *Job) { j.Commit = gate.SHA(strings.Repeat("a", 40)) }, "check out aaaaaaa: git show: exit 128: fatal: bad object"},
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
		home, pwd, tmp := insideHome, insideTree, ""
		if r.rung.bare {
			_, rest, _ := strings.Cut(text, "\nHOME=")
			home, _, _ = strings.Cut(rest, "\n")
			pwd = filepath.Join(filepath.Dir(home), "tree")
			tmp = "TMPDIR=" + filepath.Join(filepath.Dir(home), "tmp") + "\n"
		}
		want := fmt.Sprintf("CI=true\nGOFLAGS=-mod=vendor\nHOME=%s\nLANG=C.UTF-8\nMERGEGATE_BASE=%s\nMERGEGATE_CANDIDATE=%s\n"+
			"MERGEGATE_TREE=%s\nPATH=%s\nPWD=%s\n%snot a tty\n/dev/null\n0\n", home, job.Base, job.Commit, job.Tree, searchPath(nil), pwd, tmp)
		if text = strings.ReplaceAll(text, "OLDPWD=/\n", ""); text != want {
			t.Errorf("the test sees\n%swant\n%s", text, want)
		}
		if strings.Contains(text, "/home/me") {
			t.Error("PATH names a directory the test cannot see")
		}
	})
}

// The data directory may be deleted at any time: the next run makes it anew.
func TestDirectoryDeleted(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		g := newRepo(t)
		for _, command := range []string{"true", "cat hello", "false"} {
			res := r.Run(t.Context(), g.job(command))
			if want := map[bool]Verdict{true: Passed, false: Failed}[command != "false"]; res.Verdict != want {
				t.Fatalf("%s: %s %q, want %s\n%s", command, res.Verdict, res.Why, want, res.Tail)
			}
			r.pool.wg.Wait()
			if err := os.RemoveAll(r.dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.folders(); err != nil { // for Close
			t.Fatal(err)
		}
		_ = os.WriteFile(r.pool.lock.Name(), nil, 0o600)
	})
}
