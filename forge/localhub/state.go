package localhub

import (
	"cmp"
	"crypto/rsa"
	"maps"
	"slices"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// account is a person, an organization, or the bot of an App.
type account struct {
	id      int64
	login   string
	kind    string // User, Organization, Bot
	created time.Time
}

// repo is a repository.
type repo struct {
	id            int64
	owner         *account
	name          string
	about         string // its description
	private       bool
	archived      bool
	parent        *repo
	defaultBranch string
	methods       []gate.Method
	roles         map[*account]gate.Role // without the owner
	created       time.Time
	pushed        time.Time

	git     git.Dir
	refs    map[string]gate.SHA // as in git, by full name
	commits map[gate.SHA]*commit

	number      int // the last issue's
	issues      map[int]*issue
	comments    map[int64]*comment
	labels      []*label
	statuses    map[gate.SHA][]*status // oldest first
	suites      []*suite
	runs        map[int64]*run
	protections map[string]*Protection
	rulesets    []*ruleset
	hooks       []*hook
}

func (r *repo) full() string { return r.owner.login + "/" + r.name }

func (r *repo) tip(branch string) gate.SHA { return r.refs["refs/heads/"+branch] }

// role is what an account may do.
func (r *repo) role(a *account) gate.Role {
	switch {
	case a == nil:
		return gate.RoleNone
	case a == r.owner:
		return gate.RoleAdmin
	case r.roles[a] != 0:
		return r.roles[a]
	case r.private:
		return gate.RoleNone
	}
	return gate.RoleRead
}

// open lists the open pull requests, lowest number first.
func (r *repo) open() []*issue {
	var all []*issue
	for _, n := range slices.Sorted(maps.Keys(r.issues)) {
		if i := r.issues[n]; i.pull != nil && i.open {
			all = append(all, i)
		}
	}
	return all
}

func (r *repo) label(name string) *label {
	for _, l := range r.labels {
		if strings.EqualFold(l.name, name) {
			return l
		}
	}
	return nil
}

type label struct {
	id                       int64
	name, color, description string
}

// issue is an issue, or with pull a pull request.
type issue struct {
	id               int64
	repo             *repo
	number           int
	by               *account
	app              *app // through which it was made
	title, body      string
	open             bool
	labels           []*label
	created, updated time.Time
	closed           time.Time
	closedBy         *account
	comments         []*comment
	history          []*event
	reactions        []*reaction
	pull             *pull
}

func (i *issue) touch() { i.updated = now() }

func (i *issue) has(name string) bool {
	return slices.ContainsFunc(i.labels, func(l *label) bool { return strings.EqualFold(l.name, name) })
}

// pull is what a pull request has besides.
type pull struct {
	id         int64
	base       string
	baseSHA    gate.SHA // the base's tip when the head was last looked at
	headRepo   *repo
	headBranch string
	head       gate.SHA
	draft      bool
	maintainer bool // maintainers of the base may push to a fork's branch
	merged     bool
	mergedAt   time.Time
	mergedBy   *account
	landed     gate.SHA
	reviews    []*review
	trial      trial
}

type comment struct {
	id               int64
	issue            *issue
	by               *account
	app              *app
	body             string
	created, updated time.Time
	reactions        []*reaction
}

type reaction struct {
	id      int64
	by      *account
	content string
	created time.Time
}

type review struct {
	id     int64
	by     *account
	state  string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED
	body   string
	commit gate.SHA
	at     time.Time
}

// event is one entry of a timeline.
type event struct {
	id     int64
	kind   string // GitHub's name
	actor  *account
	app    *app
	at     time.Time
	label  *label
	from   string // a renaming's old title, or the old base branch
	to     string
	commit gate.SHA
	// What the timeline shows and the list of events does not.
	comment *comment
	review  *review
}

type status struct {
	id                         int64
	by                         *account
	state, context, text, link string
	at                         time.Time
}

// suite gathers an App's check runs on one commit.
type suite struct {
	id      int64
	app     *app
	sha     gate.SHA
	branch  string
	created time.Time
	updated time.Time
}

// run is a check run.
type run struct {
	id                 int64
	suite              *suite
	name               string
	status, conclusion string
	externalID, link   string
	output             obj
	actions            []obj
	started, completed time.Time
}

type ruleset struct {
	id      int64
	rule    Ruleset
	created time.Time
}

// app is a GitHub App.
type app struct {
	App
	private           *rsa.PrivateKey
	name, description string
	homepage          string
	owner, bot        *account
	permissions       map[string]string
	events            []string
	hook              *hook
	created           time.Time
}

// installation is an App at work for one owner.
type installation struct {
	id        int64
	app       *app
	account   *account
	repos     []*repo
	created   time.Time
	updated   time.Time
	suspended time.Time
	by        *account // who suspended it
}

func (h *Hub) whois(login string) *account { return h.accounts[strings.ToLower(login)] }

// find gives the repository of a name, also of an old one.
func (h *Hub) find(full string) *repo { return h.names[strings.ToLower(full)] }

// sorted lists the repositories by id.
func (h *Hub) sorted() []*repo {
	return slices.SortedFunc(maps.Values(h.repos), func(a, b *repo) int { return cmp.Compare(a.id, b.id) })
}
