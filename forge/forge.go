// Package forge says what mergegate needs from a forge, and nothing more.
//
// An implementation speaks to one forge (a Gitea, a Forgejo, GitHub) and turns
// its answers into gate's types. It does not decide, cache, or retry: the bot
// does. Every read is complete or an error: a list that could not be read to
// its last page is an error, never a short list, because "not in the list" means
// "closed" or "withdrawn" to the caller.
//
// Every write may be repeated with the same arguments without further effect,
// except PostComment and CreateIssue, whose callers look before they repeat.
//
// Four errors have a meaning; everything else (a 5xx, a broken connection, a
// timeout, a 401) means unknown: the effect may or may not have happened, read
// back before doing anything else.
//
// Implementations are safe for concurrent use.
package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mergegate/gate"
)

var (
	// ErrNotFound: the thing is not there, or the token may not see it.
	ErrNotFound = errors.New("not found")
	// ErrDenied: the forge refuses and will refuse again until a person changes something.
	ErrDenied = errors.New("denied")
	// ErrMoved: a compare failed; the head or the base is not where the call said.
	ErrMoved = errors.New("moved")
	// ErrBusy: nothing happened yet, the forge asks to try again later.
	ErrBusy = errors.New("busy")
)

// Refusal is an answer with a meaning. It unwraps to one of the four errors.
type Refusal struct {
	Kind   error
	Op     string // what was being asked, for people: "merge #12"
	Status int    // HTTP status
	Text   string // the forge's own words; may be empty
}

func (e *Refusal) Error() string {
	return fmt.Sprintf("%s: %v: the forge answered %d %s", e.Op, e.Kind, e.Status, e.Text)
}

func (e *Refusal) Unwrap() error { return e.Kind }

// RateLimited is an unknown-class error that says when to come back.
type RateLimited struct{ Until time.Time }

func (e *RateLimited) Error() string {
	return "the forge's rate limit is used up until " + e.Until.UTC().Format(time.RFC3339)
}

// Repository is what the forge says about a repository and the bot's place in it.
type Repository struct {
	ID            int64
	Private       bool
	Archived      bool
	DefaultBranch string
	CloneURL      string
	HasIssues     bool
	Role          gate.Role     // the bot's own
	Methods       []gate.Method // allowed by the repository's settings; never contains Auto
	Lacks         []string      // permissions that an App should have here and has not, for people: "Contents: write"
}

// Branch is a branch's tip and what its protection tells a writer. Fields the
// forge hides from the bot are left at their zero value and Opaque is set.
type Branch struct {
	Tip               gate.SHA
	Protected         bool
	Opaque            bool // protection exists but could not be read in full
	CanMerge          bool // the bot may merge into it
	RequiredApprovals int
	RequiredChecks    []string // globs
	DismissStale      bool     // a push to a PR's branch may dismiss its approvals
	BlockOutdated     bool     // the forge itself refuses to merge a head that is behind
	// Refused says what of the branch makes it none for mergegate, for people; "" for
	// nothing: "GitHub's own merge queue is on for main".
	Refused string
	// Forbidden are methods that the repository allows and this branch's rules refuse to the bot.
	Forbidden []gate.Method
}

// Past is what a PR's timeline says about who asked for what, and whether the
// head was pushed after that. Forges note pushes some seconds late, so one that
// followed within a few seconds may be missing here.
type Past struct {
	LabelledBy  gate.User // who put the label on last; zero when nobody did
	LabelledAt  time.Time
	PushedSince bool      // the head was pushed after the label was put on
	Outdated    []int64   // ids of the comments that are older than the newest push
	Retargeted  time.Time // when the base was changed last; zero for never
}

// Comment is a comment on an issue or a PR.
type Comment struct {
	ID      int64
	By      gate.User
	Body    string
	Created time.Time
	Updated time.Time // a difference to Created means somebody edited it
}

// Issue is an issue, here always the queue issue.
type Issue struct {
	Number int
	By     gate.User
	Title  string
	Body   string
	URL    string
	Open   bool
}

// StatusState is the state of a commit status.
type StatusState string

const (
	StatusPending StatusState = "pending"
	StatusSuccess StatusState = "success"
	StatusFailure StatusState = "failure"
	StatusError   StatusState = "error"
)

// Status is a commit status to post. Text is at most 140 characters.
type Status struct {
	Context string
	State   StatusState
	Text    string
	URL     string // page with the details; "" for none
}

// Landing is one merge, asked in full.
type Landing struct {
	PR     int
	Base   string      // branch
	Tip    gate.SHA    // the base tip that the candidate was tested on
	Head   gate.SHA    // the PR's head; the call must fail if it is another
	Method gate.Method // never Auto
	// Title and Message are the commit message for merge and squash; empty means the forge's own.
	Title, Message string
	DeleteBranch   bool
}

// Event is a delivery, reduced to where to look. It carries no facts.
type Event struct {
	Repo   gate.Repo
	Branch string   // pushed branch; "" when the event is about a PR
	PR     int      // 0 when unknown
	Commit gate.SHA // status events
	Sender gate.User
	// Delivery is the forge's id of the delivery, the same when it is sent again; ""
	// when the forge gives none.
	Delivery string
	Comment  int64  // id of a newly created comment on a PR; 0 otherwise
	Text     string // its text, only to decide whether to acknowledge at once
	// Button is what Sender pressed on the bot's own report about Commit. Unlike
	// a comment it cannot be read back: what Sender may do must be read before it
	// is obeyed.
	Button Button
}

// Button is a button on the bot's report; "" for none.
type Button string

const (
	ButtonRequeue Button = "requeue"
	ButtonRemove  Button = "remove"
)

// Forge is one forge.
type Forge interface {
	// Me is the bot's own account.
	Me(ctx context.Context) (gate.User, error)
	// Repos lists the repositories of an owner that the bot can write to.
	Repos(ctx context.Context, owner string) ([]gate.Repo, error)
	Repository(ctx context.Context, r gate.Repo) (Repository, error)
	Branch(ctx context.Context, r gate.Repo, name string) (Branch, error)

	// PullRequests lists every open PR of the repository. BaseTip is set when
	// the forge gives it for free.
	PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error)
	// PullRequest reads one PR, open or not.
	PullRequest(ctx context.Context, r gate.Repo, n int) (gate.PR, error)
	// Reviews lists submitted reviews, oldest first.
	Reviews(ctx context.Context, r gate.Repo, n int) ([]gate.Review, error)
	// Checks gives the newest word of each context on exactly this commit, by each
	// who spoke, as far as the forge tells; of one context the oldest first.
	Checks(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error)
	// Role is what the account may do in the repository; RoleUnknown when the
	// forge does not let the bot know.
	Role(ctx context.Context, r gate.Repo, u gate.User) (gate.Role, error)
	// Past says in which order things happened to the PR.
	Past(ctx context.Context, r gate.Repo, n int, label string) (Past, error)
	AddLabel(ctx context.Context, r gate.Repo, n int, label string) error
	// RemoveLabel is nil when the label is not there.
	RemoveLabel(ctx context.Context, r gate.Repo, n int, label string) error

	// Comments lists all comments of an issue or PR, oldest first, and the
	// forge's own time when it answered.
	Comments(ctx context.Context, r gate.Repo, n int) ([]Comment, time.Time, error)
	Comment(ctx context.Context, r gate.Repo, id int64) (Comment, error)
	// PostComment is not idempotent: after an unknown error the caller looks
	// for its text before posting again.
	PostComment(ctx context.Context, r gate.Repo, n int, body string) (Comment, error)
	// EditComment is ErrNotFound when the comment was deleted.
	EditComment(ctx context.Context, r gate.Repo, id int64, body string) error
	// DeleteComment is nil when the comment is already gone.
	DeleteComment(ctx context.Context, r gate.Repo, id int64) error
	// React adds a reaction by its short name ("eyes", "+1", "confused").
	React(ctx context.Context, r gate.Repo, comment int64, reaction string) error
	SetStatus(ctx context.Context, r gate.Repo, c gate.SHA, s Status) error

	// FindIssues lists open issues by the given account whose body contains
	// the marker, lowest number first.
	FindIssues(ctx context.Context, r gate.Repo, by gate.User, marker string) ([]Issue, error)
	Issue(ctx context.Context, r gate.Repo, n int) (Issue, error)
	// CreateIssue is not idempotent: look with FindIssues first and after.
	CreateIssue(ctx context.Context, r gate.Repo, title, body string) (Issue, error)
	EditIssue(ctx context.Context, r gate.Repo, n int, body string) error
	CloseIssue(ctx context.Context, r gate.Repo, n int) error

	// Land merges the PR. ErrMoved: head or base is not as asked, nothing
	// happened. ErrBusy: try again after reading back. ErrDenied: the forge
	// will not, Refusal.Text says why. Any other error: unknown, read back.
	Land(ctx context.Context, r gate.Repo, l Landing) error

	// GitAuth is the value of the Authorization header for git over HTTP to
	// this repository. It is a secret, and may change from call to call.
	GitAuth(ctx context.Context, r gate.Repo) (string, error)

	// Verify checks a delivery's signature in constant time. It is called
	// before anything in the body is looked at.
	Verify(h http.Header, body, secret []byte) bool
	// Event reads a verified delivery. A zero Event (no repository) means: of
	// no interest.
	Event(h http.Header, body []byte) (Event, error)
}

// Webhook is a repository webhook.
type Webhook struct {
	ID     int64
	URL    string
	Events []string
	Active bool
}

// Admin is what `check` and `setup` need besides. Methods answer ErrDenied
// when the bot is not an administrator of the repository.
type Admin interface {
	// Version is the forge's kind and version, for people: "Gitea 1.26.0".
	Version(ctx context.Context) (string, error)
	Webhooks(ctx context.Context, r gate.Repo) ([]Webhook, error)
	// HookEvents are the events the bot must subscribe to.
	HookEvents() []string
	// CreateWebhook registers a JSON webhook signed with the secret.
	CreateWebhook(ctx context.Context, r gate.Repo, url string, secret []byte) error
	// UpdateWebhook sets events, secret and active on a webhook that is ours.
	UpdateWebhook(ctx context.Context, r gate.Repo, id int64, url string, secret []byte) error
	// Labels counts the labels of this name that PRs of the repository can carry.
	Labels(ctx context.Context, r gate.Repo, name string) (int, error)
	CreateLabel(ctx context.Context, r gate.Repo, name, color, description string) error
	// AllowFastForward switches the repository's fast-forward-only merge on.
	AllowFastForward(ctx context.Context, r gate.Repo) error
}
