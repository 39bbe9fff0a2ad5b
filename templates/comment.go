package templates

import (
	"fmt"
	"strings"
	"time"

	"mergegate/gate"
)

// PRView is what the comment on a PR says. Every field but Line may be empty.
type PRView struct {
	Line     gate.Line
	Label    string // the request label, for "how to ask again"
	Answer   string // to the last command; "help" gives the help
	ModeWhy  string // why the PR's branch is left as it is
	Conflict string // as made by Conflict; shown while the request is dropped
	Tail     string // last lines of a red retest; shown while the request is dropped
	LogURL   string // page of the whole log
	PageURL  string // page of the PR
	QueueURL string // the queue issue, or the page of the queue
	Landed   gate.LandedAs
	Took     time.Duration // from the request to the landing
	Events   []gate.Happened
	Record   string // a finished HTML comment, put at the end as it is
}

// PRMarker begins the one comment that mergegate keeps on a PR.
const PRMarker = "<!-- mergegate:pr -->"

// PRComment is the comment on a PR: what the state is, what happens next, and who
// must act. It begins with PRMarker.
func PRComment(v PRView) string {
	v.Tail = lastLines(v.Tail)
	if n := len(v.Events); n > maxEvents {
		v.Events = v.Events[n-maxEvents:]
	}
	return render("pr.md.tmpl", v)
}

// NoTime keeps the time a test has taken so far out of the status: the comment is
// not renewed every minute.
func (v PRView) NoTime() time.Time { return time.Time{} }

// Links is the last line for people, "" when there is nowhere to go.
func (v PRView) Links() string {
	var links []string
	for _, l := range [][2]string{{"Whole log", v.LogURL}, {"Details", v.PageURL}, {"Queue", v.QueueURL}} {
		if l[1] != "" {
			links = append(links, link(l[0], l[1]))
		}
	}
	return strings.Join(links, " · ")
}

// QueueView is what the queue issue of a repository says.
type QueueView struct {
	Queues  []QueueTable
	Label   string // the request label
	PageURL string // page of all queues; may be empty
	Record  string // a finished HTML comment, put at the end as it is
}

// QueueTable is the queue of one base branch.
type QueueTable struct {
	Base   string
	Frozen *gate.Freeze
	Holder string      // replica that works on it; "" for none
	Lines  []gate.Line // those that are not on their way are left out
}

// QueueMarker begins the body of the queue issue.
const QueueMarker = "<!-- mergegate:queue -->"

// QueueIssue is the body of the queue issue. It begins with QueueMarker.
func QueueIssue(v QueueView) string { return render("queue.md.tmpl", v) }

// Active lists the requests that are on their way, at most 50 of them: the issue
// is read by people, and forges limit its length.
func (q QueueTable) Active() []gate.Line {
	lines := q.active()
	return lines[:min(len(lines), maxRows)]
}

// More is how many Active leaves out.
func (q QueueTable) More() int { return max(0, len(q.active())-maxRows) }

func (q QueueTable) active() []gate.Line {
	var lines []gate.Line
	for _, l := range q.Lines {
		if l.State.Active() {
			lines = append(lines, l)
		}
	}
	return lines
}

// Help says how to talk to mergegate. label is the request label.
func Help(label string) string { return render("help.md.tmpl", label) }

// ConflictView is a catch-up that does not apply.
type ConflictView struct {
	Base     string   // branch
	At       gate.SHA // the commit of the PR that does not apply; may be empty
	Subject  string   // its subject
	Files    []ConflictFile
	Commands []string // shell commands that mend it
}

// ConflictFile is one file in conflict.
type ConflictFile struct {
	Path      string
	Kind      string   // content, add/add, modify/delete, …
	Other     string   // the other name of a rename
	ByCommit  gate.SHA // the last commit on base that touched it
	BySubject string
	ByPR      int // the PR it came with; 0 when unknown
}

// Conflict is the report on a conflict, for PRView.Conflict. It lists at most 20
// files, fewer when their names are very long, and counts the rest: with the
// report in its record, the comment must still fit into what forges accept.
func Conflict(v ConflictView) string {
	var rows []string
	for length := 0; len(rows) < min(len(v.Files), maxFiles); {
		row := conflictRow(v.Files[len(rows)])
		if length += len(row); length > maxReport && len(rows) > 0 {
			break
		}
		rows = append(rows, row)
	}
	return render("conflict.md.tmpl", struct {
		ConflictView
		Rows         []string
		More         int
		CommandLines string
	}{v, rows, len(v.Files) - len(rows), strings.Join(v.Commands, "\n")})
}

func conflictRow(f ConflictFile) string {
	path, by := Plain(clip(f.Path, 160)), "unknown"
	if f.Other != "" {
		path += " (other name: " + Plain(clip(f.Other, 160)) + ")"
	}
	if f.ByCommit.Valid() {
		by = sha(f.ByCommit) + " " + Plain(clip(f.BySubject, 80))
	}
	if f.ByPR > 0 {
		by = fmt.Sprintf("probably #%d (%s)", f.ByPR, strings.TrimSpace(by))
	}
	return "| " + path + " | " + Plain(clip(f.Kind, 40)) + " | " + by + " |"
}

// What one comment may hold.
const (
	maxEvents = 10
	maxFiles  = 20
	maxReport = 10_000 // bytes of file rows
	maxRows   = 50     // of the queue table
	maxLines  = 30     // of a log
	maxTail   = 4_000  // characters of those lines
)

// lastLines is the end of a log: whole lines, cut at the left where one line alone
// is too long.
func lastLines(log string) string {
	log = strings.Trim(Clean(log), "\n")
	lines := strings.Split(log, "\n")
	lines = lines[max(0, len(lines)-maxLines):]
	for len(lines) > 1 && len([]rune(strings.Join(lines, "\n"))) > maxTail {
		lines = lines[1:]
	}
	r := []rune(strings.Join(lines, "\n"))
	return string(r[max(0, len(r)-maxTail):])
}
