package localhub

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// commit is a commit as git has it.
type commit struct {
	id, tree          gate.SHA
	parents           []gate.SHA
	author, committer person
	message           string
}

type person struct {
	name, email string
	at          time.Time
}

// initGit makes the repository's bare git repository.
func (h *Hub) initGit(r *repo) error {
	r.git = git.Dir{Path: filepath.Join(h.dir, fmt.Sprint(r.id, ".git"))}
	for _, args := range [][]string{
		{"init", "-q", "--bare", "--initial-branch=" + r.defaultBranch},
		{"config", "receive.hideRefs", "refs/pull"},
		{"config", "uploadpack.allowAnySHA1InWant", "true"},
		{"config", "receive.autogc", "false"},
	} {
		if _, err := r.git.Run(h.ctx, "", args...); err != nil {
			return err
		}
	}
	return nil
}

// git runs a command of a repository and gives its output without the last line
// break.
func (h *Hub) git(r *repo, args ...string) (string, error) {
	out, err := r.git.Run(h.ctx, "", args...)
	return strings.TrimSuffix(out, "\n"), err
}

// readRefs brings r.refs up to what git has.
func (h *Hub) readRefs(r *repo) error {
	out, err := h.git(r, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return err
	}
	r.refs = map[string]gate.SHA{}
	for line := range strings.Lines(out) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.refs[name] = gate.SHA(id)
	}
	return nil
}

// setRef moves a ref, or with "" deletes it, in git and in r.refs.
func (h *Hub) setRef(r *repo, name string, to gate.SHA) error {
	args := []string{"update-ref", name, string(to)}
	if to == "" {
		args = []string{"update-ref", "-d", name}
	}
	if _, err := h.git(r, args...); err != nil {
		return err
	}
	if to == "" {
		delete(r.refs, name)
	} else {
		r.refs[name] = to
	}
	return nil
}

// commit reads a commit; nil when there is none of this id.
func (h *Hub) commit(r *repo, id gate.SHA) *commit {
	if c := r.commits[id]; c != nil || !id.Valid() {
		return c
	}
	const format = "--format=tformat:%H%x00%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B"
	out, err := h.git(r, "show", "-s", format, string(id)+"^{commit}", "--")
	f := strings.SplitN(out, "\x00", 10)
	if err != nil || len(f) != 10 {
		return nil
	}
	c := &commit{
		id: gate.SHA(f[0]), tree: gate.SHA(f[1]),
		author: person{f[3], f[4], unix(f[5])}, committer: person{f[6], f[7], unix(f[8])},
		message: strings.TrimRight(f[9], "\n"),
	}
	for p := range strings.FieldsSeq(f[2]) {
		c.parents = append(c.parents, gate.SHA(p))
	}
	if c.id != id {
		return nil // a tag
	}
	r.commits[id] = c
	return c
}

func unix(s string) time.Time {
	n, _ := strconv.ParseInt(s, 10, 64) // git wrote it
	return time.Unix(n, 0).UTC()
}

// between lists the commits of head that base has not, oldest first.
func (h *Hub) between(r *repo, base, head gate.SHA) ([]*commit, error) {
	out, err := h.git(r, "rev-list", "--reverse", "--topo-order", string(head), "^"+string(base))
	if err != nil {
		return nil, err
	}
	var all []*commit
	for id := range strings.FieldsSeq(out) {
		c := h.commit(r, gate.SHA(id))
		if c == nil {
			return nil, fmt.Errorf("commit %s is gone", id)
		}
		all = append(all, c)
	}
	return all, nil
}

// contains says whether tip has the commit in its history.
func (h *Hub) contains(r *repo, tip, id gate.SHA) bool {
	_, err := h.git(r, "merge-base", "--is-ancestor", string(id), string(tip))
	return err == nil
}

// mergeBase is the common ancestor; "" for unrelated histories.
func (h *Hub) mergeBase(r *repo, a, b gate.SHA) gate.SHA {
	out, err := h.git(r, "merge-base", string(a), string(b))
	if err != nil {
		return ""
	}
	return gate.SHA(out)
}

// file is what a change does to one file.
type file struct {
	name, status       string
	additions, removed int
	blob               string
}

// diff lists what changed from a to b.
func (h *Hub) diff(r *repo, a, b gate.SHA) ([]file, error) {
	out, err := h.git(r, "diff-tree", "-r", "--no-renames", "--numstat", "--raw", "--no-abbrev", "-z", string(a), string(b))
	if err != nil {
		return nil, err
	}
	var files []file
	at := map[string]int{}
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	for i := 0; i < len(fields); i++ {
		if raw := strings.Fields(fields[i]); strings.HasPrefix(fields[i], ":") && len(raw) == 5 && i+1 < len(fields) {
			status := map[string]string{"A": "added", "D": "removed"}[raw[4]]
			if status == "" {
				status = "modified"
			}
			blob := raw[3]
			if status == "removed" {
				blob = raw[2]
			}
			i++
			at[fields[i]] = len(files)
			files = append(files, file{name: fields[i], status: status, blob: blob})
			continue
		}
		stat := strings.SplitN(fields[i], "\t", 3)
		if len(stat) != 3 {
			continue
		}
		f := &files[at[stat[2]]]
		f.additions, _ = strconv.Atoi(stat[0]) // "-" for binary files
		f.removed, _ = strconv.Atoi(stat[1])
	}
	return files, nil
}

// mergeTree is the tree of both sides together; "" when they conflict.
func (h *Hub) mergeTree(r *repo, ours, theirs gate.SHA) gate.SHA {
	out, err := h.git(r, "merge-tree", "--write-tree", "--no-messages", string(ours), string(theirs))
	if err != nil {
		return ""
	}
	return gate.SHA(out)
}

// write makes a commit.
func (h *Hub) write(r *repo, tree gate.SHA, message string, author, committer person, parents ...gate.SHA) (gate.SHA, error) {
	d := r.git
	d.Env = []string{
		"GIT_AUTHOR_NAME=" + author.name, "GIT_AUTHOR_EMAIL=" + author.email, fmt.Sprintf("GIT_AUTHOR_DATE=%d +0000", author.at.Unix()),
		"GIT_COMMITTER_NAME=" + committer.name, "GIT_COMMITTER_EMAIL=" + committer.email, fmt.Sprintf("GIT_COMMITTER_DATE=%d +0000", committer.at.Unix()),
	}
	args := []string{"commit-tree", "-F", "-"}
	for _, p := range parents {
		args = append(args, "-p", string(p))
	}
	out, err := d.Run(h.ctx, message+"\n", append(args, string(tree))...)
	return gate.SHA(strings.TrimSpace(out)), err
}

// writeFiles makes a tree out of a commit's with the files changed; "" as
// content deletes one.
func (h *Hub) writeFiles(r *repo, from gate.SHA, files map[string]string) (gate.SHA, error) {
	d := r.git
	index := filepath.Join(r.git.Path, "localhub.index")
	d.Env = []string{"GIT_INDEX_FILE=" + index}
	read := []string{"read-tree", "--empty"}
	if from != "" {
		read = []string{"read-tree", string(from)}
	}
	if _, err := d.Run(h.ctx, "", read...); err != nil {
		return "", err
	}
	var lines strings.Builder
	for name, text := range files {
		if text == "" {
			fmt.Fprintf(&lines, "0 %s\t%s\x00", strings.Repeat("0", 40), name)
			continue
		}
		blob, err := d.Run(h.ctx, text, "hash-object", "-w", "--stdin")
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&lines, "100644 %s\t%s\x00", strings.TrimSpace(blob), name)
	}
	if _, err := d.Run(h.ctx, lines.String(), "update-index", "-z", "--index-info"); err != nil {
		return "", err
	}
	out, err := d.Run(h.ctx, "", "write-tree")
	return gate.SHA(strings.TrimSpace(out)), err
}

// ident is how an account appears in commits that GitHub makes.
func (h *Hub) ident(a *account) person {
	return person{a.login, fmt.Sprintf("%d+%s@users.noreply.localhub.test", a.id, a.login), now()}
}

// forge is the committer of what GitHub commits itself.
func forgeIdent() person { return person{"GitHub", "noreply@localhub.test", now()} }
