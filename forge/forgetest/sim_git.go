package forgetest

import (
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mergegate/gate"
)

// graph is git in memory: trees of regular files, commits, and the questions
// that are asked about them. Ids are git's own (SHA-1 of git's own encoding), so
// that what is built here can be compared with what git builds. Files are merged
// as a whole: two sides that change the same file differently are a conflict,
// also where git would merge their lines.
type graph struct {
	commits map[gate.SHA]*commit
	trees   map[gate.SHA]*tree
	blobs   map[string]gate.SHA
	diffs   map[*commit]diffOf
	epoch   uint32
}

func newGraph() *graph {
	return &graph{
		commits: map[gate.SHA]*commit{}, trees: map[gate.SHA]*tree{},
		blobs: map[string]gate.SHA{}, diffs: map[*commit]diffOf{},
	}
}

// tree is a whole directory with everything below it, interned: equal trees are
// the same pointer. Entries are sorted by path.
type tree struct {
	id      gate.SHA
	entries []entry
}

type entry struct{ path, text string }

func (t *tree) at(path string) (string, bool) {
	i, ok := slices.BinarySearchFunc(t.entries, path, func(e entry, p string) int { return cmp.Compare(e.path, p) })
	if !ok {
		return "", false
	}
	return t.entries[i].text, true
}

// commit is a commit. Author and committer are whole lines, as git has them.
type commit struct {
	id                gate.SHA
	tree              *tree
	parents           []*commit
	author, committer string
	message           string
	depth             int    // more than that of every parent
	mark              uint32 // scratch: the epoch of the last walk that met it
	waits             int    // scratch of changes
}

func (c *commit) when() int64 {
	fields := strings.Fields(c.committer[strings.LastIndex(c.committer, ">")+1:])
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n
}

func (c *commit) subject() string {
	s, _, _ := strings.Cut(strings.TrimLeft(c.message, "\n"), "\n")
	return s
}

func person(name, email string, seconds int64) string {
	return name + " <" + email + "> " + strconv.FormatInt(seconds, 10) + " +0000"
}

func object(kind string, body []byte) gate.SHA {
	h := sha1.New()
	h.Write([]byte(kind + " " + strconv.Itoa(len(body)) + "\x00"))
	h.Write(body)
	return gate.SHA(hex.EncodeToString(h.Sum(nil)))
}

func (g *graph) blob(text string) gate.SHA {
	id := g.blobs[text]
	if id == "" {
		id = object("blob", []byte(text))
		g.blobs[text] = id
	}
	return id
}

// treeOf interns a tree; entries must be sorted by path and not change later.
func (g *graph) treeOf(entries []entry) *tree {
	id := g.treeID(entries, 0)
	if t := g.trees[id]; t != nil {
		return t
	}
	t := &tree{id: id, entries: entries}
	g.trees[id] = t
	return t
}

// treeID encodes the entries as one directory, whose paths all begin with the
// same skip bytes. git sorts a directory as if its name ended with a slash.
func (g *graph) treeID(entries []entry, skip int) gate.SHA {
	type item struct {
		key, head string
		id        gate.SHA
	}
	var items []item
	for i := 0; i < len(entries); {
		name := entries[i].path[skip:]
		dir, _, nested := strings.Cut(name, "/")
		if !nested {
			items = append(items, item{name, "100644 " + name, g.blob(entries[i].text)})
			i++
			continue
		}
		n := i
		for n < len(entries) && strings.HasPrefix(entries[n].path[skip:], dir+"/") {
			n++
		}
		items = append(items, item{dir + "/", "40000 " + dir, g.treeID(entries[i:n], skip+len(dir)+1)})
		i = n
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.key, b.key) })
	var body []byte
	for _, it := range items {
		body = append(append(body, it.head...), 0)
		raw, _ := hex.DecodeString(string(it.id))
		body = append(body, raw...)
	}
	return object("tree", body)
}

// with is the tree with some files changed; an empty text deletes the file.
func (g *graph) with(t *tree, files map[string]string) *tree {
	all := make(map[string]string, len(t.entries)+len(files))
	for _, e := range t.entries {
		all[e.path] = e.text
	}
	for path, text := range files {
		if text == "" {
			delete(all, path)
		} else {
			all[path] = text
		}
	}
	entries := make([]entry, 0, len(all))
	for path, text := range all {
		entries = append(entries, entry{path, text})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	return g.treeOf(entries)
}

// commit interns a commit.
func (g *graph) commit(t *tree, parents []*commit, author, committer, message string) *commit {
	var b strings.Builder
	b.WriteString("tree " + string(t.id) + "\n")
	for _, p := range parents {
		b.WriteString("parent " + string(p.id) + "\n")
	}
	b.WriteString("author " + author + "\ncommitter " + committer + "\n\n" + message)
	id := object("commit", []byte(b.String()))
	if c := g.commits[id]; c != nil {
		return c
	}
	c := &commit{id: id, tree: t, parents: parents, author: author, committer: committer, message: message}
	for _, p := range parents {
		c.depth = max(c.depth, p.depth+1)
	}
	g.commits[id] = c
	return c
}

// reach marks everything reachable from the commits with a fresh epoch.
func (g *graph) reach(from ...*commit) uint32 {
	g.epoch++
	stack := slices.Clone(from)
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if c.mark == g.epoch {
			continue
		}
		c.mark = g.epoch
		stack = append(stack, c.parents...)
	}
	return g.epoch
}

// isAncestor says whether a is b or reachable from it.
func (g *graph) isAncestor(a, b *commit) bool {
	if a == b {
		return true
	}
	g.epoch++
	stack := []*commit{b}
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if c == a {
			return true
		}
		if c.mark == g.epoch || c.depth <= a.depth {
			continue
		}
		c.mark = g.epoch
		stack = append(stack, c.parents...)
	}
	return false
}

// mergeBases are the best common ancestors, newest first.
func (g *graph) mergeBases(a, b *commit) []*commit {
	if g.isAncestor(a, b) {
		return []*commit{a}
	}
	if g.isAncestor(b, a) {
		return []*commit{b}
	}
	ofA := g.reach(a)
	var found []*commit
	seen := map[*commit]bool{}
	stack := []*commit{b}
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[c] {
			continue
		}
		seen[c] = true
		if c.mark == ofA {
			found = append(found, c)
			continue
		}
		stack = append(stack, c.parents...)
	}
	best := slices.DeleteFunc(slices.Clone(found), func(c *commit) bool {
		return slices.ContainsFunc(found, func(d *commit) bool { return c != d && g.isAncestor(c, d) })
	})
	slices.SortStableFunc(best, func(x, y *commit) int { return cmp.Compare(y.when(), x.when()) })
	return best
}

// clash is one path that does not merge.
type clash struct {
	path               string
	base, ours, theirs string
	inBase, inOurs     bool
	inTheirs           bool
}

// merge3 merges two trees that came from base. With clashes the tree holds, for
// each, what says so.
func (g *graph) merge3(base, ours, theirs *tree, between string) (*tree, []clash) {
	switch {
	case base == ours || ours == theirs:
		return theirs, nil
	case base == theirs:
		return ours, nil
	}
	var out []entry
	var clashes []clash
	b, o, t := base.entries, ours.entries, theirs.entries
	take := func(list *[]entry, path string) (string, bool) {
		if len(*list) == 0 || (*list)[0].path != path {
			return "", false
		}
		text := (*list)[0].text
		*list = (*list)[1:]
		return text, true
	}
	for len(b)+len(o)+len(t) > 0 {
		path := ""
		for _, l := range [][]entry{b, o, t} {
			if len(l) > 0 && (path == "" || l[0].path < path) {
				path = l[0].path
			}
		}
		c := clash{path: path}
		c.base, c.inBase = take(&b, path)
		c.ours, c.inOurs = take(&o, path)
		c.theirs, c.inTheirs = take(&t, path)
		text, there := c.ours, c.inOurs
		switch {
		case c.inOurs == c.inTheirs && c.ours == c.theirs, c.inTheirs == c.inBase && c.theirs == c.base:
		case c.inOurs == c.inBase && c.ours == c.base:
			text, there = c.theirs, c.inTheirs
		default:
			clashes = append(clashes, c)
			text, there = fmt.Sprintf("<<<<<<< %s\n%s=======\n%s>>>>>>>\n", between, c.ours, c.theirs), true
		}
		if there {
			out = append(out, entry{path, text})
		}
	}
	for i := 1; i < len(out); i++ { // a file where the other side has a directory
		if strings.HasPrefix(out[i].path, out[i-1].path+"/") {
			clashes = append(clashes, clash{path: out[i-1].path, inOurs: true})
		}
	}
	return g.treeOf(out), clashes
}

// merge merges two commits as git does: several merge bases are merged first.
func (g *graph) merge(ours, theirs *commit) (*tree, []clash) {
	return g.merge3(g.baseTree(ours, theirs), ours.tree, theirs.tree, string(ours.id+theirs.id))
}

func (g *graph) baseTree(a, b *commit) *tree {
	bases := g.mergeBases(a, b)
	if len(bases) == 0 {
		return g.treeOf(nil)
	}
	at := bases[len(bases)-1]
	t := at.tree
	for i := len(bases) - 2; i >= 0; i-- {
		t, _ = g.merge3(g.baseTree(at, bases[i]), t, bases[i].tree, "base")
		at = bases[i]
	}
	return t
}

// changes lists what head has and base has not, parents first, in the order of
// `git log --topo-order --reverse`.
func (g *graph) changes(base, head *commit) []*commit {
	old := g.reach(base)
	if head.mark == old {
		return nil
	}
	var mine []*commit
	g.epoch++
	stack := []*commit{head}
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if c.mark == old || c.mark == g.epoch {
			continue
		}
		c.mark, c.waits = g.epoch, 0
		mine = append(mine, c)
		stack = append(stack, c.parents...)
	}
	for _, c := range mine {
		for _, p := range c.parents {
			p.waits++
		}
	}
	list := make([]*commit, 0, len(mine))
	for stack = append(stack, head); len(stack) > 0; {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		list = append(list, c)
		for _, p := range c.parents {
			if p.waits--; p.waits == 0 && p.mark == g.epoch {
				stack = append(stack, p)
			}
		}
	}
	slices.Reverse(list)
	return list
}

// diffOf is what a commit changes: against its parent, or, for a merge, against
// the merge that git would have made.
type diffOf struct {
	patch string // identity
	empty bool
}

func (g *graph) diff(c *commit) diffOf {
	if d, ok := g.diffs[c]; ok {
		return d
	}
	var d diffOf
	switch len(c.parents) {
	case 0:
		d = diffTrees(g.treeOf(nil), c.tree)
	case 1:
		d = diffTrees(c.parents[0].tree, c.tree)
	case 2:
		auto, clashes := g.merge(c.parents[0], c.parents[1])
		d = diffTrees(auto, c.tree)
		d.empty = d.empty && len(clashes) == 0
	default:
		d = diffOf{patch: "octopus " + string(c.id)}
	}
	g.diffs[c] = d
	return d
}

func diffTrees(from, to *tree) diffOf {
	h := sha256.New()
	d := diffOf{empty: from == to}
	eachChange(from, to, func(path, old, new string) {
		fmt.Fprintf(h, "%q %q %q\n", path, old, new)
	})
	d.patch = hex.EncodeToString(h.Sum(nil))
	return d
}

// eachChange calls f for each path that differs; an absent file is an empty text.
func eachChange(from, to *tree, f func(path, old, new string)) {
	a, b := from.entries, to.entries
	for len(a)+len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].path < b[0].path:
			f(a[0].path, a[0].text, "")
			a = a[1:]
		case len(a) == 0 || b[0].path < a[0].path:
			f(b[0].path, "", b[0].text)
			b = b[1:]
		default:
			if a[0].text != b[0].text {
				f(a[0].path, a[0].text, b[0].text)
			}
			a, b = a[1:], b[1:]
		}
	}
}
