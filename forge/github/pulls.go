package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// PullRequests implements forge.Forge with one call for each 100 open PRs, and
// another round of mostly free ones when there are more (see pages).
//
// BaseTip is never set: what GitHub calls base.sha is where base was when the
// PR was last pushed to.
func (f *Forge) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	all, err := pages(ctx, f, r, "list the open pull requests of "+r.String(), (*sdk.PullRequest).GetNumber,
		func(s site, page sdk.ListOptions) ([]*sdk.PullRequest, *sdk.Response, error) {
			return s.api.PullRequests.List(ctx, s.owner, s.name, &sdk.PullRequestListOptions{
				State: "open", Sort: "created", Direction: "asc", ListOptions: page})
		})
	if err != nil {
		return nil, err
	}
	prs := make([]gate.PR, len(all))
	for i, p := range all {
		prs[i] = f.pr(p)
	}
	slices.SortFunc(prs, func(a, b gate.PR) int { return a.Number - b.Number })
	return prs, nil
}

// PullRequest implements forge.Forge.
func (f *Forge) PullRequest(ctx context.Context, r gate.Repo, n int) (gate.PR, error) {
	p, err := f.pull(ctx, r, n)
	if err != nil {
		return gate.PR{}, err
	}
	return f.pr(p), nil
}

func (f *Forge) pull(ctx context.Context, r gate.Repo, n int) (*sdk.PullRequest, error) {
	return get(ctx, f, r, fmt.Sprintf("read #%d of %s", n, r), func(s site) (*sdk.PullRequest, *sdk.Response, error) {
		return s.api.PullRequests.Get(ctx, s.owner, s.name, n)
	})
}

// pr translates. A fork is never pushed to: an App's token reaches only where the
// App is installed, and the list of PRs does not tell whether its author lets
// maintainers push. merge_commit_sha is the merge only once there is one; before,
// it is GitHub's own test merge.
func (f *Forge) pr(p *sdk.PullRequest) gate.PR {
	head, base := p.GetHead(), p.GetBase()
	out := gate.PR{
		Number:     p.GetNumber(),
		Title:      p.GetTitle(),
		URL:        p.GetHTMLURL(),
		Author:     user(p.User),
		Open:       p.GetState() == "open",
		Merged:     p.MergedAt != nil,
		Draft:      p.GetDraft(),
		Base:       base.GetRef(),
		Head:       gate.SHA(head.GetSHA()),
		HeadBranch: head.GetRef(),
		Updated:    p.GetUpdatedAt().Time,
	}
	if out.Merged {
		out.MergeCommit = gate.SHA(p.GetMergeCommitSHA())
	}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, l.GetName())
	}
	repo := head.GetRepo()
	if repo != nil {
		out.HeadRepo = repo.GetFullName()
		out.HeadURL = f.cloneURL(out.HeadRepo)
	}
	out.Fork = repo == nil || repo.GetID() != base.GetRepo().GetID()
	out.MayPush = !out.Fork
	return out
}

// Reviews implements forge.Forge. GitHub does not say whose approval counts, so
// what each reviewer may do is asked: writers count. A dismissed review is told
// as a dismissed approval, because GitHub forgets what it was.
func (f *Forge) Reviews(ctx context.Context, r gate.Repo, n int) ([]gate.Review, error) {
	all, err := pages(ctx, f, r, fmt.Sprintf("read the reviews of #%d of %s", n, r), (*sdk.PullRequestReview).GetID,
		func(s site, page sdk.ListOptions) ([]*sdk.PullRequestReview, *sdk.Response, error) {
			return s.api.PullRequests.ListReviews(ctx, s.owner, s.name, n, &page)
		})
	if err != nil {
		return nil, err
	}
	states := map[string]gate.ReviewState{"APPROVED": gate.Approved, "CHANGES_REQUESTED": gate.ChangesRequested,
		"COMMENTED": gate.Commented, "DISMISSED": gate.Approved}
	counts := make(map[gate.User]bool)
	var out []gate.Review
	for _, v := range all {
		state, ok := states[v.GetState()]
		if !ok {
			continue // not submitted yet
		}
		by := user(v.User)
		if _, asked := counts[by]; !asked && state != gate.Commented {
			role, err := f.Role(ctx, r, by)
			if err != nil {
				return nil, err
			}
			counts[by] = role >= gate.RoleWrite
		}
		out = append(out, gate.Review{By: by, State: state, Commit: gate.SHA(v.GetCommitID()),
			Dismissed: v.GetState() == "DISMISSED", Counts: counts[by], At: v.GetSubmittedAt().Time})
	}
	return out, nil
}

// Past implements forge.Forge, from the timeline and the activity of the head's
// branch.
//
// The timeline has its entries in order, but a pushed commit stands there without
// the time of the push; whoever commits can choose the only time it has. The
// activity has GitHub's own time of each push, in whole seconds. So the activity
// decides, and the timeline's order within one second. Where the activity is
// hidden (a fork that is private) the timeline's order must do.
func (f *Forge) Past(ctx context.Context, r gate.Repo, n int, label string) (forge.Past, error) {
	op := fmt.Sprintf("read what happened to #%d of %s", n, r)
	p, err := f.pull(ctx, r, n)
	if err != nil {
		return forge.Past{}, err
	}
	type key struct {
		event, sha string
		id         int64
	}
	events, err := pages(ctx, f, r, op, func(e *sdk.Timeline) key { return key{e.GetEvent(), e.GetSHA(), e.GetID()} },
		func(s site, page sdk.ListOptions) ([]*sdk.Timeline, *sdk.Response, error) {
			return s.api.Issues.ListIssueTimeline(ctx, s.owner, s.name, n, &page)
		})
	if err != nil {
		return forge.Past{}, err
	}
	pushed, err := f.pushed(ctx, r, op, p)
	if err != nil {
		return forge.Past{}, err
	}
	return history(events, label, pushed), nil
}

// history reads the timeline. pushed is when the head was pushed; zero for
// unknown.
func history(events []*sdk.Timeline, label string, pushed time.Time) forge.Past {
	lastPush := -1
	for i, e := range events {
		if e.GetEvent() == "committed" || e.GetEvent() == "head_ref_force_pushed" {
			lastPush = i
		}
	}
	before := func(i int, at time.Time) bool {
		if pushed.IsZero() || at.Equal(pushed) {
			return i < lastPush
		}
		return at.Before(pushed)
	}
	var past forge.Past
	for i, e := range events {
		at := e.GetCreatedAt().Time
		switch {
		case e.GetEvent() == "base_ref_changed", e.GetEvent() == "automatic_base_change_succeeded":
			past.Retargeted = at
		case e.GetEvent() == "labeled" && strings.EqualFold(e.GetLabel().GetName(), label):
			past.LabelledBy, past.LabelledAt, past.PushedSince = user(e.Actor), at, before(i, at)
		case e.GetEvent() == "commented" && before(i, at):
			past.Outdated = append(past.Outdated, e.GetID())
		}
	}
	return past
}

// pushed is when the head's branch last moved, by GitHub's clock.
func (f *Forge) pushed(ctx context.Context, r gate.Repo, op string, p *sdk.PullRequest) (time.Time, error) {
	repo := p.GetHead().GetRepo()
	if repo == nil {
		return time.Time{}, nil
	}
	type activity struct {
		After     string
		Timestamp time.Time
	}
	all, err := get(ctx, f, r, op, func(s site) ([]activity, *sdk.Response, error) {
		path := fmt.Sprintf("repos/%s/activity?per_page=%d&ref=%s", repo.GetFullName(), pageSize, url.QueryEscape("refs/heads/"+p.GetHead().GetRef()))
		return raw[[]activity](ctx, s.api, http.MethodGet, path, nil)
	})
	if errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrDenied) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time // newest first, but that is not promised
	for _, a := range all {
		if a.After == p.GetHead().GetSHA() && a.Timestamp.After(last) {
			last = a.Timestamp
		}
	}
	return last, nil
}

// AddLabel implements forge.Forge. GitHub creates a label that does not exist.
func (f *Forge) AddLabel(ctx context.Context, r gate.Repo, n int, label string) error {
	_, err := ask[[]*sdk.Label](ctx, f, r, fmt.Sprintf("put the label %q on #%d of %s", label, n, r),
		http.MethodPost, map[string][]string{"labels": {label}}, "/issues/%d/labels", n)
	return err
}

// RemoveLabel implements forge.Forge.
func (f *Forge) RemoveLabel(ctx context.Context, r gate.Repo, n int, label string) error {
	_, err := ask[[]*sdk.Label](ctx, f, r, fmt.Sprintf("take the label %q off #%d of %s", label, n, r),
		http.MethodDelete, nil, "/issues/%d/labels/%s", n, url.PathEscape(label))
	if errors.Is(err, forge.ErrNotFound) {
		return nil
	}
	return err
}
