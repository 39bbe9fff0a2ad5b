package gate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Match says whether a CI context or a branch matches a pattern, in which *
// stands for any characters (slashes too) and ? for one.
func Match(pattern, name string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == name
	}
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

// Trusts says whether a check is evidence: whoever may write to a repository can
// post any context there, the author of a change among them.
func (p RetestPolicy) Trusts(c Check) bool {
	return len(p.Creators) == 0 || slices.ContainsFunc(p.Creators, func(name string) bool {
		if app, ok := strings.CutPrefix(name, "app:"); ok { // an App posts statuses as the account NAME[bot]
			return app != "" && (strings.EqualFold(app, c.App) || c.App == "" && strings.EqualFold(app+"[bot]", c.By.Login))
		}
		return name != "" && strings.EqualFold(name, c.By.Login)
	})
}

// JudgeChecks judges a candidate by CI contexts. Each of the policy's patterns must
// match at least one context and everything it matches must have passed. A failure
// counts at once; a pattern that matches nothing for StartTimeout after since, or
// anything unfinished for Timeout, fails by name. own is mergegate's context, which
// is never evidence, nor is what somebody posted whom the policy does not trust. No
// patterns at all is Broken, never Passed.
func JudgeChecks(p RetestPolicy, checks []Check, own string, since, now time.Time) Verdict {
	if len(p.Checks) == 0 {
		return Verdict{State: Broken, Why: "no CI check is configured"}
	}
	v := Verdict{State: Passed}
	trusted := slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return !p.Trusts(c) })
	for _, pattern := range p.Checks {
		found, others := false, ""
		for _, c := range checks {
			if c.Context != own && Match(pattern, c.Context) && !p.Trusts(c) {
				others = cmp.Or(c.By.Login, c.App, "somebody unknown")
			}
		}
		for i, c := range trusted {
			if c.Context == own || !Match(pattern, c.Context) || replaced(c, trusted[i+1:]) {
				continue
			}
			found = true
			switch c.State {
			case CheckPassed:
			case CheckFailed:
				return Verdict{State: Failed, Why: fmt.Sprintf("the CI check %q failed", c.Context), Tail: c.Text}
			default:
				v.pending(c.Context)
			}
		}
		switch {
		case found:
		case now.Sub(since) < p.StartTimeout:
			v.pending(pattern)
		case others != "":
			return Verdict{State: Failed, Why: fmt.Sprintf("Cannot reach the CI check %q: only %s posted it, whom retest.check_creators does not name", pattern, others)}
		default:
			return Verdict{State: Failed, Why: fmt.Sprintf("Cannot reach the CI check %q: never started", pattern)}
		}
	}
	if len(v.Pending) == 0 {
		return v
	}
	if now.Sub(since) >= p.Timeout {
		return Verdict{State: Failed, Why: fmt.Sprintf("the CI check %q was not done after %s", v.Pending[0], p.Timeout)}
	}
	v.State = Running
	return v
}

// replaced says whether a status has a newer one of its context. The checks of Apps
// stand beside each other.
func replaced(c Check, newer []Check) bool {
	return c.App == "" && slices.ContainsFunc(newer, func(n Check) bool { return n.App == "" && n.Context == c.Context })
}

func (v *Verdict) pending(name string) {
	if !slices.Contains(v.Pending, name) {
		v.Pending = append(v.Pending, name)
	}
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
