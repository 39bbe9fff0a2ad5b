package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Priority orders requests before their time does.
type Priority int

const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
	Urgent Priority = 2
)

func (p Priority) String() string {
	return map[Priority]string{Low: "low", Normal: "normal", High: "high", Urgent: "urgent"}[p]
}

// Via is how somebody asked.
type Via string

const (
	ByLabel    Via = "label"
	ByCommand  Via = "command"
	ByApproval Via = "approval"
)

// Request is somebody's wish to see a PR land.
type Request struct {
	By       User      `json:"by"`
	At       time.Time `json:"at"`
	Via      Via       `json:"via"`
	Base     string    `json:"base"`
	Priority Priority  `json:"priority,omitempty"`
	Method   Method    `json:"method,omitempty"` // asked for this PR alone; "" means the policy's
}

// Record is everything mergegate remembers about one PR. It is kept in the PR's
// sticky comment, so that any replica can go on from it.
type Record struct {
	Request Request   `json:"request,omitzero"`
	State   State     `json:"state,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Same lists the heads that are one and the same change: the head that was
	// asked for, then mergegate's own rebases of it, oldest first. A head that is
	// not in the list is news from the author.
	Same []SHA `json:"same,omitempty"`
	// Retargeted is when the base was changed last: what was approved before was
	// approved for another base.
	Retargeted time.Time `json:"retargeted,omitzero"`
	// Why is what a waiting request waits for (one item each), or why it ended.
	Why      []string `json:"why,omitempty"`
	Conflict string   `json:"conflict,omitempty"` // rendered report, only while it is why
	Tail     string   `json:"tail,omitempty"`     // last lines of the log, only while red
	Log      string   `json:"log,omitempty"`      // id of the log page
	Moves    int      `json:"moves,omitempty"`    // how often base moved under this request
	Broken   int      `json:"broken,omitempty"`   // retests of this head that could not be done
	// Tries and NotBefore are the flight's, of a request that others may pass
	// because the forge puts its landing off.
	Tries     int       `json:"tries,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Mode      CatchUp   `json:"mode,omitempty"` // when another than the policy's was needed
	ModeWhy   string    `json:"mode_why,omitempty"`
	Evidence  Evidence  `json:"evidence,omitzero"`
	Landed    LandedAs  `json:"landed,omitzero"`
	// Left is a head that was pushed too late to be part of what landed: the PR is
	// still open with it.
	Left    SHA        `json:"left,omitempty"`
	Command int64      `json:"command,omitempty"` // newest command comment dealt with
	Pressed time.Time  `json:"pressed,omitzero"`  // the newest button press dealt with
	LabelAt time.Time  `json:"label_at,omitzero"` // the label event dealt with
	Answer  string     `json:"answer,omitempty"`  // to the last command that needs one
	Events  []Happened `json:"events,omitempty"`  // newest last, at most ten
	// Owed: the label still has to be put on for this request. It is not saved: a
	// request that was never saved is made again from what asked for it.
	Owed bool `json:"-"`
}

// Happened is one line of a PR's history.
type Happened struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// Evidence is a passing verdict bound to a tree and a policy.
type Evidence struct {
	Base   SHA       `json:"base"`
	Commit SHA       `json:"commit"`
	Tree   SHA       `json:"tree"`
	Policy string    `json:"policy"` // RetestPolicy.Fingerprint
	At     time.Time `json:"at"`
	Log    string    `json:"log,omitempty"`
}

// LandedAs says what landed.
type LandedAs struct {
	Commit SHA    `json:"commit"`
	Tree   SHA    `json:"tree"`
	Base   SHA    `json:"base"` // the tip it was tested on
	Method Method `json:"method"`
	// Mismatch: it is not what was tested. The queue was frozen because of it.
	Mismatch bool `json:"mismatch,omitempty"`
}

// Is says whether the head is the change that was asked for.
func (r Record) Is(head SHA) bool { return slices.Contains(r.Same, head) }

// Queue is the work in flight of one (repository, base branch). It is saved in
// the lease before anything is done, so that whoever holds the lease next goes on.
type Queue struct {
	Flight *Flight `json:"flight,omitempty"`
}

// Again is when to look again although nothing has changed; zero for never. It is
// after now.
func (q Queue) Again(now time.Time, prs []Facts) time.Time {
	if q.Flight != nil {
		if q.Flight.NotBefore.After(now) {
			return q.Flight.NotBefore
		}
		return time.Time{}
	}
	var first time.Time
	for _, f := range prs {
		if at := f.Record.NotBefore; f.Record.State == Queued && at.After(now) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Flight is the one request being worked on.
type Flight struct {
	PR        int       `json:"pr"`
	State     State     `json:"state"` // CatchingUp, Testing or Landing
	Since     time.Time `json:"since"`
	Head      SHA       `json:"head"` // the PR's head it was picked with
	Base      SHA       `json:"base"` // the tip the candidate is built on
	Mode      CatchUp   `json:"mode"`
	Method    Method    `json:"method"` // never Auto
	Candidate SHA       `json:"candidate,omitempty"`
	Tree      SHA       `json:"tree,omitempty"`
	Ours      []SHA     `json:"ours,omitempty"`      // candidates that were, or are about to be, pushed to the PR's branch
	Published bool      `json:"published,omitempty"` // the candidate is on a ref of ours, where CI sees it
	Asked     bool      `json:"asked,omitempty"`     // the forge was asked to land; the answer may be unknown
	Denied    string    `json:"denied,omitempty"`    // the forge's words when it refused to land
	Tries     int       `json:"tries,omitempty"`     // landings the forge answered with "later"
	// PutOff: the forge answered the landing that was asked for last, with "later".
	// Unclear: it did not answer one of them, so that one may still come through.
	PutOff    bool      `json:"put_off,omitempty"`
	Unclear   bool      `json:"unclear,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
}

// Fingerprint names the policy a verdict was given under: equal fingerprints
// mean that the same verdict would be asked for in the same way.
func (p RetestPolicy) Fingerprint() string {
	data, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings, numbers and a map of strings always marshal
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
