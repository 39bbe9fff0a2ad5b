package templates

import (
	"bytes"
	"io"
	"strings"
	"time"

	"mergegate/gate"
)

// Frame is what every page shows around its content.
type Frame struct {
	Now     time.Time // when the facts on the page were read
	Version string    // of mergegate; may be empty
	Login   bool      // a stranger sees this, and can become a reader
}

// Trouble is an error that keeps a queue from being worked on.
type Trouble struct {
	Error string
	Since time.Time
	Next  time.Time // when it is tried again; zero when unknown
}

// OverviewView is the page of all queues.
type OverviewView struct {
	Frame
	Queues  []QueueSummary
	Sandbox string // what retest commands run in; "" shows nothing
}

// QueueSummary is one row of the overview.
type QueueSummary struct {
	Forge   string // its name in the configuration
	Repo    string // owner/name
	Base    string
	Href    string // page of the queue
	Length  int
	Head    *gate.Line // the first of the queue; nil when it is empty
	Holder  string     // replica that holds the lease
	Frozen  *gate.Freeze
	Trouble *Trouble
}

// BaseView is the page of one queue.
type BaseView struct {
	Frame
	Forge, Repo, Base string
	Href              string // of the repository on the forge
	Holder            string
	Frozen            *gate.Freeze
	Trouble           *Trouble
	Rows              []Row
	Outcomes          []Row // ended requests, newest first; the page shows 20
}

// Row is one request on a page.
type Row struct {
	gate.Line
	Href    string // page of the PR
	LogHref string // page of its log
}

// PRPageView is the page of one PR.
type PRPageView struct {
	Frame
	Row
	Forge, Repo string
	QueueHref   string
	Conflict    *ConflictView
	ModeWhy     string
	Landed      gate.LandedAs
	Events      []gate.Happened // oldest first
}

// LogView is the page of one log.
type LogView struct {
	Frame
	Title   string // what was tested: "acme/widgets #7"
	PRHref  string // page of the PR
	RawHref string // the log as it is
	Text    []byte // as kept
	Cut     int    // bytes of the output that were not kept
	Running bool
}

// Overview writes the page of all queues. Like every page it is written only when
// it could be made in full; the error is then that of w.
func Overview(w io.Writer, v OverviewView) error { return write(w, "overview.html.tmpl", v) }

// Base writes the page of one queue.
func Base(w io.Writer, v BaseView) error {
	v.Outcomes = v.Outcomes[:min(len(v.Outcomes), maxOutcomes)]
	return write(w, "base.html.tmpl", v)
}

// PRPage writes the page of one PR.
func PRPage(w io.Writer, v PRPageView) error { return write(w, "pr.html.tmpl", v) }

// Log writes the page of one log: numbered lines, each with an address of its own
// (#L12). A log of very many lines is shown by its first and last lines, with
// their true numbers.
func Log(w io.Writer, v LogView) error {
	type line struct {
		N    int
		Text string
	}
	var head, tail []line
	if text := strings.TrimRight(Clean(string(v.Text)), "\n"); text != "" {
		for i, s := range strings.Split(text, "\n") {
			head = append(head, line{i + 1, s})
		}
	}
	left := len(head) - maxLogLines
	if left > 0 {
		head, tail = head[:maxLogLines/2], head[len(head)-maxLogLines/2:]
	}
	return write(w, "log.html.tmpl", struct {
		LogView
		Head, Tail []line
		Left       int
	}{v, head, tail, left})
}

// NotFound writes the page for an address that is none. what says what was looked
// for: "log", "queue".
func NotFound(w io.Writer, f Frame, what string) error {
	return write(w, "missing.html.tmpl", struct {
		Frame
		What string
	}{f, what})
}

// Denied writes the page for somebody who may not see what was asked for. why says
// how they could.
func Denied(w io.Writer, f Frame, why string) error {
	return write(w, "denied.html.tmpl", struct {
		Frame
		Why string
	}{f, why})
}

// StyleCSS is the one style sheet, to be served as /style.css.
func StyleCSS() []byte {
	css, err := files.ReadFile("style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	return css
}

const (
	maxOutcomes = 20
	maxLogLines = 5000
)

func write(w io.Writer, name string, view any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, view); err != nil {
		panic(err) // fixed templates, plain values: a bug of this package
	}
	_, err := w.Write(b.Bytes())
	return err
}
