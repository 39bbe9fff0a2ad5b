package gate

import (
	"fmt"
	"slices"
	"strings"
)

// Approvals says whose approval stands for this head, and who asks for changes.
//
// An approval names the commit it was given for. It stands for that commit, and
// for the other heads in the record's Same list if the commit is in it too: that
// is mergegate's own rebase of the approved change. The forge's word "stale" is
// not asked: it is late, and it misses pushes that only take files away.
// One that was given before the base was changed was for another base, and does not
// stand; nor, of one who may write no more, see Review.Counts.
// The author's own approval never counts, nor one of somebody whom the forge
// does not let approve. A reviewer's last word replaces the earlier ones.
func Approvals(pr PR, rec Record, reviews []Review) (approved, against []User) {
	last := map[int64]int{}
	for i, r := range reviews {
		if r.State != Commented {
			last[r.By.ID] = i
		}
	}
	for i, r := range reviews {
		if n, ok := last[r.By.ID]; !ok || n != i || r.Dismissed || !r.Counts || r.By.ID == pr.Author.ID {
			continue
		}
		same := (r.Commit == pr.Head || rec.Is(pr.Head) && rec.Is(r.Commit)) && (rec.Retargeted.IsZero() || r.At.After(rec.Retargeted))
		switch {
		case r.State == ChangesRequested:
			against = append(against, r.By)
		case same:
			approved = append(approved, r.By)
		}
	}
	return approved, against
}

// admission lists what a request still waits for, in words that say who must
// act. An empty list admits it.
func admission(in Input, f Facts) []string {
	p, methods := in.Policy, in.Methods
	var waits []string
	if in.Unsandboxed && p.Retest.Command != "" && (f.PR.Fork || f.Author < RoleWrite) {
		from := "a fork"
		if !f.PR.Fork {
			from = "somebody without write access"
		}
		waits = append(waits, "the operator to give retests a sandbox: without one nothing from "+from+" is run")
	}
	if f.PR.Draft {
		waits = append(waits, "the author to mark it ready for review")
	}
	for _, l := range p.Require.BlockLabels {
		if f.PR.Has(l) {
			waits = append(waits, fmt.Sprintf("somebody to remove the label %q", l))
		}
	}
	approved, against := Approvals(f.PR, f.Record, f.Reviews)
	if n := max(p.Require.Approvals, f.RequiredApprovals) - len(approved); n == 1 {
		waits = append(waits, "1 more approval")
	} else if n > 1 {
		waits = append(waits, fmt.Sprintf("%d more approvals", n))
	}
	if len(against) > 0 {
		waits = append(waits, names(against)+" to withdraw the request for changes")
	}
	if !p.Retest.Configured() {
		waits = append(waits, "a maintainer to configure a retest: no retest is configured")
	}
	if m := f.Record.Request.Method; m != "" && m != Auto && !slices.Contains(methods, m) {
		waits = append(waits, fmt.Sprintf("a maintainer to allow the merge method %s in the repository's settings", m))
	} else if len(methods) == 0 || p.Land.Method != Auto && m == "" && !slices.Contains(methods, p.Land.Method) {
		waits = append(waits, fmt.Sprintf("a maintainer to allow the merge method %s in the repository's settings", p.Land.Method))
	}
	return waits
}

func joined(ms []Method) string {
	var out []string
	for _, m := range ms {
		out = append(out, string(m))
	}
	return strings.Join(out, ", ")
}

func names(us []User) string {
	var out []string
	for _, u := range us {
		out = append(out, u.Login)
	}
	return strings.Join(out, ", ")
}

// Strongest picks how a candidate lands: the method asked for, or for Auto the
// strongest that the repository allows for this way of catching up.
// Fast-forward is the tested commit itself, and the forge refuses it if base
// moved. Rebase of a head that contains base keeps the commit as well, but the
// forge does not refuse when base moved; merge keeps the tree.
// It is "" when nothing allowed fits.
func Strongest(want Method, mode CatchUp, allowed []Method) Method {
	order := []Method{FastForward, Rebase, Merge, Squash}
	if mode == CatchUpCandidate {
		order = []Method{Merge, Squash} // the head stays behind: only these make the tree that was tested
	}
	for _, m := range order {
		if slices.Contains(allowed, m) && (want == Auto || want == "" || want == m) {
			return m
		}
	}
	return ""
}

// Order sorts requests the way they land: higher priority first, then who asked
// first, then the lower number. It depends on nothing else, so a storm of events
// does not move anybody.
func Order(entries []Facts) []Facts {
	out := slices.Clone(entries)
	slices.SortStableFunc(out, func(a, b Facts) int {
		ra, rb := a.Record.Request, b.Record.Request
		if ra.Priority != rb.Priority {
			return int(rb.Priority - ra.Priority)
		}
		if c := ra.At.Compare(rb.At); c != 0 {
			return c
		}
		return a.PR.Number - b.PR.Number
	})
	return out
}
