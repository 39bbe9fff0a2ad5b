package retest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func passes(t *testing.T, r *Runner, what string, job Job) Result {
	t.Helper()
	res := r.Run(t.Context(), job)
	if res.Verdict != Passed {
		t.Fatalf("%s: %s %q: %s", what, res.Verdict, res.Why, res.Tail)
	}
	return res
}

// Leftovers cost the next run nothing but time, and no space.
func TestAttack58Leftovers(t *testing.T) {
	const many = 5_000
	deeper := strings.Repeat("deep-and-deeper/", 20) // until no path leads there
	eachRung(t, func(t *testing.T, r *Runner) {
		g := newRepo(t)
		for what, command := range map[string]string{
			"a lot": `
mkdir -p .git/objects/pack m; touch .git/index.lock .git/HEAD.lock index.lock ../index.lock
head -c 100000 /dev/urandom >.git/objects/pack/pack-1.pack; cp -r .git/objects .
touch "$(printf 'a\nb')" "$(printf '\377')" -- "-rf" "--" " "; mkfifo pipe
touch -d @0 hello; echo HELLO >hello; touch -d @0 hello
(for i in $(seq 15); do mkdir -p ` + deeper + ` && cd ` + deeper + `; done; touch end)
cd m; seq ` + fmt.Sprint(many) + ` | xargs touch`,
			"closed doors": "mkdir -p c/d/e; touch c/d/e/f; chmod 000 c/d/e c/d c hello .",
			"nothing":      "rm -rf ..?* .[!.]* *",
		} {
			passes(t, r, what, g.job(command+"; true"))
			passes(t, r, "after "+what, g.job(`test "$(ls -A)" = hello && test "$(cat hello)" = hello && echo more >>hello`))
		}
		r.pool.wg.Wait()
		files := 0
		err := filepath.WalkDir(r.pool.dir, func(string, os.DirEntry, error) error { files++; return nil })
		if err != nil || files > 50 {
			t.Errorf("%d files are left, %v", files, err)
		}
	})
}

// narrow starts this program again where no user namespace can be made, by the
// kernel's own switch for a namespace of our own, and without capabilities.
func narrow() int {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		fmt.Fprintln(os.Stderr, "switch user namespaces off:", err)
		return 1
	}
	if err := errors.Join(dropPrivileges(), os.Unsetenv("RETEST_NARROW")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), "RETEST_NARROWED=1")))
	return 1
}

// On a machine that forbids user namespaces the ladder goes down to landlock,
// which is really used, and says why.
func TestAttack85WithoutUserNamespaces(t *testing.T) {
	if os.Getenv("RETEST_NARROWED") != "" {
		r := runner(t, t.TempDir(), ladder())
		s := r.Sandbox()
		if s.Name != "landlock" || s.Weak() || len(s.Passed) != 2 {
			t.Errorf("%v", s)
		}
		if res := r.Run(t.Context(), newRepo(t).job("cat hello && ! cat /etc/shadow")); res.Verdict != Passed {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		fmt.Println("narrowed to", s)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAttack85WithoutUserNamespaces$", "-test.v")
	cmd.Env = append(os.Environ(), "RETEST_NARROW=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "narrowed to landlock") {
		t.Errorf("%v\n%s", err, out)
	}
}
