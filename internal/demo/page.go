package demo

import (
	"fmt"
	"io"
)

// width is how many characters a line of the timeline may have.
const width = 100

// The styles of a line: ANSI's numbers.
const (
	plain = ""
	bold  = "1"
	dim   = "2"
	bad   = "31"
	good  = "32"
)

// page prints lines.
type page struct {
	to     io.Writer
	colour bool
}

func (p page) line(style, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.colour && style != plain {
		text = "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	fmt.Fprintln(p.to, text)
}

// cut prints a line that others wrote a part of, at most width characters of it.
func (p page) cut(style, format string, args ...any) {
	text := []rune(fmt.Sprintf(format, args...))
	if len(text) > width {
		text = append(text[:width-1], '…')
	}
	p.line(style, "%s", string(text))
}

// say prints prose, after an empty line.
func (p page) say(lines ...string) {
	p.line(plain, "")
	for _, l := range lines {
		p.line(plain, "%s", l)
	}
}

func short(sha string) string { return sha[:min(len(sha), 7)] }
