package gate

import (
	"slices"
	"strings"
	"time"
)

// SHA is a commit, tree or blob id: 40 lower-case hex digits, or "" for none.
type SHA string

// Valid says whether s is a full id. Only valid ids ever reach git.
func (s SHA) Valid() bool {
	return len(s) == 40 && strings.Trim(string(s), "0123456789abcdef") == ""
}

// Short is the form shown to people: seven digits.
func (s SHA) Short() string {
	if len(s) < 7 {
		return string(s)
	}
	return string(s[:7])
}

// Repo names a repository. Forge is the forge's name in the configuration, so
// that the same owner and name on two forges never collide.
type Repo struct{ Forge, Owner, Name string }

// String is the name people know: owner/name.
func (r Repo) String() string { return r.Owner + "/" + r.Name }

// User is an account on the forge. The id decides; the login is for people.
type User struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
}

// Role is what an account may do in a repository. Roles are ordered.
type Role int

const (
	RoleUnknown Role = iota // the forge would not say; never enough for anything
	RoleNone
	RoleRead
	RoleWrite
	RoleMaintain
	RoleAdmin
)

func (r Role) String() string {
	return [...]string{"unknown", "none", "read", "write", "maintain", "admin"}[r]
}

// PR is what the forge says about a pull request at one moment.
type PR struct {
	Number      int
	Title       string
	URL         string // page for people
	Author      User
	Open        bool
	Merged      bool
	MergeCommit SHA // once merged
	Draft       bool
	Base        string // branch name
	BaseTip     SHA    // the base branch's tip as read together with the PR; "" when the forge does not say
	Head        SHA
	HeadBranch  string // branch name in HeadRepo; "" for AGit
	HeadRepo    string // owner/name; "" when the fork is gone
	HeadURL     string // clone URL of HeadRepo
	Fork        bool   // HeadRepo is another repository
	AGit        bool   // pushed to refs/for/…: nobody but the author can update it
	MayPush     bool   // the bot may push to HeadBranch, as far as the PR tells
	Labels      []string
	Updated     time.Time // changes with everything a person does to the PR
}

// Has says whether the PR carries the label. Forges compare labels without
// regard to case when people do, so we do too.
func (p PR) Has(label string) bool {
	return slices.ContainsFunc(p.Labels, func(l string) bool { return strings.EqualFold(l, label) })
}

// ReviewState is a review's judgement.
type ReviewState string

const (
	Approved         ReviewState = "approved"
	ChangesRequested ReviewState = "changes-requested"
	Commented        ReviewState = "commented"
)

// Review is one review as the forge reports it, oldest first in lists.
type Review struct {
	By        User
	State     ReviewState
	Commit    SHA  // the head it was given for
	Dismissed bool // withdrawn by somebody, or by the forge after a push
	Counts    bool // its author may approve here: the forge says so, and they may write now
	At        time.Time
}

// CheckState is what one CI context says.
type CheckState string

const (
	CheckPending CheckState = "pending"
	CheckPassed  CheckState = "passed" // success, neutral, skipped
	CheckFailed  CheckState = "failed" // failure, error, cancelled, timed out, action required
)

// ForgeActions is the App of checks that the forge's own runner posts without an
// account, as Gitea's Actions do.
const ForgeActions = "actions"

// Check is the newest word of one CI context on one commit, by one creator.
type Check struct {
	Context string
	State   CheckState
	Text    string // what CI says about it
	URL     string
	By      User   // who posted it; zero when the forge does not say
	App     string // the App that posted it, by its short name; "" for a person
	At      time.Time
}

// Method is a way to land.
type Method string

const (
	Auto        Method = "auto" // the strongest that the repository allows
	FastForward Method = "fast-forward"
	Merge       Method = "merge"
	Squash      Method = "squash"
	Rebase      Method = "rebase"
)

// Methods lists every value land.method may have.
func Methods() []Method { return []Method{Auto, FastForward, Merge, Squash, Rebase} }
