package retest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	keepHead  = 64 << 10  // bytes of output kept from the beginning
	keepTail  = 64 << 10  // and from the end
	maxOutput = 100 << 20 // a command that writes more is killed

	tailLines = 30  // lines in Result.Tail
	tailWidth = 300 // characters of each
)

// output is where a command writes. It keeps the head and the tail, counts
// the rest, and needs the same small memory for any amount. The head is in
// the log file at once; the tail follows when the command has ended.
// Safe for concurrent use.
type output struct {
	id string

	mu    sync.Mutex
	file  *os.File
	head  []byte
	tail  []byte // up to twice keepTail, so that it is rarely moved
	total int64
	full  chan struct{} // closed when total passes maxOutput
	err   error         // the first trouble with the file
}

// newOutput creates the log file of one run, under an id nobody can guess.
func (r *Runner) newOutput() (*output, error) {
	id := strings.ToLower(rand.Text())
	f, err := os.OpenFile(r.logPath(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the log file: %w", err)
	}
	o := &output{id: id, file: f, full: make(chan struct{})}
	r.mu.Lock()
	r.live[id] = o
	r.mu.Unlock()
	return o, nil
}

// Write never fails and never stops the command: trouble with the file is
// kept for close.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.total
	o.total += int64(len(p))
	if before <= maxOutput && o.total > maxOutput {
		close(o.full)
	}
	rest := p
	if room := keepHead - len(o.head); room > 0 {
		head := rest[:min(room, len(rest))]
		rest = rest[len(head):]
		o.head = append(o.head, head...)
		o.toFile(head)
	}
	rest = rest[max(0, len(rest)-keepTail):]
	o.tail = append(o.tail, rest...)
	if len(o.tail) > 2*keepTail {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-keepTail:]...)
	}
	return len(p), nil
}

func (o *output) toFile(p []byte) {
	if _, err := o.file.Write(p); err != nil && o.err == nil {
		o.err = err
	}
}

// end is everything after the head: a line that counts what is left out, if
// anything is, and the tail. The caller holds o.mu.
func (o *output) end() []byte {
	tail := o.tail[max(0, len(o.tail)-keepTail):]
	left := o.total - int64(len(o.head)) - int64(len(tail))
	if left == 0 {
		return tail
	}
	return append(fmt.Appendf(nil, "\n[mergegate: %d bytes left out here]\n", left), tail...)
}

// bytes is the log as it is now.
func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append(bytes.Clone(o.head), o.end()...)
}

// closeOutput completes the log file. From now on readers get the file.
func (r *Runner) closeOutput(o *output) {
	o.mu.Lock()
	o.toFile(o.end())
	err := errors.Join(o.err, o.file.Close())
	o.mu.Unlock()
	if err != nil {
		r.log.Warn("the retest log is incomplete", "log", o.id, "err", err)
	}
	r.mu.Lock()
	delete(r.live, o.id)
	r.mu.Unlock()
}

// OpenLog opens the log of a run. While the run goes on in this process it is
// a snapshot: open it again for more. Any id that is not a log of ours, also a
// malformed one, is fs.ErrNotExist. The caller closes it.
func (r *Runner) OpenLog(id string) (io.ReadSeekCloser, error) {
	if id == "" || len(id) > 64 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return nil, fmt.Errorf("open the log: %w", fs.ErrNotExist)
	}
	r.mu.Lock()
	o := r.live[id]
	r.mu.Unlock()
	if o != nil {
		return snapshot{bytes.NewReader(o.bytes())}, nil
	}
	f, err := os.Open(r.logPath(id))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

type snapshot struct{ *bytes.Reader }

func (snapshot) Close() error { return nil }

func (r *Runner) logPath(id string) string { return filepath.Join(r.dir, "logs", id+".log") }

// sweepLogs deletes logs that were last written before the given time.
func (r *Runner) sweepLogs(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(r.dir, "logs"))
	for _, e := range entries {
		info, infoErr := e.Info()
		id := strings.TrimSuffix(e.Name(), ".log")
		r.mu.Lock()
		live := r.live[id] != nil
		r.mu.Unlock()
		if infoErr != nil || live || info.ModTime().After(before) {
			continue
		}
		if rmErr := os.Remove(r.logPath(id)); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}

// escapes matches what a terminal acts on: CSI and OSC sequences, and the
// two-character ones.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b.`)

// cleanTail is the last lines of the log as plain text: valid UTF-8, without
// control and formatting characters (also those that turn the direction of
// writing), each line as a terminal would have left it after carriage returns.
func cleanTail(log []byte) string {
	s := strings.TrimRight(strings.ToValidUTF8(string(log), "\uFFFD"), "\r\n\t ")
	lines := strings.Split(escapes.ReplaceAllString(s, ""), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, l := range lines {
		l = strings.TrimRight(l, "\r")
		l = l[strings.LastIndexByte(l, '\r')+1:]
		l = strings.Map(func(c rune) rune {
			if c != '\t' && unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				return -1
			}
			return c
		}, l)
		if rs := []rune(l); len(rs) > tailWidth {
			l = string(rs[:tailWidth]) + "…"
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}
