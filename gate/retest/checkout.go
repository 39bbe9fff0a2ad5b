package retest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mergegate/gate"
	"mergegate/internal/git"
)

// difference is what has to happen to a slot's tree. Removals come first.
type difference struct {
	removed []string // paths of the old tree
	deleted []string // those of them that the new tree does not have
	written []string // paths of the new tree
}

// checkout makes the work tree that of the commit, which must be want. Git
// writes into an empty directory of its own, never where a test ran: every file
// for an empty slot, and for a used one what differs or was spoiled, which is
// then moved in. After an error the slot must be discarded.
func (s *slot) checkout(ctx context.Context, mirror git.Dir, commit, want gate.SHA) error {
	g := git.Dir{
		Path: mirror.Path, WorkTree: filepath.Join(s.dir, "stage"), Count: mirror.Count,
		Env: []string{"GIT_INDEX_FILE=" + filepath.Join(s.dir, "index")},
	}
	if err := os.Mkdir(g.WorkTree, 0o755); err != nil {
		return err
	}
	got, err := g.Run(ctx, "", "show", "-s", "--format=%T", "--end-of-options", string(commit))
	if err != nil {
		return err
	}
	if tree := gate.SHA(strings.TrimSpace(got)); tree != want {
		return fmt.Errorf("commit %s has the tree %s, not %s as asked", commit.Short(), tree.Short(), want.Short())
	}
	if s.at == "" {
		err = s.fill(ctx, g, want)
	} else {
		err = s.follow(ctx, g, want)
	}
	if err != nil {
		return err
	}
	s.at, s.spoiled = want, nil
	return s.settle(ctx)
}

// fill checks out every file.
func (s *slot) fill(ctx context.Context, g git.Dir, want gate.SHA) error {
	if _, err := g.Run(ctx, "", "read-tree", "-m", "-u", string(want)); err != nil {
		return err
	}
	err := os.Remove(s.tree())
	if err == nil {
		err = os.Rename(g.WorkTree, s.tree())
	}
	if err == nil {
		err = s.own()
	}
	if err == nil {
		s.inv, err = scan(s.tree())
	}
	return err
}

// follow checks out what differs from s.at, and what was spoiled.
func (s *slot) follow(ctx context.Context, g git.Dir, want gate.SHA) error {
	d, err := s.compare(ctx, g, want)
	if err != nil {
		return err
	}
	if len(d.written) > 0 {
		if _, err := g.Run(ctx, "", "read-tree", string(want)); err != nil {
			return err
		}
		if _, err := g.Run(ctx, strings.Join(d.written, "\x00")+"\x00", "checkout-index", "-z", "--stdin"); err != nil {
			return err
		}
	}
	if err := s.move(d); err != nil {
		return err
	}
	if err := os.RemoveAll(g.WorkTree); err != nil {
		return err
	}
	if err := s.own(); err != nil {
		return err
	}
	return s.inv.update(s.tree(), d.deleted, d.written)
}

// compare says how to come from s.at to want. Attributes decide how files are
// written that differ in nothing else, so where they changed it is an error.
func (s *slot) compare(ctx context.Context, g git.Dir, want gate.SHA) (difference, error) {
	var d difference
	out, err := g.Run(ctx, "", "diff-tree", "-r", "-z", "--no-renames", "--name-status", string(s.at), string(want))
	if err != nil {
		return d, err
	}
	changed := map[string]bool{}
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	for i := 0; i+1 < len(fields); i += 2 {
		status, p := fields[i], fields[i+1]
		changed[p] = true
		if status != "A" {
			d.removed = append(d.removed, p)
		}
		if status == "D" {
			d.deleted = append(d.deleted, p)
		} else {
			d.written = append(d.written, p)
		}
	}
	for _, p := range s.spoiled {
		if !changed[p] {
			changed[p] = true
			d.written = append(d.written, p)
		}
	}
	for p := range changed {
		if path.Base(p) == ".gitattributes" {
			return d, fmt.Errorf("%q has changed", p)
		}
	}
	return d, nil
}

// move removes from the tree what has to go, with directories that are empty
// then, and moves in what git has written.
func (s *slot) move(d difference) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range d.removed {
		if err := root.Remove("tree/" + p); err != nil && !errors.Is(err, fs.ErrNotExist) { // spoiled
			return err
		}
		for up := path.Dir(p); up != "."; up = path.Dir(up) {
			if root.Remove("tree/"+up) != nil {
				break
			}
		}
	}
	for _, p := range d.written {
		if err := root.MkdirAll("tree/"+path.Dir(p), 0o777); err != nil {
			return err
		}
		if err := root.Rename("stage/"+p, "tree/"+p); err != nil {
			return err
		}
	}
	return nil
}

// own gives the files in the tree to the slot's owner. No test runs there now.
func (s *slot) own() error {
	if s.owner == 0 {
		return nil
	}
	return filepath.WalkDir(s.tree(), func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err == nil && int(st.Uid) != s.owner {
			err = os.Lchown(path, s.owner, s.owner)
		}
		return err
	})
}

// settle waits until a change to any file must move its change time. The
// kernel's file clock ticks at most every 10 ms (HZ=100), and a test that writes
// within the same tick as the checkout would leave the stamp as it was.
func (s *slot) settle(ctx context.Context) error {
	wait := time.NewTimer(time.Until(s.inv.newest().Add(25 * time.Millisecond)))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wait.C:
		return nil
	}
}
