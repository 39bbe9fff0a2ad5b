package retest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An evil test looks for secrets and for a way out. Each probe that succeeds
// prints a line with ESCAPED.
func TestAttack82NoWayOut(t *testing.T) {
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
			"shadow":  `cat /etc/shadow /etc/gitconfig || ls /etc/ssh/ || ls ~root`,
			"write":   `touch /usr/evil /evil /etc/evil && rm /usr/evil /evil /etc/evil`,
			"kernel":  `(: >>/proc/sys/kernel/core_pattern) || (: >>/proc/sysrq-trigger) || ls /sys/kernel`,
			"device":  `ls /dev/vda /dev/sda /dev/mem /dev/kmsg`,
			"connect": fmt.Sprintf(`bash -c '</dev/tcp/127.0.0.1/%d'`, listener.Addr().(*net.TCPAddr).Port),
			"route":   `bash -c 'exec 3<>/dev/udp/169.254.169.254/80 && echo x >&3'`,
			"resolv":  `cat /etc/resolv.conf`,
			"mount":   `mount -t tmpfs x /tmp || unshare -m true`,
			"caps":    `grep -q 'Cap[IPEA][a-z]*:.*[1-9a-f]' /proc/self/status`,
			"setuid":  `grep -q 'NoNewPrivs:.*0' /proc/self/status`,
			"git":     `ls .git/ || ls ../.git/ || cat ../index`,
			"tty":     `(: </dev/tty)`,
		}
		if r.Sandbox().Name == "landlock" && os.Getuid() == 0 {
			probes["user"] = `test $(id -u) != 64990`
		}
		if !r.rung.bare {
			probes["proc"] = `find /proc "(" -path "/proc/[0-9]*" -o -path /proc/pressure ")" -prune -o -type f -writable -print | grep .`
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
			for _, name := range []string{"environ", "caps", "setuid", "tty", "memory"} {
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

// A bot that is installed under /opt keeps its secrets there.
func TestPrivateDirectoriesAreCovered(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		if r.Sandbox().Weak() {
			t.Skip("without a sandbox nothing can be hidden")
		}
		r.hide = []string{"/usr/share"}
		res := r.Run(t.Context(), newRepo(t).job("ls -A /usr/share"))
		if r.rung.bare && strings.HasSuffix(res.Tail, "Permission denied") {
			return
		}
		if res.Verdict != Passed || res.Tail != "" {
			t.Errorf("%s %q: the test sees %q", res.Verdict, res.Why, res.Tail)
		}
	})
	if dirs := private("/"); !slices.Contains(dirs, "/") || !slices.Contains(dirs, must(os.Getwd())) {
		t.Errorf("private directories: %v, want the given one and the current one", dirs)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
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
func TestAttack83LoopbackInside(t *testing.T) {
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
		res := r.Run(t.Context(), job)
		if r.Sandbox().Name == "landlock" { // no network of its own, so none at all
			if res.Verdict != Failed || !strings.Contains(res.Tail, "Permission denied") {
				t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
			}
		} else if res.Verdict != Passed {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
	})
}

func TestAttack85LadderFallsWithAReason(t *testing.T) {
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
	if s.Name != "landlock" || s.Weak() || len(s.Passed) != 2 {
		t.Errorf("%v", s)
	}
	// A kernel without landlock.
	rungs[2].command = func(view) (*exec.Cmd, error) {
		return nil, errors.New("there is no landlock: function not implemented")
	}
	s = runner(t, t.TempDir(), rungs).Sandbox()
	if s.Name != "none" || !s.Weak() || len(s.Passed) != 3 || !strings.Contains(s.String(), "; left open: "+anyFile+", ") {
		t.Errorf("%v", s)
	}
	t.Log(s)
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
	cmd := exec.Command(binary, "-test.run=^(TestVerdicts|TestNothing.*|TestDirty.*|TestTrash.*|TestAttack.*)$", "-test.short")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as uid 65534: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "evil command ") {
			fmt.Print(line)
		}
	}
}

// A cache that the operator shows can be read, also below a directory that is
// hidden, and not written.
func TestReadOnlyDirectories(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		if r.Sandbox().Weak() {
			t.Skip("without a sandbox everything that the bot may do can be done")
		}
		cache := filepath.Join(t.TempDir(), "cache")
		if err := errors.Join(os.Mkdir(cache, 0o755), os.WriteFile(filepath.Join(cache, "x"), []byte("kept"), 0o666)); err != nil {
			t.Fatal(err)
		}
		r.hide, r.shown = append(r.hide, filepath.Dir(cache)), []string{cache}
		res := r.Run(t.Context(), newRepo(t).job("cat "+cache+"/x; echo more >>"+cache+"/x; echo made >"+cache+"/y; ls -A "+cache))
		if text, err := os.ReadFile(filepath.Join(cache, "x")); err != nil || string(text) != "kept" || !strings.HasPrefix(res.Tail, "kept") || !strings.HasSuffix(res.Tail, "\nx") {
			t.Errorf("%s %q: the test sees %q, the file is %q, %v", res.Verdict, res.Why, res.Tail, text, err)
		}
	})
	if _, err := New(t.Context(), t.TempDir(), []string{"/nonexistent"}, slog.Default()); err == nil || !strings.Contains(err.Error(), "show a directory to tests: stat /nonexistent") {
		t.Errorf("a directory that is not there: %v", err)
	}
}
