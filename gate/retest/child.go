package retest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	childArg = "mergegate-retest-child" // the hidden first argument
	childFD  = 3                        // the socket to the bot

	maxFile      = 16 << 30 // bytes a test may write into one file
	maxOpen      = 65536    // open files of one process
	maxProcesses = 4096     // processes and threads of one test
)

// spec is what the bot tells the child to do. It travels over the socket, so
// that neither the command nor its environment is in any argv but the shell's.
type spec struct {
	Root     string  // build a root file system here and enter it; "" when that is done
	Mounts   []mount // what it consists of
	Loopback bool    // bring up the loopback device
	Reap     bool    // no process namespace: find and kill what the command leaves behind
	Dir      string
	Home     string
	Env      []string
	Command  string
}

// report is what the child tells the bot. Only Exited is a verdict.
type report struct {
	Started bool
	Exited  bool
	Exit    int    // with Exited
	Signal  int    // with Exited: the shell itself was killed
	Trouble string // the command could not be started
}

// Child turns this process into the first process of a sandbox, when it was
// started as one, and does not return then. Otherwise it does nothing. main
// and each TestMain of a package that runs tests must call it before anything
// else.
func Child() {
	if len(os.Args) != 2 || os.Args[1] != childArg {
		return
	}
	// Capabilities belong to a thread; the command inherits those of the
	// thread that starts it.
	runtime.LockOSThread()
	conn := os.NewFile(childFD, "bot")
	unix.CloseOnExec(childFD)
	if err := child(conn); err != nil {
		_ = json.NewEncoder(conn).Encode(report{Trouble: err.Error()}) // the bot may be gone
		os.Exit(1)
	}
	os.Exit(0)
}

// child prepares the sandbox from inside, runs the command, and ends when it
// has ended or the bot has closed the socket, whichever is first. In a process
// namespace, its own end is the end of every process of the test.
func child(conn *os.File) error {
	// The bot learns our number from the kernel, and puts us under limits
	// before it answers.
	if _, err := conn.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("greet the bot: %w", err)
	}
	var s spec
	if err := json.NewDecoder(conn).Decode(&s); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	if s.Root != "" {
		if err := enter(s.Root, s.Mounts); err != nil {
			return err
		}
	}
	if s.Loopback {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := limit(); err != nil {
		return err
	}
	if err := dropPrivileges(s.Reap); err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", s.Command)
	cmd.Dir, cmd.Env = s.Dir, s.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the shell: %w", err)
	}
	if err := json.NewEncoder(conn).Encode(report{Started: true}); err != nil {
		return err
	}
	ended := make(chan unix.WaitStatus)
	go func() { ended <- reap(cmd.Process.Pid) }()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn) // ends when the bot does
		close(gone)
	}()
	var end report
	select {
	case <-gone:
	case status := <-ended:
		end.Exited, end.Exit = true, status.ExitStatus()
		if status.Signaled() {
			end.Signal = int(status.Signal())
		}
	}
	if s.Reap {
		killDescendants()
	}
	_ = json.NewEncoder(conn).Encode(end) // the bot may be gone
	return nil
}

// reap buries every process that ends until pid does.
func reap(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		if err == nil && got == pid {
			return status
		}
	}
}

// killDescendants kills until no process is left below this one. As a
// "subreaper" it is the parent of those who lost theirs, so nobody gets away
// by forking twice; but a test that forks faster than this loop kills is not
// caught. A process namespace has no such gap.
func killDescendants() {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil {
					_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
				}
			}
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

// limit sets resource limits. Not RLIMIT_AS: it counts address space, of which
// Go and Java programs reserve far more than they use.
func limit() error {
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, maxFile},
		{unix.RLIMIT_NOFILE, maxOpen},
		{unix.RLIMIT_NPROC, maxProcesses},
	} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("read resource limit %d: %w", l.resource, err)
		}
		m := min(l.max, now.Max)
		// The syscall package gives the soft NOFILE limit back on exec unless it was set here.
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: m, Max: m}); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.resource, err)
		}
	}
	return nil
}

// dropPrivileges gives up every capability, for this process and for all that
// it starts, also by setuid programs, and hides this process's memory.
func dropPrivileges(subreaper bool) error {
	prctl := func(option int, arg uintptr) error { return unix.Prctl(option, arg, 0, 0, 0) }
	for c := range uintptr(64) {
		// EPERM: it has no capabilities to give up. EINVAL: the kernel has no such capability.
		if err := prctl(unix.PR_CAPBSET_DROP, c); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	var none [2]unix.CapUserData
	err := errors.Join(
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
		unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]),
		prctl(unix.PR_SET_NO_NEW_PRIVS, 1),
		prctl(unix.PR_SET_DUMPABLE, 0),
	)
	if subreaper {
		err = errors.Join(err, prctl(unix.PR_SET_CHILD_SUBREAPER, 1))
	}
	if err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	return nil
}

// loopbackUp brings up the only device of a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}
	if err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	return nil
}
