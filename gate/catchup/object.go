package catchup

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mergegate/gate"
)

// object is a commit as it is stored. Lines are without their keyword.
type object struct {
	id        gate.SHA
	tree      gate.SHA
	parents   []gate.SHA
	author    string
	committer string
	encoding  string
	message   string // byte for byte
}

// subject is the message's first line.
func (o object) subject() string {
	s, _, _ := strings.Cut(strings.TrimLeft(o.message, "\n"), "\n")
	return s
}

// when is the committer date in seconds; 0 if it cannot be read.
func (o object) when() int64 {
	fields := strings.Fields(o.committer[strings.LastIndex(o.committer, ">")+1:])
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n
}

// parseObject reads the raw form of a commit.
func parseObject(id gate.SHA, raw string) (object, error) {
	o := object{id: id}
	head, message, _ := strings.Cut(raw, "\n\n")
	o.message = message
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, " ") // a continued line has the key ""
		switch key {
		case "tree":
			o.tree = gate.SHA(value)
		case "parent":
			o.parents = append(o.parents, gate.SHA(value))
		case "author":
			o.author = value
		case "committer":
			o.committer = value
		case "encoding":
			o.encoding = value
		}
	}
	if !o.tree.Valid() || o.author == "" || o.committer == "" {
		return o, fmt.Errorf("commit %s has no tree, author or committer", id)
	}
	return o, nil
}

// objects reads commits in one git process, in order; ErrMissing if one is not
// there, or is not a commit.
func (m *Mirror) objects(ctx context.Context, ids ...gate.SHA) ([]object, error) {
	var in strings.Builder
	for _, id := range ids {
		if !id.Valid() {
			return nil, fmt.Errorf("read commit %q: %w", id, errNotID)
		}
		in.WriteString(string(id) + "\n")
	}
	out, err := m.dir.Run(ctx, in.String(), "cat-file", "--batch")
	if err != nil {
		return nil, fmt.Errorf("read commits: %w", m.trouble(ctx, err))
	}
	list := make([]object, 0, len(ids))
	for _, id := range ids {
		head, rest, _ := strings.Cut(out, "\n")
		var size int
		if _, err := fmt.Sscanf(head, string(id)+" commit %d", &size); err != nil || size >= len(rest) {
			m.suspect.Store(true)
			return nil, fmt.Errorf("%w: %s", ErrMissing, id)
		}
		o, err := parseObject(id, rest[:size])
		if err != nil {
			return nil, err
		}
		list = append(list, o)
		out = rest[size+1:]
	}
	return list, nil
}

// write stores a commit and answers its id. It writes the loose object itself
// (git's format: zlib of "commit SIZE\0BODY", named by its SHA-1), which saves
// a process for each of a change's commits, twice.
func (m *Mirror) write(o object) (gate.SHA, error) {
	var body strings.Builder
	fmt.Fprintf(&body, "tree %s\n", o.tree)
	for _, p := range o.parents {
		fmt.Fprintf(&body, "parent %s\n", p)
	}
	fmt.Fprintf(&body, "author %s\ncommitter %s\n", o.author, o.committer)
	if o.encoding != "" {
		fmt.Fprintf(&body, "encoding %s\n", o.encoding)
	}
	body.WriteString("\n" + o.message)
	raw := fmt.Appendf(nil, "commit %d\x00%s", body.Len(), body.String())
	sum := sha1.Sum(raw)
	id := hex.EncodeToString(sum[:])

	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, err := z.Write(raw)
	if err = errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	path := filepath.Join(m.dir.Path, "objects", id[:2], id[2:])
	if _, err := os.Lstat(path); err == nil {
		return gate.SHA(id), nil
	}
	if err := writeFile(path, packed.Bytes()); err != nil {
		return "", fmt.Errorf("store commit: %w", err)
	}
	return gate.SHA(id), nil
}

// writeFile makes a read-only file that is there as a whole or not at all.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "tmp_obj_*") // a name that git gc cleans up
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o444), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// ident is the person as a commit names it, without what git cannot store.
func (p Person) ident() string {
	clean := func(s string) string {
		return strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == '<' || r == '>' {
				return -1
			}
			return r
		}, s))
	}
	name, email := clean(p.Name), clean(p.Email)
	if name == "" {
		name = email
	}
	return name + " <" + email + ">"
}

// stamp is ident with a date in UTC.
func (p Person) stamp(seconds int64) string { return fmt.Sprintf("%s %d +0000", p.ident(), seconds) }

// parsePerson reads "Name <email> 1700000000 +0000".
func parsePerson(line string) (Person, time.Time) {
	name, rest, _ := strings.Cut(line, " <")
	email, date, _ := strings.Cut(rest, "> ")
	seconds, _, _ := strings.Cut(date, " ")
	n, _ := strconv.ParseInt(seconds, 10, 64)
	return Person{name, email}, time.Unix(n, 0).UTC()
}
