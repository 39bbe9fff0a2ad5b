package forgetest

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mergegate/gate"
	"mergegate/gate/catchup"
)

// Build is as in catchup.Mirror, and makes the very same commits.
func (m *SimMirror) Build(ctx context.Context, r catchup.Request) (catchup.Result, error) {
	res, err := local(ctx, m, func(c []*commit) (catchup.Result, error) {
		bases := m.sim.git.mergeBases(c[0], c[1])
		if len(bases) == 0 {
			return catchup.Result{}, fmt.Errorf("%w: %s and %s", catchup.ErrUnrelated, r.Base, r.Head)
		}
		b := simBuild{m: m, git: m.sim.git, Request: r, fork: bases[0], base: c[0], head: c[1], list: m.sim.git.changes(c[0], c[1])}
		res := b.build()
		for _, c := range b.list {
			if d := b.git.diff(c); len(c.parents) < 2 || !d.empty {
				res.Patches = append(res.Patches, d.patch)
			}
		}
		return res, nil
	}, r.Base, r.Head)
	if err != nil {
		return res, fmt.Errorf("build candidate: %w", err)
	}
	return res, nil
}

type simBuild struct {
	m   *SimMirror
	git *graph
	catchup.Request
	fork, base, head *commit
	list             []*commit
}

func (b *simBuild) build() catchup.Result {
	switch {
	case b.fork == b.head:
		return catchup.Result{Candidate: b.base.id, Tree: b.base.tree.id, InBase: true, Noop: b.base == b.head}
	case b.fork == b.base:
		return catchup.Result{Candidate: b.head.id, Tree: b.head.tree.id, Noop: true, Commits: len(b.list)}
	case b.Method == gate.Merge || b.Method == gate.Squash:
		return b.join()
	}
	return b.rebase()
}

// stamp is who commits, at a time.
func (b *simBuild) stamp(seconds int64) string {
	return person(b.m.committer.Name, b.m.committer.Email, seconds)
}

func (b *simBuild) make(t *tree, parents []*commit, author, committer, message string) *commit {
	c := b.git.commit(t, parents, author, committer, message)
	b.m.store.have[c] = true
	return c
}

func (b *simBuild) join() catchup.Result {
	merged, clashes := b.git.merge(b.base, b.head)
	if len(clashes) > 0 {
		return catchup.Result{Conflict: b.conflict(clashes, b.head)}
	}
	if merged == b.base.tree {
		res := catchup.Result{Candidate: b.base.id, Tree: merged.id, InBase: true}
		for _, c := range b.list {
			if len(c.parents) < 2 {
				res.Emptied = append(res.Emptied, c.id)
			}
		}
		return res
	}
	date := max(b.base.when(), b.head.when())
	message := strings.ReplaceAll(b.Message, "\x00", "")
	if message != "" && !strings.HasSuffix(message, "\n") {
		message += "\n"
	}
	parents, author, commits := []*commit{b.base, b.head}, b.stamp(date), len(b.list)+1
	if b.Method == gate.Squash {
		parents, author, commits = parents[:1], b.head.author, 1
		if b.Author != (catchup.Person{}) {
			author = person(b.Author.Name, b.Author.Email, date)
		}
	}
	c := b.make(merged, parents, author, b.stamp(date), message)
	return catchup.Result{Candidate: c.id, Tree: merged.id, Commits: commits}
}

func (b *simBuild) rebase() catchup.Result {
	var res catchup.Result
	tip := b.base
	for _, c := range b.list {
		d := b.git.diff(c)
		if len(c.parents) > 1 {
			if !d.empty {
				res.Flattened = append(res.Flattened, c.id)
			}
			continue
		}
		before := b.git.treeOf(nil)
		if len(c.parents) == 1 {
			before = c.parents[0].tree
		}
		merged, clashes := b.git.merge3(before, tip.tree, c.tree, "pick")
		if len(clashes) > 0 && !b.inBase(d.patch) {
			return catchup.Result{Conflict: b.conflict(clashes, c)}
		}
		if len(clashes) > 0 || merged == tip.tree && !d.empty {
			res.Emptied = append(res.Emptied, c.id)
			continue
		}
		tip = b.make(merged, []*commit{tip}, c.author, b.stamp(max(c.when(), tip.when())), c.message)
		res.Commits++
	}
	res.Candidate, res.Tree, res.InBase = tip.id, tip.tree.id, res.Commits == 0 && len(res.Flattened) == 0
	return res
}

// inBase says whether a commit with this patch landed on base since the change
// forked off.
func (b *simBuild) inBase(patch string) bool {
	return slices.ContainsFunc(b.git.changes(b.fork, b.base), func(c *commit) bool { return b.git.diff(c).patch == patch })
}

func (b *simBuild) conflict(clashes []clash, at *commit) *catchup.Conflict {
	method := b.Method
	if method != gate.Merge && method != gate.Squash {
		method = gate.Rebase
	}
	c := &catchup.Conflict{Base: b.base.id, Head: b.head.id, At: at.id, Subject: at.subject(), Method: method}
	for _, x := range clashes {
		f := catchup.File{Path: x.path, Kind: x.kind()}
		b.blame(&f)
		c.Files = append(c.Files, f)
	}
	return c
}

func (c clash) kind() catchup.Kind {
	switch {
	case c.inOurs && c.inTheirs && !c.inBase:
		return catchup.AddAdd
	case c.inBase && c.inOurs != c.inTheirs:
		return catchup.ModifyDelete
	case !c.inTheirs && !c.inBase:
		return catchup.DirectoryFile
	}
	return catchup.Content
}

// blame finds the last commit of base's first-parent line that touched a file.
func (b *simBuild) blame(f *catchup.File) {
	old := b.git.reach(b.fork)
	for at := b.base; at.mark != old; at = at.parents[0] {
		before := b.git.treeOf(nil)
		if len(at.parents) > 0 {
			before = at.parents[0].tree
		}
		touched := false
		eachChange(before, at.tree, func(path, _, _ string) { touched = touched || path == f.Path })
		if touched {
			f.ByCommit, f.BySubject, f.ByPR = at.id, at.subject(), namedPR(at.message)
			return
		}
		if len(at.parents) == 0 {
			return
		}
	}
}

var namesPR = regexp.MustCompile(`(?m)^Merge pull request #(\d+)|^.*\(#(\d+)\)`)

// namedPR is the pull request that a landed commit's message names; 0 for none.
func namedPR(message string) int {
	found := append(namesPR.FindStringSubmatch(message), "", "", "")
	n, _ := strconv.Atoi(cmp.Or(found[1], found[2]))
	return n
}
