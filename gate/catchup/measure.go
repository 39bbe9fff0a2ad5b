package catchup

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mergegate/gate"
)

// sizes are the most that one change may be.
type sizes struct {
	commits int
	paths   int64 // changed, summed over the commits
	path    int   // bytes of one name; more cannot be checked out on Linux
	names   int64 // bytes of all names
	bytes   int64 // of changed files, summed over the commits
}

// handled is what mergegate handles. A pack of a few kilobytes can unfold to
// billions of files or to terabytes, so a change is measured before anything
// unfolds it.
var handled = sizes{commits: 10_000, paths: 500_000, path: 4000, names: 32 << 20, bytes: 8 << 30}

// measure refuses a change that git could not merge, compare or check out with a
// bounded effort: *RefusedError. Each distinct tree is read once, however often
// it appears; git's own comparison would unfold all of them.
func (m *Mirror) measure(ctx context.Context, base, head gate.SHA) error {
	if !base.Valid() || !head.Valid() {
		return fmt.Errorf("measure the change %q..%q: %w", base, head, errNotID)
	}
	limit := m.size
	if limit == (sizes{}) {
		limit = handled
	}
	out, err := m.dir.Run(ctx, "", "rev-list", "--parents", "--max-count="+strconv.Itoa(limit.commits+1),
		"--end-of-options", string(head), "^"+string(base), "--")
	if err != nil {
		return fmt.Errorf("measure the change: %w", m.trouble(ctx, err, base, head))
	}
	if strings.Count(out, "\n") > limit.commits {
		return &RefusedError{Text: fmt.Sprintf("it has more than %d commits, which is the limit", limit.commits)}
	}
	err = m.asked(ctx, func(ask *asker) error {
		s := scale{ask: ask, limit: limit, known: map[[2]gate.SHA]weight{}}
		return s.commits(out)
	})
	if _, refused := errors.AsType[*RefusedError](err); refused || err == nil {
		return err
	}
	return fmt.Errorf("measure the change: %w", m.trouble(ctx, err, base, head))
}

// weight is what a part of a change comes to.
type weight struct {
	paths, names, bytes int64
	path                int // the longest name below here
}

func (w *weight) add(o weight) {
	w.paths, w.names, w.bytes, w.path = w.paths+o.paths, w.names+o.names, w.bytes+o.bytes, max(w.path, o.path)
}

// scale weighs trees, each once.
type scale struct {
	ask   *asker
	limit sizes
	known map[[2]gate.SHA]weight // what the second tree has that the first ("" for none) has not
}

// commits weighs what each commit changes in its first parent. list has a line
// for each: its id and its parents.
func (s *scale) commits(list string) error {
	var sum weight
	for line := range strings.Lines(list) {
		ids := append(strings.Fields(line), "")
		to, err := s.ask.tree(ids[0] + "^{tree}")
		if err != nil {
			return err
		}
		var from []item
		if ids[1] != "" {
			if from, err = s.ask.tree(ids[1] + "^{tree}"); err != nil {
				return err
			}
		}
		w, err := s.compare(from, to, 0)
		if err != nil {
			return err
		}
		sum.add(w)
		if err := s.over(sum); err != nil {
			return err
		}
	}
	return nil
}

// over refuses more than the limits. Every part is held to them as well, so
// that sums cannot overflow.
func (s *scale) over(w weight) error {
	switch {
	case w.path > s.limit.path:
		return &RefusedError{Text: fmt.Sprintf("it has a path of more than %d bytes, which cannot be checked out", s.limit.path)}
	case w.paths > s.limit.paths:
		return &RefusedError{Text: fmt.Sprintf("it changes more than %d files, which is the limit", s.limit.paths)}
	case w.names > s.limit.names:
		return &RefusedError{Text: fmt.Sprintf("the names of the files it changes are more than %d MiB, which is the limit", s.limit.names>>20)}
	case w.bytes > s.limit.bytes:
		return &RefusedError{Text: fmt.Sprintf("the files it changes are more than %d MiB, which is the limit", s.limit.bytes>>20)}
	}
	return nil
}

// compare weighs what to has that from has not, depth directories deep.
func (s *scale) compare(from, to []item, depth int) (weight, error) {
	had := make(map[string]item, len(from))
	for _, it := range from {
		had[it.name] = it
	}
	var sum weight
	for _, it := range to {
		old := had[it.name]
		delete(had, it.name)
		if old == it {
			continue
		}
		w, err := s.item(old, it, depth)
		if err != nil {
			return sum, err
		}
		if sum.add(below(it.name, w)); s.over(sum) != nil {
			return sum, s.over(sum)
		}
	}
	for _, old := range had { // what is gone is compared, too
		if !old.dir() {
			sum.add(below(old.name, weight{paths: 1}))
		}
	}
	return sum, s.over(sum)
}

// below is a weight as seen from one directory up.
func below(name string, w weight) weight {
	w.path += len(name) + 1
	w.names += max(w.paths, 1) * int64(len(name)+1)
	return w
}

func (s *scale) item(old, it item, depth int) (weight, error) {
	if depth > s.limit.path/2 { // a level is at least a letter and a slash
		return weight{}, s.over(weight{path: s.limit.path + 1})
	}
	switch {
	case it.dir():
		return s.dir(old, it, depth)
	case it.mode == "160000": // a submodule is only an id
		return weight{paths: 1}, nil
	}
	size, err := s.ask.size(it.id)
	return weight{paths: 1, bytes: size}, err
}

func (s *scale) dir(old, it item, depth int) (weight, error) {
	pair := [2]gate.SHA{"", it.id}
	if old.dir() {
		pair[0] = old.id
	}
	if w, ok := s.known[pair]; ok {
		return w, nil
	}
	to, err := s.ask.tree(string(it.id))
	if err != nil {
		return weight{}, err
	}
	var from []item
	if pair[0] != "" {
		if from, err = s.ask.tree(string(pair[0])); err != nil {
			return weight{}, err
		}
	}
	w, err := s.compare(from, to, depth+1)
	s.known[pair] = w
	return w, err
}

// item is an entry of a tree.
type item struct {
	mode, name string
	id         gate.SHA
}

func (i item) dir() bool { return i.mode == "40000" }

// asker asks one git process for objects, one after another.
type asker struct {
	to   io.Writer
	from *bufio.Reader
}

// asked runs f with an asker.
func (m *Mirror) asked(ctx context.Context, f func(*asker) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	questions, to := io.Pipe()
	from, answers := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := m.dir.Stream(ctx, questions, answers, "cat-file", "--batch-command")
		_ = questions.CloseWithError(cmp.Or(err, io.ErrClosedPipe))
		_ = answers.CloseWithError(cmp.Or(err, io.ErrUnexpectedEOF))
		done <- err
	}()
	err := f(&asker{to: to, from: bufio.NewReader(from)})
	_ = to.Close()
	_ = from.Close()
	if err != nil {
		cancel()
	}
	return errors.Join(err, ignoreAfter(err, <-done))
}

// ignoreAfter drops git's own error when it was stopped because of the first.
func ignoreAfter(first, second error) error {
	if first != nil {
		return nil
	}
	return second
}

// header reads "ID KIND SIZE".
func (a *asker) header(question string) (id gate.SHA, kind string, size int64, err error) {
	if _, err := io.WriteString(a.to, question+"\n"); err != nil {
		return "", "", 0, err
	}
	line, err := a.from.ReadString('\n')
	if err != nil {
		return "", "", 0, err
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return "", "", 0, fmt.Errorf("%w: %s", ErrMissing, strings.TrimSpace(line))
	}
	size, err = strconv.ParseInt(fields[2], 10, 64)
	return gate.SHA(fields[0]), fields[1], size, err
}

// size is the size of an object.
func (a *asker) size(id gate.SHA) (int64, error) {
	_, _, size, err := a.header("info " + string(id))
	return size, err
}

// tree reads a tree.
func (a *asker) tree(name string) ([]item, error) {
	const most = 64 << 20 // of one directory
	id, kind, size, err := a.header("info " + name)
	if err == nil && (kind != "tree" || size > most) {
		err = &RefusedError{Text: fmt.Sprintf("its object %s is a %s of %d bytes where a directory must be", id.Short(), kind, size)}
	}
	if err != nil {
		return nil, err
	}
	if id, _, size, err = a.header("contents " + name); err != nil {
		return nil, err
	}
	raw := make([]byte, size+1)
	if _, err := io.ReadFull(a.from, raw); err != nil {
		return nil, err
	}
	var items []item
	for rest := string(raw[:size]); rest != ""; {
		mode, after, _ := strings.Cut(rest, " ")
		name, after, ok := strings.Cut(after, "\x00")
		if !ok || len(after) < 20 {
			return nil, &RefusedError{Text: "its tree " + id.Short() + " cannot be read"}
		}
		items = append(items, item{strings.TrimLeft(mode, "0"), name, gate.SHA(hex.EncodeToString([]byte(after[:20])))})
		rest = after[20:]
	}
	return items, nil
}
