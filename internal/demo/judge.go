package demo

import (
	"fmt"
	"strings"
)

// fate is what became of a pull request, read from the forge.
type fate struct {
	change
	number       int
	opened, head string // its branch then and now
	alone        bool   // the test was green on the branch as it was opened
	now          bool   // and is on the branch as it is
	landedAs     string // the commit on main; "" when it is not merged
	requested    bool   // the label is still there
	status       string // mergegate's last line
	comments     []string
}

func (f fate) comment() string { return strings.Join(f.comments, "\n") }

// became is how it ended, as far as mergegate has said why.
func (f fate) became() outcome {
	switch {
	case f.landedAs != "":
		return landed
	case f.requested:
		return open
	case strings.HasPrefix(f.status, "Conflict with main"):
		return conflict
	case strings.HasPrefix(f.status, "Retest failed"):
		return red
	}
	return open
}

// judge compares what happened with what must have, and says every difference.
// main is the history along first parents, leases the number of lease comments.
func judge(fates []fate, main []commit, leases int) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	var order []fate // that must have landed
	for _, f := range fates {
		if f.end == landed {
			order = append(order, f)
		}
		if got := f.became(); got != f.end {
			add("#%d must be: %s; it is: %s (%q)", f.number, f.end, got, f.status)
		}
		if !f.alone {
			add("#%d must be green alone", f.number)
		}
		if f.end == red && f.now {
			add("#%d must be red on top of what landed before it", f.number)
		}
		if caughtUp := f.head != f.opened; caughtUp != f.caughtUp {
			add("#%d: its branch was rebased: %v; it must be: %v", f.number, caughtUp, f.caughtUp)
		}
		if len(f.comments) != 1 {
			add("#%d must have one comment by mergegate; it has %d", f.number, len(f.comments))
		}
		for _, says := range f.says {
			if !strings.Contains(f.comment(), says) {
				add("the comment on #%d must say %q", f.number, says)
			}
		}
	}
	for _, c := range main {
		if !c.green {
			add("main must be green at every commit; it is red at %s (%s)", short(c.sha), c.title)
		}
	}
	if len(main) != len(order)+1 {
		add("main must have %d commits; it has %d", len(order)+1, len(main))
	} else {
		for i, f := range order {
			wrong = append(wrong, onMain(f, main[i+1], main[i])...)
		}
	}
	if leases != 0 {
		add("no lease may be left; there are %d", leases)
	}
	return wrong
}

// onMain says what is wrong with the commit that a pull request landed as.
func onMain(f fate, c, before commit) (wrong []string) {
	if f.landedAs != c.sha || f.head != c.sha {
		wrong = append(wrong, fmt.Sprintf("main must go on with %s, the tested head of #%d, which landed as %q; it goes on with %s",
			short(f.head), f.number, short(f.landedAs), short(c.sha)))
	}
	if c.parent != before.sha {
		wrong = append(wrong, fmt.Sprintf("the first parent of %s must be %s; it is %s", short(c.sha), short(before.sha), short(c.parent)))
	}
	tested := fmt.Sprintf("| %s | %s | main %s |", short(c.sha), short(c.tree), short(before.sha))
	if !strings.Contains(f.comment(), tested) {
		wrong = append(wrong, fmt.Sprintf("the comment on #%d must say that this was tested: %s", f.number, tested))
	}
	return wrong
}
