package gate

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Match says whether a CI context or a branch matches a pattern, in which *
// stands for any characters (slashes too) and ? for one.
func Match(pattern, name string) bool {
	q := regexp.QuoteMeta(pattern)
	q = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(q)
	ok, err := regexp.MatchString("(?s)^"+q+"$", name)
	return err == nil && ok
}

// Verdict is what is known about a candidate.
type Verdict struct {
	State   VerdictState
	Why     string   // one short sentence: "exit 1", `the CI check "build" failed`
	Pending []string // what is still awaited
	Log     string   // id of the log page
	Tail    string   // last lines of the log
}

// VerdictState is the judgement itself. The zero value means that nothing is
// known, and is never a pass.
type VerdictState string

const (
	Running VerdictState = "running"
	Passed  VerdictState = "passed"
	Failed  VerdictState = "failed" // it really ran and really failed
	Broken  VerdictState = "broken" // it could not be judged; says nothing about the change
)

// JudgeChecks judges a candidate by CI contexts. Each pattern must match at
// least one context and everything it matches must have passed. A failure counts
// at once; a pattern that matches nothing for startTimeout after since, or
// anything unfinished for timeout, fails by name. own is mergegate's context, which is
// never evidence. No patterns at all is Broken, never Passed.
func JudgeChecks(patterns []string, checks []Check, own string, since, now time.Time, startTimeout, timeout time.Duration) Verdict {
	if len(patterns) == 0 {
		return Verdict{State: Broken, Why: "no CI check is configured"}
	}
	v := Verdict{State: Passed}
	for _, p := range patterns {
		found := false
		for _, c := range checks {
			if c.Context == own || !Match(p, c.Context) {
				continue
			}
			found = true
			switch c.State {
			case CheckPassed:
			case CheckFailed:
				return Verdict{State: Failed, Why: fmt.Sprintf("the CI check %q failed", c.Context), Tail: c.Text}
			default:
				v.Pending = append(v.Pending, c.Context)
			}
		}
		if !found {
			if now.Sub(since) >= startTimeout {
				return Verdict{State: Failed, Why: fmt.Sprintf("Cannot reach the CI check %q: never started", p)}
			}
			v.Pending = append(v.Pending, p)
		}
	}
	if len(v.Pending) == 0 {
		return v
	}
	if now.Sub(since) >= timeout {
		return Verdict{State: Failed, Why: fmt.Sprintf("the CI check %q was not done after %s", v.Pending[0], timeout)}
	}
	v.State = Running
	return v
}

// both joins two verdicts that must both pass.
func both(a, b Verdict) Verdict {
	for _, s := range []VerdictState{Failed, Broken, "", Running} {
		for _, v := range []Verdict{a, b} {
			if v.State == s {
				return v
			}
		}
	}
	return a
}
