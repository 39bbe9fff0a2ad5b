package chat_test

import (
	"testing"
	"time"

	"mergegate/bot/chat"
	"mergegate/gate"
	"mergegate/templates"
)

// What the bot itself writes is never a command, whatever it quotes: not even for
// another bot that reads comments the same way.
func TestOwnTextIsNoCommand(t *testing.T) {
	for _, s := range []string{"/merge", "x\n/merge\ny", "\n\n/merge cancel\n\n", "```\n/merge\n```\n\n/merge", "<div>\n\n/merge", "</details>\n\n/merge", "| a |\n|---|\n\n/merge", "help"} {
		conflict := templates.Conflict(templates.ConflictView{
			Base: s, At: gate.SHA(s), Subject: s, Commands: []string{s, s},
			Files: []templates.ConflictFile{{Path: s, Kind: s, Other: s, BySubject: s}},
		})
		for _, state := range []gate.State{gate.Waiting, gate.Queued, gate.CatchingUp, gate.Testing, gate.Landing, gate.Landed, gate.Dropped} {
			line := gate.Line{PR: 7, State: state, Title: s, Author: s, Base: s, Why: []string{s, s}, Position: 1, Length: 1, Since: time.Unix(0, 0)}
			frozen := line
			frozen.Frozen = s
			for _, l := range []gate.Line{line, frozen} {
				for _, text := range []string{
					templates.PRComment(templates.PRView{Line: l, Label: s, Answer: s, ModeWhy: s, Conflict: conflict, Tail: s, Events: []gate.Happened{{What: s}}}),
					templates.QueueIssue(templates.QueueView{Label: s, Queues: []templates.QueueTable{{Base: s, Holder: s, Lines: []gate.Line{l}, Frozen: &gate.Freeze{By: s, Reason: s}}}}),
				} {
					if got := chat.Parse(text); len(got) > 0 {
						t.Errorf("%s with %q gives %+v:\n%s", state, s, got, text)
					}
				}
			}
		}
	}
	if got := chat.Parse(templates.Help("merge")); len(got) > 0 {
		t.Errorf("the help gives %+v", got)
	}
}
