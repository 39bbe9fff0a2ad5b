package bot_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
	"mergegate/templates"
)

// The judges read the forge's own log, and what the machine that runs tests
// noted. They never ask the bot.

const leaseMark = "<!-- mergegate:lease"

func (w *world) judge() {
	log := w.sim.Log()
	for i, e := range log {
		if e.Op == forgetest.OpLand && e.Bot {
			w.landed++
			w.judgeTested(log, e)
			w.judgeApproved(log[:i], e)
		}
		if e.Op == forgetest.OpRef && e.Bot && (e.Ref == "refs/heads/main" || e.Ref == "refs/heads/stable") {
			w.fail("S3", "%s pushed %s with git", e.Actor, e.Ref)
		}
	}
	w.judgeOnce(log)
	w.judgeWanted(log)
	w.judgeWords(log)
	w.judgePushes(log)
	w.judgeLeases(log)
	w.judgeHolders(log)
	w.judgeEnd(log)
	w.judgeCalls()
}

// judgeTested: S1, S3, S6. What base moved to has passed, on the base it moved
// from, or it was noticed.
func (w *world) judgeTested(log []forgetest.Entry, e forgetest.Entry) {
	if !w.sim.IsAncestor(e.From, e.To) {
		w.fail("S3", "#%d: %s does not contain %s", e.PR, e.To.Short(), e.From.Short())
	}
	tree, p := w.sim.Tree(e.To), w.cfg.Defaults.Retest
	tested := w.sim.IsAncestor(e.From, gate.SHA(e.Text)) || w.cfg.Defaults.CatchUp == gate.CatchUpCandidate
	why := "the head does not contain the base it landed on"
	if tested && p.Command != "" {
		tested = slices.ContainsFunc(w.runs, func(r run) bool {
			return r.verdict == retest.Passed && r.tree == tree && r.at <= e.At.Sub(w.start)
		})
		why = "no retest of its tree passed"
	}
	if tested && len(p.Checks) > 0 {
		tested = w.passedCI(log, tree, e)
		why = "CI never passed its tree"
	}
	// Only fast-forward has a fence for base on this forge. A landing by another
	// method may meet a base that moved; then it has to be noticed.
	if !tested && w.cfg.Defaults.CatchUp == gate.CatchUpCandidate && w.noticed(log, e) {
		return
	}
	if !tested {
		w.fail(cmp.Or(map[bool]string{true: "S6"}[len(w.runs) == 0 && p.Command != ""], "S1"), "#%d landed %s (tree %s) on %s: %s", e.PR, e.To.Short(), tree.Short(), e.From.Short(), why)
	}
}

func (w *world) passedCI(log []forgetest.Entry, tree gate.SHA, land forgetest.Entry) bool {
	for _, s := range log {
		if s.Seq < land.Seq && s.Op == forgetest.OpStatus && s.Ref == "build" && s.State == "success" && w.sim.Tree(s.To) == tree {
			return true
		}
	}
	return false
}

// noticed says whether the queue was frozen because of a landing.
func (w *world) noticed(log []forgetest.Entry, land forgetest.Entry) bool {
	return slices.ContainsFunc(log, func(e forgetest.Entry) bool {
		return e.Seq > land.Seq && e.Bot && (e.Op == forgetest.OpEditIssue || e.Op == forgetest.OpIssue) && strings.Contains(e.Text, fmt.Sprintf("#%d landed as", land.PR))
	})
}

// tooLate is how long before a landing something must have been taken back for
// the landing to be wrong: the merge call itself may have been on its way.
func (w *world) tooLate() time.Duration { return 4*w.cfg.Lease.TTL + time.Minute }

// judgeApproved: S2. The change that landed is the one that was approved, or,
// where no approval is wanted, the one that was asked for.
func (w *world) judgeApproved(past []forgetest.Entry, land forgetest.Entry) {
	head := gate.SHA(land.Text)
	if w.cfg.Defaults.Require.Approvals > 0 {
		for _, e := range past {
			if e.Op == forgetest.OpReview && e.PR == land.PR && e.State == string(gate.Approved) && w.sameChange(past, e.To, head, land.From) {
				return
			}
		}
		w.fail("S2", "#%d landed %s, and nobody approved that change", land.PR, head.Short())
		return
	}
	// Who pushed the change last, and who asked after that?
	pushed := time.Time{}
	for _, e := range past {
		if !e.Bot && (e.Op == forgetest.OpRef || e.Op == forgetest.OpOpen) && e.To != "" && w.sameChange(past, e.To, head, land.From) {
			pushed = e.At
		}
	}
	for _, e := range past {
		if e.PR == land.PR && w.asks(e) && e.At.After(pushed.Add(-12*time.Second)) {
			return
		}
	}
	w.fail("S2", "#%d landed %s, which was pushed after everybody had asked", land.PR, head.Short())
}

// sameChange says whether b is a, or a rebase of it that is the bot's own: what a
// does to its base, done to b's base, gives b. (What base has already is no longer
// in the patch of the rebase, so patches are not compared.)
func (w *world) sameChange(past []forgetest.Entry, a, b, base gate.SHA) bool {
	if a == b {
		return true
	}
	ours := slices.ContainsFunc(past, func(e forgetest.Entry) bool { return e.Bot && e.Op == forgetest.OpRef && e.To == b })
	under, on := w.sim.MergeBase(a, base), w.sim.MergeBase(b, base)
	if !ours || under == "" || on == "" {
		return false
	}
	before, after, want := w.sim.Files(under), w.sim.Files(a), w.sim.Files(on)
	for path, text := range after {
		if before[path] != text {
			want[path] = text
		}
	}
	for path := range before {
		if after[path] == "" {
			delete(want, path)
		}
	}
	return maps.Equal(want, w.sim.Files(b))
}

// judgeOnce: S4.
func (w *world) judgeOnce(log []forgetest.Entry) {
	seen := map[string]bool{}
	for _, e := range log {
		if e.Op == forgetest.OpLand {
			key := fmt.Sprint(e.PR, e.Text)
			if seen[key] {
				w.fail("S4", "#%d landed twice", e.PR)
			}
			seen[key] = true
		}
	}
}

// asks says whether an entry is somebody asking for a PR to land who may.
func (w *world) asks(e forgetest.Entry) bool {
	switch {
	case e.Bot || e.Actor == w.reader.Login:
		return false
	case e.Op == forgetest.OpReview:
		return w.cfg.Defaults.Trigger.Approval
	case e.Op == forgetest.OpComment || e.Op == forgetest.OpEditComment:
		return strings.Contains(e.Text, "/merge")
	}
	return e.Op == forgetest.OpLabel && e.Ref == "merge"
}

// judgeWanted: what lands was asked for by somebody who may, and not taken back
// long before.
func (w *world) judgeWanted(log []forgetest.Entry) {
	asked := map[int]bool{}
	labelled := map[int]bool{}
	off := map[int]time.Time{}
	for _, e := range log {
		asked[e.PR] = asked[e.PR] || w.asks(e)
		switch {
		case e.Ref == "merge" && e.Op == forgetest.OpLabel:
			labelled[e.PR] = true
		case e.Ref == "merge" && e.Op == forgetest.OpUnlabel:
			labelled[e.PR], off[e.PR] = false, e.At
		case e.Op == forgetest.OpLand && e.Bot:
			if !asked[e.PR] {
				w.fail("wanted", "#%d landed, and nobody who may had asked for it", e.PR)
			} else if !labelled[e.PR] && e.At.Sub(off[e.PR]) > w.tooLate() {
				w.fail("wanted", "#%d landed without its label", e.PR)
			}
		}
	}
}

// judgeWords: nothing is told that has not happened, and nobody is blamed for what
// the bot did.
func (w *world) judgeWords(log []forgetest.Entry) {
	inBase := map[string]bool{}
	pushed := map[string]bool{} // by people
	for _, e := range log {
		switch {
		case e.Op == forgetest.OpLand:
			inBase[e.To.Short()], inBase[gate.SHA(e.Text).Short()] = true, true
		case e.Op == forgetest.OpRef && !e.Bot && e.Actor != w.sim.Bot().Login:
			pushed[e.To.Short()] = true
		case e.Op == forgetest.OpStatus && e.Bot && strings.HasPrefix(e.Text, "Landed as "):
			// Base contains a commit that was merged on its way to the one that landed:
			// a replica that wakes with the older record in hand says so.
			if c := strings.TrimPrefix(e.Text, "Landed as ")[:7]; !inBase[c] && (w.faults[paused] == 0 || !w.sim.IsAncestor(e.To, w.sim.Tip(w.repo, "main"))) {
				w.fail("told", "%s was told to have landed, and had not", c)
			}
		case e.Bot && e.Op != forgetest.OpStatus && strings.Contains(e.Text, "pushed after the request"):
			if _, after, ok := strings.Cut(e.Text, "a new commit "); ok && len(after) > 7 && !pushed[after[:7]] {
				w.fail("blame", "#%d was dropped because of %s, which the bot had pushed", e.PR, after[:7])
			}
		}
	}
}

// judgePushes: the bot pushes to a PR's branch only what was there, caught up.
func (w *world) judgePushes(log []forgetest.Entry) {
	for i, e := range log {
		if e.Op == forgetest.OpRef && e.Bot && strings.HasPrefix(e.Ref, "refs/heads/feature-") && e.To != "" {
			caughtUp := func(tip gate.SHA) bool { return w.sameChange(log[:i+1], e.From, e.To, tip) }
			if !slices.ContainsFunc(w.tips(log[:i]), caughtUp) {
				w.fail("push", "%s pushed %s over %s, which is another change", e.Actor, e.To.Short(), e.From.Short())
			}
		}
	}
}

// tips are where main was last, newest first: the bot may have built on any.
func (w *world) tips(log []forgetest.Entry) (tips []gate.SHA) {
	for _, e := range slices.Backward(log) {
		if e.Ref == "refs/heads/main" && (e.Op == forgetest.OpRef || e.Op == forgetest.OpLand) && len(tips) < 8 {
			tips = append(tips, e.To)
		}
	}
	return tips
}

// judgeEnd: L1, one note per PR, one queue issue, and no status without its last word.
func (w *world) judgeEnd(log []forgetest.Entry) {
	for _, pr := range w.sim.PullRequests(w.repo) {
		requested := pr.Open && pr.Has("merge")
		text, state := w.status(log, pr.Head)
		landed := func(e forgetest.Entry) bool { return e.Op == forgetest.OpLand && e.Bot && e.PR == pr.Number }
		unlabelled := func(e forgetest.Entry) bool { return e.Op == forgetest.OpUnlabel && !e.Bot && e.PR == pr.Number }
		switch {
		case strings.HasPrefix(text, "Merged by somebody else") && slices.ContainsFunc(log, landed) && !w.touched(log) && !w.tampered(log, pr.Number) && !w.undone(log) && w.faults[staleRead] == 0:
			w.fail("told", "#%d was told to have been merged by somebody else, and it was the bot", pr.Number)
		case strings.Contains(text, "was taken off") && !slices.ContainsFunc(log, unlabelled) && !w.tampered(log, pr.Number) && !w.undone(log) && w.faults[staleRead] == 0:
			w.fail("told", "#%d was told to have lost its label to somebody, and it was the bot", pr.Number)
		case requested && !strings.HasPrefix(text, "Waiting") && !strings.HasPrefix(text, "Frozen"):
			w.fail("L1", "#%d is still asked for, and its status is %q (%s)", pr.Number, text, state)
		case !requested && state == string(forge.StatusPending) && !w.tampered(log, pr.Number) && !w.robbed(log) && w.faults[staleRead] == 0:
			w.fail("status", "#%d has ended, and its status is still %q", pr.Number, text)
		}
		all, notes := w.notes(log, pr.Number)
		if notes > 1 && w.faults[staleRead] == 0 { // an old list does not show another replica's note
			w.fail("note", "#%d has %d notes", pr.Number, notes)
		}
		if all == 0 && w.droppedByBot(log, pr.Number) {
			w.fail("L1", "#%d was dropped without a word", pr.Number)
		}
	}
	issues := map[int]bool{}
	for _, e := range log {
		switch {
		case e.Op == forgetest.OpIssue && e.Bot:
			issues[e.PR] = true
		case e.Op == forgetest.OpCloseIssue || e.Op == forgetest.OpDeleteIssue:
			delete(issues, e.PR)
		}
	}
	if len(issues) > 1 {
		w.fail("issue", "there are %d queue issues", len(issues))
	}
}

// unknowable says whether an effect came late and whoever sent it may have died
// meanwhile: nobody was left to look once more.
func (w *world) unknowable(at time.Time) bool {
	return w.late[at] && w.faults[crashBefore]+w.faults[crashAfter] > 0
}

// notes counts the bot's notes on a PR, and those that somebody could know of.
func (w *world) notes(log []forgetest.Entry, n int) (all, inTime int) {
	there := map[int64]bool{}
	for _, c := range w.sim.Comments(w.repo, n) {
		there[c.ID] = strings.Contains(c.Body, templates.PRMarker)
	}
	for _, e := range log {
		if e.Op == forgetest.OpComment && e.Bot && there[e.ID] {
			all++
			if !w.unknowable(e.At) {
				inTime++
			}
		}
	}
	return all, inTime
}

// undone says whether a note may have been set back to what it was, and who could have
// known died.
func (w *world) undone(log []forgetest.Entry) bool {
	return slices.ContainsFunc(log, func(e forgetest.Entry) bool {
		return e.Bot && e.Op == forgetest.OpEditComment && w.unknowable(e.At)
	})
}

// robbed says whether somebody laid hands on a lease or the queue issue of a world where
// replicas die: what the dead one was about was noted there alone.
func (w *world) robbed(log []forgetest.Entry) bool {
	return w.faults[crashBefore]+w.faults[crashAfter] > 0 && w.touched(log)
}

// touched says whether somebody laid hands on a lease or the queue issue.
func (w *world) touched(log []forgetest.Entry) bool {
	leases := map[int64]bool{}
	return slices.ContainsFunc(log, func(e forgetest.Entry) bool {
		leases[e.ID] = leases[e.ID] || e.Bot && e.Op == forgetest.OpComment && strings.Contains(e.Text, leaseMark)
		touched := leases[e.ID] && (e.Op == forgetest.OpEditComment || e.Op == forgetest.OpDeleteComment)
		return !e.Bot && (touched || e.Op == forgetest.OpCloseIssue || e.Op == forgetest.OpDeleteIssue)
	})
}

// tampered says whether somebody edited or deleted what the bot had written on a PR:
// its record of the request went with it.
func (w *world) tampered(log []forgetest.Entry, n int) bool {
	ours := map[int64]bool{}
	return slices.ContainsFunc(log, func(e forgetest.Entry) bool {
		ours[e.ID] = ours[e.ID] || e.Bot && e.Op == forgetest.OpComment
		return e.PR == n && ours[e.ID] && !e.Bot && (e.Op == forgetest.OpEditComment || e.Op == forgetest.OpDeleteComment)
	})
}

// droppedByBot says whether the last word about a PR's label is the bot taking it off.
func (w *world) droppedByBot(log []forgetest.Entry, n int) bool {
	for _, e := range slices.Backward(log) {
		if e.PR == n && e.Ref == "merge" && (e.Op == forgetest.OpLabel || e.Op == forgetest.OpUnlabel) {
			return e.Bot && e.Op == forgetest.OpUnlabel
		}
		if e.PR == n && e.Op == forgetest.OpDeleteComment && !e.Bot {
			return false // somebody deleted the word
		}
	}
	return false
}

// status is the bot's newest word on a commit that somebody could know of.
func (w *world) status(log []forgetest.Entry, c gate.SHA) (text, state string) {
	for _, e := range slices.Backward(log) {
		if e.Op == forgetest.OpStatus && e.Bot && e.To == c && !w.unknowable(e.At) {
			return e.Text, e.State
		}
	}
	return "", ""
}

// mostCalls is how many calls to the forge a replica may make in a minute, on
// average over its world.
const mostCalls = 60

// tooManyCalls ends a world that would not come to rest.
const tooManyCalls = 20_000

func (w *world) judgeCalls() {
	passes := map[gate.SHA]int{}
	for _, r := range w.runs {
		if r.verdict == retest.Passed {
			passes[r.commit]++
		}
	}
	for c, n := range passes {
		if n > 4*w.slots {
			w.fail("waste", "%s passed %d retests", c.Short(), n)
		}
	}
	if most := int(w.took.Minutes()) * w.slots * mostCalls; w.calls > most {
		w.fail("calls", "%d calls in %v", w.calls, w.took.Round(time.Second))
	}
}
