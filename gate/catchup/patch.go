package catchup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"mergegate/gate"
)

// change is one commit of a pull request and what it changes.
type change struct {
	id      gate.SHA
	parents []gate.SHA
	patch   string // identity of its diff
	empty   bool   // it changes nothing; for a merge: nothing beyond merging
}

func (c change) merge() bool { return len(c.parents) > 1 }

// changes lists the commits that head has and base has not, parents first.
//
// The identity of a commit's change follows `git patch-id --verbatim`: the
// SHA-256 of its diff with three lines of context, whitespace included, without
// line numbers and, for text, without blob ids. It is computed here because
// git's own differs between versions (binary files and modes), and replicas
// must agree. Moving a commit keeps its identity as long as the lines around it
// are the same.
//
// A merge commit is compared with the merge that git would have made
// (--remerge-diff); one that adds nothing has no part in an identity. An
// octopus cannot be compared so and stands for itself. The log is asked newest
// first, because git forgets the parents of each commit it has shown: with
// --reverse it would no longer know what a later merge has in common.
func (m *Mirror) changes(ctx context.Context, base, head gate.SHA) ([]change, error) {
	if !base.Valid() || !head.Valid() {
		return nil, fmt.Errorf("read the change %q..%q: %w", base, head, errNotID)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := m.dir.Stream(ctx, nil, w, "log", "--topo-order", "--format=%x01%H %P",
			"--patch", "--remerge-diff", "--full-index", "--no-renames", "--no-textconv", "--no-ext-diff",
			"--no-color", "--diff-algorithm=myers", "--indent-heuristic", "--unified=3", "--inter-hunk-context=0",
			"--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--end-of-options", string(head), "^"+string(base), "--")
		w.CloseWithError(err)
		done <- err
	}()
	list, perr := parseChanges(r)
	_ = r.CloseWithError(perr)
	if err := <-done; err != nil {
		return nil, fmt.Errorf("read the change: %w", m.trouble(ctx, err, base, head))
	}
	slices.Reverse(list)
	return list, perr
}

// parseChanges reads the log. A line with \x01 in front can only be a header:
// in a diff, every line of content follows ' ', '+', '-' or '\', and names with
// control characters are quoted.
func parseChanges(r io.Reader) ([]change, error) {
	var list []change
	var sum hash.Hash
	finish := func() {
		if len(list) == 0 {
			return
		}
		c := &list[len(list)-1]
		c.patch = hex.EncodeToString(sum.Sum(nil))
		if len(c.parents) > 2 {
			c.patch, c.empty = "octopus "+string(c.id), false
		}
	}
	in := bufio.NewReaderSize(r, 64<<10)
	index, inside := "", false // inside: in the middle of a line longer than the buffer
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		text := string(line)
		switch {
		case inside:
			sum.Write(line)
		case text == "" || text == "\n":
		case text[0] == 1:
			finish()
			ids := strings.Fields(text[1:])
			c := change{id: gate.SHA(ids[0]), empty: true}
			for _, p := range ids[1:] {
				c.parents = append(c.parents, gate.SHA(p))
			}
			list, sum, index = append(list, c), sha256.New(), ""
		case len(list) == 0:
			return nil, fmt.Errorf("read the change: git log said %q before the first commit", text)
		case strings.HasPrefix(text, "index "):
			index = text // counts only if the content is not shown
		default:
			list[len(list)-1].empty = false
			if strings.HasPrefix(text, "@@ ") {
				text = "@@\n"
			} else if strings.HasPrefix(text, "Binary files ") {
				text = index + text
			}
			io.WriteString(sum, text)
		}
		if err == io.EOF {
			finish()
			return list, nil
		}
		inside = err != nil
	}
}

// patches are the identities of the changes, without merges that add nothing.
func patches(list []change) []string {
	var ids []string
	for _, c := range list {
		if !c.merge() || !c.empty {
			ids = append(ids, c.patch)
		}
	}
	return ids
}

// SameChange says whether two heads bring the same change, each to its own
// base: the same patches, commit by commit, in the same order. It is strict:
// whitespace counts, a resolved conflict in a merge commit counts, and so do
// the lines around a change. Authors and messages do not.
func (m *Mirror) SameChange(ctx context.Context, base1, head1, base2, head2 gate.SHA) (bool, error) {
	a, err := m.changes(ctx, base1, head1)
	if err != nil {
		return false, err
	}
	b, err := m.changes(ctx, base2, head2)
	if err != nil {
		return false, err
	}
	return slices.Equal(patches(a), patches(b)), nil
}
