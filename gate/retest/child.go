package retest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	childArg = "mergegate-retest-child" // the hidden first argument
	childFD  = 3                        // the socket to the bot

	maxFile = 16 << 30 // bytes a test may write into one file
	maxOpen = 65536    // open files of one process

	spareThreads = 16              // of this process, more than it ever needs at once
	niceness     = 10              // of a test, so that the bot stays awake beside it
	killPatience = 5 * time.Second // for killDescendants
)

// spec is what the bot tells the child to do. It travels over the socket, so
// that neither the command nor its environment is in any argv but the shell's.
type spec struct {
	Root      string  // build a root file system here and enter it; "" when that is done
	Mounts    []mount // what it consists of
	Loopback  bool    // bring up the loopback device
	Reap      bool    // no process namespace: find and kill what the command leaves behind
	Fence     *fence  // no mount namespace: what the command may reach
	User      int     // run the command as this user; 0 for the bot's own
	Network   bool
	Memory    int64    // kill the command when it uses more bytes; 0 where a control group does
	Memories  []string // file systems in memory that count
	Processes int      // how many, with threads
	Disk      int64    // kill the command when it puts more bytes on the disk; 0 for half of what is free
	Disks     []string // directories on the disk that the command can write, on one file system
	Dir       string
	Home      string
	Tmp       string // TMPDIR; "" for /tmp
	Env       []string
	Command   string
}

// report is what the child tells the bot. Only Exited is a verdict.
type report struct {
	Started bool
	Exited  bool
	Exit    int    // with Exited
	Signal  int    // with Exited: the shell itself was killed
	Excess  string // it was killed: what it used too much of
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
	runtime.LockOSThread() // capabilities belong to a thread
	// A signal that is handled ends nobody: not even as the first process of a
	// namespace, where the test could send one. The command starts without this.
	signal.Notify(make(chan os.Signal, 1))
	conn := os.NewFile(childFD, "bot")
	// Also what the bot itself had inherited from whoever started it.
	if err := unix.CloseRange(childFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		_ = json.NewEncoder(conn).Encode(report{Trouble: fmt.Sprintf("close what is open: %v", err)}) // the bot may be gone
		os.Exit(1)
	}
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
	if err := errors.Join(limit(s.Processes), hide(s.Reap)); err != nil {
		return err
	}
	if s.User == 0 {
		if err := dropPrivileges(); err != nil {
			return err
		}
	}
	haveThreads(spareThreads)
	cmd, err := launch(s)
	if err != nil {
		return err
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
	over, stop := make(chan string), make(chan struct{})
	go func() {
		if excess := watch(s, stop); excess != "" {
			over <- excess
		}
	}()
	var end report
	select {
	case <-gone:
	case end.Excess = <-over:
	case status := <-ended:
		end.Exited, end.Exit = true, status.ExitStatus()
		if status.Signaled() {
			end.Signal = int(status.Signal())
		}
	}
	close(stop)
	if s.Reap {
		killDescendants(killPatience)
	}
	_ = json.NewEncoder(conn).Encode(end) // the bot may be gone
	return nil
}

// haveThreads makes threads, which the runtime then keeps for later. When a test
// has used up all processes, a new one could not be made, and the runtime would
// end this process, the guard of all.
func haveThreads(n int) {
	var here, gone sync.WaitGroup
	here.Add(n)
	for range n {
		gone.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			here.Done()
			here.Wait()
		})
	}
	gone.Wait()
}

// launch starts the command from a thread of its own, which is put under all
// restrictions and ends with this function. The other threads stay outside the
// fence, so that nothing inside can signal this process.
func launch(s spec) (*exec.Cmd, error) {
	cmd := exec.Command("/bin/sh", "-c", s.Command)
	cmd.Dir, cmd.Env = s.Dir, s.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.User != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.User), Gid: uint32(s.User)}
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with the goroutine
		err := restrict(s)
		if err == nil {
			if err = cmd.Start(); err != nil {
				err = fmt.Errorf("start the shell: %w", err)
			}
		}
		started <- err
	}()
	return cmd, <-started
}

// restrict puts the calling thread under everything that the command must not
// be able to shake off. With another user to come, its capabilities go when
// that user's program starts.
func restrict(s spec) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, niceness); err != nil {
		return fmt.Errorf("step back: %w", err)
	}
	if s.User == 0 {
		if err := dropPrivileges(); err != nil {
			return err
		}
	} else if err := dropBounds(); err != nil {
		return err
	}
	if s.Fence != nil {
		if err := s.Fence.enter(s.Network); err != nil {
			return err
		}
	}
	f, err := newFilter(s.Fence != nil, s.Fence == nil || s.Network)
	if err != nil {
		return err
	}
	return f.install()
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

// limit sets resource limits. Not RLIMIT_AS: it counts address space, of which
// Go and Java programs reserve far more than they use.
func limit(processes int) error {
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, maxFile},
		{unix.RLIMIT_NOFILE, maxOpen},
		{unix.RLIMIT_NPROC, uint64(processes)},
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

// hide keeps a test away from this process.
func hide(subreaper bool) error {
	err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if subreaper {
		err = errors.Join(err, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	}
	if err != nil {
		return fmt.Errorf("keep to ourselves: %w", err)
	}
	return nil
}

// dropPrivileges gives up every capability of this thread, and of all that it
// starts, also by setuid programs.
func dropPrivileges() error {
	var none [2]unix.CapUserData
	err := errors.Join(
		dropBounds(),
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
		unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]),
	)
	if err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	return nil
}

// dropBounds gives up every capability that a program to come could get.
func dropBounds() error {
	for c := range uintptr(64) {
		// EPERM: it has no capabilities to give up. EINVAL: the kernel has no such capability.
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
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
