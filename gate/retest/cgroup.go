package retest

import (
	"crypto/rand"
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

// group is a control group that limits the memory and the processes of one
// test. nil is a group that limits nothing.
type group struct {
	dirs []string // one with cgroup v2; one for each controller with v1
}

const groupPrefix = "mergegate-"

// groupParents lists places where groups might be made, each a list of
// directories that together have both controllers. With v2 a group with
// processes has no limited children, so the second choice is the parent of
// ours: with systemd, Delegate=yes and DelegateSubgroup=bot make that work.
func groupParents() [][]string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	const root = "/sys/fs/cgroup"
	var v1 []string
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch own := fields[2]; fields[1] {
		case "memory", "pids":
			v1 = append(v1, filepath.Join(root, fields[1], own))
		case "":
			if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
				return [][]string{{filepath.Join(root, own)}, {filepath.Join(root, filepath.Dir(own))}}
			}
		}
	}
	return [][]string{v1}
}

// findGroups is the first place where a group really can be made.
func findGroups() ([]string, error) {
	err := errors.New("there are no control groups")
	for _, parents := range groupParents() {
		// Only works in some places and for some users; newGroup sees whether it did.
		_ = os.WriteFile(filepath.Join(parents[0], "cgroup.subtree_control"), []byte("+memory +pids"), 0)
		var g *group
		if g, err = newGroup(parents, defaultLimits()); err == nil {
			return parents, g.close()
		}
	}
	return nil, err
}

// newGroup makes a group below each of the parents.
func newGroup(parents []string, l limits) (*group, error) {
	g := &group{}
	name := groupPrefix + strings.ToLower(rand.Text())
	limits := map[string]int64{"memory.max": l.memory, "memory.limit_in_bytes": l.memory, "pids.max": int64(l.processes)}
	set := 0
	for _, parent := range parents {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(err, g.close())
		}
		g.dirs = append(g.dirs, dir)
		for file, value := range limits {
			err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(value, 10)), 0)
			if err == nil {
				set++
			} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				return nil, errors.Join(err, g.close())
			}
		}
	}
	if set < 2 {
		return nil, errors.Join(errors.New("the memory and pids controllers are not available"), g.close())
	}
	return g, nil
}

// limits is what one test may use at most.
type limits struct {
	memory    int64 // bytes
	processes int   // and threads
	disk      int64 // bytes; 0 for half of what is free
}

// defaultLimits leaves a quarter of the machine's memory to others.
func defaultLimits() limits { return limits{memory: memory() / 4 * 3, processes: 4096} }

// add puts a process, and all that it will start, under the limits.
func (g *group) add(pid int) error {
	if g == nil {
		return nil
	}
	for _, dir := range g.dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("limit the memory: %w", err)
		}
	}
	return nil
}

// outOfMemory says whether the kernel has killed a process of the group.
func (g *group) outOfMemory() bool {
	if g == nil {
		return false
	}
	for _, dir := range g.dirs {
		for _, file := range []string{"memory.events", "memory.oom_control"} {
			text, _ := os.ReadFile(filepath.Join(dir, file)) // one of them exists
			for line := range strings.Lines(string(text)) {
				if n, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(n) != "0" {
					return true
				}
			}
		}
	}
	return false
}

// close kills what is left in the group and deletes it.
func (g *group) close() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, dir := range g.dirs {
		// The kernel takes a moment to notice that a group is empty.
		err := os.Remove(dir)
		for deadline := time.Now().Add(killGrace); err != nil && time.Now().Before(deadline); err = os.Remove(dir) {
			killGroup(dir)
			time.Sleep(time.Millisecond)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// killGroup kills every process in the group: at once with v2, one by one with v1.
func killGroup(dir string) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
}

// sweepGroups deletes the empty groups of dead processes. One that is in use
// cannot be deleted.
func sweepGroups(parents []string) {
	for _, parent := range parents {
		dirs, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
		for _, dir := range dirs {
			if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Minute {
				_ = os.Remove(dir)
			}
		}
	}
}
