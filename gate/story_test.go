package gate_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"mergegate/gate"
)

var update = flag.Bool("update", false, "write what happens into testdata/*.txtar; read the difference before you keep it")

// TestStories plays each story in testdata. Lines that begin with "> " happen,
// the lines below them are what people and the forge then see.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := range archive.Files {
				f := &archive.Files[i]
				got := tell(t, string(f.Data))
				if *update {
					f.Data = []byte(got)
				} else if d := cmp.Diff(strings.Split(string(f.Data), "\n"), strings.Split(got, "\n")); d != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, d)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// tell plays the events of a story and gives the story with what came of them.
func tell(t *testing.T, story string) string {
	w := newWorld(t)
	for line := range strings.Lines(story) {
		line = strings.TrimSuffix(line, "\n")
		if event, ok := strings.CutPrefix(line, "> "); ok {
			fmt.Fprintln(&w.trace, line)
			w.happen(event)
		}
	}
	w.run()
	w.law.end(w)
	return w.trace.String()
}

// happen makes one line of a story happen. Most need no word of explanation:
//
//	policy KEY=VALUE…    approvals, command, checks, start, catchup, dryrun, trigger, branches, attempts, method, sandbox
//	methods M,M          what the repository allows
//	open N CHANGE BASE   ann opens a PR
//	fork N               it comes from a fork: its branch cannot be pushed to
//	refuse N             nothing can be built from it
//	busy N, readable N   the bot cannot read it just now
//	say N WHO TEXT       a command
//	press N WHO VERB     a button: merge or cancel
//	mood KEY=VALUE       verdict, why, land, push, publish, put-label: how the world answers
//	ci NAME STATE [C]    what CI says, of every commit or of one
//	main C, main-empty C somebody pushes to main
//	until ACTION         work up to the moment before it
//	run                  work until there is nothing left to do
//	crash, lose-lease    the bot dies; the lock comment is deleted as well
//	believe / look       what was read before is believed / everything is read again
func (w *world) happen(event string) {
	w.t.Helper()
	word, rest, _ := strings.Cut(event, " ")
	args := append(strings.Fields(rest), "", "", "")
	n, _ := strconv.Atoi(args[0])
	p := w.prs[n]
	switch word {
	case "policy", "mood":
		for _, kv := range strings.Split(rest, ", ") {
			k, v, _ := strings.Cut(kv, "=")
			w.set(k, v)
		}
	case "methods":
		w.methods = nil
		for m := range strings.SplitSeq(rest, ",") {
			w.methods = append(w.methods, gate.Method(m))
		}
	case "open":
		w.open(n, args[1], gate.SHA(args[2]))
	case "fork":
		p.MayPush, p.Fork = false, true
	case "dismiss-on-push":
		p.dismiss = "a push would dismiss its approvals"
	case "refuse":
		p.refused = "it has no history in common with main"
	case "busy", "readable":
		w.busy[n] = word == "busy"
	case "approve":
		w.approve(n, args[1], p.Head)
	case "approve-old":
		w.approve(n, args[1], gate.SHA(args[2]))
	case "object":
		w.review(n, args[1], p.Head, gate.ChangesRequested)
	case "withdraw":
		w.withdraw(n, args[1])
	case "label":
		w.setLabel(n, args[1])
	case "unlabel":
		w.takeLabel(n, w.policy.Trigger.Label)
	case "tag":
		p.Labels = append(p.Labels, args[1])
	case "untag":
		w.takeLabel(n, args[1])
	case "push":
		p.Head = w.commit(args[1], w.commits[p.Head].parent, args[1])
	case "push-back":
		p.Head = gate.SHA(args[1])
	case "close", "reopen":
		p.Open = word == "reopen"
	case "draft", "ready":
		p.Draft = word == "draft"
	case "retarget":
		w.retarget(n, args[1])
	case "role":
		w.people[args[0]].role = map[string]gate.Role{"none": gate.RoleNone, "read": gate.RoleRead, "write": gate.RoleWrite}[args[1]]
	case "main":
		w.handPush(args[0])
	case "main-empty":
		c := gate.SHA(args[0])
		w.commits[c] = commit{w.tip(), args[0], w.commits[w.tip()].tree}
		w.base = append(w.base, c)
	case "merge-by-hand":
		w.handMerge(n)
	case "press":
		w.press(n, args[1], gate.Verb(args[2]))
	case "say":
		w.say(n, args[1], command(args[2:]))
	case "ci":
		if c := gate.SHA(args[2]); c != "" {
			w.ciOn[c] = map[string]gate.CheckState{args[0]: gate.CheckState(args[1])}
		} else {
			w.ci[args[0]] = gate.CheckState(args[1])
		}
	case "conflict":
		w.conflicts[args[0]] = true
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			w.t.Fatalf("%s: %v", event, err)
		}
		w.wait(d)
	case "until":
		w.until(rest)
	case "act":
		w.act()
	case "run":
		w.run()
	case "late":
		w.catchUpLate()
	case "crash":
		w.forget()
	case "lose-lease":
		w.lease = nil
		w.forget()
	case "lose-notes":
		p.sticky, p.record = nil, gate.Record{}
	case "believe", "look":
		w.stale = word == "believe"
	default:
		w.t.Fatalf("a story says %q, which nobody understands", event)
	}
}

func (w *world) set(key, value string) {
	p := &w.policy
	n, _ := strconv.Atoi(value)
	switch key {
	case "approvals":
		p.Require.Approvals = n
	case "command":
		p.Retest.Command = value
	case "checks":
		p.Retest.Checks = strings.Fields(value)
	case "required":
		w.required = strings.Fields(value)
	case "catchup":
		p.CatchUp = gate.CatchUp(value)
	case "dryrun":
		p.DryRun = value == "true"
	case "enabled":
		p.Enabled = value == "true"
	case "trigger":
		p.Trigger.Approval = value == "approval"
	case "label":
		p.Trigger.Label = value
	case "branches":
		p.Branches = strings.Fields(value)
	case "attempts":
		p.Attempts = n
	case "method":
		p.Land.Method = gate.Method(value)
	case "gone":
		w.gone = value == "true"
	case "refused":
		w.refused = value
	case "sandbox":
		w.unsandboxed = value == "none"
	case "broken":
		w.policyErr = value
	case "verdict":
		w.mood.verdict = gate.VerdictState(value)
	case "why":
		w.mood.why = value
	case "land":
		w.mood.land = value
	case "put-label":
		w.mood.label = value
	case "push":
		w.mood.push = gate.Result(value)
	case "publish":
		w.mood.publish = gate.Result(value)
	default:
		w.t.Fatalf("nothing is called %q", key)
	}
}

// command reads the words of a command; the real reading is bot/chat's.
func command(words []string) gate.Command {
	c := gate.Command{Verb: gate.DoMerge}
	for _, word := range words {
		k, v, is := strings.Cut(word, "=")
		switch {
		case word == "" || word == "/merge":
		case k == "priority" && is:
			p := map[string]gate.Priority{"urgent": gate.Urgent, "high": gate.High, "normal": gate.Normal, "low": gate.Low}[v]
			c.Priority = &p
		case k == "method" && is:
			c.Method = gate.Method(v)
		case c.Verb == gate.DoMerge:
			c.Verb = gate.Verb(word)
		default:
			c.Reason = strings.TrimSpace(c.Reason + " " + word)
		}
	}
	return c
}
