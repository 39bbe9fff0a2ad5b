package gate

import "time"

// CatchUp is how a candidate is made from a head that is behind.
type CatchUp string

const (
	CatchUpRebase    CatchUp = "rebase"    // rebase, and push to the PR's branch
	CatchUpMerge     CatchUp = "merge"     // merge base into the head, and push to the PR's branch
	CatchUpCandidate CatchUp = "candidate" // never touch the PR's branch
)

// Talk is how much mergegate writes into a PR's comments.
type Talk string

const (
	TalkAll      Talk = "all"      // every state in the sticky comment
	TalkOutcomes Talk = "outcomes" // the sticky comment when a person should read it
	TalkNone     Talk = "none"     // only the commit status, and the hidden record
)

// Policy is what a repository asks of a change. It always comes from the base
// commit the candidate is built on, never from the PR.
type Policy struct {
	Enabled    bool
	DryRun     bool
	Branches   []string
	Trigger    Trigger
	Require    Require
	CatchUp    CatchUp
	Retest     RetestPolicy
	Land       LandPolicy
	LeaseLabel string
	Queue      QueuePolicy
	Attempts   int // retry.attempts: per head, then it needs a person
	Comments   Talk
	Public     bool // pages and logs of the queue are for everybody; gate does not care
}

// Trigger says what counts as asking for a PR to land.
type Trigger struct {
	Label    string // the request label; never empty
	Command  bool
	Approval bool
}

// Require is what must hold before a request may queue, and again at landing.
type Require struct {
	Approvals   int
	BlockLabels []string
}

// RetestPolicy says how a candidate is judged. With neither Command nor Checks
// nothing ever passes.
type RetestPolicy struct {
	Command      string
	Checks       []string // globs of CI contexts; each must match at least one, and all that match must pass
	Creators     []string // whose checks are evidence: logins, and app:NAME; none means everybody's
	Timeout      time.Duration
	StartTimeout time.Duration // for a check that never appears
	Network      bool
	Env          map[string]string
}

// Configured says whether there is anything that could pass a candidate.
func (p RetestPolicy) Configured() bool { return p.Command != "" || len(p.Checks) > 0 }

// LandPolicy says how base moves.
type LandPolicy struct {
	Method       Method
	DeleteBranch bool
}

// QueuePolicy is the shape of a train; {1, 1} is the plain queue.
type QueuePolicy struct{ Slots, Batch int }
