package bot

import (
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// A request that was given up may still arrive: it hung in the network, or its
// sender was stopped in the middle of it. When it sets a status or edits a note it
// undoes what was said after it, and of a PR that has ended nobody would ever look
// again. So whoever ends a request soon after such a doubt comes back once, when
// nothing can be under way any more, and says the last word again.

// lateFor is how long after it was given up a request is reckoned with.
func (w *worker) lateFor() time.Duration { return 4 * w.b.cfg.Lease.TTL }

// doubted notes that something we sent about a PR may still arrive.
func (w *worker) doubted(p *pull) { p.doubted = time.Now().Add(w.lateFor()) }

// comeBack notes, when the end of a request was told, whether and when to look once
// more.
func (w *worker) comeBack(q *queue, p *pull) {
	until := later(p.doubted, q.doubted)
	if until.After(time.Now()) {
		p.again, p.told = until, p.record
	} else {
		p.again = time.Time{}
	}
}

// comesBack makes a PR due when it is time to look once more.
func (p *pull) comesBack() {
	reached := func(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
	doubted := reached(p.doubted) && p.record.State.Active()
	if doubted {
		p.doubted, p.shown = time.Time{}, forge.Status{} // which may be another by now
	}
	if (doubted || reached(p.again)) && !p.unsaved {
		p.read, p.unsaved = false, true
	}
}

// putRight is what holds after a note was read: of the request whose end we told, that
// end, whatever else came late, and whatever another concluded from that. A request ends
// once, so of two ends the first is the true one.
func (p *pull) putRight() {
	r := p.record
	final, same := r.State.Final(), sameRequest(r.Request, p.told.Request)
	weLanded := p.told.Landed.Commit != "" && r.Landed.Commit == ""
	first := r.Landed.Commit == "" && p.told.Since.Before(r.Since)
	p.unsaved = p.unsaved || p.unsure && final
	switch {
	case p.again.IsZero() && final && time.Now().Before(p.doubted):
		p.again, p.told = p.doubted, p.record // another told it, who knows nothing of what we sent
	case p.again.IsZero():
	case same && (!final || weLanded || first):
		p.record, p.unsaved = p.told, true
	case !final:
		p.again = time.Time{} // it was asked for again
	case !time.Now().Before(p.again):
		p.unsaved = true
	}
}

func sameRequest(a, b gate.Request) bool { return a.By.ID == b.By.ID && a.At.Equal(b.At) }
