package catchup

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mergegate/gate"
)

// Conflict says what does not apply, and where base changed it.
type Conflict struct {
	Base, Head gate.SHA
	At         gate.SHA // the change's commit that does not apply; Head for a merge or squash
	Subject    string   // of At
	Method     gate.Method
	Files      []File // by path
}

// File is one path in conflict. Names are as they are in the tree: any bytes
// but NUL. Who prints them escapes them.
type File struct {
	Path  string
	Kind  Kind
	Other string // for Rename, the other name; else ""
	// The last commit on base's first-parent line, since the change forked
	// off, that touched the path; zero if there is none or after the first
	// hundred files.
	ByCommit  gate.SHA
	BySubject string
	ByPR      int // the pull request that commit names; 0 if it names none
}

// Kind is what is wrong with a path.
type Kind string

const (
	Content       Kind = "content"
	AddAdd        Kind = "add/add"
	ModifyDelete  Kind = "modify/delete"
	Rename        Kind = "rename"
	Mode          Kind = "mode" // different types: a file here, a symbolic link there
	Binary        Kind = "binary"
	Submodule     Kind = "submodule"
	DirectoryFile Kind = "directory/file"
)

// conflict reports a merge that was not clean, at the commit c of the change.
func (b *builder) conflict(ctx context.Context, m merged, c object) (*Conflict, error) {
	files := m.files()
	if err := b.blame(ctx, files); err != nil {
		return nil, err
	}
	method := b.Method
	if method != gate.Merge && method != gate.Squash {
		method = gate.Rebase
	}
	return &Conflict{Base: b.Base, Head: b.Head, At: c.id, Subject: c.subject(), Method: method, Files: files}, nil
}

// merged is what merge-tree answers.
type merged struct {
	clean    bool
	tree     gate.SHA
	stages   map[string][4]stage // of the paths in conflict; [1] fork, [2] base, [3] change
	messages []message
}

type stage struct{ mode, id string }

// message is a remark about paths. Its kind is a fixed string of git's, not for
// people and not translated.
type message struct {
	kind  string
	paths []string
}

// parseMerge reads the output of merge-tree -z --messages: the tree; entries
// "MODE ID STAGE\tPATH"; after an empty field the messages: the number of
// paths, the paths, the kind, a text. All fields end with NUL.
func parseMerge(out string) (merged, error) {
	m := merged{stages: make(map[string][4]stage)}
	malformed := fmt.Errorf("merge: cannot read git's answer %.100q", out)
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	m.tree = gate.SHA(fields[0])
	if !m.tree.Valid() {
		return m, malformed
	}
	fields = fields[1:]
	for len(fields) > 0 && fields[0] != "" {
		head, path, ok := strings.Cut(fields[0], "\t")
		parts := strings.Split(head, " ")
		if !ok || len(parts) != 3 || len(parts[2]) != 1 || parts[2] < "1" || parts[2] > "3" {
			return m, malformed
		}
		s := m.stages[path]
		s[parts[2][0]-'0'] = stage{parts[0], parts[1]}
		m.stages[path] = s
		fields = fields[1:]
	}
	for fields = fields[min(1, len(fields)):]; len(fields) > 0; {
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			break // advice for people, which git adds for submodules
		}
		if n < 0 || n > len(fields)-3 {
			return m, malformed
		}
		m.messages = append(m.messages, message{kind: fields[n+1], paths: fields[1 : n+1]})
		fields = fields[n+3:]
	}
	return m, nil
}

// files sums up stages and messages: one entry for each path in conflict.
func (m merged) files() []File {
	files := make(map[string]File)
	told := make(map[string]bool)
	for _, msg := range m.messages {
		if !strings.HasPrefix(msg.kind, "CONFLICT") || len(msg.paths) == 0 {
			continue
		}
		f := File{Path: msg.paths[0], Kind: m.kind(msg)}
		switch {
		case f.Kind == DirectoryFile:
			f.Path = msg.paths[len(msg.paths)-1] // the first is where git would move it
		case f.Kind == Rename && len(msg.paths) > 1:
			f.Other = msg.paths[1]
		}
		for _, p := range msg.paths {
			told[p] = true
		}
		// git also says "contents" of a binary file and of a renamed one.
		if old, ok := files[f.Path]; !ok || old.Kind == Content || old.Kind == AddAdd {
			files[f.Path] = f
		}
	}
	for path, s := range m.stages {
		if !told[path] {
			files[path] = File{Path: path, Kind: kindOf(s)}
		}
	}
	return slices.SortedFunc(maps.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
}

func (m merged) kind(msg message) Kind {
	what := strings.TrimPrefix(msg.kind, "CONFLICT ")
	switch {
	case strings.Contains(what, "submodule"):
		return Submodule
	case strings.Contains(what, "rename"):
		return Rename
	case what == "(binary)":
		return Binary
	case what == "(modify/delete)":
		return ModifyDelete
	case what == "(file/directory)":
		return DirectoryFile
	case what == "(distinct modes)":
		return Mode
	}
	return kindOf(m.stages[msg.paths[0]])
}

// kindOf judges by the entries alone.
func kindOf(s [4]stage) Kind {
	const submodule = "160000"
	switch {
	case s[1].mode == submodule || s[2].mode == submodule || s[3].mode == submodule:
		return Submodule
	case s[1].id == "" && s[2].id != "" && s[3].id != "":
		return AddAdd
	case s[1].id != "" && (s[2].id == "") != (s[3].id == ""):
		return ModifyDelete
	}
	return Content
}

// blame fills in which commit of base touched each file last. The first-parent
// line is asked, because there a merge commit stands for its pull request.
func (b *builder) blame(ctx context.Context, files []File) error {
	const most = 100
	in := fmt.Sprintf("%s\n^%s\n--\n", b.Base, b.fork)
	asked := 0
	for _, f := range files[:min(most, len(files))] {
		for _, p := range []string{f.Path, f.Other} {
			if p != "" && !strings.Contains(p, "\n") { // a line each
				in += p + "\n"
				asked++
			}
		}
	}
	if asked == 0 {
		return nil
	}
	out, err := b.m.dir.Run(ctx, in, "log", "-z", "--first-parent", "--diff-merges=first-parent",
		"--name-only", "--no-renames", "--format=%H", "--stdin")
	if err != nil {
		return fmt.Errorf("find what base changed: %w", b.m.trouble(ctx, err, b.Base, b.fork))
	}
	last := lastTouched(out)
	var ids []gate.SHA
	for i := range files {
		f := &files[i]
		f.ByCommit = cmp.Or(last[f.Path], last[f.Other])
		if f.ByCommit != "" && !slices.Contains(ids, f.ByCommit) {
			ids = append(ids, f.ByCommit)
		}
	}
	commits, err := b.m.objects(ctx, ids...)
	if err != nil {
		return err
	}
	for i := range files {
		if at := slices.Index(ids, files[i].ByCommit); at >= 0 {
			files[i].BySubject, files[i].ByPR = commits[at].subject(), pullRequest(commits[at].message)
		}
	}
	return nil
}

// lastTouched reads log -z --name-only --format=%H, newest first: an id, then
// the names, of which the first has a line break in front. A directory counts
// as touched with what is in it.
func lastTouched(out string) map[string]gate.SHA {
	last := make(map[string]gate.SHA)
	var commit gate.SHA
	fields := strings.Split(out, "\x00")
	for i, field := range fields {
		if gate.SHA(field).Valid() && i+1 < len(fields) && strings.HasPrefix(fields[i+1], "\n") {
			commit = gate.SHA(field)
			continue
		}
		if i > 0 && gate.SHA(fields[i-1]) == commit {
			field = strings.TrimPrefix(field, "\n")
		}
		for path := field; path != ""; path = path[:max(0, strings.LastIndexByte(path, '/'))] {
			if last[path] == "" {
				last[path] = commit
			}
		}
	}
	delete(last, "")
	return last
}

var namesPR = regexp.MustCompile(`(?m)^Merge pull request #(\d+)|^.*\(#(\d+)\)|^Reviewed-on: \S+/pulls/(\d+)$`)

// pullRequest is the number that a landed commit's message names: "Merge pull
// request #12 …", "… (#12)", or Gitea's trailer "Reviewed-on: …/pulls/12".
func pullRequest(message string) int {
	found := append(namesPR.FindStringSubmatch(message), "", "", "", "")
	n, err := strconv.Atoi(cmp.Or(found[1], found[2], found[3]))
	if err != nil {
		return 0
	}
	return n
}

// Commands are the shell commands with which the change's author mends the
// conflict in a clone whose "origin" has the branch. remote is where base is: a
// remote's name or a URL. Names are quoted for a POSIX shell. The
// comment line stands where a person has work to do.
func (c Conflict) Commands(base, branch, remote string) []string {
	to := "git switch " + quote(branch)
	if strings.HasPrefix(branch, "-") { // a legal name that git switch takes for an option
		to = "git switch --detach " + quote("refs/remotes/origin/"+branch)
	}
	how := []string{"git rebase FETCH_HEAD", "git rebase --continue"}
	if c.Method == gate.Merge || c.Method == gate.Squash {
		how = []string{"git merge FETCH_HEAD", "git merge --continue"}
	}
	return []string{
		"git fetch origin",
		to,
		"git fetch " + quote(remote) + " " + quote("refs/heads/"+base),
		how[0],
		"# mend the files, then git add each of them",
		how[1],
		"git push --force-with-lease origin " + quote("HEAD:refs/heads/"+branch),
	}
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
