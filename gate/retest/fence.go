package retest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fence is what a test may reach of the file system where it has no root of
// its own: everything else is refused by landlock.
type fence struct {
	Read    []string // files and directories, with all below them
	Write   []string // directories
	Devices []string
}

// fenceVersion is the first landlock that also keeps signals and abstract
// sockets inside (Linux 6.12).
const fenceVersion = 6

const (
	canRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	canWrite = canRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK
	everyAccess = canWrite | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	ofFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// fence draws the borders of a view.
func (v view) fence() *fence {
	f := &fence{
		Read:    append([]string{"/proc"}, v.shown...),
		Write:   []string{v.tree, v.home, v.tmp},
		Devices: []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"},
	}
	for _, m := range v.programs() {
		if m.Kind == "ro" {
			f.Read = append(f.Read, around(m.Src, v.hide)...)
		}
	}
	return f
}

// around is dir, or what of it is left when the hidden directories are cut out.
func around(dir string, hide []string) []string {
	cut := false
	for _, h := range hide {
		if h == dir {
			return nil
		}
		cut = cut || strings.HasPrefix(h, dir+"/")
	}
	if !cut {
		return []string{dir}
	}
	entries, _ := os.ReadDir(dir) // what cannot be read is not shown
	var parts []string
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			parts = append(parts, around(filepath.Join(dir, e.Name()), hide)...)
		}
	}
	return parts
}

// fenceSupport says why this kernel cannot keep a test inside a fence, or nil.
func fenceSupport() error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno != 0:
		return fmt.Errorf("there is no landlock: %w", errno)
	case version < fenceVersion:
		return fmt.Errorf("landlock has version %d, and %d is needed (Linux 6.12)", version, fenceVersion)
	}
	return nil
}

// enter puts the calling thread, and all that it starts, inside the fence for
// good. Without network, TCP is closed as well. The thread must have given up
// new privileges.
func (f *fence) enter(network bool) error {
	rules := unix.LandlockRulesetAttr{
		Handled_access_fs: everyAccess,
		Scoped:            unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL,
	}
	if !network {
		rules.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), unsafe.Sizeof(rules), 0)
	if errno != 0 {
		return fmt.Errorf("draw the fence: %w", errno)
	}
	defer unix.Close(int(fd))
	var errs []error
	for access, paths := range map[uint64][]string{
		canRead: f.Read, canWrite: f.Write,
		unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV: f.Devices,
	} {
		for _, path := range paths {
			errs = append(errs, openGate(int(fd), path, access))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("enter the fence: %w", errno)
	}
	return nil
}

// openGate allows an access to a path and all below it.
func openGate(rules int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= ofFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("show %s: %w", path, errno)
	}
	return nil
}
