package bot_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mergegate/forge/forgetest"
)

// The judges of who holds a queue: leases are taken, renewed and removed as they must
// be, and only holders write.

// judgeHolders: who writes about the queue holds it. This can only be asked for
// where no process was stopped between its look and its write, no request or list
// came late, and nobody laid hands on the leases.
func (w *world) judgeHolders(log []forgetest.Entry) {
	p := w.weather.p
	if w.cfg.Lease.Store == "ref" || p[paused]+p[late]+p[reordered]+p[doubled]+p[staleRead]+p[slow] > 0 {
		return
	}
	type lease struct {
		id            int64
		owner, base   string
		made, changed time.Time
	}
	var leases []*lease
	for _, e := range log {
		switch {
		case strings.Contains(e.Text, leaseMark) && e.Op == forgetest.OpComment:
			leases = append(leases, &lease{e.ID, e.Actor, leasedBase(e.Text), e.At, e.At})
			continue
		case e.Op == forgetest.OpDeleteComment, e.Op == forgetest.OpEditComment:
			i := slices.IndexFunc(leases, func(l *lease) bool { return l.id == e.ID })
			if i < 0 {
				break
			}
			if !e.Bot {
				return
			}
			if leases[i].changed = e.At; e.Op == forgetest.OpDeleteComment {
				leases = slices.Delete(leases, i, i+1)
			}
			continue
		case e.Op == forgetest.OpCloseIssue:
			return
		}
		writes := e.Op == forgetest.OpStatus || e.Op == forgetest.OpLand || e.Op == forgetest.OpLabel || e.Op == forgetest.OpUnlabel
		if !e.Bot || !writes {
			continue
		}
		holders := map[string]string{}
		for _, l := range leases { // in the order of their ids
			if e.At.Sub(l.changed) > w.cfg.Lease.TTL || e.At.Sub(l.made) < 5*time.Second || holders[l.base] != "" {
				continue
			}
			holders[l.base] = l.owner
		}
		mine := slices.ContainsFunc(leases, func(l *lease) bool {
			return l.owner == e.Actor && (holders[l.base] == "" || holders[l.base] == e.Actor)
		})
		if len(holders) > 0 && !mine { // a status names no base: any queue of its own will do
			w.fail("lease", "at %s %s did %q while the queues were held by %v", e.At.Format("15:04:05.000"), e.Actor, e.Op, holders)
			return
		}
	}
}

// leasedBase is the queue that a lease comment is for.
func leasedBase(text string) string {
	_, after, _ := strings.Cut(text, `"base":"`)
	base, _, _ := strings.Cut(after, `"`)
	return base
}

// judgeLeases: S5 and L2. Leases are comments or refs; both have an owner, the
// life that made them, and a last sign of life.
func (w *world) judgeLeases(log []forgetest.Entry) {
	type lease struct {
		owner   string
		changed time.Time
		edited  bool // by a person: it goes when somebody next takes the queue
		revived bool // it had run out when its owner renewed it: whoever saw it before that may remove it
	}
	leases := map[string]*lease{}
	closed := map[int]bool{} // a lease in a closed issue is none
	ttl, margin := w.cfg.Lease.TTL, w.cfg.Lease.TTL/4
	ends := func(key string, e forgetest.Entry) {
		l := leases[key]
		delete(leases, key)
		if l == nil || !e.Bot {
			return
		}
		if quiet := e.At.Sub(l.changed); e.Actor != l.owner && quiet < ttl && !l.revived {
			w.fail("S5", "%s removed a lease of %s that was %v old", e.Actor, l.owner, quiet.Round(time.Second))
		}
		if died, ok := w.died(l.owner); ok && e.Actor != l.owner {
			since := later(died, later(w.start.Add(w.calm), l.changed))
			if took := e.At.Sub(since); took > ttl+margin+w.cfg.Poll.Idle+time.Minute {
				w.fail("L2", "the lease of %s, which died, was taken over after %v", l.owner, took.Round(time.Second))
			}
		}
	}
	for _, e := range log {
		key := fmt.Sprint(e.ID)
		switch {
		case e.Op == forgetest.OpComment && e.Bot && strings.Contains(e.Text, leaseMark) && !closed[e.PR]:
			leases[key] = &lease{owner: e.Actor, changed: e.At}
		case e.Op == forgetest.OpEditComment && leases[key] != nil:
			if e.Bot && e.Actor != leases[key].owner {
				w.fail("S5", "%s edited a lease of %s", e.Actor, leases[key].owner)
			}
			l := leases[key]
			l.changed, l.edited, l.revived = e.At, l.edited || !e.Bot, l.revived || e.At.Sub(l.changed) > ttl
		case e.Op == forgetest.OpDeleteComment:
			ends(key, e)
		case e.Op == forgetest.OpRef && strings.HasPrefix(e.Ref, "refs/mergegate/lease/"):
			if l := leases[e.Ref]; l != nil && e.Actor == l.owner && e.To != "" {
				l.changed = e.At
				continue
			}
			ends(e.Ref, e)
			if e.To != "" {
				leases[e.Ref] = &lease{owner: e.Actor, changed: e.At}
			}
		case e.Op == forgetest.OpCloseIssue || e.Op == forgetest.OpDeleteIssue:
			closed[e.PR] = true
			for key := range leases {
				if !strings.HasPrefix(key, "refs/") {
					delete(leases, key)
				}
			}
		}
	}
	for _, l := range leases {
		if l.edited {
			continue
		}
		w.fail("L2", "a lease of %s is still there", l.owner)
	}
}

func (w *world) died(name string) (time.Time, bool) {
	r := w.lives[name]
	if r == nil || !r.dead.Load() {
		return time.Time{}, false
	}
	return w.start.Add(r.died), true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
