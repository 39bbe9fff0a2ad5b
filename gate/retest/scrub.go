package retest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// stamp is what tells an untouched file from a touched one. The change time
// is the part that a test cannot set: writing, renaming, linking, chmod and
// setting the other times all move it.
type stamp struct {
	ino          uint64
	size         int64
	mode         uint32
	mtime, ctime int64  // nanoseconds
	xattrs       string // directories only: names of extended attributes
}

func (s stamp) isDir() bool { return s.mode&unix.S_IFMT == unix.S_IFDIR }

// inventory is everything in a work tree, right after a checkout: slash
// separated paths, "" for the tree itself. Of directories only the mode and
// the names of extended attributes matter later.
type inventory map[string]stamp

// lstat reads a stamp without following a link.
func lstat(dir *os.File, name string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stamp{}, fmt.Errorf("stat %s: %w", filepath.Join(dir.Name(), name), err)
	}
	return stamp{ino: st.Ino, size: st.Size, mode: st.Mode, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()}, nil
}

// openDir opens a directory that is not a link. parent may be nil.
func openDir(parent *os.File, name string) (*os.File, error) {
	at, full := unix.AT_FDCWD, name
	if parent != nil {
		at, full = int(parent.Fd()), filepath.Join(parent.Name(), name)
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", full, err)
	}
	return os.NewFile(uintptr(fd), full), nil
}

// dirStamp is the stamp of an open directory, with its extended attributes.
func dirStamp(dir *os.File) (stamp, error) {
	st, err := lstat(dir, ".")
	if err != nil {
		return st, err
	}
	names := make([]byte, 4096)
	n, err := unix.Flistxattr(int(dir.Fd()), names)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return st, fmt.Errorf("list the attributes of %s: %w", dir.Name(), err)
	}
	st.xattrs = string(names[:max(n, 0)])
	return st, nil
}

// scan records everything in tree.
func scan(tree string) (inventory, error) {
	dir, err := openDir(nil, tree)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	inv := inventory{}
	return inv, inv.scan(dir, "")
}

func (inv inventory) scan(dir *os.File, at string) error {
	st, err := dirStamp(dir)
	if err != nil {
		return err
	}
	inv[at] = st
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		p := path.Join(at, name)
		st, err := lstat(dir, name)
		if err != nil {
			return err
		}
		if !st.isDir() {
			inv[p] = st
			continue
		}
		sub, err := openDir(dir, name)
		if err != nil {
			return err
		}
		err = inv.scan(sub, p)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// update brings the inventory in line with a checkout that deleted and wrote
// the given paths, and touched nothing else.
func (inv inventory) update(tree string, deleted, written []string) error {
	root, err := openDir(nil, tree)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range deleted {
		delete(inv, p)
	}
	for _, p := range slices.Concat(deleted, written) {
		if err := inv.updateParents(root, p); err != nil {
			return err
		}
	}
	for _, p := range written {
		st, err := lstat(root, p)
		if err != nil {
			return err
		}
		if st.isDir() { // a submodule's place
			if err := inv.updateParents(root, p+"/"); err != nil {
				return err
			}
			continue
		}
		inv[p] = st
	}
	return nil
}

// updateParents looks at each directory above p, from the top; where one is
// not there any more, nothing below it is.
func (inv inventory) updateParents(root *os.File, p string) error {
	for i, c := range p {
		if c != '/' {
			continue
		}
		dir, err := openDir(root, p[:i])
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			for j := i; j < len(p); j++ {
				if p[j] == '/' && inv[p[:j]].isDir() {
					delete(inv, p[:j])
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		st, err := dirStamp(dir)
		dir.Close()
		if err != nil {
			return err
		}
		inv[p[:i]] = st
	}
	return nil
}

// newest is the latest change time of any file.
func (inv inventory) newest() time.Time {
	var ns int64
	for _, st := range inv {
		ns = max(ns, st.ctime)
	}
	return time.Unix(0, ns)
}

// scrub takes tree back to the inventory, after all processes that could
// write there are dead: what is new goes to the trash, what was changed is
// deleted and returned as spoiled together with what is missing. Directories
// get their mode back, and are deleted when nothing is left in them, as git
// does. The caller writes the spoiled paths again. After
// an error the tree is good for nothing.
func (inv inventory) scrub(tree string, bin *trash) (spoiled []string, err error) {
	if err := os.Chmod(tree, os.FileMode(inv[""].mode&0o777)); err != nil {
		return nil, err
	}
	dir, err := openDir(nil, tree)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	s := scrubber{inv: inv, clean: make(map[string]bool, len(inv)), parents: map[string]bool{}, bin: bin}
	for p := range inv {
		if p != "" {
			s.parents[strings.TrimPrefix(path.Dir(p), ".")] = true
		}
	}
	if _, err := s.dir(dir, ""); err != nil {
		return nil, err
	}
	for p := range inv {
		if s.clean[p] || p == "" {
			continue
		}
		delete(inv, p)
		if !s.parents[p] {
			spoiled = append(spoiled, p)
		}
	}
	return spoiled, nil
}

type scrubber struct {
	inv     inventory
	clean   map[string]bool // as in the inventory; of directories: something in it is
	parents map[string]bool // directories with something in them; git knows one without as a submodule
	bin     *trash
}

// dir scrubs an open directory, and says whether anything in it is clean.
func (s *scrubber) dir(dir *os.File, at string) (bool, error) {
	st, err := dirStamp(dir)
	if err != nil {
		return false, err
	}
	if st.xattrs != s.inv[at].xattrs {
		return false, fmt.Errorf("%s has other attributes than before", dir.Name())
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	left := false
	for _, name := range names {
		clean, err := s.entry(dir, name, path.Join(at, name))
		if err != nil {
			return false, err
		}
		left = left || clean
	}
	return left, nil
}

// entry scrubs one entry of a directory, and says whether it is still there.
func (s *scrubber) entry(dir *os.File, name, p string) (bool, error) {
	st, err := lstat(dir, name)
	if err != nil {
		return false, err
	}
	want, known := s.inv[p]
	if !known || !(st == want || st.isDir() && want.isDir()) {
		return false, s.bin.toss(dir, name, st)
	}
	if !st.isDir() {
		s.clean[p] = true
		return true, nil
	}
	if st.mode != want.mode {
		if err := unix.Fchmodat(int(dir.Fd()), name, want.mode&0o7777, 0); err != nil {
			return false, fmt.Errorf("chmod %s: %w", filepath.Join(dir.Name(), name), err)
		}
	}
	sub, err := openDir(dir, name)
	if err != nil {
		return false, err
	}
	defer sub.Close()
	left, err := s.dir(sub, p)
	if err != nil {
		return false, err
	}
	if s.parents[p] && !left {
		return false, unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
	}
	s.clean[p] = true
	return true, nil
}

// trash deletes directories that strangers filled. A directory is first moved
// into the trash under a name of ours and made accessible; emptying it moves
// each directory found inside up to the same level. So neither depth, long
// paths, permissions nor odd names matter, and no link is ever followed.
// Safe for concurrent use.
type trash struct {
	path string
	mu   sync.Mutex // one empties at a time
}

// toss deletes name in dir: a file at once, a directory by moving it here.
func (t *trash) toss(dir *os.File, name string, st stamp) error {
	if !st.isDir() {
		if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
			return fmt.Errorf("delete %s: %w", filepath.Join(dir.Name(), name), err)
		}
		return nil
	}
	// Moving a directory writes its "..", which takes the right to write to it.
	if err := unix.Fchmodat(int(dir.Fd()), name, 0o700, 0); err != nil {
		return fmt.Errorf("chmod %s: %w", filepath.Join(dir.Name(), name), err)
	}
	to := filepath.Join(t.path, rand.Text())
	if err := unix.Renameat(int(dir.Fd()), name, unix.AT_FDCWD, to); err != nil {
		return fmt.Errorf("move %s to the trash: %w", filepath.Join(dir.Name(), name), err)
	}
	return nil
}

// tossPath is toss for a path of ours. One that does not exist is no error.
func (t *trash) tossPath(p string) error {
	dir, err := openDir(nil, filepath.Dir(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := lstat(dir, filepath.Base(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.toss(dir, filepath.Base(p), st)
}

// empty deletes everything that was tossed.
func (t *trash) empty() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		top, err := openDir(nil, t.path)
		if err != nil {
			return err
		}
		names, err := top.Readdirnames(-1)
		for _, name := range names {
			if err == nil {
				err = t.emptyOne(top, name)
			}
		}
		top.Close()
		if err != nil || len(names) == 0 {
			return err
		}
	}
}

func (t *trash) emptyOne(top *os.File, name string) error {
	dir, err := openDir(top, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		st, err := lstat(dir, n)
		if err == nil {
			err = t.toss(dir, n, st)
		}
		if err != nil {
			return err
		}
	}
	return unix.Unlinkat(int(top.Fd()), name, unix.AT_REMOVEDIR)
}
