package retest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// enter builds a root file system of the mounts on the empty directory root,
// and makes it this process's only one. It needs a mount namespace of its own.
// Flags are added with mount_setattr, which keeps those that the host has
// locked and reaches the mounts below (Linux 5.12).
func enter(root string, mounts []mount) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("take the mounts out of the host's sight: %w", err)
	}
	if err := mountTmpfs(root, 1<<20, "0755"); err != nil {
		return err
	}
	for _, m := range mounts {
		if err := m.apply(filepath.Join(root, m.Dst)); err != nil {
			return err
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root ends up on top of the new one, and is let go from there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return addFlags("/", unix.MOUNT_ATTR_RDONLY, 0)
}

func (m mount) apply(dst string) error {
	switch m.Kind {
	case "link":
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		return os.Symlink(m.Src, dst)
	case "ro":
		return bind(m.Src, dst, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	case "rw":
		return bind(m.Src, dst, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	case "tmpfs":
		return mountTmpfs(dst, m.Size, "1777")
	case "proc":
		return mountProc(dst)
	case "dev":
		return mountDev(dst)
	}
	return fmt.Errorf("mount of unknown kind %q", m.Kind)
}

func bind(src, dst string, flags uint64) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	if _, lost := os.Lstat(dst); lost == nil {
		// in /proc everything is there already
	} else if info.IsDir() {
		err = os.MkdirAll(dst, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(dst), 0o755); err == nil {
		err = os.WriteFile(dst, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(src, dst, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s: %w", src, err)
	}
	return addFlags(dst, flags, unix.AT_RECURSIVE)
}

func addFlags(dst string, flags uint64, how uint) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, dst, how, &unix.MountAttr{Attr_set: flags}); err != nil {
		return fmt.Errorf("restrict the mount %s: %w", dst, err)
	}
	return nil
}

func mountTmpfs(dst string, size int64, mode string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("size=%d,mode=%s", size, mode)
	if err := unix.Mount("tmpfs", dst, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount memory at %s: %w", dst, err)
	}
	return nil
}

// mountProc shows the processes of the new namespace.
func mountProc(dst string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", dst, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// mountDev makes the few devices that every program may use.
func mountDev(dst string) error {
	if err := mountTmpfs(dst, 1<<20, "0755"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+name, filepath.Join(dst, name), unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dst, name)); err != nil {
			return err
		}
	}
	pts := filepath.Join(dst, "pts")
	if err := os.Mkdir(pts, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("devpts", pts, "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	return nil
}
