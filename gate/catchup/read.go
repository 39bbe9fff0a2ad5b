package catchup

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// All of this reads the mirror only, may run concurrently, and answers
// ErrMissing for commits that were not fetched.

// Tree is the commit's tree.
func (m *Mirror) Tree(ctx context.Context, c gate.SHA) (gate.SHA, error) {
	list, err := m.objects(ctx, c)
	if err != nil {
		return "", err
	}
	return list[0].tree, nil
}

// Parents are the commit's parents, first parent first.
func (m *Mirror) Parents(ctx context.Context, c gate.SHA) ([]gate.SHA, error) {
	list, err := m.objects(ctx, c)
	if err != nil {
		return nil, err
	}
	return list[0].parents, nil
}

// IsAncestor says whether a is b or reachable from it.
func (m *Mirror) IsAncestor(ctx context.Context, a, b gate.SHA) (bool, error) {
	if !a.Valid() || !b.Valid() {
		return false, fmt.Errorf("compare %q and %q: %w", a, b, errNotID)
	}
	_, err := m.dir.Run(ctx, "", "merge-base", "--is-ancestor", "--end-of-options", string(a), string(b))
	if git.Code(err) == 1 {
		return false, nil
	}
	if err != nil {
		return false, m.trouble(ctx, err, a, b)
	}
	return true, nil
}

// MergeBase is the best common ancestor, one of them if there are several;
// ErrUnrelated if there is none.
func (m *Mirror) MergeBase(ctx context.Context, a, b gate.SHA) (gate.SHA, error) {
	if !a.Valid() || !b.Valid() {
		return "", fmt.Errorf("compare %q and %q: %w", a, b, errNotID)
	}
	out, err := m.dir.Run(ctx, "", "merge-base", "--end-of-options", string(a), string(b))
	if git.Code(err) == 1 {
		return "", fmt.Errorf("%w: %s and %s", ErrUnrelated, a, b)
	}
	if err != nil {
		return "", m.trouble(ctx, err, a, b)
	}
	return gate.SHA(strings.TrimSpace(out)), nil
}

// File reads a regular file of at most max bytes. fs.ErrNotExist when the
// commit has no such path; a larger file, a directory, a symbolic link or a
// submodule is another error.
func (m *Mirror) File(ctx context.Context, c gate.SHA, path string, max int64) ([]byte, error) {
	if !fs.ValidPath(path) {
		return nil, fmt.Errorf("read %q: not a path in a repository", path)
	}
	tree, err := m.Tree(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	out, err := m.dir.Run(ctx, "", "ls-tree", "-z", "-l", "--full-tree", "--end-of-options", string(tree), "--", path)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, m.trouble(ctx, err))
	}
	head, name, _ := strings.Cut(strings.TrimSuffix(out, "\x00"), "\t")
	if name != path {
		return nil, fmt.Errorf("read %q in %s: %w", path, c.Short(), fs.ErrNotExist)
	}
	entry := strings.Fields(head) // mode, type, id, size
	if len(entry) != 4 || entry[0] != "100644" && entry[0] != "100755" {
		return nil, fmt.Errorf("read %q in %s: it is not a regular file", path, c.Short())
	}
	if size, err := strconv.ParseInt(entry[3], 10, 64); err != nil || size > max {
		return nil, fmt.Errorf("read %q in %s: it has %s bytes, more than %d", path, c.Short(), entry[3], max)
	}
	data, err := m.dir.Run(ctx, "", "cat-file", "blob", entry[2])
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, m.trouble(ctx, err))
	}
	return []byte(data), nil
}

// Paths are the names of the files that differ between two commits. A renamed
// file is two names.
func (m *Mirror) Paths(ctx context.Context, from, to gate.SHA) ([]string, error) {
	if !from.Valid() || !to.Valid() {
		return nil, fmt.Errorf("compare %q and %q: %w", from, to, errNotID)
	}
	out, err := m.dir.Run(ctx, "", "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--end-of-options", string(from), string(to), "--")
	if err != nil {
		return nil, m.trouble(ctx, err, from, to)
	}
	if out == "" {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(out, "\x00"), "\x00"), nil
}

// Commit is a commit, for audit and reports. Text is as its author wrote it.
type Commit struct {
	ID, Tree          gate.SHA
	Parents           []gate.SHA
	Author, Committer Person
	Time              time.Time // of the committer, UTC
	Subject           string
	Message           string
}

// Log lists the commits from to back to from (which is left out) along first
// parents, newest first, at most max of them. From "" means to the root.
func (m *Mirror) Log(ctx context.Context, from, to gate.SHA, max int) ([]Commit, error) {
	if from != "" && !from.Valid() || !to.Valid() {
		return nil, fmt.Errorf("log %q..%q: %w", from, to, errNotID)
	}
	args := []string{"rev-list", "--first-parent", "--max-count=" + strconv.Itoa(max), "--end-of-options", string(to)}
	known := []gate.SHA{to}
	if from != "" {
		args, known = append(args, "^"+string(from)), append(known, from)
	}
	out, err := m.dir.Run(ctx, "", append(args, "--")...)
	if err != nil {
		return nil, fmt.Errorf("log: %w", m.trouble(ctx, err, known...))
	}
	var ids []gate.SHA
	for _, id := range strings.Fields(out) {
		ids = append(ids, gate.SHA(id))
	}
	objects, err := m.objects(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var list []Commit
	for _, o := range objects {
		c := Commit{ID: o.id, Tree: o.tree, Parents: o.parents, Subject: o.subject(), Message: o.message}
		c.Author, _ = parsePerson(o.author)
		c.Committer, c.Time = parsePerson(o.committer)
		list = append(list, c)
	}
	return list, nil
}
