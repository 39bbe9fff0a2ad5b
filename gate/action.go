package gate

import "time"

// Facts is everything Step knows about one PR, read from the forge.
type Facts struct {
	PR      PR
	Record  Record
	Reviews []Review
	Label   Ask // who set the request label, if that event is newer than Record.LabelAt
	// Withdrawn is when the bot put the request label on, if somebody took it off
	// before there was a note of it: whatever was asked for until then is taken back.
	Withdrawn time.Time
	Commands  []Command // new command comments, oldest first
	// RequiredApprovals and RequiredChecks are what the branch's protection asks
	// for on top of the policy.
	RequiredApprovals int
	// Retargeted is when the base was changed last, as far as it was looked up this
	// time: an approval from before was for another base.
	Retargeted time.Time
	// Requester is what the person who asked may do now; RoleUnknown when it was
	// not looked up this time.
	Requester Role
	// Author is what the PR's author may do now. It is looked up only where
	// retests have no sandbox, see Input.Unsandboxed.
	Author Role
	// Busy: the bot could not read this PR this time. Step leaves it as it is.
	Busy bool
}

// Ask is somebody setting the request label.
type Ask struct {
	By   User
	At   time.Time
	Role Role
	Ours bool // the bot set it, after a command or an approval
	// Stale: the head was pushed after it. Whoever asked may not have seen that
	// head, so without an approval that names it nobody has.
	Stale bool
}

// Verb is what a command asks for.
type Verb string

const (
	DoMerge    Verb = "merge"
	DoCancel   Verb = "cancel"
	DoRetry    Verb = "retry"
	DoStatus   Verb = "status"
	DoFreeze   Verb = "freeze"
	DoUnfreeze Verb = "unfreeze"
	DoHelp     Verb = "help"
)

// Command is one command of a comment.
type Command struct {
	Comment  int64
	Button   bool // pressed on a report of ours instead of written: there is no comment
	By       User
	Role     Role
	At       time.Time
	Verb     Verb
	Method   Method
	Priority *Priority
	Reason   string
	Stale    bool   // the head was pushed after it, see Ask
	Mistake  string // what is wrong with it, for its author; nothing is done
}

// Freeze is a stopped queue.
type Freeze struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Input is what Step decides on. It names one queue: a repository and a base.
type Input struct {
	Now       time.Time
	Base      string // branch
	Tip       SHA
	Gone      bool   // the branch is not there: deleted, or renamed
	Refused   string // what of the branch makes it none for mergegate; "" for nothing
	Policy    Policy
	PolicyErr string // why the policy of the base commit could not be read; nothing moves until it can
	Methods   []Method
	Own       string   // mergegate's status context
	Checks    []string // CI contexts that the branch's protection requires
	Frozen    *Freeze
	// Unsandboxed: retest commands run without a sandbox here, so no command is
	// run on a change from a fork, or from somebody who may not write.
	Unsandboxed bool
	PRs         []Facts
	CI          []Check // of the candidate of the Queue given with it; believed only while that is Testing
	// Done is what came of the last step's actions. A retest's verdict may come
	// later; what Confirm, Land and Inspect found is handed over once, in the next step.
	Done []Outcome
}

// Action is something to do. Actions are compared with ==: an outcome names its
// question in full, so that a stale answer matches nothing.
type Action interface{ action() }

type (
	// Build makes the candidate, in private.
	Build struct {
		PR         int
		Head, Base SHA
		How        Method // Rebase, Merge or Squash: how the commit is made
	}
	// Push moves the PR's branch from the head that was read to the candidate.
	Push struct {
		PR       int
		From, To SHA
	}
	// Publish puts the candidate on a ref of mergegate's own, where CI sees it.
	Publish struct {
		PR        int
		Candidate SHA
	}
	// Retest runs the policy's command on the candidate, unless it already runs.
	Retest struct {
		PR                    int
		Candidate, Base, Tree SHA
	}
	// Stop ends a retest that nobody waits for any more.
	Stop struct {
		PR        int
		Candidate SHA
	}
	// Confirm reads everything that landing depends on afresh.
	Confirm struct {
		PR              int
		Candidate, Base SHA
	}
	// Land asks the forge to merge.
	Land struct {
		PR                          int
		Head, Candidate, Base, Tree SHA
		Method                      Method
	}
	// Inspect reads base back: did the candidate land, and as what? Merged says
	// that the forge already shows the PR as merged: an answer from before that
	// is none any more.
	Inspect struct {
		PR                    int
		Candidate, Base, Tree SHA
		Merged                bool
	}
	// Note saves a PR's record in its sticky comment.
	Note struct{ PR int }
	// SetLabel puts the request label on or takes it off.
	SetLabel struct {
		PR int
		On bool
	}
	// SetFreeze stops the queue; a zero Freeze lets it go on.
	SetFreeze struct{ Freeze Freeze }
)

func (Build) action()     {}
func (Push) action()      {}
func (Publish) action()   {}
func (Retest) action()    {}
func (Stop) action()      {}
func (Confirm) action()   {}
func (Land) action()      {}
func (Inspect) action()   {}
func (Note) action()      {}
func (SetLabel) action()  {}
func (SetFreeze) action() {}

// Outcome is what came of an action.
type Outcome struct {
	Of      Action
	Result  Result
	Why     string // the forge's words, for Denied
	Built   Built
	Verdict Verdict
	Found   Found
}

// Result is how an action ended. The zero value is "not known": the question is
// asked again, after reading back where that matters.
type Result string

const (
	Done   Result = "done"
	Moved  Result = "moved"  // a compare failed; the facts say what is new
	Denied Result = "denied" // refused until a person changes something
	Later  Result = "later"  // nothing happened yet
)

// Built is a candidate, or why there is none.
type Built struct {
	Candidate, Tree SHA
	InBase          bool   // the whole change is already in base
	Conflict        string // rendered report; "" when it applies
	Files           int    // in conflict
	Refused         string // why it can never be built: unrelated histories, head gone
	CannotPush      string // why the PR's branch must not be pushed to; "" when it may be
}

// Found is what Inspect saw in base.
type Found struct {
	Landed bool
	Commit SHA
	Tree   SHA
	OnBase bool // the commit, or the first of the commits that landed, sits right on the tested base
}
