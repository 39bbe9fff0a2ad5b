package bot_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/gate"
)

// The lanes of those who are not replicas: above the four replicas' own.
const (
	lanePeople = 40
	laneCI     = 41
)

// populate makes the repository and its people.
func (w *world) populate() {
	w.sim.Repo(w.repo, gate.RoleAdmin, map[string]string{"main": "main\n", "shared": "0\n"})
	w.author = w.sim.Person(w.repo, "dan", gate.RoleWrite)
	w.writers = []gate.User{w.sim.Person(w.repo, "ann", gate.RoleWrite), w.sim.Person(w.repo, "bob", gate.RoleWrite)}
	w.maintain = w.sim.Person(w.repo, "max", gate.RoleMaintain)
	w.reader = w.sim.Person(w.repo, "rob", gate.RoleRead)
	w.ci = w.sim.Person(w.repo, "ci", gate.RoleWrite)
	w.sim.PushCommit(w.repo, w.author, w.sim.Tip(w.repo, "main"), "stable")
}

// A deed is something that people do.
type deed func(w *world, pr int, d *die)

// mischief is what people do besides asking for PRs to land, and how often.
var mischief = []struct {
	name  string
	share int
	do    deed
}{
	{"push to head", 6, (*world).pushHead},
	{"push to base", 4, func(w *world, _ int, d *die) {
		w.sim.PushBase(w.repo, w.maintain, "main", map[string]string{fmt.Sprint("by-hand-", d.next()%1000): "x\n"})
	}},
	{"push a conflict to base", 1, func(w *world, _ int, d *die) {
		w.sim.PushBase(w.repo, w.maintain, "main", map[string]string{"shared": fmt.Sprint(d.next()%100, "\n")})
	}},
	{"label", 4, func(w *world, n int, d *die) { w.sim.Label(w.repo, n, w.somebody(d), "merge") }},
	{"take the label off", 3, func(w *world, n int, d *die) { w.sim.Unlabel(w.repo, n, w.somebody(d), "merge") }},
	{"block", 1, func(w *world, n int, d *die) { w.sim.Label(w.repo, n, w.somebody(d), "wip") }},
	{"unblock", 2, func(w *world, n int, d *die) { w.sim.Unlabel(w.repo, n, w.somebody(d), "wip") }},
	{"command", 5, func(w *world, n int, d *die) {
		says := []string{"/merge", "/merge", "/merge cancel", "/merge retry", "/merge status", "/merge priority=high", "/merge plaese", "/merge method=merge", "/merge help"}
		by := w.somebody(d)
		if d.next()%6 == 0 {
			by = w.reader
		}
		w.sim.Comment(w.repo, n, by, says[d.next()%uint64(len(says))])
	}},
	{"freeze", 1, func(w *world, n int, _ *die) { w.sim.Comment(w.repo, n, w.maintain, "/merge freeze release") }},
	{"unfreeze", 2, func(w *world, n int, _ *die) { w.sim.Comment(w.repo, n, w.maintain, "/merge unfreeze") }},
	{"approve", 4, func(w *world, n int, d *die) { w.sim.Review(w.repo, n, w.writers[d.next()%2], gate.Approved) }},
	{"ask for changes", 1, func(w *world, n int, d *die) { w.sim.Review(w.repo, n, w.writers[d.next()%2], gate.ChangesRequested) }},
	{"dismiss a review", 2, func(w *world, n int, d *die) { w.sim.Dismiss(w.repo, n, w.maintain, w.writers[d.next()%2]) }},
	{"close", 1, func(w *world, n int, _ *die) { w.sim.Close(w.repo, n, w.author) }},
	{"reopen", 2, func(w *world, n int, _ *die) { w.sim.Reopen(w.repo, n, w.author) }},
	{"retarget", 1, func(w *world, n int, d *die) {
		w.sim.Retarget(w.repo, n, w.author, []string{"stable", "main", "main"}[d.next()%3])
	}},
	{"draft", 1, func(w *world, n int, _ *die) { w.sim.Draft(w.repo, n, w.author) }},
	{"ready", 2, func(w *world, n int, _ *die) { w.sim.Ready(w.repo, n, w.author) }},
	{"merge by hand", 1, func(w *world, n int, _ *die) { w.sim.Merge(w.repo, n, w.maintain, gate.Merge) }},
	{"take rights away", 1, func(w *world, _ int, d *die) { w.sim.SetRole(w.repo, w.writers[d.next()%2], gate.RoleRead) }},
	{"give rights back", 2, func(w *world, _ int, d *die) { w.sim.SetRole(w.repo, w.writers[d.next()%2], gate.RoleWrite) }},
	{"edit a comment of the bot", 1, func(w *world, n int, d *die) { w.tamper(n, d, true) }},
	{"delete a comment of the bot", 1, func(w *world, n int, d *die) { w.tamper(n, d, false) }},
	{"edit a lease", 1, func(w *world, _ int, d *die) { w.tamper(w.queueIssue(), d, true) }},
	{"delete a lease", 1, func(w *world, _ int, d *die) { w.tamper(w.queueIssue(), d, false) }},
	{"edit a command", 1, func(w *world, n int, d *die) { w.retract(n, d, true) }},
	{"delete a command", 1, func(w *world, n int, d *die) { w.retract(n, d, false) }},
	{"status by hand", 1, func(w *world, n int, _ *die) {
		w.sim.Check(w.repo, w.author, w.sim.PullRequest(w.repo, n).Head, "mergegate", forge.StatusSuccess, "spoofed")
	}},
	{"close the queue issue", 1, func(w *world, _ int, d *die) {
		if n := w.queueIssue(); n != 0 && d.next()%4 == 0 {
			w.sim.Close(w.repo, n, w.maintain)
		}
	}},
}

// plan draws what people will do and when.
func (w *world) plan(dice *rand.Rand, length time.Duration) {
	w.calm = length
	w.prs = make([]int, 1+dice.IntN(5))
	for i := range w.prs {
		opened := upTo(dice, length/2)
		w.at(opened, func() { w.open(i) })
		for range 2 {
			if dice.IntN(4) > 0 {
				w.on(i, opened+upTo(dice, length/4), func(w *world, n int, d *die) { w.sim.Review(w.repo, n, w.writers[d.next()%2], gate.Approved) })
			}
		}
		asked := opened + upTo(dice, length/4)
		switch dice.IntN(12) {
		case 0:
			w.on(i, asked, func(w *world, n int, _ *die) { w.sim.Comment(w.repo, n, w.reader, "/merge") })
		case 1, 2:
			w.on(i, asked, func(w *world, n int, d *die) { w.sim.Comment(w.repo, n, w.somebody(d), "Looks good.\n\n/merge\n") })
		default:
			w.on(i, asked, func(w *world, n int, d *die) { w.sim.Label(w.repo, n, w.somebody(d), "merge") })
		}
	}
	total := 0
	for _, m := range mischief {
		total += m.share
	}
	for range dice.IntN(4) * dice.IntN(8) {
		x := dice.IntN(total)
		for _, m := range mischief {
			if x -= m.share; x < 0 {
				w.on(dice.IntN(len(w.prs)), upTo(dice, length), func(w *world, n int, d *die) {
					w.note("people: %s (#%d)", m.name, n)
					m.do(w, n, d)
				})
				break
			}
		}
	}
	if len(w.cfg.Defaults.Retest.Checks) > 0 {
		w.at(time.Second, w.watchCI)
	}
}

// at does something at an instant of the people's.
func (w *world) at(t time.Duration, do func()) { time.AfterFunc(aligned(lanePeople, t), do) }

// on does something to the PR with an index, if it is there by then.
func (w *world) on(i int, t time.Duration, do deed) {
	w.at(t, func() {
		if n := w.pr(i); n != 0 {
			d := w.die(fmt.Sprint("people", i))
			do(w, n, &d)
		}
	})
}

func (w *world) somebody(d *die) gate.User {
	return append(w.writers, w.author)[d.next()%3]
}

// open pushes a branch and opens a PR. Most changes are good; some are red, some
// conflict, and two halves are good alone and red together.
func (w *world) open(i int) {
	d := w.die(fmt.Sprint("open", i))
	branch := fmt.Sprint("feature-", i)
	tip, err := w.sim.Push(w.repo, w.author, w.sim.Tip(w.repo, "main"), w.files(i, &d), branch)
	if err == nil && d.next()%3 == 0 {
		w.sim.Push(w.repo, w.author, tip, map[string]string{fmt.Sprint("more-", i): "more\n"}, branch)
	}
	n, _ := w.sim.Open(w.repo, w.author, branch, "main", fmt.Sprint("Change ", i))
	w.note("people: open #%d", n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.prs[i] = n
}

// pr is the number of a PR of the plan; 0 while it is not open.
func (w *world) pr(i int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.prs[i]
}

func (w *world) files(i int, d *die) map[string]string {
	files := map[string]string{fmt.Sprint("file-", i): fmt.Sprint(d.next()%1000, "\n")}
	switch d.next() % 8 {
	case 0:
		files["half-a"] = "a\n"
	case 1:
		files["half-b"] = "b\n"
	case 2:
		files["shared"] = fmt.Sprint(i, "\n")
	case 3:
		files[fmt.Sprint("file-", i)] = "red\n"
	}
	return files
}

// pushHead is the author pushing one more commit, or the mended change anew.
func (w *world) pushHead(n int, d *die) {
	pr := w.sim.PullRequest(w.repo, n)
	if !pr.Open {
		return
	}
	from, files := pr.Head, w.files(n, d)
	if d.next()%3 == 0 {
		from = w.sim.Tip(w.repo, "main")
	}
	w.sim.Push(w.repo, w.author, from, files, pr.HeadBranch)
}

// tamper is a person with write access changing what the bot wrote.
func (w *world) tamper(n int, d *die, edit bool) {
	for _, c := range w.sim.Comments(w.repo, n) {
		if c.By != w.sim.Bot() {
			continue
		}
		if edit {
			w.sim.EditComment(w.repo, c.ID, w.maintain, strings.Replace(c.Body, "\"pr\":", "\"pr\": 9", 1)+fmt.Sprint(d.next()%10))
		} else {
			w.sim.DeleteComment(w.repo, c.ID, w.maintain)
		}
		return
	}
}

// retract is somebody editing or deleting their own words.
func (w *world) retract(n int, d *die, edit bool) {
	for _, c := range slices.Backward(w.sim.Comments(w.repo, n)) {
		if c.By == w.sim.Bot() {
			continue
		}
		if edit {
			w.sim.EditComment(w.repo, c.ID, c.By, []string{"/merge", "never mind"}[d.next()%2])
		} else {
			w.sim.DeleteComment(w.repo, c.ID, c.By)
		}
		return
	}
}

// about is the PR that a call lands, or whose branch it pushes to; 0 for any other.
func (w *world) about(c forgetest.Call) int {
	if c.Op == "Land" {
		return c.PR
	}
	var i int
	if _, err := fmt.Sscanf(c.Ref, "refs/heads/feature-%d", &i); c.Op == "git push" && err == nil {
		return w.pr(i)
	}
	return 0
}

// rival is somebody who acts at the worst moment: when the bot has looked, and its
// effect is on its way.
func (w *world) rival(n int, d *die) {
	deeds := []string{"push to base", "push to base", "push to base", "push to head", "push to head", "take the label off", "close", "dismiss a review", "draft", "merge by hand", "retarget"}
	name := deeds[d.next()%uint64(len(deeds))]
	w.note("people: %s (#%d) at the worst moment", name, n)
	for _, m := range mischief {
		if m.name == name {
			m.do(w, n, d)
		}
	}
}

// queueIssue is the issue that counts; 0 when there is none.
func (w *world) queueIssue() int {
	for _, e := range w.sim.Log() {
		if e.Op == forgetest.OpIssue && e.Bot {
			return e.PR
		}
	}
	return 0
}

// watchCI is the project's CI: it tests each commit that a push shows it. It
// looks every few seconds, is sometimes slow, and sometimes says nothing at all.
func (w *world) watchCI() {
	if w.ctx.Err() != nil {
		return
	}
	log := w.sim.Log()
	for _, e := range log[w.ciAt:] {
		if e.Op == forgetest.OpRef && strings.HasPrefix(e.Ref, "refs/heads/") && e.To != "" && e.Ref != "refs/heads/main" {
			w.test(e.To)
		}
	}
	w.ciAt = len(log)
	time.AfterFunc(aligned(laneCI, 3*time.Second), w.watchCI)
}

func (w *world) test(c gate.SHA) {
	d := w.die("ci" + string(c))
	w.sim.Check(w.repo, w.ci, c, "build", forge.StatusPending, "running")
	if w.strikes(&d, hangs) {
		return
	}
	state := forge.StatusFailure
	if green(w.sim.Files(c)) {
		state = forge.StatusSuccess
	}
	time.AfterFunc(aligned(laneCI, 5*time.Second+d.upTo(w.testTime)), func() {
		w.sim.Check(w.repo, w.ci, c, "build", state, "done")
	})
}
