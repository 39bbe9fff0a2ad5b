package bot

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mergegate/forge/forgetest"
	"mergegate/gate"
	"mergegate/gate/retest"
)

// sneaked is a file that nobody has asked to land.
const sneaked = "sneaked.txt"

// meddling is what people can do to a PR and around it while the bot works. A
// refusal by the forge is no failure: then the moment was not one for it.
func meddling() map[string]func(r *rig, n int) {
	bots := func(r *rig, n int) (id int64) {
		for _, c := range r.Comments(r.repo, n) {
			if c.By == r.Bot() {
				id = c.ID
			}
		}
		return id
	}
	issue := func(r *rig) int {
		for _, e := range r.Log() {
			if e.Op == forgetest.OpIssue {
				return e.PR
			}
		}
		return 0
	}
	return map[string]func(r *rig, n int){
		"push": func(r *rig, n int) {
			_, _ = r.Push(r.repo, r.ann, r.PullRequest(r.repo, n).Head, map[string]string{sneaked: "!\n"}, "a")
		},
		"take the label off": func(r *rig, n int) { _ = r.Unlabel(r.repo, n, r.ann, "merge") },
		"cancel":             func(r *rig, n int) { _, _ = r.Comment(r.repo, n, r.ann, "/merge cancel") },
		"close":              func(r *rig, n int) { _ = r.Close(r.repo, n, r.ann) },
		"retarget":           func(r *rig, n int) { _ = r.Retarget(r.repo, n, r.ann, "release") },
		"draft":              func(r *rig, n int) { _ = r.Draft(r.repo, n, r.ann) },
		"merge by hand":      func(r *rig, n int) { _ = r.Merge(r.repo, n, r.own, gate.Merge) },
		"delete the branch":  func(r *rig, n int) { _ = r.DeleteBranch(r.repo, r.ann, "a") },
		"move base":          func(r *rig, n int) { _, _ = r.PushBase(r.repo, r.own, "main", map[string]string{"moved.txt": "x\n"}) },
		"conflict with base": func(r *rig, n int) { _, _ = r.PushBase(r.repo, r.own, "main", map[string]string{"a.txt": "y\n"}) },
		"delete the note":    func(r *rig, n int) { _ = r.DeleteComment(r.repo, bots(r, n), r.ann) },
		"edit the note": func(r *rig, n int) {
			_ = r.EditComment(r.repo, bots(r, n), r.ann, "<!-- mergegate:pr -->\nI was here.")
		},
		"delete the lease": func(r *rig, n int) { _ = r.DeleteComment(r.repo, bots(r, issue(r)), r.ann) },
		"edit the lease": func(r *rig, n int) {
			_ = r.EditComment(r.repo, bots(r, issue(r)), r.ann, "<!-- mergegate:lease v1 {} -->")
		},
		"delete the issue": func(r *rig, n int) { _ = r.DeleteIssue(r.repo, issue(r), r.own) },
		"take rights away": func(r *rig, n int) { r.SetRole(r.repo, r.bob, gate.RoleRead) },
	}
}

var everyCall = flag.Bool("every-call", false, "meddle at every call of a morning, not at every third")

// TestMeddlingAtEveryCall plays mornings again and again, with somebody meddling
// right before the first call, the second, and so on; and again with a crash of
// the bot after that call.
//
//	go test ./bot -run TestMeddlingAtEveryCall -args -every-call
func TestMeddlingAtEveryCall(t *testing.T) {
	mornings := slices.DeleteFunc(mornings(), func(m morning) bool {
		return !slices.Contains([]string{"two by label, behind", "command", "approval", "candidate, by merge"}, m.name)
	})
	deeds := meddling()
	for _, m := range mornings {
		for i, deed := range slices.Sorted(maps.Keys(deeds)) {
			for _, crash := range []bool{false, true} {
				if crash && (strings.Contains(deed, "lease") || strings.Contains(deed, "issue")) {
					continue // the lease is what a crash leaves; without it a landing is told only while the PR is open
				}
				t.Run(fmt.Sprintf("%s, %s, crash %v", m.name, deed, crash), func(t *testing.T) {
					step := 3
					if *everyCall {
						step = 1
					}
					for n, happened := i%step, true; happened && !t.Failed(); n += step {
						tell(t, func(r *rig) { happened = r.meddle(m, deeds[deed], n, crash) })
					}
				})
			}
		}
	}
}

// meddle plays a morning with the deed before call n, and says whether there was one.
func (r *rig) meddle(m morning, deed func(*rig, int), n int, crash bool) bool {
	r.must(r.PushCommit(r.repo, r.own, r.Tip(r.repo, "main"), "release"))
	tested := map[gate.SHA]bool{}
	prs := m.begin(r)
	var mu sync.Mutex
	r.judged = func(j retest.Job) {
		mu.Lock()
		defer mu.Unlock()
		tested[j.Tree] = true
	}
	r.sleep(5 * time.Second) // a push right after the request cannot be told from one before
	var calls atomic.Int64
	var at atomic.Pointer[string] // the call that it happened at
	r.on(func(c forgetest.Call, do func() error) error {
		if calls.Add(1) != int64(n+1) {
			return do()
		}
		call := c.String()
		at.Store(&call)
		deed(r, prs[0])
		err := do()
		if crash {
			r.crash("one")
			return errBroken
		}
		return err
	})
	r.start("one")
	for range 8 {
		r.sleep(20 * time.Second)
		if crash && at.Load() != nil {
			break
		}
		for _, pr := range prs {
			r.wake(pr)
		}
	}
	if crash && at.Load() != nil {
		r.start("one")
	}
	r.sleep(40 * time.Minute)
	for _, pr := range prs {
		if problem := r.unsettled(pr, tested); problem != "" {
			r.Fatalf("at call %d (%s): #%d %s\n%s", n, callOf(&at), pr, problem, r.tale())
		}
	}
	return at.Load() != nil
}

// unsettled says what is wrong with a PR at the end of a day on which people did
// what they liked; "" when nothing is.
func (r *rig) unsettled(n int, tested map[gate.SHA]bool) string {
	pr, notes := r.PullRequest(r.repo, n), r.notes(n)
	text := ""
	if len(notes) > 0 {
		text = notes[0].Body
	}
	waits := strings.Contains(text, "**Waiting")
	switch {
	case len(notes) > 1:
		return fmt.Sprintf("has %d notes", len(notes))
	case pr.Open && pr.Has("merge") && !waits:
		return "keeps its label, and does not say what it waits for"
	case strings.Contains(text, "**Queued"), strings.Contains(text, "**Catching"), strings.Contains(text, "**Testing"), strings.Contains(text, "**Landing"):
		return "has a note from the middle of it: " + strings.Join(strings.Fields(text)[:8], " ")
	}
	for _, c := range r.Statuses(r.repo, pr.Head) {
		if c.Context == StatusContext && c.State == gate.CheckPending && !waits {
			return "has a status that stays pending: " + c.Text
		}
	}
	for _, e := range r.Log() {
		if e.Op != forgetest.OpLand || !e.Bot {
			continue
		}
		if _, there := r.Files(e.To)[sneaked]; there {
			return "landed what nobody asked for"
		}
		if !tested[r.Tree(e.To)] {
			return "landed a tree that was never tested"
		}
	}
	return ""
}
