package retest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// target is what an evil command goes for. It knows everything but the secret.
type target struct {
	Bot    int    // process
	Secret string // a file of the bot's, with the canary in it
	Home   string // a directory of the bot's, with the secret in it
	Logs   string
	Mirror string
	Open   string // a directory that everybody may write to
	TCP    []string
	UDP    string
	Unix   []string // paths and abstract names
	Shared int      // a shared memory segment
	Shm    string   // a file in /dev/shm
}

// way is one attempt. It returns nil when it got through.
type way struct {
	name  string
	means string // in the words of Sandbox.Open; "" where no rung may leave it open
	try   func(target) error
}

// evil runs every way and prints one line for each.
func evil() int {
	var t target
	text, err := os.ReadFile("target.json")
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		fmt.Println("evil:", err)
		return 2
	}
	for _, w := range ways() {
		err := attempt(w, t)
		fmt.Printf("%s\t%s\t%v\n", map[bool]string{true: "OPEN", false: "denied"}[err == nil], w.name, err)
	}
	fmt.Println("finished")
	return 0
}

// attempt gives one way a thread and a few seconds.
func attempt(w way, t target) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // it goes with whatever the way did to it
		result <- w.try(t)
	}()
	select {
	case err := <-result:
		return err
	case <-time.After(5 * time.Second):
		return errors.New("no answer")
	}
}

func has(path, what string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil && len(text) == 0 {
		return err
	}
	if !bytes.Contains(text, []byte(what)) {
		return fmt.Errorf("%s is not in it", what)
	}
	return nil
}

func leads(link string) error { _, err := os.Readlink(link); return err }

func list(dir string) error { _, err := os.ReadDir(dir); return err }

// writable opens a file and writes nothing.
func writable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		f.Close()
	}
	return err
}

// makes makes a file, and cleans up: without a sandbox this is the real machine.
func makes(dir string) error {
	f, err := os.CreateTemp(dir, "evil-")
	if err == nil {
		f.Close()
		os.Remove(f.Name())
	}
	return err
}

// first is nil when one of them is; of all must be nonempty.
func first(all ...error) error {
	for _, err := range all {
		if err == nil {
			return nil
		}
	}
	return errors.Join(all...)
}

// call makes a system call and takes any of the given errors for a sign that it was let through.
func call(number uintptr, through []syscall.Errno, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := syscall.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 {
		return nil
	}
	for _, e := range through {
		if errno == e {
			return nil
		}
	}
	return errno
}

func word(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(p))
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if network == "udp" { // which takes everything; only an answer counts
		err = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, werr := c.Write([]byte("x"))
		_, rerr := c.Read(make([]byte, 1))
		err = errors.Join(err, werr, rerr)
	}
	return err
}

func socket(family, kind, proto int) error {
	fd, err := unix.Socket(family, kind, proto)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func of(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// ancestors of this process, as far as they can be seen.
func ancestors() (pids []int) {
	for pid := os.Getppid(); pid > 0 && len(pids) < 20; {
		pids = append(pids, pid)
		text, _ := os.ReadFile(of(pid, "stat"))
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 2 {
			return pids
		}
		pid, _ = strconv.Atoi(fields[1])
	}
	return pids
}

func anyOf(paths []string, try func(string) error) error {
	errs := []error{errors.New("there is none")}
	for _, p := range paths {
		errs = append(errs, try(p))
	}
	return first(errs...)
}

func glob(pattern string) []string { paths, _ := filepath.Glob(pattern); return paths }

func ways() []way {
	return append(append(append(waysToSecrets(), waysToFiles()...), waysToProcesses()...), append(waysOut(), waysIntoTheKernel()...)...)
}

func waysToSecrets() []way {
	canaryIn := func(path string) error { return has(path, canary) }
	return []way{
		{"environment of the bot", "", func(t target) error { return canaryIn(of(t.Bot, "environ")) }},
		{"environment of the parent", "", func(target) error { return canaryIn(of(os.Getppid(), "environ")) }},
		{"environment of process 1", "", func(target) error { return canaryIn("/proc/1/environ") }},
		{"environment of every ancestor", "", func(target) error {
			var paths []string
			for _, pid := range ancestors() {
				paths = append(paths, of(pid, "environ"))
			}
			return anyOf(paths, canaryIn)
		}},
		{"environment of every process", "", func(target) error { return anyOf(glob("/proc/[0-9]*/environ"), canaryIn) }},
		{"own environment", "", func(target) error { return canaryIn("/proc/self/environ") }},
		{"memory map of the bot", "", func(t target) error { return has(of(t.Bot, "maps"), "-") }},
		{"memory of the bot", "", func(t target) error { return has(of(t.Bot, "mem"), "") }},
		{"descriptors of the bot", "", func(t target) error { return anyOf(glob(of(t.Bot, "fd/*")), leads) }},
		{"root of the bot", "", func(t target) error { return list(of(t.Bot, "root") + "/") }},
		{"working directory of the bot", "", func(t target) error { return list(of(t.Bot, "cwd") + "/") }},
		{"program of the parent, to write", "", func(target) error { return writable(of(os.Getppid(), "exe")) }},
		{"process_vm_readv", "", func(t target) error {
			var b [8]byte
			local := []unix.Iovec{{Base: &b[0], Len: 8}}
			_, err := unix.ProcessVMReadv(t.Bot, local, []unix.RemoteIovec{{Base: 0x1000, Len: 8}}, 0)
			if errors.Is(err, unix.EFAULT) {
				return nil
			}
			return err
		}},
		{"ptrace of the bot", "", func(t target) error { return call(unix.SYS_PTRACE, nil, unix.PTRACE_SEIZE, uintptr(t.Bot), 0, 0) }},
		{"pidfd_getfd", "", func(t target) error {
			fd, err := unix.PidfdOpen(t.Bot, 0)
			if err != nil {
				return err
			}
			_, err = unix.PidfdGetfd(fd, 0, 0)
			return err
		}},
		{"kcmp", "", func(t target) error {
			return call(unix.SYS_KCMP, nil, uintptr(t.Bot), uintptr(os.Getpid()), 1, 0, 0)
		}},
		{"inherited descriptors", "", func(target) error {
			return anyOf(glob("/proc/self/fd/*"), func(path string) error {
				to, err := os.Readlink(path)
				fd, _ := strconv.Atoi(filepath.Base(path))
				if err == nil && (fd < 3 || strings.HasPrefix(to, "anon_inode:") || strings.HasPrefix(to, "/proc/") || strings.HasPrefix(to, "/sys/")) {
					err = errors.New("it is our own")
				}
				return err
			})
		}},
	}
}

func waysToFiles() []way {
	return []way{
		{"the token file", anyFile, func(t target) error { return has(t.Secret, canary) }},
		{"the token file by a symbolic link", anyFile, func(t target) error {
			return errors.Join(os.Symlink(t.Secret, "link-to-token"), has("link-to-token", canary))
		}},
		{"the token file by its process", "", func(t target) error { return has(of(t.Bot, "root")+t.Secret, canary) }},
		{"a hard link to the token file", anyFile, func(t target) error { return errors.Join(os.Link(t.Secret, "hard"), has("hard", canary)) }},
		{"the token file, to write", anyFile, func(t target) error { return writable(t.Secret) }},
		{"truncating the token file", anyFile, func(t target) error { return os.Truncate(t.Secret, int64(len(canary))) }},
		{"whether the token file is there", seesFiles, func(t target) error { _, err := os.Stat(t.Secret); return err }},
		{"the mode of the token file", changesModes, func(t target) error { return os.Chmod(t.Secret, 0o600) }},
		{"the time of the token file", changesModes, func(t target) error { return os.Chtimes(t.Secret, time.Now(), time.Now()) }},
		{"the bot's home", anyFile, func(t target) error { return list(t.Home) }},
		{"the bot's home, to write", anyFile, func(t target) error { return makes(t.Home) }},
		{"logs of other tests", anyFile, func(t target) error { return list(t.Logs) }},
		{"a log of its own making", anyFile, func(t target) error { return makes(t.Logs) }},
		{"the mirror", anyFile, func(t target) error { return list(t.Mirror) }},
		{"a ref in the mirror", anyFile, func(t target) error {
			return os.WriteFile(filepath.Join(t.Mirror, "refs", "heads", "evil"), []byte("x"), 0o644)
		}},
		{"git's index beside the checkout", anyFile, func(target) error { return has("../index", "") }},
		{"a file beside the checkout", anyFile, func(target) error { return makes("..") }},
		{"the directory above", anyFile, func(target) error { _, err := os.Stat("../index"); return errors.Join(err, list("..")) }},
		{".git in the checkout", "", func(target) error { _, err := os.Lstat(".git"); return err }},
		{"a directory open to all", anyFile, func(t target) error { return makes(t.Open) }},
		{"/tmp of the machine", anyFile, func(t target) error { return has(filepath.Join(t.Open, "seen"), "by all") }},
		{"/etc/shadow", anyFile, func(target) error { return has("/etc/shadow", ":") }},
		{"settings of the machine", anyFile, func(target) error {
			return first(has("/etc/fstab", ""), has("/etc/hostname", ""), has("/etc/machine-id", ""))
		}},
		{"root's home", anyFile, func(target) error { return list(filepath.Join("/", "root")) }},
		{"host keys", anyFile, func(target) error { return anyOf(glob("/etc/ssh/*key"), func(p string) error { return has(p, "") }) }},
		{"/usr, to write", anyFile, func(target) error { return makes("/usr") }},
		{"/etc, to write", anyFile, func(target) error { return makes("/etc") }},
		{"/, to write", anyFile, func(target) error { return makes("/") }},
		{"a device by mknod", "", func(target) error {
			return errors.Join(unix.Mknod("device", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))), has("device", ""))
		}},
		{"disks", anyFile, func(target) error { return anyOf(glob("/dev/[vsh]d[a-z]"), func(p string) error { return has(p, "") }) }},
		{"kernel memory", anyFile, func(target) error { return first(has("/dev/mem", ""), has("/proc/kcore", ""), writable("/dev/kmsg")) }},
		{"core_pattern", anyFile, func(target) error { return writable("/proc/sys/kernel/core_pattern") }},
		{"sysrq", anyFile, func(target) error { return writable("/proc/sysrq-trigger") }},
		{"/sys", anyFile, func(target) error { return list("/sys/kernel") }},
		{"control groups", anyFile, func(target) error {
			return first(writable("/sys/fs/cgroup/cgroup.procs"), writable("/sys/fs/cgroup/memory/cgroup.procs"), makes("/sys/fs/cgroup"))
		}},
		{"shared memory of the machine", anyMemory, func(t target) error {
			return call(unix.SYS_SHMAT, nil, uintptr(t.Shared), 0, unix.SHM_RDONLY)
		}},
		{"/dev/shm of the machine", anyFile, func(t target) error { return has(t.Shm, canary) }},
	}
}

func waysToProcesses() []way {
	guard := func() int { pids := ancestors(); return pids[min(1, len(pids)-1)] } // the shell's parent
	return []way{
		{"that the bot is there", seesProcesses, func(t target) error { _, err := os.Stat(of(t.Bot, "")); return err }},
		{"arguments of the bot", seesProcesses, func(t target) error { return has(of(t.Bot, "cmdline"), "test") }},
		{"a signal to the bot", anySignal, func(t target) error { return unix.Kill(t.Bot, 0) }},
		{"a signal to a thread of the bot", anySignal, func(t target) error { return unix.Tgkill(t.Bot, t.Bot, 0) }},
		{"a signal by pidfd", anySignal, func(t target) error {
			fd, err := unix.PidfdOpen(t.Bot, 0)
			if err != nil {
				return err
			}
			return unix.PidfdSendSignal(fd, 0, nil, 0)
		}},
		{"limits of the bot", anySignal, func(t target) error {
			var l unix.Rlimit
			return unix.Prlimit(t.Bot, unix.RLIMIT_NOFILE, nil, &l)
		}},
		{"priority of the bot", anySignal, func(t target) error {
			p, err := unix.Getpriority(unix.PRIO_PROCESS, t.Bot) // the call says 20 less what it is
			return errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, t.Bot, 20-p))
		}},
		{"processors of the bot", anySignal, func(t target) error {
			var set unix.CPUSet
			return errors.Join(unix.SchedGetaffinity(t.Bot, &set), unix.SchedSetaffinity(t.Bot, &set))
		}},
		{"OOM score of the bot", anySignal, func(t target) error { return writable(of(t.Bot, "oom_score_adj")) }},
		{"memory map of the guard", "", func(target) error { return has(of(guard(), "maps"), "-") }},
		{"ptrace of the guard", "", func(target) error { return call(unix.SYS_PTRACE, nil, unix.PTRACE_SEIZE, uintptr(guard()), 0, 0) }},
		{"descriptors of the guard", "", func(target) error {
			return anyOf(glob(of(guard(), "fd/*")), leads)
		}},
		{"a better priority", "", func(target) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 0) }},
		{"a better OOM score", "", func(target) error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-500"), 0) }},
		{"more processes", "", func(target) error {
			return unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		}},
		{"longer files", "", func(target) error {
			return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: maxFile + 1, Max: maxFile + 1})
		}},
		{"capabilities", "", func(target) error {
			text, err := os.ReadFile("/proc/self/status")
			for line := range strings.Lines(string(text)) {
				// Without new privileges the bounds give nothing.
				if strings.HasPrefix(line, "Cap") && !strings.HasPrefix(line, "CapBnd") && strings.Trim(strings.Fields(line)[1], "0") != "" {
					return nil
				}
			}
			return errors.Join(err, errors.New("there are none"))
		}},
		{"new privileges", "", func(target) error {
			n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			if err == nil && n == 1 {
				err = errors.New("given up")
			}
			return err
		}},
	}
}

func waysOut() []way {
	ways := []way{
		{"UDP to the machine", anyNetwork, func(t target) error { return dial("udp", t.UDP) }},
		{"the metadata address", anyNetwork, func(target) error { return dial("udp", "169.254.169.254:80") }},
		{"a name server", anyNetwork, func(target) error { return dial("udp", "192.0.2.53:53") }},
		{"the machine's interfaces", anyNetwork, func(target) error {
			all, err := net.Interfaces()
			if err == nil && len(all) < 2 {
				err = errors.New("only loopback")
			}
			return err
		}},
		{"the machine's connections", seesNetwork, func(t target) error {
			_, port, _ := net.SplitHostPort(t.TCP[0])
			n, _ := strconv.Atoi(port)
			return has("/proc/net/tcp", fmt.Sprintf(":%04X ", n))
		}},
		{"Docker", anySocket, func(target) error {
			return first(dial("unix", "/var/run/docker.sock"), dial("unix", "/run/containerd/containerd.sock"))
		}},
		{"vsock", "", func(target) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) }},
		{"a raw socket", "", func(target) error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
		{"a packet socket", "", func(target) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
		{"the kernel's ciphers", "", func(target) error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) }},
		{"bluetooth", "", func(target) error { return socket(unix.AF_BLUETOOTH, unix.SOCK_RAW, 0) }},
		{"a terminal", "", func(target) error { return has("/dev/tty", "") }},
		{"making a terminal of standard input", "", func(target) error { return unix.IoctlSetInt(0, unix.TIOCSCTTY, 1) }},
		{"words into a terminal", "", func(target) error {
			c := byte('x')
			return call(unix.SYS_IOCTL, []syscall.Errno{unix.ENOTTY, unix.EIO}, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c)))
		}},
		{"words into a console", "", func(target) error {
			c := byte(3)
			return call(unix.SYS_IOCTL, []syscall.Errno{unix.ENOTTY, unix.EIO}, 0, unix.TIOCLINUX, uintptr(unsafe.Pointer(&c)))
		}},
	}
	for i, name := range []string{"TCP to the machine", "TCP to the machine by IPv6"} {
		ways = append(ways, way{name, anyNetwork, func(t target) error {
			if len(t.TCP) <= i {
				return errors.New("the machine has no IPv6")
			}
			return dial("tcp", t.TCP[i])
		}})
	}
	for i, name := range []string{"a unix socket of the machine", "an abstract unix socket of the machine"} {
		ways = append(ways, way{name, anySocket, func(t target) error { return dial("unix", t.Unix[i]) }})
	}
	return ways
}

func waysIntoTheKernel() []way {
	simple := func(name string, number uintptr, through []syscall.Errno, args ...uintptr) way {
		return way{name, "", func(target) error { return call(number, through, args...) }}
	}
	bad := []syscall.Errno{unix.EINVAL, unix.EFAULT, unix.EBADF, unix.ENOKEY, unix.ENOENT, unix.E2BIG, unix.ENOEXEC}
	return []way{
		simple("unshare user", unix.SYS_UNSHARE, bad, unix.CLONE_NEWUSER), // EINVAL: this process has threads
		simple("unshare user and net", unix.SYS_UNSHARE, bad, unix.CLONE_NEWUSER|unix.CLONE_NEWNET),
		{"a process in a new user namespace", "", func(target) error {
			cmd := exec.Command("/bin/true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
			return cmd.Run()
		}},
		simple("clone3", unix.SYS_CLONE3, bad, 0, 0),
		{"setns", "", func(t target) error {
			fd, err := unix.PidfdOpen(os.Getppid(), 0)
			if err != nil {
				return err
			}
			return call(unix.SYS_SETNS, []syscall.Errno{unix.EINVAL}, uintptr(fd), unix.CLONE_NEWNET)
		}},
		{"mount", "", func(target) error {
			return errors.Join(os.MkdirAll("m", 0o755), unix.Mount("tmpfs", "m", "tmpfs", 0, ""))
		}},
		{"umount", "", func(target) error {
			return call(unix.SYS_UMOUNT2, []syscall.Errno{unix.EINVAL}, word("/proc"), unix.MNT_DETACH)
		}},
		{"open_tree", "", func(target) error {
			return call(unix.SYS_OPEN_TREE, nil, ^uintptr(99), word("/"), unix.OPEN_TREE_CLONE)
		}},
		{"fsopen", "", func(target) error { return call(unix.SYS_FSOPEN, nil, word("tmpfs"), 0) }},
		{"chroot", "", func(target) error { return call(unix.SYS_CHROOT, nil, word(".")) }},
		simple("pivot_root", unix.SYS_PIVOT_ROOT, bad, word("."), word(".")),
		simple("bpf", unix.SYS_BPF, bad, 0, 0, 0),
		simple("key rings", unix.SYS_KEYCTL, bad, 0, ^uintptr(2), 1),
		{"add_key", "", func(target) error {
			return call(unix.SYS_ADD_KEY, bad, word("user"), word("evil"), word("x"), 1, ^uintptr(2))
		}},
		simple("request_key", unix.SYS_REQUEST_KEY, bad, word("user"), word("evil"), 0, 0),
		simple("io_uring", unix.SYS_IO_URING_SETUP, bad, 1, 0),
		simple("perf_event_open", unix.SYS_PERF_EVENT_OPEN, bad, 0, 0, 0, ^uintptr(0), 0),
		simple("userfaultfd", unix.SYS_USERFAULTFD, bad, 0),
		simple("init_module", unix.SYS_INIT_MODULE, bad, 0, 0, 0),
		simple("kexec", unix.SYS_KEXEC_LOAD, bad, 0, 17, 0, 1<<63),
		simple("reboot", unix.SYS_REBOOT, bad, 0, 0, 0),
		simple("the kernel's log", unix.SYS_SYSLOG, bad, 10, 0, 0),
		simple("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, bad, ^uintptr(0), 0, 0),
		simple("fanotify", unix.SYS_FANOTIFY_INIT, bad, 0xffffffff, 0),
		simple("swapoff", unix.SYS_SWAPOFF, bad, 0),
		simple("accounting", unix.SYS_ACCT, bad, 1),
		simple("quota", unix.SYS_QUOTACTL, bad, 0, 0, 0, 0),
		{"the host's name", "", func(target) error { return unix.Sethostname([]byte("evil")) }},
		{"the clock", "", func(target) error {
			now := unix.NsecToTimespec(time.Now().UnixNano())
			return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
		}},
		simple("calls of another layout", unix.SYS_GETPID|x32Calls, nil),
	}
}
