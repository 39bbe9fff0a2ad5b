package gitea

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Land implements forge.Forge with one merge call pinned to the head. Only
// fast-forward compares the base too, when git receives the push: the others
// merge onto whatever base has become, so their caller must compare first, be
// quick, and compare after.
//
// A fast-forward of a head that is behind is answered 500 without a word. That
// is an unknown error like any other: read back. So is a conflict that Gitea
// meets only while merging (409 without a message).
//
// "Block on outdated branch" is no compare of base: Gitea counts how far a head
// is behind a moment after base moved, and until then merges it all the same.
func (f *Forge) Land(ctx context.Context, r gate.Repo, l forge.Landing) error {
	op := fmt.Sprintf("merge #%d of %s", l.PR, r)
	style, ok := map[gate.Method]sdk.MergeStyle{
		gate.FastForward: sdk.MergeStyleFastForwardOnly,
		gate.Merge:       sdk.MergeStyleMerge,
		gate.Squash:      sdk.MergeStyleSquash,
		gate.Rebase:      sdk.MergeStyleRebase,
	}[l.Method]
	if !ok || !l.Head.Valid() {
		panic(fmt.Sprintf("%s: method %q, head %q", op, l.Method, l.Head))
	}
	a, err := f.raw(ctx, op, http.MethodPost, fmt.Sprintf("%s/pulls/%d/merge", repoPath(r), l.PR), sdk.MergePullRequestOption{
		Style:                  style,
		HeadCommitId:           string(l.Head),
		Title:                  l.Title,
		Message:                l.Message,
		DeleteBranchAfterMerge: &l.DeleteBranch,
	})
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return nil
	}
	return refusal(op, a)
}

// refusal is what an answer to the merge call means. "Please try again later"
// is said while Gitea checks for conflicts, and also for a real conflict.
// Already merged is ErrMoved: this call did nothing, and who did can be read
// back.
func refusal(op string, a answer) error {
	text := a.text()
	says := func(words string) bool { return strings.Contains(strings.ToLower(text), words) }
	kind := error(nil)
	switch {
	case a.status == http.StatusMethodNotAllowed && says("try again later"):
		kind = forge.ErrBusy
	case a.status == http.StatusMethodNotAllowed && (says("already merged") || says("behind the base branch")):
		kind = forge.ErrMoved
	case a.status == http.StatusConflict && (says("out of date") || says("cannot lock ref")):
		kind = forge.ErrMoved
	case a.status == http.StatusConflict && says("not allowed to push to protected branch"):
		kind = forge.ErrDenied
	default:
		return meaning(op, a.status, a.header, text)
	}
	return &forge.Refusal{Kind: kind, Op: op, Status: a.status, Text: text}
}
