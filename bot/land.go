package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
)

// busyFor is how long a landing is asked again while the forge says "later".
// Gitea computes mergeability for up to three seconds after a push.
const busyFor = 5 * time.Second

// calmAfterPush is how long after our push a landing is not asked yet, because
// the answer would be "later": a small Gitea computes mergeability for 0.3 s.
const calmAfterPush = 350 * time.Millisecond

// maxCommits is more than a pull request has: GitHub rebases at most 100.
const maxCommits = 10_000

// reread reads one PR and the base tip afresh.
func (w *worker) reread(ctx context.Context, q *queue, p *pull) error {
	pr, err := w.forge.PullRequest(ctx, w.repo, p.pr.Number)
	if errors.Is(err, forge.ErrNotFound) {
		p.pr.Open = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("read #%d: %w", p.pr.Number, err)
	}
	p.update(pr)
	tip := pr.BaseTip
	if tip == "" || pr.Base != q.base {
		b, err := w.forge.Branch(ctx, w.repo, q.base)
		if err != nil {
			return fmt.Errorf("read the branch: %w", err)
		}
		q.branch, q.branchAt, tip = b, time.Now(), b.Tip
	}
	return w.moveTo(ctx, q, tip)
}

// confirm reads everything that landing depends on once more: the PR with its
// head, base and labels, the base tip, the reviews, what was said meanwhile, and
// whether the people who asked and approved may still do so. That the lease is still ours is
// proved by saving the flight into it, which comes next.
func (w *worker) confirm(ctx context.Context, q *queue, pr int) error {
	p := w.prs[pr]
	clear(w.roles)
	if err := w.reread(ctx, q, p); err != nil {
		return err
	}
	approvals := q.policy.Require.Approvals > 0 || q.branch.RequiredApprovals > 0
	if approvals {
		if err := w.readTurned(ctx, q, p); err != nil {
			return err
		}
	}
	if p.changed() {
		return w.read(ctx, q, p)
	}
	if approvals {
		if err := w.readReviews(ctx, p); err != nil {
			return err
		}
	}
	return w.readRoles(ctx, p)
}

// land asks the forge to merge, pinned to the head and the base that were tested.
// Whatever it answers, gate asks for Inspect next: base itself says what happened.
func (w *worker) land(ctx context.Context, q *queue, a gate.Land) (gate.Result, string, error) {
	p := w.prs[a.PR]
	if err := w.readyToLand(ctx, q, a); err != nil {
		return "", "", err
	}
	subject, body, err := w.commitMessage(ctx, p.pr, a.Method, a.Base, a.Head)
	if err != nil {
		return "", "", err
	}
	landing := forge.Landing{
		PR: a.PR, Base: q.base, Tip: a.Base, Head: a.Head, Method: a.Method, Title: subject, Message: body,
		DeleteBranch: q.policy.Land.DeleteBranch && !p.pr.Fork,
	}
	pause(ctx, time.Until(p.pushed.Add(calmAfterPush)))
	started := time.Now()
	err = w.forge.Land(ctx, w.repo, landing)
	for wait := 300 * time.Millisecond; errors.Is(err, forge.ErrBusy) && time.Since(started) < busyFor; wait *= 2 {
		pause(ctx, wait)
		// As a rule the forge is busy because something moved, and not every method
		// compares base: asked again without a look, it would merge what nobody tested.
		if err := w.reread(ctx, q, p); err != nil {
			return "", "", err
		}
		if p.pr.Base != q.base || p.pr.Head != a.Head || q.tip != a.Base {
			return gate.Moved, "", nil
		}
		err = w.forge.Land(ctx, w.repo, landing)
	}
	var refusal *forge.Refusal
	switch {
	case err == nil:
		w.log.Info("the forge says it landed", "pr", a.PR, "head", a.Head.Short(), "method", a.Method)
		return gate.Done, "", nil
	case ctx.Err() != nil:
		return "", "", err
	case errors.Is(err, forge.ErrDenied):
		q.branchAt = time.Time{} // the protection may have changed: read it again
		if err := w.settings(ctx); err != nil {
			return "", "", err // it is mergegate that may not, and not the PR's fault
		}
		if errors.As(err, &refusal) && refusal.Text != "" {
			return gate.Denied, refusal.Text, nil
		}
		return gate.Denied, err.Error(), nil
	}
	w.log.Info("the forge's answer to the landing is not a yes; reading base back", "pr", a.PR, "err", err)
	if err := w.reread(ctx, q, p); err != nil {
		return "", "", err
	}
	switch {
	case errors.Is(err, forge.ErrMoved):
		return gate.Moved, "", nil
	case errors.Is(err, forge.ErrBusy):
		return gate.Later, "", nil
	}
	return "", "", nil // not known: the call may still come through
}

// readyToLand shows our own status green on the head when the branch's
// protection asks for it.
func (w *worker) readyToLand(ctx context.Context, q *queue, a gate.Land) error {
	for _, pattern := range q.branch.RequiredChecks {
		if gate.Match(pattern, StatusContext) {
			return w.show(ctx, q, w.prs[a.PR], a.Head, forge.Status{
				Context: StatusContext, State: forge.StatusSuccess, Text: "Landing",
				URL: w.prURL(a.PR),
			})
		}
	}
	return nil
}

// inspect reads base back from git and says whether the candidate landed, as
// what, and on what. It trusts no answer of the merge call.
func (w *worker) inspect(ctx context.Context, q *queue, a gate.Inspect) (gate.Found, error) {
	ref := "refs/heads/" + q.base
	if err := w.mirror.Fetch(ctx, ref); err != nil {
		return gate.Found{}, fmt.Errorf("read %s back: %w", q.base, err)
	}
	tip, err := w.mirror.Ref(ctx, ref)
	if err != nil {
		return gate.Found{}, err
	}
	in, err := w.holds(ctx, tip, a.Candidate)
	if err != nil {
		return gate.Found{}, err
	}
	if in {
		onBase, err := w.holds(ctx, a.Candidate, a.Base)
		if err != nil {
			return gate.Found{}, err
		}
		if merged, err := w.mergeOnTop(ctx, q, a, tip); err != nil || merged.Landed {
			return merged, err
		}
		return w.found(ctx, q, a.Candidate, tip, onBase)
	}
	p := w.prs[a.PR]
	if err := w.reread(ctx, q, p); err != nil {
		return gate.Found{}, err
	}
	if !p.pr.Merged || p.pr.MergeCommit == "" {
		return gate.Found{}, w.moveTo(ctx, q, tip)
	}
	if f := q.flight.Flight; f != nil && f.Method == gate.Rebase {
		onBase, err := w.rebasedOnto(ctx, a, p.pr.MergeCommit)
		if err != nil {
			return gate.Found{}, err
		}
		return w.found(ctx, q, p.pr.MergeCommit, tip, onBase)
	}
	parents, err := w.mirror.Parents(ctx, p.pr.MergeCommit)
	if err != nil {
		return gate.Found{}, fmt.Errorf("the forge says #%d was merged as %s, but %s does not have it: %w", a.PR, p.pr.MergeCommit.Short(), q.base, err)
	}
	return w.found(ctx, q, p.pr.MergeCommit, tip, len(parents) > 0 && parents[0] == a.Base)
}

// holds says whether a commit is part of the history of another, which is in the
// mirror with all of its history: a commit that is not there is no part of it.
func (w *worker) holds(ctx context.Context, history, c gate.SHA) (bool, error) {
	if !w.mirror.Have(ctx, c) {
		return false, nil
	}
	return w.mirror.IsAncestor(ctx, c, history)
}

// rebasedOnto says whether the commits that a forge made anew, up to last, sit
// right on the tested base. A commit of somebody else's in between makes them more
// than were tested. A pull request with merges in it is flattened to nobody knows
// how many, and a candidate that is nowhere any more cannot be counted: then the
// tree alone has to tell.
func (w *worker) rebasedOnto(ctx context.Context, a gate.Inspect, last gate.SHA) (bool, error) {
	if in, err := w.holds(ctx, last, a.Base); err != nil || !in {
		return false, err
	}
	if !w.mirror.Have(ctx, a.Candidate) {
		return true, nil
	}
	tested, err := w.mirror.Log(ctx, a.Base, a.Candidate, maxCommits)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(tested, func(c catchup.Commit) bool { return len(c.Parents) > 1 }) {
		return true, nil
	}
	landed, err := w.mirror.Log(ctx, a.Base, last, maxCommits)
	return len(landed) <= len(tested), err
}

// mergeOnTop finds the merge commit when the candidate itself is the second
// parent of what landed (method merge of a head that contained base).
func (w *worker) mergeOnTop(ctx context.Context, q *queue, a gate.Inspect, tip gate.SHA) (gate.Found, error) {
	f := q.flight.Flight
	if f == nil || f.Method != gate.Merge {
		return gate.Found{}, nil
	}
	p := w.prs[a.PR]
	if err := w.reread(ctx, q, p); err != nil || p.pr.MergeCommit == "" || p.pr.MergeCommit == a.Candidate {
		return gate.Found{}, err
	}
	parents, err := w.mirror.Parents(ctx, p.pr.MergeCommit)
	if err != nil {
		return gate.Found{}, err
	}
	return w.found(ctx, q, p.pr.MergeCommit, tip, len(parents) > 0 && parents[0] == a.Base)
}

func (w *worker) found(ctx context.Context, q *queue, c, tip gate.SHA, onBase bool) (gate.Found, error) {
	tree, err := w.mirror.Tree(ctx, c)
	if err != nil {
		return gate.Found{}, err
	}
	if f := q.flight.Flight; f != nil {
		w.remember(ctx, f.Base, c, f.PR)
		w.prs[f.PR].landed = true
	}
	return gate.Found{Landed: true, Commit: c, Tree: tree, OnBase: onBase}, w.moveTo(ctx, q, tip)
}

// remember notes which PR brought which commits, for the conflict reports of
// later PRs. It is only a help: a restart forgets it.
func (w *worker) remember(ctx context.Context, from, to gate.SHA, pr int) {
	commits, err := w.mirror.Log(ctx, from, to, 100)
	if err != nil {
		w.log.Info("list what landed", "pr", pr, "err", err)
		return
	}
	if len(w.broughtBy) > 10_000 {
		clear(w.broughtBy)
	}
	for _, c := range commits {
		w.broughtBy[c.ID] = pr
	}
}
