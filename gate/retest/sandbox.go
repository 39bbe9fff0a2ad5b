package retest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"mergegate/gate"
)

// Where things are inside a sandbox.
const (
	insideTree  = "/checkout"
	insideHome  = "/home/test"
	insideChild = "/run/mergegate" // our own binary, as the first process
)

// Sandbox is what was found at the start.
type Sandbox struct {
	Name   string   // "bubblewrap", "namespaces", "landlock" or "none"
	Passed []string // the stronger ones, and why each does not work here
	Limits []string // limits that cannot be kept here
	Open   []string // what this sandbox does not stop
	weak   bool
}

// Weak says that a test is not kept away from the bot: it runs as the bot's
// own user, sees its files and the network. Changes from people who cannot
// write to the repository must not be tested in it.
func (s Sandbox) Weak() bool { return s.weak }

// String is one line for `check`, the page and the log.
func (s Sandbox) String() string {
	text := s.Name
	if s.weak {
		text += ": tests see the bot's files and network"
	}
	if len(s.Open) > 0 {
		text += "; left open: " + strings.Join(s.Open, ", ")
	}
	return strings.Join(slices.Concat([]string{text}, s.Passed, s.Limits), "; ")
}

// rung is one way to start the child.
type rung struct {
	name string
	weak bool
	bare bool // it runs in the bot's own file system and process namespace
	// open is what it does not stop, see Sandbox.Open; nil for nothing. The test
	// may have a user of its own.
	open func(ownUser bool) []string
	// command prepares the process. It is started with no environment, with
	// the socket to the child as its descriptor 3.
	command func(v view) (*exec.Cmd, error)
	// complete fills in what the child has to do itself.
	complete func(v view, s *spec)
}

// ladder is every rung, strongest first.
func ladder() []rung {
	return []rung{
		{name: "bubblewrap", command: bubblewrap, complete: inside},
		{name: "namespaces", command: namespaces, complete: func(v view, s *spec) {
			inside(v, s)
			s.Root, s.Mounts, s.Loopback = v.root, v.mounts(), !v.network
		}},
		{name: "landlock", bare: true, open: openFence, command: fenced, complete: func(v view, s *spec) {
			outside(v, s)
			s.Fence, s.User = v.fence(), v.user
		}},
		{name: "none", weak: true, bare: true, open: openNone, command: bare, complete: outside},
	}
}

// openFence and openNone are what the rungs without namespaces leave open; the
// test with the evil command finds each of them open, and nothing else.
func openFence(ownUser bool) []string {
	open := []string{seesProcesses, seesNetwork, seesFiles}
	if !ownUser {
		open = append(open, changesModes)
	}
	return open
}

func openNone(bool) []string {
	return []string{anyFile, anyNetwork, anySignal, anySocket, anyMemory, killsGuard, changesModes, seesProcesses, seesNetwork, seesFiles}
}

// Words of Sandbox.Open.
const (
	seesProcesses = "the list of processes and their arguments"
	seesNetwork   = "the machine's network tables"
	seesFiles     = "names and sizes of files, where their folders are open to the test's user"
	changesModes  = "modes and times of files that belong to mergegate's user"
	anyFile       = "every file that mergegate's user can read or write"
	anyNetwork    = "the whole network"
	anySignal     = "signals to mergegate"
	anySocket     = "unix sockets such as Docker's"
	anyMemory     = "shared memory"
	killsGuard    = "a test that kills its own guard and lives on"
)

// testUser is who runs tests inside a fence when the bot is root.
const testUser = 64990

func inside(_ view, s *spec) {
	s.Dir, s.Home = insideTree, insideHome
	s.Memories, s.Disks = []string{"/tmp", insideHome, "/dev/shm"}, []string{insideTree}
}

func outside(v view, s *spec) {
	s.Dir, s.Home, s.Tmp, s.Reap = v.tree, v.home, v.tmp, true
	s.Disks = []string{v.tree, v.home, v.tmp}
}

// view is what one test sees.
type view struct {
	tree    string // the work tree, on the host
	home    string // empty directories, on the host, for the rungs that have no others
	tmp     string
	user    int    // who runs the test; 0 for the bot's own user
	root    string // an empty directory to build a root file system on
	hide    []string
	shown   []string // by the operator's word, also below what is hidden
	network bool
}

// mount is one step in building the root file system of a sandbox.
type mount struct {
	Kind string // ro, rw: bind Src at Dst; tmpfs; link: Dst -> Src; proc; dev
	Src  string
	Dst  string
	Size int64 // tmpfs: bytes
}

// visible lists the places where systems keep programs and libraries.
func visible() []string {
	return []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix"}
}

// etc lists what programs need of /etc (globs). Everything else stays hidden,
// because machines keep passwords in odd corners of it.
func etc() []string {
	return []string{
		"alternatives", "bash.bashrc", "ca-certificates", "crypto-policies", "debian_version", "fonts",
		"group", "host.conf", "hosts", "java-*", "ld-musl-*", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
		"localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "perl", "pki/ca-trust", "pki/tls/certs",
		"pki/tls/openssl.cnf", "profile", "protocols", "python3*", "services", "shells", "ssl/certs", "ssl/openssl.cnf", "static", "terminfo", "timezone",
	}
}

// programs is what a test needs of the machine, read-only.
func (v view) programs() []mount {
	var ms []mount
	for _, dir := range visible() {
		info, err := os.Lstat(dir)
		if err != nil {
			continue
		}
		if target, err := os.Readlink(dir); err == nil {
			ms = append(ms, mount{Kind: "link", Src: target, Dst: dir})
		} else if info.IsDir() {
			ms = append(ms, mount{Kind: "ro", Src: dir, Dst: dir})
		}
	}
	files := etc()
	if v.network {
		files = append(files, "resolv.conf")
	}
	for _, pattern := range files {
		found, _ := filepath.Glob("/etc/" + pattern) // the only error is a bad pattern
		for _, name := range found {
			if src, err := filepath.EvalSymlinks(name); err == nil {
				ms = append(ms, mount{Kind: "ro", Src: src, Dst: name})
			}
		}
	}
	return ms
}

// mounts is the file system of a test: programs read-only, the work tree
// writable, memory for everything else.
func (v view) mounts() []mount {
	ms := v.programs()
	for _, dir := range v.hide {
		if slices.ContainsFunc(ms, func(m mount) bool { return m.Kind == "ro" && strings.HasPrefix(dir, m.Dst+"/") }) {
			ms = append(ms, mount{Kind: "tmpfs", Dst: dir, Size: 1 << 20})
		}
	}
	ms = append(ms, mount{Kind: "proc", Dst: "/proc"})
	// What steers the whole machine looks at nothing but the user id, which is
	// root's when the bot is root. bwrap protects only some of it.
	for _, dir := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/scsi", "/proc/acpi", "/proc/mtrr"} {
		if _, err := os.Stat(dir); err == nil {
			ms = append(ms, mount{Kind: "ro", Src: dir, Dst: dir})
		}
	}
	part := memory() / 4
	ms = append(ms,
		mount{Kind: "dev", Dst: "/dev"},
		mount{Kind: "tmpfs", Dst: "/dev/shm", Size: part},
		mount{Kind: "tmpfs", Dst: "/tmp", Size: part},
		mount{Kind: "tmpfs", Dst: insideHome, Size: part},
		mount{Kind: "link", Src: "../tmp", Dst: "/var/tmp"},
		mount{Kind: "rw", Src: v.tree, Dst: insideTree},
	)
	for _, dir := range v.shown {
		ms = append(ms, mount{Kind: "ro", Src: dir, Dst: dir})
	}
	return ms
}

// private lists directories of ours that must stay hidden, wherever they are:
// the data directory, the current directory (the configuration and its
// token files are usually there) and the home directory.
func private(dataDir string) []string {
	wd, _ := os.Getwd()
	home, _ := os.UserHomeDir()
	var dirs []string
	for _, dir := range []string{dataDir, wd, home} {
		if real, err := filepath.EvalSymlinks(dir); err == nil && filepath.IsAbs(real) {
			dirs = append(dirs, real)
		}
	}
	return dirs
}

// memory is the size of the machine's memory in bytes.
func memory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil || info.Totalram == 0 {
		return 1 << 30
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// searchPath is PATH for a test: the directories of the bot's own PATH that it can see.
func searchPath(shown []string) string {
	shown = append(visible(), shown...)
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if slices.ContainsFunc(shown, func(v string) bool { return dir == v || strings.HasPrefix(dir, v+"/") }) {
			dirs = append(dirs, dir)
		}
	}
	if dirs == nil {
		return "/usr/local/bin:/usr/bin:/bin"
	}
	return strings.Join(dirs, ":")
}

// bubblewrap leaves everything to bwrap. It must start with an empty
// environment: --clearenv would not clean what /proc/1/environ shows.
func bubblewrap(v view) (*exec.Cmd, error) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, errors.New("bwrap is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--unshare-all", "--new-session", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--hostname", "sandbox"}
	if v.network {
		args = append(args, "--share-net")
	}
	for _, m := range v.mounts() {
		switch m.Kind {
		case "ro":
			args = append(args, "--ro-bind", m.Src, m.Dst)
		case "rw":
			args = append(args, "--bind", m.Src, m.Dst)
		case "link":
			args = append(args, "--symlink", m.Src, m.Dst)
		case "tmpfs":
			args = append(args, "--size", fmt.Sprint(m.Size), "--perms", "1777", "--tmpfs", m.Dst)
		case "proc", "dev":
			args = append(args, "--"+m.Kind, m.Dst)
		}
	}
	args = append(args, "--ro-bind", self, insideChild, "--remount-ro", "/", "--chdir", "/", "--", insideChild, childArg)
	cmd := exec.Command(bwrap, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// namespaces starts our own binary in new namespaces; the child builds the
// file system. Never a user namespace without a process namespace: with the
// first alone a test can signal the bot.
func namespaces(v view) (*exec.Cmd, error) {
	flags := unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	if !v.network {
		flags |= unix.CLONE_NEWNET
	}
	cmd := exec.Command("/proc/self/exe", childArg)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		Cloneflags:  uintptr(flags),
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		// For mounts, the loopback device and giving all of them up.
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP},
	}
	return cmd, nil
}

// fenced starts our own binary in the bot's namespaces. The child draws the
// fence, and runs the command as another user if it can.
func fenced(v view) (*exec.Cmd, error) {
	if err := fenceSupport(); err != nil {
		return nil, err
	}
	if v.user != 0 {
		for dir := v.tree; dir != "/"; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err != nil {
				return nil, err
			} else if info.Mode().Perm()&1 == 0 {
				return nil, fmt.Errorf("the user %d, who runs tests, cannot pass %s: chmod o+x it, or put data_dir elsewhere", v.user, dir)
			}
		}
	}
	return bare(v)
}

// bare starts our own binary and nothing around it.
func bare(view) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe", childArg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// probe takes the first rung on which `true` really runs.
func (r *Runner) probe(ctx context.Context, rungs []rung) error {
	var found Sandbox
	for _, rg := range rungs {
		r.rung = rg
		err := r.openUp()
		if err == nil {
			err = r.try(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			found.Passed = append(found.Passed, fmt.Sprintf("%s does not work here: %v", rg.name, err))
			continue
		}
		if rg.weak {
			// At least the bot's memory and environment can be closed to its
			// own user. The price: user namespaces cannot be set up after this.
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
				return fmt.Errorf("hide the bot's memory: %w", err)
			}
		}
		found.Name, found.weak = rg.name, rg.weak
		if rg.open != nil {
			found.Open = rg.open(r.pool.owner != 0)
		}
		found.Limits = r.missing()
		r.sandbox = found
		return nil
	}
	return fmt.Errorf("run a command: %s", strings.Join(found.Passed, "; "))
}

// openUp lets another user pass to the work trees, where one will run the tests.
func (r *Runner) openUp() error {
	r.pool.owner = 0
	if r.rung.name != "landlock" || !r.canChangeUser() {
		return nil
	}
	r.pool.owner = testUser
	for _, dir := range []string{r.dir, r.pool.parent, r.pool.dir} {
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("let the user %d pass to the work trees: %w", testUser, err)
		}
	}
	return nil
}

// canChangeUser says whether tests can run as another user. root in a container
// often cannot do that.
func (r *Runner) canChangeUser() bool {
	var caps [2]unix.CapUserData
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]) != nil {
		return false
	}
	const needed = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_KILL
	if caps[0].Effective&needed != needed {
		return false
	}
	trial := filepath.Join(r.pool.dir, "trial") // the user may not exist in this namespace
	err := errors.Join(os.WriteFile(trial, nil, 0o600), os.Lchown(trial, testUser, testUser), os.Remove(trial))
	return err == nil
}

// missing lists the limits that cannot be kept.
func (r *Runner) missing() []string {
	if r.groupErr == nil {
		return nil
	}
	missing := []string{fmt.Sprintf("memory is only watched, %s apart (no control group: %v)", watchEvery, r.groupErr)}
	if os.Getuid() == 0 && r.pool.owner == 0 {
		missing = append(missing, "no limit on processes for root: run mergegate as an ordinary user")
	}
	return missing
}

// try runs `true` in an empty tree.
func (r *Runner) try(ctx context.Context) error {
	s, err := r.pool.take(ctx, gate.Repo{})
	if err != nil {
		return err
	}
	if err := s.own(); err != nil {
		return err
	}
	if s.inv, err = scan(s.tree()); err != nil {
		return err
	}
	out, err := r.newOutput()
	if err != nil {
		return err
	}
	defer os.Remove(r.logPath(out.id))
	defer r.closeOutput(out)
	res := r.execute(ctx, s, Job{Command: "true", Timeout: probeLimit}, out)
	if res.Verdict != Passed {
		return errors.New(res.Why)
	}
	return nil
}
