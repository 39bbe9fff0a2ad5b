// Package audit holds a base branch against the evidence: which of its commits
// did mergegate land, as which pull request, tested as which tree on which base,
// and which went around the gate.
//
// A landing is proven by four things that must agree:
//
//   - the record in the pull request's comment says that this commit landed. The
//     comment is the bot's by account, and the record is sealed with the key
//     (HMAC), so nobody else can have written it or moved it there;
//   - a success of the status "mergegate" by the bot's account, on the commit or on
//     the head that it was made of;
//   - git: the commit has the tree that was tested, and comes after the base it was
//     tested on;
//   - the evidence in the record is a pass of this tree on this base.
//
// Everything else on the branch is not proven, and is named with its author. A
// forged status or comment proves nothing. What a forge's administrator, or
// somebody with the bot's token and webhook secret, makes up, this cannot see.
//
// It reads only.
package audit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mergegate/bot"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
)

// Audit looks at one repository.
type Audit struct {
	Forge  forge.Forge
	Repo   gate.Repo
	Keys   [][]byte // that the bot seals its records with, or did before a rotation
	Mirror *catchup.Mirror

	me      gate.User
	records map[int]gate.Record // by PR; those that may be believed
}

// Landing is what one move of the base branch was: a landing with its evidence,
// or one commit that nothing is known of.
type Landing struct {
	Commit  gate.SHA `json:"commit"`
	Subject string   `json:"subject"`
	Author  string   `json:"author"` // of the commit, as it says
	Proven  bool     `json:"proven"`
	Why     string   `json:"why,omitempty"` // it is not proven

	// What follows is set when there is a record, proven or not.
	PR      int         `json:"pr,omitempty"`
	By      string      `json:"by,omitempty"`  // who asked for it
	Via     gate.Via    `json:"via,omitempty"` // how
	Method  gate.Method `json:"method,omitempty"`
	Tree    gate.SHA    `json:"tested_tree,omitempty"`
	Base    gate.SHA    `json:"tested_base,omitempty"`
	Tested  time.Time   `json:"tested_at,omitzero"`
	Verdict string      `json:"verdict,omitempty"` // "passed", or nothing
	Commits int         `json:"commits,omitempty"` // that came with it, this one included
}

// most is how many moves one audit looks at.
const most = 10_000

// Range looks at everything that came to the branch after from, up to to, newest
// first. Both must be in the mirror, and from an ancestor of to.
func (a *Audit) Range(ctx context.Context, from, to gate.SHA) ([]Landing, error) {
	before, err := a.Mirror.IsAncestor(ctx, from, to)
	if err != nil {
		return nil, err
	}
	if !before {
		return nil, fmt.Errorf("%s is not an ancestor of %s", from.Short(), to.Short())
	}
	if a.me, err = a.Forge.Me(ctx); err != nil {
		return nil, fmt.Errorf("who is the bot: %w", err)
	}
	a.records = map[int]gate.Record{}
	var all []Landing
	for at := to; ; {
		over, err := a.Mirror.IsAncestor(ctx, at, from)
		if err != nil || over {
			return all, err
		}
		if len(all) == most {
			return nil, fmt.Errorf("there are more than %d moves in that range; audit it in parts", most)
		}
		l, next, err := a.look(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", at.Short(), err)
		}
		all = append(all, l)
		if next == "" {
			return all, nil // the root of the history
		}
		at = next
	}
}

// look judges the move that ended at a commit, and gives where it began.
func (a *Audit) look(ctx context.Context, at gate.SHA) (l Landing, before gate.SHA, err error) {
	log, err := a.Mirror.Log(ctx, "", at, 1)
	if err != nil {
		return l, "", err
	}
	c := log[0]
	l = Landing{Commit: at, Subject: c.Subject, Author: c.Author.Name + " <" + c.Author.Email + ">"}
	if len(c.Parents) > 0 {
		before = c.Parents[0]
	}
	pr, r, err := a.record(ctx, c)
	if err != nil {
		return l, "", err
	}
	if pr == 0 {
		l.Why = "no pull request has a record of landing it: it went around the gate"
		return l, before, nil
	}
	l.PR, l.By, l.Via, l.Method = pr, r.Request.By.Login, r.Request.Via, r.Landed.Method
	l.Tree, l.Base, l.Tested = r.Evidence.Tree, r.Evidence.Base, r.Evidence.At
	if l.Why, err = a.doubt(ctx, c, r); err != nil || l.Why != "" {
		return l, before, err
	}
	moved, err := a.Mirror.Log(ctx, r.Landed.Base, at, most)
	if err != nil {
		return l, "", err
	}
	l.Proven, l.Verdict, l.Commits = true, "passed", len(moved)
	return l, r.Landed.Base, nil
}

// doubt says what of a record of landing does not agree with git or the status;
// "" when all does.
func (a *Audit) doubt(ctx context.Context, c catchup.Commit, r gate.Record) (string, error) {
	switch {
	case r.Landed.Mismatch:
		return "mergegate itself found that it is not what was tested", nil
	case r.Landed.Tree != c.Tree:
		return fmt.Sprintf("its tree is %s, and %s was to land", c.Tree.Short(), r.Landed.Tree.Short()), nil
	case r.Evidence.Tree != c.Tree:
		return fmt.Sprintf("its tree is %s, and %q was tested", c.Tree.Short(), r.Evidence.Tree.Short()), nil
	case r.Evidence.Base != r.Landed.Base:
		return fmt.Sprintf("it was tested on %q and landed on %q", r.Evidence.Base.Short(), r.Landed.Base.Short()), nil
	case !r.Landed.Base.Valid() || r.Landed.Base == c.ID:
		return "the record names no base", nil
	}
	after, err := a.Mirror.IsAncestor(ctx, r.Landed.Base, c.ID)
	if err != nil && !errors.Is(err, catchup.ErrMissing) {
		return "", err
	}
	if !after {
		return fmt.Sprintf("it does not come after %s, which it was tested on", r.Landed.Base.Short()), nil
	}
	for _, on := range slices.Compact(append([]gate.SHA{c.ID, r.Evidence.Commit}, r.Same...)) {
		own, err := a.own(ctx, on)
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(own, func(s gate.Check) bool { return s.State == gate.CheckPassed }) {
			return "", nil
		}
	}
	return fmt.Sprintf("there is no success of the status %q by %s on it", bot.StatusContext, a.me.Login), nil
}

// record finds the pull request whose record says that it landed as c.
func (a *Audit) record(ctx context.Context, c catchup.Commit) (int, gate.Record, error) {
	numbers, err := a.hints(ctx, c)
	if err != nil {
		return 0, gate.Record{}, err
	}
	for _, n := range numbers {
		r, err := a.read(ctx, n)
		if err != nil {
			return 0, r, err
		}
		if r.State == gate.Landed && r.Landed.Commit == c.ID {
			return n, r, nil
		}
	}
	return 0, gate.Record{}, nil
}

var (
	pagePath = regexp.MustCompile(`/([0-9]{1,9})$`)
	mention  = regexp.MustCompile(`[#!]([0-9]{1,9})\b`)
)

// hints are pull requests that c may have been: those whose page a status of
// the bot leads to, and those that its message names. Only their records count.
func (a *Audit) hints(ctx context.Context, c catchup.Commit) ([]int, error) {
	var found []int
	add := func(match []string) {
		if len(match) == 2 {
			if n, err := strconv.Atoi(match[1]); err == nil && n > 0 && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	}
	for _, on := range append([]gate.SHA{c.ID}, c.Parents[min(1, len(c.Parents)):]...) {
		own, err := a.own(ctx, on)
		if err != nil {
			return nil, err
		}
		for _, s := range own {
			add(pagePath.FindStringSubmatch(s.URL))
		}
	}
	for _, m := range mention.FindAllStringSubmatch(c.Message, 5) {
		add(m)
	}
	return found, nil
}

// own is what the bot's own account said about a commit.
func (a *Audit) own(ctx context.Context, c gate.SHA) ([]gate.Check, error) {
	if !c.Valid() {
		return nil, nil
	}
	checks, err := a.Forge.Checks(ctx, a.Repo, c)
	if errors.Is(err, forge.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(checks, func(s gate.Check) bool {
		return s.Context != bot.StatusContext || s.By.ID == 0 || s.By.ID != a.me.ID
	})
	// An App speaks in check runs, which Checks leaves out when they are its own.
	app, is := a.Forge.(interface {
		OwnRuns(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error)
	})
	if !is {
		return own, nil
	}
	runs, err := app.OwnRuns(ctx, a.Repo, c)
	for _, run := range runs {
		if run.Context == bot.StatusContext {
			own = append(own, run)
		}
	}
	return own, err
}

// read is the record of a pull request, zero when there is none that is ours.
func (a *Audit) read(ctx context.Context, n int) (gate.Record, error) {
	if r, known := a.records[n]; known {
		return r, nil
	}
	comments, _, err := a.Forge.Comments(ctx, a.Repo, n)
	if err != nil && !errors.Is(err, forge.ErrNotFound) {
		return gate.Record{}, fmt.Errorf("read the comments of #%d: %w", n, err)
	}
	var found gate.Record
	for _, c := range comments {
		if r, ok := bot.ReadRecord(a.Keys, a.Repo, n, c.Body); ok && c.By.ID == a.me.ID {
			found = r
			break
		}
	}
	a.records[n] = found
	return found, nil
}

// String is a landing for people, in one line. Words out of commits are quoted.
func (l Landing) String() string {
	if !l.Proven {
		about := ""
		if l.PR != 0 {
			about = fmt.Sprintf(" (#%d)", l.PR)
		}
		return fmt.Sprintf("UNPROVEN  %s%s %s by %s: %s", l.Commit.Short(), about, strconv.Quote(l.Subject), strconv.Quote(l.Author), l.Why)
	}
	many := ""
	if l.Commits > 1 {
		many = fmt.Sprintf(", %d commits", l.Commits)
	}
	return strings.TrimSpace(fmt.Sprintf("proven    %s #%d by %s (%s, %s%s): tree %s passed on %s at %s", l.Commit.Short(), l.PR,
		l.By, l.Via, l.Method, many, l.Tree.Short(), l.Base.Short(), l.Tested.UTC().Format(time.RFC3339)))
}
