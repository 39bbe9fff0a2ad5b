package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// markedWithin is how long GitHub is given to notice that a pushed commit merged
// a pull request.
const markedWithin = 3 * time.Second

// Land implements forge.Forge. It reads the PR and base first, because GitHub's
// calls compare less than was asked: a ref update knows no PR, and a merge call
// compares the head but not base.
//
// Fast-forward is a ref update that is not forced: base becomes the tested commit
// itself, or nothing happens. GitHub then marks the PR as merged by itself, on the
// default branch at least; a PR that it leaves open is closed. The other methods
// are the merge call, pinned to the head: they merge onto whatever base is in that
// moment, unless the branch's rules ask for heads that are up to date. Rebase
// makes new commits even where none are needed.
func (f *Forge) Land(ctx context.Context, r gate.Repo, l forge.Landing) error {
	op := fmt.Sprintf("merge #%d of %s", l.PR, r)
	if !l.Head.Valid() || !l.Tip.Valid() || l.Method == gate.Auto || l.Method == "" {
		panic(fmt.Sprintf("%s: method %q, head %q, base %q", op, l.Method, l.Head, l.Tip))
	}
	p, err := f.ready(ctx, op, r, l)
	if err != nil {
		return err
	}
	if l.Method == gate.FastForward {
		err = f.fastForward(ctx, op, r, l)
	} else {
		err = f.merge(ctx, op, r, l)
	}
	if err != nil {
		return err
	}
	if l.Method == gate.FastForward {
		err = f.settle(ctx, op, r, l)
	}
	if l.DeleteBranch && f.pr(p).MayPush {
		err = errors.Join(err, f.deleteBranch(ctx, op, r, p.GetHead().GetRef(), l.Head))
	}
	return err
}

// ready compares what was asked with what is.
func (f *Forge) ready(ctx context.Context, op string, r gate.Repo, l forge.Landing) (*sdk.PullRequest, error) {
	raw, err := f.pull(ctx, r, l.PR)
	if err != nil {
		return nil, err
	}
	p := f.pr(raw)
	refuse := func(kind error, format string, args ...any) (*sdk.PullRequest, error) {
		return nil, &forge.Refusal{Kind: kind, Op: op, Status: http.StatusOK, Text: fmt.Sprintf(format, args...)}
	}
	switch {
	case p.Merged:
		return refuse(forge.ErrMoved, "it is already merged")
	case !p.Open:
		return refuse(forge.ErrDenied, "it is closed")
	case p.Head != l.Head:
		return refuse(forge.ErrMoved, "its head is %s by now", p.Head.Short())
	case p.Base != l.Base:
		return refuse(forge.ErrMoved, "its base is %s by now", p.Base)
	case p.Draft:
		return refuse(forge.ErrDenied, "it is a draft")
	}
	tip, err := f.branchTip(ctx, r, l.Base)
	if err != nil {
		return nil, err
	}
	if tip != l.Tip {
		return refuse(forge.ErrMoved, "%s is at %s by now", l.Base, tip.Short())
	}
	return raw, nil
}

// fastForward moves base. GitHub's words for "not a fast-forward" and for a rule
// that forbids it are not documented, so base is read back to tell them apart.
func (f *Forge) fastForward(ctx context.Context, op string, r gate.Repo, l forge.Landing) error {
	_, err := ask[sdk.Reference](ctx, f, r, op, http.MethodPatch, map[string]any{"sha": l.Head, "force": false},
		"/git/refs/heads/%s", escapeRef(l.Base))
	if errors.Is(err, forge.ErrDenied) {
		return f.explain(ctx, r, l, err)
	}
	return err
}

// merge calls the merge button.
func (f *Forge) merge(ctx context.Context, op string, r gate.Repo, l forge.Landing) error {
	in := map[string]any{"sha": l.Head, "merge_method": l.Method}
	if l.Title != "" {
		in["commit_title"] = l.Title
	}
	if l.Message != "" {
		in["commit_message"] = l.Message
	}
	_, err := get(ctx, f, r, op, func(s site) (sdk.PullRequestMergeResult, *sdk.Response, error) {
		out, resp, err := raw[sdk.PullRequestMergeResult](ctx, s.api, http.MethodPut, s.path("/pulls/%d/merge", l.PR), in)
		if resp != nil && resp.StatusCode == http.StatusConflict {
			return out, resp, &forge.Refusal{Kind: forge.ErrMoved, Op: op, Status: resp.StatusCode, Text: err.Error()}
		}
		return out, resp, err
	})
	if status(err) == http.StatusMethodNotAllowed {
		return f.explain(ctx, r, l, err)
	}
	return err
}

// explain reads the PR and base again and finds what a refusal meant: something
// moved, GitHub has not computed yet whether it can be merged, or no.
func (f *Forge) explain(ctx context.Context, r gate.Repo, l forge.Landing, err error) error {
	var refusal *forge.Refusal
	errors.As(err, &refusal)
	p, readErr := f.pull(ctx, r, l.PR)
	if readErr != nil {
		return fmt.Errorf("%v; reading back: %v", err, readErr) // unknown
	}
	tip, readErr := f.branchTip(ctx, r, l.Base)
	if readErr != nil {
		return fmt.Errorf("%v; reading back: %v", err, readErr)
	}
	now := f.pr(p)
	switch {
	case now.Merged || now.Head != l.Head || now.Base != l.Base || tip != l.Tip:
		refusal.Kind = forge.ErrMoved
	case now.Open && p.Mergeable == nil && l.Method != gate.FastForward:
		refusal.Kind = forge.ErrBusy
	}
	return refusal
}

// settle waits until GitHub marks the PR as merged, and closes it if it does not.
// The landing itself has happened: what goes wrong here is no refusal.
func (f *Forge) settle(ctx context.Context, op string, r gate.Repo, l forge.Landing) error {
	for deadline := time.Now().Add(markedWithin); ; {
		p, err := f.PullRequest(ctx, r, l.PR)
		if err != nil {
			return fmt.Errorf("%s: landed, but reading it back: %v", op, err)
		}
		if !p.Open || p.Head != l.Head { // a newer push is not ours to close
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%s: landed, but then: %w", op, err)
		}
	}
	if err := f.CloseIssue(ctx, r, l.PR); err != nil {
		return fmt.Errorf("%s: landed, but closing it: %v", op, err)
	}
	return nil
}

// deleteBranch deletes the head's branch if it is still at the head. GitHub
// cannot compare and delete in one: a push in between is kept only in the PR's
// ref.
func (f *Forge) deleteBranch(ctx context.Context, op string, r gate.Repo, branch string, head gate.SHA) error {
	tip, err := f.branchTip(ctx, r, branch)
	if errors.Is(err, forge.ErrNotFound) || err == nil && tip != head {
		return nil
	}
	if err == nil {
		err = do(ctx, f, r, "delete the branch", func(s site) (*sdk.Response, error) {
			return s.api.Git.DeleteRef(ctx, s.owner, s.name, "heads/"+branch)
		})
	}
	if err != nil && status(err) != http.StatusUnprocessableEntity { // 422: gone meanwhile
		return fmt.Errorf("%s: landed, but deleting %s: %v", op, branch, err)
	}
	return nil
}
