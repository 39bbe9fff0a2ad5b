// Package chat reads commands out of a comment.
//
// A command is a line of its own that begins with /merge, in a plain paragraph
// at the top level of the comment:
//
//	/merge [method=auto|fast-forward|merge|squash|rebase] [priority=urgent|high|normal|low]
//	/merge cancel
//	/merge retry
//	/merge status
//	/merge freeze REASON
//	/merge unfreeze
//	/merge help
//
// Words are read without regard to case; a value may stand in double quotes; the
// reason of a freeze is the rest of its line. Several commands, one per line, are
// several Commands, in order. Other lines are ignored, so that a command may stand
// between sentences or beside another bot's commands.
//
// What counts is what a reader of the rendered comment sees as plain text of the
// writer. The comment is parsed as Markdown, and a line is never a command inside
// a quote (also when Markdown continues the quote lazily onto the next line), a
// list, a table, a heading, code, emphasis, a link, an image, an HTML comment, or
// an HTML element, even one that is never closed. Lists are out because people
// write "do this, then that" in them. A backslash in front, `/merge` in backticks,
// /merged and /merge: are ordinary text.
//
// A line that begins as a command and does not parse executes nothing: it yields a
// Command with Err set, for the bot to answer. "/merge this when you can" is such a
// mistake, not a request. A comment longer than 8 KiB has no commands.
//
// The package decides nothing else: who may command, on which pull request, and
// whether the comment is new, is the bot's business. It keeps no state; Parse may
// be called concurrently.
package chat

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"mergegate/gate"
)

// MaxReason is how many characters the reason of a freeze may have.
const MaxReason = 200

// maxComment is how long a comment is looked through, in bytes, and maxBrackets how
// many [ may be in it. Markdown takes a time that grows with the square of both, and
// of how deep it is nested: without limits a comment could keep a CPU busy for seconds.
const (
	maxComment  = 8 << 10
	maxBrackets = 256
)

// nested matches a line that opens more than 16 quotes and lists.
var nested = regexp.MustCompile(`(?m)^[ \t]*(?:(?:>|[-+*][ \t]|\d{1,9}[.)][ \t])[ \t]*){17}`)

// Command is one command line.
type Command struct {
	Verb     gate.Verb
	Method   gate.Method    // of DoMerge; "" when not given
	Priority *gate.Priority // of DoMerge; nil when not given
	Reason   string         // of DoFreeze: as written, not escaped
	Line     int            // in the comment, from 1
	Err      *Mistake       // set: execute nothing, answer with it; only Line counts besides
}

// Mistake says why a line that looks like a command is none.
type Mistake struct {
	Word string // the word at fault, as written (shortened), not escaped; may be empty
	Text string // what is wrong with it; quotes Word, so not escaped either
	Hint string // what the writer may have meant: "/merge cancel"; "" when nothing is near
}

func (m *Mistake) Error() string {
	if m.Hint == "" {
		return m.Text
	}
	return m.Text + "; did you mean " + m.Hint + "?"
}

var command = regexp.MustCompile(`(?i)^/merge(?:[ \t]+|$)`)

// Parse lists the commands of a comment in the order they are written, including
// the mistaken ones. It never fails.
func Parse(markdown string) []Command {
	if len(markdown) > maxComment || !strings.Contains(strings.ToLower(markdown), "/merge") {
		return nil // nearly every comment; not worth a parse
	}
	source := []byte(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(markdown))
	if bytes.Count(source, []byte("[")) > maxBrackets || nested.Match(source) {
		return nil
	}
	md := goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough))

	var commands []Command
	for _, seg := range plainLines(md.Parser().Parse(text.NewReader(source)), source) {
		line := strings.TrimSpace(string(seg.Value(source)))
		if loc := command.FindStringIndex(line); loc != nil {
			c := parseLine(line[loc[1]:])
			c.Line = 1 + bytes.Count(source[:seg.Start], []byte("\n"))
			commands = append(commands, c)
		}
	}
	return commands
}

// plainLines are the lines of top-level paragraphs that begin with plain text.
func plainLines(doc ast.Node, source []byte) []text.Segment {
	var lines []text.Segment
	open := 0 // HTML elements not closed yet; Markdown blocks do not close them
	for block := doc.FirstChild(); block != nil; block = block.NextSibling() {
		switch block := block.(type) {
		case *ast.HTMLBlock:
			html := block.Lines().Value(source)
			if block.HasClosure() {
				html = append(html, block.ClosureLine.Value(source)...)
			}
			open = depth(open, html)
		case *ast.Paragraph:
			starts := make(map[int]bool)
			for n := block.FirstChild(); n != nil; n = n.NextSibling() {
				switch n := n.(type) {
				case *ast.RawHTML:
					open = depth(open, n.Segments.Value(source))
				case *ast.Text:
					starts[n.Segment.Start] = open == 0
				}
			}
			for _, seg := range block.Lines().Sliced(0, block.Lines().Len()) {
				if starts[seg.Start] {
					lines = append(lines, seg)
				}
			}
		}
	}
	return lines
}

var (
	htmlComment = regexp.MustCompile(`(?s)<!--.*?-->`)
	htmlTag     = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9-]*)[^>]*>`)
	htmlVoid    = regexp.MustCompile(`(?i)^(?:br|hr|img|input|wbr|source|area|col|embed|link|meta)$`)
)

// depth is how many elements are open after html, when open were before it.
func depth(open int, html []byte) int {
	for _, tag := range htmlTag.FindAllSubmatch(htmlComment.ReplaceAll(html, nil), -1) {
		switch {
		case htmlVoid.Match(tag[2]):
		case len(tag[1]) > 0:
			open = max(0, open-1)
		default:
			open++
		}
	}
	return open
}
