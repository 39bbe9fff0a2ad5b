package bot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mergegate/bot/chat"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
	"mergegate/gate/retest"
	"mergegate/templates"
)

// actAll does the actions in order. An action that fails ends the list: the next
// round asks again for whatever is still needed.
func (w *worker) actAll(ctx context.Context, q *queue, actions []gate.Action) ([]gate.Outcome, error) {
	var done []gate.Outcome
	for _, a := range actions {
		o, err := w.act(ctx, q, a)
		if err != nil {
			return nil, err
		}
		if _, running := a.(gate.Retest); running {
			continue // jobs answers for it
		}
		o.Of = a
		done = append(done, o)
	}
	return done, nil
}

// act does one action. Each may be repeated with the same arguments.
func (w *worker) act(ctx context.Context, q *queue, a gate.Action) (o gate.Outcome, err error) {
	if writes(a) {
		if err := q.held.Alive(); err != nil {
			return o, err
		}
	}
	w.b.metrics.actions.WithLabelValues(strings.TrimPrefix(fmt.Sprintf("%T", a), "gate.")).Inc()
	w.log.Debug("act", "base", q.base, "action", fmt.Sprintf("%T", a), "what", a)
	switch a := a.(type) {
	case gate.Build:
		o.Built, err = w.build(ctx, q, a)
		if err == nil {
			o.Result = gate.Done
		}
	case gate.Push:
		o.Result, o.Why, err = w.push(ctx, q, a)
	case gate.Publish:
		o.Result, o.Why, err = w.publishCandidate(ctx, q, a)
	case gate.Retest:
		w.jobs.start(q.held.Context(), a, w.retest(a, q.policy.Retest))
		err = w.tell(ctx, q) // while it runs
	case gate.Stop:
		w.jobs.stop(func(r gate.Retest) bool { return r.PR == a.PR && r.Candidate == a.Candidate })
	case gate.Confirm:
		err = w.confirm(ctx, q, a.PR)
		if err == nil {
			o.Result = gate.Done
		}
	case gate.Land:
		o.Result, o.Why, err = w.land(ctx, q, a)
	case gate.Inspect:
		o.Found, err = w.inspect(ctx, q, a)
		if err == nil {
			o.Result = gate.Done
		}
	case gate.Note:
		err = w.note(ctx, q, w.prs[a.PR])
	case gate.SetLabel:
		err = w.setLabel(ctx, q, a)
	case gate.SetFreeze:
		err = w.setFreeze(ctx, q, a.Freeze)
	default:
		panic(fmt.Sprintf("bot: unknown action %T", a))
	}
	return o, err
}

// build makes the candidate in the mirror.
func (w *worker) build(ctx context.Context, q *queue, a gate.Build) (gate.Built, error) {
	p := w.prs[a.PR]
	err := w.need(ctx, a.PR, a.Head)
	if errors.Is(err, catchup.ErrNoRef) || errors.Is(err, catchup.ErrMissing) {
		return gate.Built{Refused: "its head " + a.Head.Short() + " is gone from the forge; push the branch again"}, nil
	}
	if refused, ok := errors.AsType[*catchup.RefusedError](err); ok {
		return gate.Built{Refused: refused.Text}, nil
	}
	if err == nil && !w.mirror.Have(ctx, a.Base) {
		err = w.mirror.Fetch(ctx, "refs/heads/"+q.base)
	}
	if err != nil {
		return gate.Built{}, err
	}
	how := a.How
	if upToDate, err := w.mirror.IsAncestor(ctx, a.Base, a.Head); err != nil {
		return gate.Built{}, err
	} else if upToDate {
		how = gate.Rebase // nothing to make: the head is the candidate
	}
	var refused *catchup.RefusedError
	request, err := w.request(ctx, p.pr, how, a.Base, a.Head)
	if err != nil {
		return gate.Built{}, err
	}
	r, err := w.mirror.Build(ctx, request)
	switch {
	case errors.Is(err, catchup.ErrUnrelated):
		return gate.Built{Refused: "it has no history in common with " + q.base}, nil
	case errors.As(err, &refused):
		return gate.Built{Refused: refused.Text}, nil
	case err != nil:
		return gate.Built{}, err
	case r.Conflict != nil:
		return gate.Built{Conflict: w.conflictReport(*r.Conflict, p.pr, q.base), Files: len(r.Conflict.Files)}, nil
	}
	b := gate.Built{Candidate: r.Candidate, Tree: r.Tree, InBase: r.InBase}
	if r.Candidate == a.Head || r.InBase {
		return b, nil
	}
	if len(r.Flattened) > 0 {
		b.CannotPush = "it contains merge commits with changes of their own, which a rebase would lose"
		return b, nil
	}
	b.CannotPush, err = w.wouldDismiss(ctx, q, a)
	return b, err
}

// provide makes sure that the candidate in flight is in the mirror. It is not when
// another replica made it, or when the mirror was deleted. A candidate that no
// remote has is made again, which gives the same commit; when that cannot be done
// either, the flight goes back to catching up, unless base has to say first what
// became of its landing.
func (w *worker) provide(ctx context.Context, q *queue) error {
	f := q.flight.Flight
	if f == nil || f.Candidate == "" || w.mirror.Have(ctx, f.Candidate) {
		return nil
	}
	err := w.mirror.FetchCommit(ctx, f.Candidate)
	if err == nil || !errors.Is(err, catchup.ErrMissing) {
		return err
	}
	b, err := w.build(ctx, q, gate.Build{PR: f.PR, Head: f.Head, Base: f.Base, How: f.How()})
	if err != nil && !errors.Is(err, catchup.ErrMissing) {
		return err
	}
	if b.Candidate != f.Candidate && !f.Asked {
		w.log.Info("the candidate in flight is nowhere any more; catching up again", "pr", f.PR, "candidate", f.Candidate.Short())
		f.State, f.Candidate, f.Tree, f.Published = gate.CatchingUp, "", "", false
	}
	return nil
}

// wouldDismiss says whether pushing the rebase makes the forge dismiss the
// approvals that its own protection then asks for. Gitea keeps them when base
// and PR touched different files. When the protection may not be read, the
// worse is assumed.
func (w *worker) wouldDismiss(ctx context.Context, q *queue, a gate.Build) (string, error) {
	if q.branch.RequiredApprovals == 0 || !q.branch.DismissStale && !q.branch.Opaque {
		return "", nil
	}
	fork, err := w.mirror.MergeBase(ctx, a.Base, a.Head)
	if err != nil {
		return "", err
	}
	ours, err := w.mirror.Paths(ctx, fork, a.Head)
	if err != nil {
		return "", err
	}
	theirs, err := w.mirror.Paths(ctx, fork, a.Base)
	if err != nil {
		return "", err
	}
	for _, path := range ours {
		if slices.Contains(theirs, path) {
			return "a push would make the forge dismiss its approvals: " + q.base + " changed the same files", nil
		}
	}
	return "", nil
}

// maxSquashed is how many commits of a squashed PR are read for its message.
const maxSquashed = 100

// request asks for a candidate: the same for the same PR, base and head, so that
// our own push is known again by making it again.
func (w *worker) request(ctx context.Context, pr gate.PR, how gate.Method, base, head gate.SHA) (catchup.Request, error) {
	subject, body, err := w.commitMessage(ctx, pr, how, base, head)
	return catchup.Request{Base: base, Head: head, Method: how, Message: subject + "\n\n" + body + "\n"}, err
}

// commitMessage is the message of the commit that a merge or a squash makes. Other
// methods make none. The forge's own would quote the PR's title and text as they
// are, and so close issues with mergegate's rights.
func (w *worker) commitMessage(ctx context.Context, pr gate.PR, how gate.Method, base, head gate.SHA) (subject, body string, err error) {
	switch how {
	case gate.Merge:
		subject, body = templates.MergeCommit(pr.Number, pr.Title, base)
	case gate.Squash:
		commits, err := w.mirror.Log(ctx, base, head, maxSquashed)
		if err != nil {
			return "", "", err
		}
		var subjects []string
		for _, c := range slices.Backward(commits) { // newest first
			subjects = append(subjects, c.Subject)
		}
		subject, body = templates.SquashCommit(pr.Number, pr.Title, subjects, base)
	}
	return subject, body, nil
}

// push moves the PR's branch to the candidate.
func (w *worker) push(ctx context.Context, q *queue, a gate.Push) (gate.Result, string, error) {
	p := w.prs[a.PR]
	w.log.Info("push the rebase to the PR's branch", "pr", a.PR, "branch", p.pr.HeadBranch, "from", a.From.Short(), "to", a.To.Short())
	err := w.mirror.Push(ctx, catchup.Push{
		Remote: w.remote(p.pr.HeadURL), Branch: p.pr.HeadBranch, From: a.From, To: a.To,
		Protected: w.protected(q), SameRepo: !p.pr.Fork,
	})
	var denied *catchup.DeniedError
	switch {
	case errors.As(err, &denied):
		return gate.Denied, "the forge did not let mergegate push to its branch: " + denied.Text, nil
	case errors.Is(err, catchup.ErrMoved):
		if err := w.reread(ctx, q, p); err != nil {
			return "", "", err
		}
		return gate.Moved, "", w.ownPush(ctx, q, p) // the list may be older than it
	case err != nil:
		return "", "", err
	}
	p.pr.Head, p.pushed = a.To, time.Now()
	return gate.Done, "", nil
}

// protected are the branches that are never pushed to, whatever a PR calls its head.
func (w *worker) protected(q *queue) []string {
	out := []string{q.base, w.info.DefaultBranch}
	for b := range w.queues {
		out = append(out, b)
	}
	for _, b := range slices.Concat(q.policy.Branches, w.b.cfg.Defaults.Branches) {
		if !strings.ContainsAny(b, "*?") {
			out = append(out, b)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// candidateRef is where a candidate is put for CI to see when the PR's branch is
// left alone.
func candidateRef(base string, pr int) string {
	return fmt.Sprintf("refs/heads/mergegate/%s/%d", base, pr)
}

func (w *worker) publishCandidate(ctx context.Context, q *queue, a gate.Publish) (gate.Result, string, error) {
	ref := candidateRef(q.base, a.PR)
	refs, err := w.mirror.RemoteRefs(ctx, ref)
	if err != nil {
		return "", "", err
	}
	if refs[ref] != a.Candidate {
		err := w.mirror.PushRef(ctx, ref, refs[ref], a.Candidate)
		if denied, ok := errors.AsType[*catchup.DeniedError](err); ok {
			return gate.Denied, denied.Text, nil
		}
		if err != nil {
			return "", "", err
		}
	}
	return gate.Done, "", nil
}

// retest gives the function that runs a candidate's command beside the rounds,
// under the policy of the base commit.
func (w *worker) retest(a gate.Retest, policy gate.RetestPolicy) func(context.Context) retest.Result {
	job := retest.Job{
		Repo: w.repo, Mirror: w.mirror.Dir(), Commit: a.Candidate, Tree: a.Tree, Base: a.Base,
		Command: policy.Command, Timeout: policy.Timeout, Network: policy.Network, Env: maps.Clone(policy.Env),
	}
	return func(ctx context.Context) retest.Result {
		select {
		case w.b.slots <- struct{}{}:
			defer func() { <-w.b.slots }()
		case <-ctx.Done():
			return retest.Result{Verdict: retest.Broken, Why: "cancelled"}
		}
		r := w.b.runner.Run(ctx, job)
		w.b.metrics.retests.WithLabelValues(string(r.Verdict)).Observe(r.Took.Seconds())
		w.log.Info("retest", "pr", a.PR, "candidate", a.Candidate.Short(), "verdict", r.Verdict, "why", r.Why, "took", r.Took, "checkout", r.Checkout)
		return r
	}
}

func (w *worker) setLabel(ctx context.Context, q *queue, a gate.SetLabel) error {
	p, label := w.prs[a.PR], q.policy.Trigger.Label
	if !a.On {
		if p.unsaved { // whoever finds the label gone must find out why
			if err := w.note(ctx, q, p); err != nil {
				return err
			}
		}
		if err := w.forge.RemoveLabel(ctx, w.repo, a.PR, label); err != nil {
			return fmt.Errorf("take the label %q off #%d: %w", label, a.PR, err)
		}
		p.pr.Labels = slices.DeleteFunc(p.pr.Labels, func(l string) bool { return strings.EqualFold(l, label) })
		return nil
	}
	err := w.forge.AddLabel(ctx, w.repo, a.PR, label)
	if errors.Is(err, forge.ErrNotFound) {
		return fmt.Errorf("the label %q does not exist in %s: create it, or run mergegate setup", label, w.repo)
	}
	if err != nil {
		return fmt.Errorf("label #%d: %w", a.PR, err)
	}
	p.pr.Labels = append(slices.Clip(p.pr.Labels), label)
	p.record.Owed = false
	return nil
}

// command turns a parsed command into gate's, with who said it.
func command(c forge.Comment, cmd chat.Command, role gate.Role) gate.Command {
	out := gate.Command{
		Comment: c.ID, By: c.By, Role: role, At: c.Created,
		Verb: gate.Verb(cmd.Verb), Method: cmd.Method, Priority: cmd.Priority, Reason: cmd.Reason,
	}
	if cmd.Err != nil {
		out.Mistake = cmd.Err.Error()
	}
	return out
}

// ack shows the writer of a command that it was seen. Failing to is not trouble.
func (w *worker) ack(ctx context.Context, comment int64) {
	w.mu.Lock()
	known := w.acked[comment]
	w.acked[comment] = true
	w.mu.Unlock()
	if known {
		return
	}
	if err := w.forge.React(ctx, w.repo, comment, "eyes"); err != nil {
		w.log.Info("acknowledge a command", "comment", comment, "err", err)
	}
}
