package bot

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"mergegate/gate"
	"mergegate/gate/retest"
)

// jobs are the retests of one worker. They run beside the rounds: a round asks
// for one, later rounds pick its verdict up. A job that dies with the process is
// simply asked for again.
type jobs struct {
	done func() // called when a verdict is there

	mu  sync.Mutex
	all map[gate.Retest]*job
	wg  sync.WaitGroup
}

type job struct {
	cancel  context.CancelFunc
	verdict gate.Verdict // Running until the end
}

// start calls run unless the retest already runs or has a verdict to pick up.
func (j *jobs) start(ctx context.Context, q gate.Retest, run func(context.Context) retest.Result) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.all[q] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	it := &job{cancel: cancel, verdict: gate.Verdict{State: gate.Running}}
	j.all[q] = it
	j.wg.Go(func() {
		defer cancel()
		v := verdict(run(ctx))
		j.mu.Lock()
		it.verdict = v
		j.mu.Unlock()
		j.done()
	})
}

// stop ends a retest and forgets it.
func (j *jobs) stop(match func(gate.Retest) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for q, it := range j.all {
		if match(q) {
			it.cancel()
			delete(j.all, q)
		}
	}
}

// outcomes answers every retest that was asked for. A pass stands until the retest
// is stopped, because CI may keep the candidate waiting; any other verdict is handed
// out once: gate has taken it in when the step is over.
func (j *jobs) outcomes() []gate.Outcome {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []gate.Outcome
	for _, q := range slices.SortedFunc(maps.Keys(j.all), byNumber) {
		it := j.all[q]
		out = append(out, gate.Outcome{Of: q, Verdict: it.verdict})
		if it.verdict.State != gate.Running && it.verdict.State != gate.Passed {
			delete(j.all, q)
		}
	}
	return out
}

func byNumber(a, b gate.Retest) int {
	return cmp.Or(a.PR-b.PR, cmp.Compare(a.Candidate, b.Candidate), cmp.Compare(a.Base, b.Base))
}

// verdict translates what the runner saw. Only a command that ran and failed is
// red; a timeout is red as well, because it is the change's to mend.
func verdict(r retest.Result) gate.Verdict {
	v := gate.Verdict{Why: r.Why, Log: r.Log, Tail: r.Tail, State: gate.Broken}
	switch r.Verdict {
	case retest.Passed:
		v.State = gate.Passed
	case retest.Failed, retest.TimedOut:
		v.State = gate.Failed
	}
	return v
}
