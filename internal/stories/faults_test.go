package stories

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fault is something that happens to one write, or to the replica that makes it.
type fault string

const (
	killBefore fault = "killed before"
	killAfter  fault = "killed after"
	replyLost  fault = "answer lost after"
	badBefore  fault = "502 before"
	badAfter   fault = "502 after"
	slow       fault = "two seconds late:"
	late       fault = "two TTLs late:"
	stopped    fault = "stopped for three TTLs before"
	diskFull   fault = "disk full"
	wiped      fault = "data_dir deleted"
)

const (
	chaosTTL  = 10 * time.Second // the shortest that the configuration allows
	smallDisk = 16 << 20
)

// victim is a replica with a proxy of its own, so that it is known who asks.
type victim struct {
	*replica
	small bool         // its data is on a disk that can be filled
	busy  atomic.Bool  // a fault of the whole process is going on
	died  atomic.Int64 // when, in Unix milliseconds; 0 while it runs

	deaths atomic.Int64
}

// writes says what a request changes, "" if nothing.
func writes(r *http.Request) string {
	switch {
	case strings.HasSuffix(r.URL.Path, "/git-receive-pack") && r.Method == "POST":
		return "git push"
	case strings.HasPrefix(r.URL.Path, "/api/") && r.Method != "GET":
		return asks(r)
	}
	return ""
}

// meddle does to the victim's writes what is left to do.
func (a *arena) meddle(v *victim) meddler {
	return func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool {
		what := writes(r)
		if what == "" {
			return false
		}
		f := a.choose(v, what, r.URL.Path)
		if f == "" {
			return false
		}
		a.strike(v, f, what, r.URL.Path)
		abort := func() { panic(http.ErrAbortHandler) }
		switch f {
		case killBefore:
			v.dies()
			abort()
		case killAfter:
			forward()
			v.dies()
			abort()
		case replyLost:
			forward()
			abort()
		case badBefore:
			http.Error(rw, "bad gateway", http.StatusBadGateway)
			return true
		case badAfter:
			forward()
			http.Error(rw, "bad gateway", http.StatusBadGateway)
			return true
		case slow:
			time.Sleep(2 * time.Second)
		case late: // the forge hears of it when nobody waits for the answer any more
			*r = *r.WithContext(context.WithoutCancel(r.Context()))
			time.Sleep(2 * chaosTTL)
			forward()
			abort()
		case stopped:
			syscall.Kill(-v.cmd.Process.Pid, syscall.SIGSTOP)
			time.Sleep(3 * chaosTTL)
			syscall.Kill(-v.cmd.Process.Pid, syscall.SIGCONT)
			v.busy.Store(false)
		}
		return false
	}
}

// choose picks what happens to a write. Writes that were struck less often are
// struck more probably, so that each gets its share.
func (a *arena) choose(v *victim, what, path string) fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.busy.Load() || v.died.Load() != 0 || a.rand.Float64() > max(0.1, 0.5/float64(1+a.begun[what])) {
		return ""
	}
	var possible []fault
	for _, f := range []fault{killBefore, killAfter, replyLost, badBefore, badAfter, slow, late, stopped} {
		for range a.left[f] {
			possible = append(possible, f)
		}
	}
	if len(possible) == 0 {
		return ""
	}
	f := possible[a.rand.IntN(len(possible))]
	a.left[f]--
	a.begun[what]++
	if f == late || f == stopped {
		a.tardy[path] = sender{v, v.deaths.Load()}
	}
	if f == killBefore || f == killAfter || f == stopped {
		v.busy.Store(true)
	}
	return f
}

func (a *arena) faultsLeft() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, left := range a.left {
		n += left
	}
	return n
}

// dies is SIGKILL. It is noted first: who finds the process gone must know why.
func (v *victim) dies() {
	v.deaths.Add(1)
	v.died.Store(time.Now().UnixMilli())
	v.kill()
}

// revive starts the dead again, as whatever supervises a service does.
func (a *arena) revive() {
	for _, v := range a.victims {
		select {
		case <-v.done:
		default:
			continue
		}
		died := v.died.Load()
		if died == 0 {
			a.complain("a replica ended by itself")
			a.Fatal(a.logs())
		}
		if time.Since(time.UnixMilli(died)) > time.Second {
			v.launch()
			v.died.Store(0)
			v.busy.Store(false)
		}
	}
}

// onSmallDisk puts the victim's data on a small disk. It is mounted in a namespace
// of the process, so it is gone when the process is, whatever happens to the test.
func (v *victim) onSmallDisk(t *testing.T) {
	if err := exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt").Run(); err != nil {
		t.Logf("no full disk here: a small one cannot be mounted: %v", err)
		return
	}
	v.small = true
	v.argv = append([]string{"unshare", "--mount", "sh", "-c",
		fmt.Sprintf(`mkdir -p "$0" && mount -t tmpfs -o size=%d small "$0" && exec "$@"`, smallDisk), v.data}, v.argv...)
}

// disturb does what does not belong to a write, now and then.
func (a *arena) disturb() {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.victims[0]
	if a.left[diskFull] > 0 && !v.small {
		a.left[diskFull] = 0
	}
	if a.left[diskFull] > 0 && a.rand.Float64() < 0.1 && v.serves() && v.fill() {
		a.left[diskFull]--
		a.strike(v, diskFull, "", "")
	}
	if a.left[wiped] > 0 && a.rand.Float64() < 0.1 && a.victims[1].serves() {
		os.RemoveAll(a.victims[1].data) // what is being written meanwhile may stay
		a.left[wiped]--
		a.strike(a.victims[1], wiped, "", "")
	}
}

// serves says whether a replica is past its start: one that finds no disk there ends
// with a message, as it should.
func (v *victim) serves() bool {
	return !v.busy.Load() && v.died.Load() == 0 && v.page("/readyz") != ""
}

// fill leaves no room on the victim's small disk for a while.
func (v *victim) fill() bool {
	data := fmt.Sprintf("/proc/%d/root%s", v.cmd.Process.Pid, v.data)
	var disk syscall.Statfs_t
	if syscall.Statfs(data, &disk) != nil || disk.Blocks*uint64(disk.Bsize) != smallDisk {
		return false // not mounted yet, or gone
	}
	file := filepath.Join(data, "fill")
	if os.WriteFile(file, make([]byte, smallDisk), 0o600) == nil {
		v.w.Errorf("%d bytes fit on a disk that has other files", smallDisk)
	}
	time.AfterFunc(8*time.Second, func() { os.Remove(file) }) // it may be gone with its process
	return true
}
