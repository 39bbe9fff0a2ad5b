package retest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newTarget builds what an evil command would like to have.
func newTarget(t *testing.T, r *Runner, mirror string) target {
	t.Helper()
	home, open := t.TempDir(), t.TempDir()
	aim := target{Bot: os.Getpid(), Home: home, Secret: filepath.Join(home, "token"), Logs: filepath.Join(r.dir, "logs"), Mirror: mirror, Open: open}
	passable(t, home)
	passable(t, open)
	shm, err := os.CreateTemp("/dev/shm", "mergegate-test-")
	if err != nil {
		t.Fatal(err)
	}
	aim.Shm = shm.Name()
	t.Cleanup(func() { os.Remove(aim.Shm) })
	_, err = shm.WriteString(canary)
	err = errors.Join(err, shm.Chmod(0o644), shm.Close(),
		os.WriteFile(aim.Secret, []byte(canary), 0o600), os.WriteFile(filepath.Join(open, "seen"), []byte("by all"), 0o644), os.Chmod(open, 0o777))
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Log("without IPv6:", err)
			continue
		}
		t.Cleanup(func() { l.Close() })
		aim.TCP = append(aim.TCP, l.Addr().String())
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		for b := make([]byte, 1); ; {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(b, from) // who asked may be gone
		}
	}()
	aim.UDP = udp.LocalAddr().String()
	for _, name := range []string{filepath.Join(open, "socket"), "@mergegate-test-" + number(t)} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		aim.Unix = append(aim.Unix, name)
	}
	if err := os.Chmod(aim.Unix[0], 0o777); err != nil {
		t.Fatal(err)
	}
	aim.Shared, err = unix.SysvShmGet(unix.IPC_PRIVATE, 4096, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(aim.Shared, unix.IPC_RMID, nil) })
	return aim
}

// evilJob is a job whose checkout contains this very program.
func evilJob(t *testing.T, g *repo, aim target) Job {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(aim)
	if err != nil {
		t.Fatal(err)
	}
	job := g.job("./evil evil")
	job.Commit, job.Tree = g.commit(map[string]string{"evil*": string(program), "target.json": string(text)})
	return job
}

// Each way of the evil command is denied, or is one that the rung says it
// leaves open. What a rung says it leaves open is really open, or the words and
// the probes are wrong.
func TestAttack82And83And84EvilCommand(t *testing.T) {
	eachRung(t, func(t *testing.T, r *Runner) {
		g := newRepo(t)
		res := r.Run(t.Context(), evilJob(t, g, newTarget(t, r, g.dir.Path)))
		text := log(t, r, res)
		if res.Verdict != Passed || !strings.HasSuffix(text, "finished\n") {
			t.Fatalf("%s %q: %s", res.Verdict, res.Why, text)
		}
		means := map[string]string{}
		for _, w := range ways() {
			means[w.name] = w.means
		}
		open, denied := map[string][]string{}, 0
		for line := range strings.Lines(text) {
			fields := strings.SplitN(strings.TrimSpace(line), "\t", 3)
			switch {
			case len(fields) == 3 && fields[0] == "denied":
				denied++
			case len(fields) == 3 && fields[0] == "OPEN":
				what := means[fields[1]]
				open[what] = append(open[what], fields[1])
				if !slices.Contains(r.Sandbox().Open, what) {
					t.Errorf("ESCAPED: %s", fields[1])
				}
			}
		}
		n := 0
		for _, names := range open {
			n += len(names)
		}
		if denied+n != len(means) {
			t.Errorf("%d ways, but %d answers:\n%s", len(means), denied+n, text)
		}
		for _, what := range r.Sandbox().Open {
			if open[what] == nil && what != killsGuard {
				t.Errorf("said to be open, but nothing got through: %s\n%s", what, text)
			}
		}
		fmt.Printf("evil command as user %d on %s: %d ways, %d denied, %d open\n", os.Getuid(), r.Sandbox().Name, len(means), denied, n)
		for _, what := range slices.Sorted(maps.Keys(open)) {
			t.Logf("open: %s (%s)", what, strings.Join(open[what], ", "))
		}
		if testing.Verbose() {
			t.Log(text)
		}
	})
}

// Nothing of the bot's environment is in that of any process of a test, not even
// of those that a test cannot look into.
func TestAttack82NoEnvironmentIsHandedDown(t *testing.T) {
	if os.Getuid() != 0 {
		return // only root can look into the guard
	}
	eachRung(t, func(t *testing.T, r *Runner) {
		n := number(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan Result)
		go func() { ended <- r.Run(ctx, newRepo(t).job("sleep "+n)) }()
		until(t, "the test runs", func() bool { return sleepers(t, n) == 1 })
		looked := 0
		for _, pid := range descendants() {
			text, err := os.ReadFile(of(pid, "environ"))
			if strings.Contains(string(text), canary) {
				t.Errorf("process %d of the test has the bot's environment", pid)
			}
			if err == nil {
				looked++
			}
		}
		cancel()
		<-ended
		if looked < 2 {
			t.Errorf("only %d processes could be looked into", looked)
		}
	})
}
