package retest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const watchEvery = 200 * time.Millisecond

// descendants lists every process below this one. In a process namespace those
// that lost their parents are ours, and elsewhere too, because we are a "subreaper".
func descendants() []int {
	var found []int
	seen := map[string]bool{}
	for queue := []string{"self"}; len(queue) > 0; queue = queue[1:] {
		lists, _ := filepath.Glob("/proc/" + queue[0] + "/task/*/children")
		for _, list := range lists {
			text, _ := os.ReadFile(list) // it may have ended
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && !seen[field] {
					seen[field] = true
					found, queue = append(found, pid), append(queue, field)
				}
			}
		}
	}
	return found
}

// killDescendants kills until no process is left below this one, or patience
// ends. Everybody is stopped before anybody is killed, again and again until
// nobody new is found: who is stopped cannot fork. A test that forks faster
// than this loop stops gets away until its limit of processes holds it; a
// process namespace has no such gap.
func killDescendants(patience time.Duration) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		stopped := map[int]bool{}
		for again := true; again && time.Now().Before(deadline); {
			again = false
			for _, pid := range descendants() {
				if !stopped[pid] && unix.Kill(pid, unix.SIGSTOP) == nil {
					stopped[pid], again = true, true
				}
			}
		}
		for pid := range stopped {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				return
			}
			if err == nil && pid == 0 {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// watch looks after what no control group and no resource limit counts, and
// says what the test used too much of. It ends with stop.
func watch(s spec, stop <-chan struct{}) (excess string) {
	disk := newDiskWatch(s)
	for {
		select {
		case <-stop:
			return ""
		case <-time.After(watchEvery):
		}
		if s.Memory > 0 && memoryUsed(s.Memories, resident) > s.Memory && memoryUsed(s.Memories, proportional) > s.Memory {
			return fmt.Sprintf("out of memory (limit %d MiB, looked at every %s)", s.Memory>>20, watchEvery)
		}
		if used := disk.excess(); used != "" {
			return used
		}
	}
}

// memoryUsed is what the test has in memory: in its processes, and in its file
// systems in memory. Bytes.
func memoryUsed(memories []string, of func(pid int) int64) (used int64) {
	for _, pid := range descendants() {
		used += of(pid)
	}
	for _, dir := range memories {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil {
			used += int64(st.Blocks-st.Bfree) * st.Bsize
		}
	}
	return used
}

// resident is quick, and counts what processes share after a fork once for each.
func resident(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)) // it may have ended
	var size, pages, shared int64
	_, _ = fmt.Sscan(string(text), &size, &pages, &shared)
	return (pages - shared) * int64(os.Getpagesize())
}

// proportional is slow, and shares that out. Where it may not look, it says what resident says.
func proportional(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss_Anon:"); ok {
			if kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return resident(pid)
}

// diskWatch limits what a test puts on the disk. What others write meanwhile is
// told from it by looking, once that much is gone.
type diskWatch struct {
	dirs        []string
	free, limit int64
}

func newDiskWatch(s spec) diskWatch {
	w := diskWatch{dirs: s.Disks, free: freeSpace(s.Disks), limit: s.Disk}
	if w.limit == 0 {
		w.limit = w.free / 2
	}
	return w
}

func freeSpace(dirs []string) int64 {
	var st unix.Statfs_t
	if len(dirs) == 0 || unix.Statfs(dirs[0], &st) != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

func (w diskWatch) excess() string {
	if w.limit == 0 || w.free-freeSpace(w.dirs) < w.limit {
		return ""
	}
	if used := diskUsed(w.dirs); used >= 0 && used < w.limit {
		return ""
	}
	return fmt.Sprintf("out of disk (limit %d MiB)", w.limit>>20)
}

// diskUsed is what the directories take up, or -1 where they cannot be read.
func diskUsed(dirs []string) (used int64) {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it is being deleted
			}
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if unix.Lstat(path, &st) == nil {
				used += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			return -1
		}
	}
	return used
}
