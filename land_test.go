package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mergegate/internal/land"
)

// landBranches is how many branches each of eight processes lands in
// TestLandMany. CI takes the default; the promise was checked with
//
//	go test . -run TestLandMany -v -args -land-branches 20
var landBranches = flag.Int("land-branches", 5, "branches for each of TestLandMany's eight processes")

// depot is a bare repository and the means to look at it from outside.
type depot struct {
	t   *testing.T
	dir string // holds work, depot.git and cache
}

// slots is the test of the depot's main: no two files may claim one slot. It is
// green for each of two branches that claim the same, and red for both together.
const slots = `#!/bin/sh
test -z "$(cat slot-* 2>/dev/null | sort | uniq -d)"
`

func newDepot(t *testing.T) *depot {
	t.Helper()
	d := &depot{t: t, dir: t.TempDir()}
	d.git("init", "-q", "-b", "main", "work")
	d.write("test.sh", slots, 0o755)
	d.write("shared", "nobody\n", 0o644)
	d.commit("root")
	d.git("clone", "-q", "--bare", "work", "depot.git")
	return d
}

// git runs git as people do, in the depot's directory.
func (d *depot) git(args ...string) string {
	d.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (d *depot) write(name, text string, mode os.FileMode) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "work", name), []byte(text), mode); err != nil {
		d.t.Fatal(err)
	}
}

func (d *depot) commit(subject string) {
	d.t.Helper()
	d.git("-C", "work", "add", "-A")
	d.git("-C", "work", "commit", "-q", "-m", subject)
}

// branch pushes a branch off the first main with one commit, which has the
// branch's name as its subject and writes one file.
func (d *depot) branch(name, file, text string) {
	d.t.Helper()
	d.git("-C", "work", "checkout", "-q", "-b", name, "main")
	d.write(file, text, 0o644)
	d.commit(name)
	d.git("-C", "work", "push", "-q", "../depot.git", name)
}

// hook gives the depot a hook. It sees $GIT_DIR, like every hook.
func (d *depot) hook(name, script string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "depot.git", "hooks", name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		d.t.Fatal(err)
	}
}

// landing is one process under way.
type landing struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	said string // the file with its stderr
}

// words is what the process has said so far.
func (l *landing) words() string {
	data, _ := os.ReadFile(l.said)
	return string(data)
}

// start starts mergegate land for a branch.
func (d *depot) start(branch string, ttl time.Duration, more ...string) *landing {
	d.t.Helper()
	test := []string{"--", "./test.sh"}
	if at := slices.Index(more, "--"); at >= 0 {
		more, test = more[:at], more[at:]
	}
	args := append([]string{"land", "--json", "--repo", "depot.git", "--branch", branch, "--onto", "main",
		"--wait", "5m", "--ttl", ttl.String(), "--dir", "cache"}, more...)
	l := &landing{cmd: exec.Command("mergegate", append(args, test...)...)}
	said, err := os.CreateTemp(d.dir, "stderr-")
	if err != nil {
		d.t.Fatal(err)
	}
	defer said.Close()
	l.said = said.Name()
	l.cmd.Dir, l.cmd.Stdout, l.cmd.Stderr = d.dir, &l.out, said
	if err := l.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = l.cmd.Process.Kill() }) // a process that has ended does not mind
	return l
}

// end waits for a landing and gives its result.
func (d *depot) end(l *landing) (res land.Result) {
	d.t.Helper()
	err := l.cmd.Wait()
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		d.t.Fatal(err)
	}
	if err := json.Unmarshal(l.out.Bytes(), &res); err != nil {
		d.t.Fatalf("%v: no JSON: %v\n%s\n%s", l.cmd.Args, err, l.out.String(), l.words())
	}
	if code := l.cmd.ProcessState.ExitCode(); res.Outcome == land.Failed || code != landExits(res.Outcome) {
		d.t.Errorf("%s: exit %d, %+v\n%s", res.Branch, code, res, l.words())
	}
	return res
}

// judge looks at the whole of main: each commit passes its own test, and there
// is one for each branch that landed and for nothing else.
func (d *depot) judge(results []land.Result) {
	d.t.Helper()
	line := strings.Fields(d.git("-C", "depot.git", "rev-list", "--first-parent", "--reverse", "main"))
	subjects := map[string]int{}
	for n, c := range line {
		tree := filepath.Join(d.t.TempDir(), "tree")
		if err := os.Mkdir(tree, 0o755); err != nil {
			d.t.Fatal(err)
		}
		d.git("--git-dir=depot.git", "--work-tree="+tree, "checkout", "-q", "-f", c, "--", ".")
		test := exec.Command("./test.sh")
		test.Dir = tree
		if out, err := test.CombinedOutput(); err != nil {
			d.t.Errorf("main is red at commit %d, %s: %v\n%s", n, c, err, out)
		}
		subjects[d.git("-C", "depot.git", "log", "-1", "--format=%s", c)]++
	}
	landed := 1 // the root
	for _, r := range results {
		want := 0
		if r.Outcome == land.Landed {
			want = 1
			landed++
			at := slices.Index(line, string(r.Candidate))
			if at < r.Commits || line[at-r.Commits] != string(r.Base) {
				d.t.Errorf("%s landed on %s, which is not what it was tested on: %+v", r.Branch, r.Base, r)
			}
		}
		if subjects[r.Branch] != want {
			d.t.Errorf("%s: %s, and %d times on main", r.Branch, r.Outcome, subjects[r.Branch])
		}
	}
	if len(line) != landed {
		d.t.Errorf("main has %d commits, want %d", len(line), landed)
	}
}

// TestLandMany lets eight processes at a time land branches on one repository.
// Most are fine. Of each five one claims the same slot as its neighbours'
// (green alone, red together), and one edits the same line.
func TestLandMany(t *testing.T) {
	const lanes = 8
	d := newDepot(t)
	name := func(lane, n int) string { return fmt.Sprintf("branch-%d-%d", lane, n) }
	for lane := range lanes {
		for n := range *landBranches {
			b := name(lane, n)
			switch n % 5 {
			case 3:
				d.branch(b, "slot-"+b, fmt.Sprintf("slot %d of all lanes\n", n))
			case 4:
				d.branch(b, "shared", b+"\n")
			default:
				d.branch(b, "slot-"+b, b+"\n")
			}
		}
	}
	var mu sync.Mutex
	var results []land.Result
	t.Run("lanes", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				d := &depot{t: t, dir: d.dir}
				for n := range *landBranches {
					res := d.end(d.start(name(lane, n), time.Minute))
					mu.Lock()
					results = append(results, res)
					mu.Unlock()
				}
			})
		}
	})
	d.judge(results)
	count := map[land.Outcome]int{}
	again := 0
	for _, r := range results {
		count[r.Outcome]++
		again += r.Attempts - 1
	}
	t.Logf("%d branches: %v; begun anew %d times", len(results), count, again)
	want := map[land.Outcome]int{}
	for n := range *landBranches {
		switch n % 5 {
		case 3:
			want[land.Landed]++
			want[land.Red] += lanes - 1
		case 4:
			if n == 4 {
				want[land.Landed]++
				want[land.Conflict]--
			}
			want[land.Conflict] += lanes
		default:
			want[land.Landed] += lanes
		}
	}
	for o, n := range want {
		if count[o] != n {
			t.Errorf("%d branches ended as %q, want %d", count[o], o, n)
		}
	}
}

// leaseOf is the content of the depot's lease file once it contains all words.
func (d *depot) leaseOf(words ...string) {
	d.t.Helper()
	d.await("a lease with "+strings.Join(words, ", "), func() bool {
		data, _ := os.ReadFile(filepath.Join(d.dir, "depot.git", "mergegate-main.lease"))
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(string(data), w) })
	})
}

func (d *depot) await(what string, true func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	for !true() {
		select {
		case <-ctx.Done():
			d.t.Fatalf("waited in vain for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestLandHolderKilled: another takes over, and the branch of the killed one is
// as it was and lands when it is asked for again.
func TestLandHolderKilled(t *testing.T) {
	d := newDepot(t)
	d.branch("first", "slot-first", "1\n")
	d.branch("second", "slot-second", "2\n")
	head := d.git("-C", "depot.git", "rev-parse", "first")
	killed := d.start("first", 3*time.Second, "--", "sleep", "600")
	d.leaseOf("first onto main")
	second := d.start("second", 3*time.Second)
	d.await("the first to test and the second to wait", func() bool {
		return strings.Contains(killed.words(), "testing") && strings.Contains(second.words(), "waiting")
	})
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	_ = killed.cmd.Wait()
	d.leaseOf("second onto main")
	t.Logf("taken over %v after the kill, with a TTL of 3s", time.Since(died).Round(time.Millisecond))
	results := []land.Result{d.end(second)}
	if now := d.git("-C", "depot.git", "rev-parse", "first"); now != head {
		t.Errorf("the killed process left its branch at %s, not at %s", now, head)
	}
	results = append(results, d.end(d.start("first", 3*time.Second)))
	d.judge(results)
	if len(results) != 2 || results[0].Outcome != land.Landed || results[1].Outcome != land.Landed {
		t.Errorf("%+v", results)
	}
}

// TestLandHolderStopped stops the holder for at least three TTLs while it
// tests. Meanwhile another lands what makes the stopped one's change red. When
// it goes on, its old verdict must not count.
func TestLandHolderStopped(t *testing.T) {
	const ttl = time.Second
	d := newDepot(t)
	d.branch("first", "slot-first", "same\n")
	d.branch("second", "slot-second", "same\n")
	d.branch("third", "slot-third", "3\n")
	stopped := d.start("first", ttl, "--", "sh", "-c", "./test.sh && sleep 4 && echo tested")
	d.leaseOf("first onto main")
	if err := stopped.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	results := []land.Result{d.end(d.start("second", ttl)), d.end(d.start("third", ttl))}
	time.Sleep(3*ttl - time.Since(since)) // the stop itself is the test
	if err := stopped.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	res := d.end(stopped)
	d.judge(append(results, res))
	if results[0].Outcome != land.Landed || results[1].Outcome != land.Landed || res.Outcome != land.Red {
		t.Errorf("%+v, then %+v", results, res)
	}
}

// TestLandStoppedInsideThePush stops the holder after its last look at the
// lease, when its push of main has reached the repository and not moved it yet.
// Only the compare-and-swap is left to refuse it.
func TestLandStoppedInsideThePush(t *testing.T) {
	const ttl = time.Second
	d := newDepot(t)
	d.branch("first", "slot-first", "same\n")
	d.branch("second", "slot-second", "same\n")
	d.hook("pre-receive", `while read old new ref; do
	if test $ref = refs/heads/main && mkdir $GIT_DIR/entered; then
		while ! test -e $GIT_DIR/goon; do sleep 0.1; done
	fi
done 2>/dev/null
exit 0
`)
	stopped := d.start("first", ttl)
	d.await("the push of main", func() bool {
		_, err := os.Stat(filepath.Join(d.dir, "depot.git", "entered"))
		return err == nil
	})
	if err := stopped.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	results := []land.Result{d.end(d.start("second", ttl))}
	if err := os.WriteFile(filepath.Join(d.dir, "depot.git", "goon"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stopped.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	res := d.end(stopped)
	d.judge(append(results, res))
	if results[0].Outcome != land.Landed || res.Outcome != land.Red || res.Attempts != 2 {
		t.Errorf("%+v, then %+v", results, res)
	}
}

// TestLandReplyIsLost kills the receiving side after main has moved, so that
// nobody tells the holder. It must find out, and not land twice.
func TestLandReplyIsLost(t *testing.T) {
	d := newDepot(t)
	d.branch("first", "slot-first", "1\n")
	d.hook("post-receive", "kill -9 $PPID\n")
	res := d.end(d.start("first", time.Minute))
	d.judge([]land.Result{res})
	if res.Outcome != land.Landed || res.Attempts != 1 {
		t.Errorf("%+v", res)
	}
}

// TestLandMainMovesDuringTheTest lets a person push to main, past the lease, while a
// branch is tested. It lands on top of that push, tested once more, not over it.
func TestLandMainMovesDuringTheTest(t *testing.T) {
	d := newDepot(t)
	d.branch("first", "slot-first", "1\n")
	d.branch("person", "slot-person", "2\n")
	first := d.start("first", time.Minute, "--", "sh", "-c", "./test.sh && sleep 2")
	d.await("the test", func() bool { return strings.Contains(first.words(), "testing") })
	d.git("-C", "depot.git", "update-ref", "refs/heads/main", "refs/heads/person")
	person := d.git("-C", "depot.git", "rev-parse", "person")
	res := d.end(first)
	if res.Outcome != land.Landed || res.Attempts != 2 || string(res.Base) != person {
		t.Errorf("%+v", res)
	}
	if got := d.git("-C", "depot.git", "log", "--first-parent", "--format=%s", "main"); got != "first\nperson\nroot" {
		t.Errorf("main is %q", got)
	}
}

// TestLandMainMoves lets a person push to main, past the lease, when a
// branch is about to land: it is tested again on the new tip.
func TestLandMainMoves(t *testing.T) {
	d := newDepot(t)
	d.branch("first", "slot-first", "same\n")
	d.branch("person", "slot-person", "same\n")
	d.hook("pre-receive", `while read old new ref; do
	if test $ref = refs/heads/main && mkdir $GIT_DIR/entered; then
		env -u GIT_QUARANTINE_PATH git update-ref refs/heads/main refs/heads/person
	fi
done 2>/dev/null
exit 0
`)
	res := d.end(d.start("first", time.Minute))
	if res.Outcome != land.Red || res.Attempts != 2 {
		t.Errorf("%+v", res)
	}
	if now, want := d.git("-C", "depot.git", "rev-parse", "main"), d.git("-C", "depot.git", "rev-parse", "person"); now != want {
		t.Errorf("main is at %s, want the person's %s", now, want)
	}
}
