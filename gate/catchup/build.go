package catchup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Request asks for a candidate. Both commits must be in the mirror.
type Request struct {
	Base, Head gate.SHA
	// Method is how the candidate is made: gate.Rebase (also for "", Auto and
	// FastForward), gate.Merge (parents base and head) or gate.Squash (one
	// commit on base).
	Method  gate.Method
	Message string // for Merge and Squash
	Author  Person // for Squash; zero means the author of Head
}

// Result is a candidate, or why there is none.
type Result struct {
	Candidate, Tree gate.SHA
	Noop            bool       // head contains base already: Candidate is Head, there is nothing to push
	InBase          bool       // base has the whole change already: Candidate is Base, there is nothing to land
	Commits         int        // on top of base
	Emptied         []gate.SHA // commits of the change that are left out because base has what they do
	// Flattened are merge commits that did more than merge (a resolved
	// conflict, say). A rebase leaves them out, so the candidate is not quite
	// what was approved; compare with SameChange, or ask a person.
	Flattened []gate.SHA
	Patches   []string  // identity of each commit of the change, see SameChange
	Conflict  *Conflict // nil when the change applies; else only Patches and this are set
}

// Build makes the candidate for a request, in memory. It writes objects to the
// mirror and nothing else; it may be repeated, with the same answer, and run
// concurrently. ErrUnrelated when there is nothing in common, ErrMissing when a
// commit was not fetched, *RefusedError when the change is too much to handle. A
// change that does not apply is not an error.
func (m *Mirror) Build(ctx context.Context, r Request) (Result, error) {
	fork, err := m.MergeBase(ctx, r.Base, r.Head)
	if err != nil {
		return Result{}, fmt.Errorf("build candidate: %w", err)
	}
	if err := m.measure(ctx, r.Base, r.Head); err != nil {
		return Result{}, fmt.Errorf("build candidate: %w", err)
	}
	list, err := m.changes(ctx, r.Base, r.Head)
	if err != nil {
		return Result{}, fmt.Errorf("build candidate: %w", err)
	}
	ids := []gate.SHA{r.Base, r.Head}
	for _, c := range list {
		ids = append(ids, c.id)
	}
	objects, err := m.objects(ctx, ids...)
	if err != nil {
		return Result{}, fmt.Errorf("build candidate: %w", err)
	}
	b := builder{m: m, Request: r, fork: fork, base: objects[0], head: objects[1], list: list, commits: objects[2:]}
	res, err := b.build(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("build candidate: %w", err)
	}
	res.Patches = patches(list)
	return res, nil
}

// builder is one Build under way.
type builder struct {
	m *Mirror
	Request
	fork       gate.SHA // merge base
	base, head object
	list       []change // what head adds to base
	commits    []object // the same, as stored
}

func (b *builder) build(ctx context.Context) (Result, error) {
	switch {
	case b.fork == b.Head:
		return Result{Candidate: b.Base, Tree: b.base.tree, InBase: true, Noop: b.Base == b.Head}, nil
	case b.fork == b.Base:
		return Result{Candidate: b.Head, Tree: b.head.tree, Noop: true, Commits: len(b.list)}, nil
	case b.Method == gate.Merge || b.Method == gate.Squash:
		return b.join(ctx)
	}
	return b.rebase(ctx)
}

// join makes a single commit of the merge of base and head.
func (b *builder) join(ctx context.Context) (Result, error) {
	merged, err := b.m.merge(ctx, b.Base, b.Head)
	if err != nil {
		return Result{}, err
	}
	if !merged.clean {
		c, err := b.conflict(ctx, merged, b.head)
		return Result{Conflict: c}, err
	}
	if merged.tree == b.base.tree {
		return Result{Candidate: b.Base, Tree: b.base.tree, InBase: true, Emptied: b.flat()}, nil
	}
	date := max(b.base.when(), b.head.when())
	c := object{
		tree:      merged.tree,
		parents:   []gate.SHA{b.Base, b.Head},
		author:    b.m.committer.stamp(date),
		committer: b.m.committer.stamp(date),
		message:   strings.ReplaceAll(b.Message, "\x00", ""),
	}
	commits := len(b.list) + 1
	if c.message != "" && !strings.HasSuffix(c.message, "\n") {
		c.message += "\n"
	}
	if b.Method == gate.Squash {
		commits = 1
		c.parents = c.parents[:1]
		c.author = b.head.author
		if b.Author != (Person{}) {
			c.author = b.Author.stamp(date)
		}
	}
	id, err := b.m.write(c)
	return Result{Candidate: id, Tree: c.tree, Commits: commits}, err
}

// flat is the change's commits without merges.
func (b *builder) flat() (ids []gate.SHA) {
	for _, c := range b.list {
		if !c.merge() {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// rebase applies the change's commits to base, one by one.
func (b *builder) rebase(ctx context.Context) (Result, error) {
	var res Result
	tip := b.base
	for i, c := range b.commits {
		if b.list[i].merge() {
			if !b.list[i].empty {
				res.Flattened = append(res.Flattened, c.id)
			}
			continue
		}
		merged, err := b.pick(ctx, tip, c)
		if err != nil {
			return res, err
		}
		if !merged.clean {
			twin, err := b.inBase(ctx, b.list[i].patch)
			if err != nil {
				return res, err
			}
			if !twin {
				res.Conflict, err = b.conflict(ctx, merged, c)
				return Result{Conflict: res.Conflict}, err
			}
		}
		if !merged.clean || merged.tree == tip.tree && !b.list[i].empty {
			res.Emptied = append(res.Emptied, c.id)
			continue
		}
		next := c
		next.tree, next.parents = merged.tree, []gate.SHA{tip.id}
		next.committer = b.m.committer.stamp(max(c.when(), tip.when()))
		if next.id, err = b.m.write(next); err != nil {
			return res, err
		}
		tip = next
		res.Commits++
	}
	res.Candidate, res.Tree, res.InBase = tip.id, tip.tree, res.Commits == 0 && len(res.Flattened) == 0
	return res, nil
}

// pick merges c into tip as a cherry-pick does: with c's parent as the base.
func (b *builder) pick(ctx context.Context, tip, c object) (merged, error) {
	side := object{
		tree:      tip.tree,
		parents:   c.parents,
		author:    b.m.committer.stamp(0),
		committer: b.m.committer.stamp(0),
	}
	id, err := b.m.write(side)
	if err != nil {
		return merged{}, err
	}
	return b.m.merge(ctx, id, c.id)
}

// inBase says whether a commit with this patch landed on base since the change
// forked off.
func (b *builder) inBase(ctx context.Context, patch string) (bool, error) {
	landed, err := b.m.changes(ctx, b.fork, b.Base)
	for _, c := range landed {
		if c.patch == patch {
			return true, err
		}
	}
	return false, err
}

// merge merges two commits of the mirror: ours is base's side.
func (m *Mirror) merge(ctx context.Context, ours, theirs gate.SHA) (merged, error) {
	out, err := m.dir.Run(ctx, "", "merge-tree", "--write-tree", "-z", "--messages",
		"--allow-unrelated-histories", "--end-of-options", string(ours), string(theirs))
	if err != nil && git.Code(err) != 1 {
		return merged{}, fmt.Errorf("merge: %w", m.trouble(ctx, err, ours, theirs))
	}
	res, perr := parseMerge(out)
	res.clean = err == nil
	if perr != nil {
		return res, errors.Join(perr, err)
	}
	return res, nil
}
