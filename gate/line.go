package gate

import "time"

// Line is what there is to say about one request right now. The commit status,
// the queue table and the pages all show the same line.
type Line struct {
	PR        int
	Title     string
	URL       string
	Author    string
	Open      bool // the PR
	State     State
	Since     time.Time
	Position  int // 1 is the one being worked on; 0 when not in the queue
	Length    int // of the queue
	Base      string
	Tip       SHA // the base commit the candidate is built on
	Candidate SHA
	Landed    SHA
	Left      SHA  // the head that the PR is still open with, pushed too late to land
	Alarm     bool // what landed is not what was tested
	Timeout   time.Duration
	Why       []string // what it waits for, or why it ended
	Frozen    string   // why the queue stands still
	By        string   // who asked
}

// Lines gives a line for each PR that has a request or an outcome: the one in
// flight, then the queue in order, then the waiting, then the ended.
func Lines(q Queue, in Input) []Line {
	var flight, queued, waiting, ended []Facts
	for _, f := range Order(in.PRs) {
		if q.Flight != nil && q.Flight.PR == f.PR.Number && f.Record.State.Active() {
			f.Record.State, f.Record.Since = q.Flight.State, q.Flight.Since // records are saved less often
		}
		switch s := f.Record.State; {
		case s.flying():
			flight = append(flight, f)
		case s == Queued:
			queued = append(queued, f)
		case s == Waiting:
			waiting = append(waiting, f)
		case s.Final():
			ended = append(ended, f)
		}
	}
	inQueue := len(flight) + len(queued)
	var out []Line
	for i, f := range append(append(append(flight, queued...), waiting...), ended...) {
		l := Line{
			PR: f.PR.Number, Title: f.PR.Title, URL: f.PR.URL, Author: f.PR.Author.Login, Open: f.PR.Open,
			State: f.Record.State, Since: f.Record.Since, Base: in.Base, Why: f.Record.Why,
			Landed: f.Record.Landed.Commit, Left: f.Record.Left, Alarm: f.Record.Landed.Mismatch, Timeout: in.Policy.Retest.Timeout, By: f.Record.Request.By.Login,
		}
		if i < inQueue {
			l.Position, l.Length = i+1, inQueue
		}
		if q.Flight != nil && q.Flight.PR == l.PR {
			l.Tip, l.Candidate = q.Flight.Base, q.Flight.Candidate
		}
		if in.Frozen != nil && f.Record.State.Active() {
			l.Frozen = in.Frozen.Reason
		}
		out = append(out, l)
	}
	return out
}
