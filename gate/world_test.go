package gate_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"mergegate/gate"
)

// world is a forge, its people and the bot around gate.Step, small enough to
// hold in one's head: a commit adds one named change to its parent, and a tree
// is the set of changes in it. Nothing in it knows what Step ought to do; the
// judgements in law_test.go look only at what happened here.
type world struct {
	t         fataler
	now       time.Time
	commits   map[gate.SHA]commit
	base      []gate.SHA // history of main; the last one is its tip
	prs       map[int]*pull
	people    map[string]*person
	policy    gate.Policy
	policyErr string
	gone      bool   // main is
	refused   string // what makes main none for us
	methods   []gate.Method
	required  []string // checks that the branch's protection asks for
	frozen    *gate.Freeze

	unsandboxed bool                       // retests have no sandbox
	conflicts   map[string]bool            // changes that do not apply any more
	ci          map[string]gate.CheckState // what CI says of each commit it sees, unless ciOn says otherwise
	ciOn        map[gate.SHA]map[string]gate.CheckState
	ciBy        map[string]string // who posts it: a login for each name
	mood        mood
	late        []gate.Land // landings that the forge has not got round to
	comments    int64

	queue   gate.Queue     // as this replica knows it
	lease   []byte         // as it was last saved
	done    []gate.Outcome // of the last step's actions
	pending []gate.Action
	busy    map[int]bool // PRs that cannot be read just now
	stale   bool         // the next step may rest on what was seen before
	seen    sight

	law   law
	trace strings.Builder
	shown map[string]string
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

type commit struct {
	parent gate.SHA
	change string
	tree   gate.SHA
}

type person struct {
	user gate.User
	role gate.Role
}

// pull is a PR, with the bot's record of it in memory and in its comment.
type pull struct {
	gate.PR
	reviews  []gate.Review
	label    gate.Ask
	commands []gate.Command
	pressed  []gate.Command
	record   gate.Record
	sticky   []byte
	merged   merged
	dismiss  string    // why its branch must not be pushed to
	refused  string    // why nothing can be built from it
	turned   time.Time // when its base was changed last
}

type merged struct {
	commit, tree, before gate.SHA
	byUs                 bool
	overtaken            bool // by a push: the PR is still open
}

// sight is what the bot read from the forge the last time it looked.
type sight struct {
	tip gate.SHA
	prs map[int]gate.PR
	ci  []gate.Check
}

// mood is how the outside world answers.
type mood struct {
	verdict gate.VerdictState
	why     string // for a verdict that is not a pass
	land    string // ok, lost (done, no reply), never (not done, no reply), late, denied, later, evil, overtaken
	push    gate.Result
	publish gate.Result
	label   string // fails
}

const baseName = "main"

func newWorld(t fataler) *world {
	w := &world{
		t: t, now: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC),
		commits: map[gate.SHA]commit{}, prs: map[int]*pull{}, busy: map[int]bool{}, conflicts: map[string]bool{}, ci: map[string]gate.CheckState{}, ciOn: map[gate.SHA]map[string]gate.CheckState{},
		methods: []gate.Method{gate.FastForward},
		mood:    mood{verdict: gate.Passed, land: "ok", push: gate.Done, publish: gate.Done},
		shown:   map[string]string{},
		people: map[string]*person{
			"ann": {gate.User{ID: 1, Login: "ann"}, gate.RoleWrite},
			"bob": {gate.User{ID: 2, Login: "bob"}, gate.RoleWrite},
			"cat": {gate.User{ID: 3, Login: "cat"}, gate.RoleWrite},
			"rob": {gate.User{ID: 4, Login: "rob"}, gate.RoleRead},
			"mia": {gate.User{ID: 5, Login: "mia"}, gate.RoleMaintain},
			"bot": {gate.User{ID: 9, Login: "bot"}, gate.RoleWrite},
		},
		policy: gate.Policy{
			Enabled: true, Branches: []string{baseName},
			Trigger: gate.Trigger{Label: "merge", Command: true},
			Require: gate.Require{Approvals: 1, BlockLabels: []string{"wip"}},
			CatchUp: gate.CatchUpRebase, Attempts: 3,
			Retest: gate.RetestPolicy{Command: "make test", Timeout: 30 * time.Minute, StartTimeout: 10 * time.Minute},
			Land:   gate.LandPolicy{Method: gate.Auto},
		},
	}
	w.commits["m0"] = commit{change: "m0", tree: "{m0}"}
	w.base = []gate.SHA{"m0"}
	w.law = newLaw()
	w.forget()
	return w
}

func (w *world) tip() gate.SHA { return w.base[len(w.base)-1] }

// tree is the set of changes of a commit with one more in it.
func (w *world) with(on gate.SHA, change string) gate.SHA {
	set := strings.Split(strings.Trim(string(w.commits[on].tree), "{}"), ",")
	set = append(set, change)
	slices.Sort(set)
	return gate.SHA("{" + strings.Join(slices.Compact(set), ",") + "}")
}

func (w *world) holds(c gate.SHA, change string) bool {
	return slices.Contains(strings.Split(strings.Trim(string(w.commits[c].tree), "{}"), ","), change)
}

func (w *world) commit(name string, on gate.SHA, change string) gate.SHA {
	c := gate.SHA(name)
	w.commits[c] = commit{parent: on, change: change, tree: w.with(on, change)}
	return c
}

// open makes a PR of ann's.
func (w *world) open(n int, change string, on gate.SHA) *pull {
	p := &pull{PR: gate.PR{
		Number: n, Author: w.people["ann"].user, Open: true, Base: baseName, MayPush: true,
		Head: w.commit(change, on, change), HeadBranch: "topic" + fmt.Sprint(n),
	}}
	w.prs[n] = p
	return p
}

func (w *world) approve(n int, who string, of gate.SHA) { w.review(n, who, of, gate.Approved) }

func (w *world) review(n int, who string, of gate.SHA, s gate.ReviewState) {
	by := w.people[who]
	w.prs[n].reviews = append(w.prs[n].reviews, gate.Review{By: by.user, State: s, Commit: of, Counts: by.role >= gate.RoleWrite, At: w.now})
	w.law.approved(n, who, w.commits[of].change, s == gate.Approved && by.role >= gate.RoleWrite && by.user.ID != w.prs[n].Author.ID)
}

func (w *world) withdraw(n int, who string) {
	for i, r := range w.prs[n].reviews {
		if r.By == w.people[who].user {
			w.prs[n].reviews[i].Dismissed = true
		}
	}
	w.law.approved(n, who, "", false)
}

func (w *world) setLabel(n int, who string) {
	p := w.prs[n]
	w.now = w.now.Add(time.Second)
	if !p.Has(w.policy.Trigger.Label) {
		p.Labels = append(slices.Clone(p.Labels), w.policy.Trigger.Label)
	}
	by := w.people[who]
	p.label = gate.Ask{By: by.user, At: w.now, Role: by.role, Ours: who == "bot"}
}

func (w *world) takeLabel(n int, label string) {
	p := w.prs[n]
	p.Labels = slices.DeleteFunc(slices.Clone(p.Labels), func(l string) bool { return l == label })
}

func (w *world) say(n int, who string, c gate.Command) {
	w.comments++
	w.now = w.now.Add(time.Second)
	c.Comment, c.By, c.Role, c.At = w.comments, w.people[who].user, w.people[who].role, w.now
	w.prs[n].commands = append(w.prs[n].commands, c)
}

// retarget changes the base, and with it what every approval was for.
func (w *world) retarget(n int, base string) {
	p := w.prs[n]
	w.now = w.now.Add(time.Second)
	p.Base, p.turned = base, w.now
	w.law.approvals[n] = nil
	w.now = w.now.Add(time.Second)
}

// press is a button: it names no comment, and is forgotten once it was dealt with.
func (w *world) press(n int, who string, v gate.Verb) {
	w.now = w.now.Add(time.Second)
	w.prs[n].pressed = append(w.prs[n].pressed, gate.Command{Button: true, By: w.people[who].user, Role: w.people[who].role, At: w.now, Verb: v})
}

// handPush is a person moving main.
func (w *world) handPush(change string) {
	w.base = append(w.base, w.commit(change, w.tip(), change))
}

func (w *world) handMerge(n int) { w.merge(n, "H", false, "") }

// merge makes a merge commit of the PR's head on whatever main is now.
func (w *world) merge(n int, kind string, byUs bool, extra string) {
	p, before := w.prs[n], w.tip()
	change := w.commits[p.Head].change
	c := w.commit(fmt.Sprintf("%s%d.%d", kind, n, len(w.base)), before, change)
	if extra != "" {
		w.commits[c] = commit{before, change, w.with(c, extra)}
	}
	w.advance(p, c, before, byUs)
}

func (w *world) advance(p *pull, c, before gate.SHA, byUs bool) {
	w.base = append(w.base, c)
	p.merged = merged{commit: c, tree: w.commits[c].tree, before: before, byUs: byUs}
	p.Open, p.Merged, p.MergeCommit = false, true, c
	w.law.moved(w, p, byUs)
}

// land is the forge's merge call: pinned to the head, and for fast-forward
// refused unless the head contains main.
func (w *world) land(a gate.Land, extra string) gate.Result {
	p := w.prs[a.PR]
	head := w.commits[p.Head]
	switch {
	case !p.Open || p.Base != baseName || p.Head != a.Head:
		return gate.Moved
	case extra != "" || a.Method == gate.Merge || a.Method == gate.Squash:
		w.merge(a.PR, map[gate.Method]string{gate.Merge: "M", gate.Squash: "S"}[a.Method], true, extra)
	case head.parent == w.tip():
		w.advance(p, p.Head, w.tip(), true)
	case a.Method == gate.FastForward:
		return gate.Moved
	default: // rebase: the forge makes its own, on whatever main is now
		w.merge(a.PR, "R", true, "")
	}
	return gate.Done
}

// catchUpLate lets the forge finish what it was asked for before.
func (w *world) catchUpLate() {
	for _, a := range w.late {
		f := w.queue.Flight
		if f != nil && f.PR == a.PR && f.State == gate.Landing {
			w.land(a, "")
		}
	}
	w.late = nil
}

func (w *world) build(a gate.Build) gate.Built {
	head := w.commits[a.Head]
	mark := map[gate.Method]string{gate.Rebase: "+", gate.Merge: "*", gate.Squash: "~"}[a.How]
	switch {
	case w.prs[a.PR].refused != "":
		return gate.Built{Refused: w.prs[a.PR].refused}
	case w.holds(a.Base, head.change):
		return gate.Built{InBase: true}
	case head.parent == a.Base:
		return gate.Built{Candidate: a.Head, Tree: head.tree}
	case w.conflicts[head.change]:
		return gate.Built{Conflict: "report", Files: 2}
	}
	c := w.commit(head.change+mark+string(a.Base), a.Base, head.change)
	return gate.Built{Candidate: c, Tree: w.commits[c].tree, CannotPush: w.prs[a.PR].dismiss}
}

// look reads the forge. The record of a push that was lost with the lease is
// mended here, as the bot does it: the rebase is made again and compared.
func (w *world) look() {
	w.seen = sight{w.tip(), map[int]gate.PR{}, w.seen.ci}
	for n, p := range w.prs {
		w.seen.prs[n] = p.PR
		r := &p.record
		if !r.State.Active() || r.Is(p.Head) || len(r.Same) == 0 {
			continue
		}
		from, head := r.Same[len(r.Same)-1], w.commits[p.Head]
		if w.commits[from].change == head.change && string(p.Head) == head.change+"+"+string(head.parent) {
			r.Same = append(r.Same, p.Head)
		}
	}
}

// input is what the bot gives to Step.
func (w *world) input() gate.Input {
	if !w.stale {
		w.look()
	}
	in := gate.Input{
		Now: w.now, Base: baseName, Tip: w.seen.tip, Policy: w.policy, PolicyErr: w.policyErr, Methods: w.methods,
		Gone: w.gone, Refused: w.refused, Own: "mergegate", Checks: w.required, Frozen: w.frozen, Done: w.done,
		Unsandboxed: w.unsandboxed,
	}
	for _, n := range slices.Sorted(maps.Keys(w.prs)) {
		p := w.prs[n]
		f := gate.Facts{PR: w.seen.prs[n], Record: p.record, Reviews: slices.Clone(p.reviews), Retargeted: p.turned, Busy: w.busy[n]}
		f.Record.Same = append(make([]gate.SHA, 0, len(p.record.Same)+1), p.record.Same...) // with room behind it
		for _, c := range p.commands {
			if c.Comment > p.record.Command {
				f.Commands = append(f.Commands, c)
			}
		}
		f.Commands = append(f.Commands, p.pressed...)
		if p.label.At.After(p.record.LabelAt) && !p.record.State.Active() {
			f.Label = p.label
		}
		for _, who := range w.people {
			if w.unsandboxed && who.user == p.Author {
				f.Author = who.role
			}
			if who.user == p.record.Request.By && p.record.State.Active() {
				f.Requester = who.role
			}
		}
		in.PRs = append(in.PRs, f)
	}
	if f := w.queue.Flight; f != nil && f.State == gate.Testing {
		w.seen.ci = nil
		for _, name := range slices.Sorted(maps.Keys(w.ci)) {
			if w.visible(f) {
				w.seen.ci = append(w.seen.ci, gate.Check{Context: name, State: w.check(f.Candidate, name), By: gate.User{ID: 1, Login: w.ciBy[name]}})
			}
		}
	}
	in.CI = w.seen.ci // possibly still of the candidate before
	return in
}

func (w *world) check(c gate.SHA, name string) gate.CheckState {
	if s, ok := w.ciOn[c][name]; ok {
		return s
	}
	return w.ci[name]
}

// visible says whether CI can see the candidate.
func (w *world) visible(f *gate.Flight) bool {
	return f.Candidate != "" && (f.Published || f.Candidate == w.prs[f.PR].Head)
}

// step lets gate decide, twice, and takes in what it decided. It reports whether
// there was anything to do or to remember.
func (w *world) step() bool {
	w.t.Helper()
	in := w.input()
	before := flat(w.queue, in)
	q, changed, actions := gate.Step(w.queue, in)
	for _, f := range in.PRs {
		if s := f.Record.Same; slices.ContainsFunc(s[len(s):cap(s)], func(c gate.SHA) bool { return c != "" }) {
			w.t.Fatalf("Step wrote behind a slice of its input: %q", s[:cap(s)])
		}
	}
	if after := flat(w.queue, in); after != before {
		w.t.Fatalf("Step changed its input:\n%s\n%s", before, after)
	}
	q2, changed2, actions2 := gate.Step(w.queue, in)
	if one, two := []any{q, changed, actions}, []any{q2, changed2, actions2}; !reflect.DeepEqual(one, two) {
		w.t.Fatalf("Step gave two answers to the same question:\n%s", cmp.Diff(one, two))
	}
	w.law.judge(w, in, q, actions)
	news := len(actions) > 0 || string(mustJSON(q)) != string(mustJSON(w.queue))
	w.queue = q
	for _, f := range changed {
		w.prs[f.PR.Number].record = f.Record
	}
	w.show()
	w.done, w.pending = nil, actions
	if slices.ContainsFunc(actions, func(a gate.Action) bool {
		switch a.(type) {
		case gate.Push, gate.Publish, gate.Land:
			return true
		}
		return false
	}) {
		w.lease = mustJSON(q)
	}
	if len(actions) == 0 && q.Flight == nil {
		w.lease = nil // at rest with nothing in flight: the lease is released
	}
	return news
}

// forget is a crash: what was not saved, and every outcome, is gone.
func (w *world) forget() {
	w.queue, w.done, w.pending = gate.Queue{}, nil, nil
	mustParse(w.lease, &w.queue)
	for _, p := range w.prs {
		p.record = gate.Record{}
		mustParse(p.sticky, &p.record)
	}
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func mustParse(data []byte, v any) {
	if data == nil {
		return
	}
	if err := json.Unmarshal(data, v); err != nil {
		panic(err)
	}
}

// flat is everything that Step is given, as text.
func flat(q gate.Queue, in gate.Input) string {
	return string(mustJSON(q)) + string(mustJSON(in)) + fmt.Sprint(in.Done)
}
