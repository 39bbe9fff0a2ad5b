package canary

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pause is kept between two looks at the processes. Most live for a few
// milliseconds and are not seen each time; a suite starts thousands.
const pause = 40 * time.Millisecond

// Follow looks at the process, and at all it has started, again and again until
// done is closed.
func (w *Watch) Follow(pid int, done <-chan struct{}) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		w.Processes(pid)
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// Processes looks once at the process and at all it has started: arguments, and
// the environment of all but git.
func (w *Watch) Processes(pid int) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	arguments, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return // it ended
	}
	w.processes.Add(1)
	name, _, _ := bytes.Cut(arguments, []byte{0})
	w.Look("arguments of "+string(name), arguments)
	if exe, env := environment(dir); !strings.HasPrefix(filepath.Base(exe), "git") {
		// A process that has been forked and not yet started its program still has
		// its parent's name.
		w.Look("environment of "+exe, env)
	}
	tasks, _ := filepath.Glob(filepath.Join(dir, "task", "*", "children"))
	for _, t := range tasks {
		children, _ := os.ReadFile(t)
		for _, c := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(c); err == nil {
				w.Processes(n)
			}
		}
	}
}

// environment is the environment of a process, and the program that has it; nothing
// if it started another program meanwhile, ended, or hides it.
func environment(dir string) (program string, env []byte) {
	before, _ := os.Readlink(filepath.Join(dir, "exe"))
	env, _ = os.ReadFile(filepath.Join(dir, "environ"))
	if after, err := os.Readlink(filepath.Join(dir, "exe")); err != nil || after != before {
		return "", nil
	}
	return before, env
}
