// Package templates holds every text mergegate shows to people: the one-line
// status, the comment on a pull request, the queue issue, the help, and the web
// pages. The bot hands over plain values and gets finished text back.
//
// # What a stranger controls
//
// Titles, branches, file names, logins, commit subjects, reasons and log lines
// come from people who may be hostile. They are shown, and never do anything:
//
//   - in Markdown every value goes through Plain (inline) or Fence (block), so that
//     it has no markup, mentions nobody, refers to nothing, is no marker of ours and
//     no command;
//   - in pages html/template escapes by context, and Clean takes out terminal
//     sequences and characters that turn the direction of the text;
//   - only http and https addresses become links.
//
// The tests fill every string of every view with hostile text, parse what comes out,
// and look for anything but text in it.
//
// # What never happens here
//
// No I/O but the writer that is passed in, no clock (a view says what time it is),
// no state, no configuration. The same view gives the same bytes, so that a comment
// that has not changed need not be written again: comments carry times of day, not
// times ago. Pages use no script and no inline style: they work under
//
//	Content-Security-Policy: default-src 'none'; style-src 'self'
//
// Every function may be called concurrently.
package templates

import (
	"embed"
	"fmt"
	html "html/template"
	"strings"
	text "text/template"
	"time"

	"mergegate/gate"
)

//go:embed *.tmpl style.css
var files embed.FS

var (
	markdown = text.Must(text.New("").Funcs(text.FuncMap{
		"plain": inline, "fence": Fence, "link": link, "sha": sha, "when": when, "took": took,
		"count": count, "status": Status, "waitsFor": waitsFor, "capital": capital,
	}).ParseFS(files, "*.md.tmpl"))

	pages = html.Must(html.New("").Funcs(html.FuncMap{
		"clean": spaces, "sha": sha, "full": full, "count": count, "took": took, "iso": iso, "when": when,
		"ago": ago, "status": Status, "waitsFor": waitsFor, "capital": capital,
	}).ParseFS(files, "*.html.tmpl"))
)

// render executes a Markdown template. Templates are fixed and views are plain
// values, so an error is a bug of this package.
func render(name string, view any) string {
	var b strings.Builder
	if err := markdown.ExecuteTemplate(&b, name, view); err != nil {
		panic(err)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// inline is Plain for one value among others: it is cut to 300 characters.
func inline(v any) string { return Plain(clip(spaces(fmt.Sprint(v)), 300)) }

// link is a Markdown link, or only its text when the address is no web address.
func link(label, address string) string {
	if to := destination(address); to != "" {
		return "[" + inline(label) + "](<" + to + ">)"
	}
	return inline(label)
}

// sha is the short form of a commit or tree. Anything else is no id and is not shown.
func sha(c gate.SHA) string {
	if !c.Valid() {
		return "unknown"
	}
	return c.Short()
}

// full is the whole id, like sha.
func full(c gate.SHA) string {
	if !c.Valid() {
		return "unknown"
	}
	return string(c)
}

// when is a time of day, the same for every reader.
func when(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is how long before now t was; "in 3m" when it is still to come.
func ago(now, t time.Time) string {
	if t.After(now) {
		return "in " + took(t.Sub(now))
	}
	return took(now.Sub(t)) + " ago"
}

// waitsFor says what one request of a queue waits for, as plain text.
func waitsFor(l gate.Line) string {
	switch {
	case l.Frozen != "" && (l.State == gate.Queued || l.State == gate.Landing):
		return "the queue to be unfrozen"
	case l.State == gate.Waiting && len(l.Why) > 0:
		return fit("", l.Why)
	case l.State == gate.Queued:
		return "its turn"
	case l.State == gate.CatchingUp:
		return "its candidate on " + sha(l.Tip)
	case l.State == gate.Testing:
		return "the test of " + sha(l.Candidate) + " on " + sha(l.Tip)
	case l.State == gate.Landing:
		return "the forge to merge " + sha(l.Candidate)
	}
	return "nothing"
}
