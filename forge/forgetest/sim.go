package forgetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// Sim is a forge in memory that behaves like Gitea: repositories with a commit
// graph, pull requests, people with roles, comments, labels, reviews, commit
// statuses, protection, and landing pinned to the head. It has no processes, no
// sockets and no goroutines, and it reads the time from package time, so that it
// can live in a testing/synctest bubble.
//
// People act by Sim's methods, which answer an error where the forge would
// refuse. Replicas of the bot act through As and Mirrors; each of their calls
// passes through the function given to Around, which can make it fail, lose its
// answer, or delay it. Everything that happened is in Log.
//
// What it leaves out: lines within a file (a file merges as a whole), file
// modes, renames, and every page for people.
//
// It is safe for concurrent use. No lock is held while anybody waits.
type Sim struct {
	mu      sync.Mutex
	git     *graph
	bot     gate.User
	repos   map[gate.Repo]*simRepo
	byURL   map[string]*simRepo
	people  map[string]gate.User // by login
	mirrors map[string]*mirrorStore
	nextID  int64 // of comments, reviews, accounts: global and ascending, as on Gitea
	log     []Entry
	calls   map[string]int // by replica
	news    []forge.Event  // to deliver once the lock is released
	around  func(ctx context.Context, c Call, do func() error) error
	lag     func(c Call) time.Duration
	hear    func(forge.Event)
	check   time.Duration
}

// NewSim is an empty world with one account, the bot's.
func NewSim() *Sim {
	s := &Sim{
		git: newGraph(), repos: map[gate.Repo]*simRepo{}, byURL: map[string]*simRepo{}, people: map[string]gate.User{},
		mirrors: map[string]*mirrorStore{}, calls: map[string]int{}, check: 300 * time.Millisecond,
	}
	s.bot = s.account("bot")
	return s
}

// Call is one request of a replica, before it is sent.
type Call struct {
	Replica string
	Op      string // the method of forge.Forge, or "git fetch", "git ls-remote", "git push"
	Write   bool
	Repo    gate.Repo
	PR      int // or issue
	Comment int64
	Ref     string // branch, ref or label
	Commit  gate.SHA
	Text    string
}

func (c Call) String() string {
	return fmt.Sprintf("%s %s #%d %s %s", c.Replica, c.Op, c.PR, c.Ref, c.Commit.Short())
}

// Entry is one effect. What a replica did has its name as Actor, and Bot set.
type Entry struct {
	Seq      int
	At       time.Time
	Actor    string
	Bot      bool
	Op       string // see the op constants
	Repo     gate.Repo
	PR       int    // or issue
	Ref      string // full ref, label, or status context
	From, To gate.SHA
	ID       int64 // of the comment or review
	Text     string
	State    string // of a status or review; method of a landing
}

// What can happen, as Entry.Op says it.
const (
	OpRef           = "ref"  // a ref was made, moved or deleted by git
	OpLand          = "land" // a pull request was merged; Ref is base, From and To its tips, Text the head
	OpOpen          = "open"
	OpClose         = "close"
	OpReopen        = "reopen"
	OpRetarget      = "retarget"
	OpDraft         = "draft"
	OpReady         = "ready"
	OpLabel         = "label"
	OpUnlabel       = "unlabel"
	OpComment       = "comment"
	OpEditComment   = "edit comment"
	OpDeleteComment = "delete comment"
	OpReview        = "review"
	OpDismiss       = "dismiss"
	OpStatus        = "status"
	OpIssue         = "issue"
	OpEditIssue     = "edit issue"
	OpCloseIssue    = "close issue"
	OpDeleteIssue   = "delete issue"
	OpRole          = "role"
	OpReact         = "react"
)

// Around puts f around every call of a replica that goes over the network: of
// forge.Forge, and fetch, push and ls-remote of its mirrors. do has the effect
// and gives the forge's own answer; f may call it not at all, once, or twice,
// wait before or after (without a lock, and not beyond ctx), and answer anything.
func (s *Sim) Around(f func(ctx context.Context, c Call, do func() error) error) { s.around = f }

// Lag makes lists and reads of pull requests, comments, reviews, checks and
// branches answer as things were that long ago. It is asked once per read.
func (s *Sim) Lag(f func(c Call) time.Duration) { s.lag = f }

// Subscribe is told each webhook the forge would send, in the goroutine of
// whoever caused it, with no lock held. f must not wait.
func (s *Sim) Subscribe(f func(forge.Event)) { s.hear = f }

// Checking sets how long the forge computes whether a pull request can be merged
// after its head or its base moved; until then a landing is answered "later".
func (s *Sim) Checking(d time.Duration) { s.check = d }

// Log is everything that happened so far, in order. The entries must not be changed.
func (s *Sim) Log() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[:len(s.log):len(s.log)]
}

// Calls is how many calls a replica has made.
func (s *Sim) Calls(replica string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[replica]
}

// Bot is the bot's account, which all replicas share.
func (s *Sim) Bot() gate.User { return s.bot }

// locked runs f with the lock, then delivers what it gave rise to.
func (s *Sim) locked(f func() error) error {
	s.mu.Lock()
	err := f()
	news := s.news
	s.news = nil
	s.mu.Unlock()
	if s.hear != nil {
		for _, e := range news {
			s.hear(e)
		}
	}
	return err
}

// actor is who does something: a person, or a replica with the bot's account.
type actor struct {
	user    gate.User
	replica string
}

func (a actor) name() string {
	if a.replica != "" {
		return a.replica
	}
	return a.user.Login
}

func (s *Sim) note(a actor, e Entry) {
	e.Seq, e.At, e.Actor, e.Bot = len(s.log)+1, time.Now(), a.name(), a.replica != ""
	s.log = append(s.log, e)
}

// tell is a webhook about a pull request.
func (s *Sim) tell(a actor, r *simRepo, pr int) {
	s.news = append(s.news, forge.Event{Repo: r.name, PR: pr, Sender: a.user})
}

func (s *Sim) id() int64 {
	s.nextID++
	return s.nextID
}

func (s *Sim) account(login string) gate.User {
	u := gate.User{ID: s.id(), Login: login}
	s.people[login] = u
	return u
}

// simRepo is one repository.
type simRepo struct {
	id         int64
	name       gate.Repo
	parent     *simRepo // of a fork
	archived   bool
	roles      map[int64]gate.Role
	labels     []string
	methods    []gate.Method
	main       string // default branch
	refs       map[string][]refAt
	have       map[*commit]bool // objects that were pushed here
	protected  map[string]Protection
	threads    map[int]*thread // issues and pull requests, which share their numbers
	pulls      []*pull         // open and not, by number
	comments   map[int64]place
	nextNumber int
	statuses   map[gate.SHA][]gate.Check // newest word of each context
}

// Protection is what a branch demands. Approvals and Checks are asked for before
// anything is merged into it.
type Protection struct {
	Approvals     int
	Checks        []string // globs
	DismissStale  bool
	BlockOutdated bool
	NoPush        bool // only landing moves it
}

// refAt is where a ref has been since a time; "" when it does not exist.
type refAt struct {
	at time.Time
	to *commit
}

// thread is an issue, or the conversation of a pull request.
type thread struct {
	number   int
	by       gate.User
	title    string
	body     string
	open     bool
	comments []*comment
	pull     *pull // nil for an issue
}

type comment struct {
	id      int64
	by      gate.User
	made    time.Time
	edits   []edit // the first is the text it was made with
	deleted time.Time
}

type edit struct {
	at   time.Time
	body string
}

// pull is a pull request. Each change to it appends to past; the last entry is
// how it is.
type pull struct {
	thread  *thread
	repo    *simRepo
	source  *simRepo // nil when it was pushed without a branch
	edits   bool     // the author lets maintainers push
	past    []pullAt
	events  []happened
	reviews []*review
	checked time.Time // until when the forge computes whether it can be merged
}

type pullAt struct {
	at time.Time
	pr gate.PR
}

// happened is one line of a pull request's timeline.
type happened struct {
	at      time.Time
	kind    string // "label", "unlabel", "push", "comment", "retarget"
	by      gate.User
	label   string
	comment *comment
}

type review struct {
	id        int64
	by        gate.User
	state     gate.ReviewState
	commit    gate.SHA
	at        time.Time
	official  bool
	stale     bool
	dismissed time.Time
}

func (p *pull) now() gate.PR { return p.past[len(p.past)-1].pr }

// change makes a new version of the pull request. moved says that people's pages
// show a new date.
func (p *pull) change(moved bool, f func(pr *gate.PR)) {
	pr := p.now()
	f(&pr)
	now := time.Now()
	if moved {
		pr.Updated = now.Truncate(time.Second)
	}
	p.past = append(p.past, pullAt{now, pr})
}

func (p *pull) asOf(t time.Time) (gate.PR, bool) {
	for _, v := range slices.Backward(p.past) {
		if !v.at.After(t) {
			return v.pr, true
		}
	}
	return gate.PR{}, false
}

func (c *comment) asOf(t time.Time) (forge.Comment, bool) {
	if c.made.After(t) || !c.deleted.IsZero() && !c.deleted.After(t) {
		return forge.Comment{}, false
	}
	out := forge.Comment{ID: c.id, By: c.by, Created: c.made.Truncate(time.Second)}
	for _, e := range c.edits {
		if !e.at.After(t) {
			out.Body, out.Updated = e.body, e.at.Truncate(time.Second)
		}
	}
	return out, true
}

func (r *simRepo) tip(ref string) *commit { return r.tipAsOf(ref, time.Now()) }

func (r *simRepo) tipAsOf(ref string, t time.Time) *commit {
	for _, v := range slices.Backward(r.refs[ref]) {
		if !v.at.After(t) {
			return v.to
		}
	}
	return nil
}

func (r *simRepo) thread(n int) (*thread, error) {
	if t := r.threads[n]; t != nil {
		return t, nil
	}
	return nil, refuse(404, "")
}

func (r *simRepo) pull(n int) (*pull, error) {
	if t := r.threads[n]; t != nil && t.pull != nil {
		return t.pull, nil
	}
	return nil, refuse(404, "")
}

// place is where a comment is.
type place struct {
	thread  *thread
	comment *comment
}

// comment finds a comment by its id.
func (r *simRepo) comment(id int64) (place, error) {
	p, ok := r.comments[id]
	if !ok || !p.comment.deleted.IsZero() {
		return place{}, refuse(404, "")
	}
	return p, nil
}

func (s *Sim) repo(r gate.Repo) (*simRepo, error) {
	if repo := s.repos[r]; repo != nil {
		return repo, nil
	}
	return nil, refuse(404, "")
}

// refuse is an HTTP status as the real client reads it.
func refuse(status int, text string) error {
	kind := map[int]error{403: forge.ErrDenied, 404: forge.ErrNotFound, 405: forge.ErrDenied, 409: forge.ErrMoved, 422: forge.ErrDenied}[status]
	if kind == nil {
		return fmt.Errorf("the forge answered %d %s", status, text)
	}
	return &forge.Refusal{Kind: kind, Op: "simulated call", Status: status, Text: text}
}
