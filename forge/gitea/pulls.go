package gitea

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// PullRequests implements forge.Forge with one call for each 50 open PRs, sorted
// by number.
//
// It asks for the newest first: a PR opened between two pages then pushes others
// to a later page, where they are met again, and while the total stays the same
// no PR that is closed can pull one over to an earlier page unseen.
//
// Gitea's list lags behind a push: it takes the head from refs/pull/N/head,
// which a queue updates, while PullRequest reads the branch itself. BaseTip
// comes from Gitea's database in the list and from git in PullRequest; both are
// the tip once a push has returned.
func (f *Forge) PullRequests(ctx context.Context, r gate.Repo) ([]gate.PR, error) {
	all, err := pages(ctx, f, "list the open pull requests of "+r.String(), func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.PullRequest, *sdk.Response, error) {
		return c.ListRepoPullRequests(r.Owner, r.Name, sdk.ListPullRequestsOptions{ListOptions: page, State: sdk.StateOpen})
	})
	if err != nil {
		return nil, err
	}
	prs := make([]gate.PR, len(all))
	for i, p := range all {
		prs[i] = f.pr(p)
	}
	slices.SortFunc(prs, func(a, b gate.PR) int { return a.Number - b.Number })
	return slices.CompactFunc(prs, func(a, b gate.PR) bool { return a.Number == b.Number }), nil
}

// PullRequest implements forge.Forge.
func (f *Forge) PullRequest(ctx context.Context, r gate.Repo, n int) (gate.PR, error) {
	p, err := get(ctx, f, fmt.Sprintf("read #%d of %s", n, r), func(c *sdk.Client) (*sdk.PullRequest, *sdk.Response, error) {
		return c.GetPullRequest(r.Owner, r.Name, int64(n))
	})
	if err != nil {
		return gate.PR{}, err
	}
	return f.pr(p), nil
}

// pr translates. An AGit PR has no branch of its own, which Gitea shows by an
// empty label; a PR whose branch was deleted keeps its label, but its ref turns
// into refs/pull/N/head like that of an AGit PR.
func (f *Forge) pr(p *sdk.PullRequest) gate.PR {
	out := gate.PR{
		Number:  int(p.Index),
		Title:   p.Title,
		URL:     p.HTMLURL,
		Author:  user(p.Poster),
		Open:    p.State == sdk.StateOpen,
		Merged:  p.HasMerged,
		Draft:   p.Draft,
		Updated: stamp(p.Updated),
	}
	if p.MergedCommitID != nil {
		out.MergeCommit = gate.SHA(*p.MergedCommitID)
	}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, l.Name)
	}
	if p.Base != nil {
		out.Base, out.BaseTip = p.Base.Ref, gate.SHA(p.Base.Sha)
	}
	if p.Head == nil {
		return out
	}
	out.Head = gate.SHA(p.Head.Sha)
	out.HeadBranch = p.Head.Name
	out.AGit = p.Head.Name == ""
	if repo := p.Head.Repository; repo != nil {
		out.HeadRepo = repo.FullName
		out.HeadURL = f.cloneURL(repo.FullName)
	}
	out.Fork = p.Base != nil && p.Head.RepoID != p.Base.RepoID
	gone := strings.HasPrefix(p.Head.Ref, "refs/pull/")
	out.MayPush = !out.AGit && !gone && out.HeadRepo != "" && (!out.Fork || p.AllowMaintainerEdit)
	return out
}

// Reviews implements forge.Forge. Counts is Gitea's "official": the reviewer may
// write, or is on the branch's list of approvers. Requests for a review and
// reviews that are not submitted are left out. A newer review by the same
// reviewer makes the older one dismissed.
func (f *Forge) Reviews(ctx context.Context, r gate.Repo, n int) ([]gate.Review, error) {
	all, err := f.reviews(ctx, fmt.Sprintf("read the reviews of #%d of %s", n, r), r, n)
	if err != nil {
		return nil, err
	}
	states := map[sdk.ReviewStateType]gate.ReviewState{
		sdk.ReviewStateApproved:       gate.Approved,
		sdk.ReviewStateRequestChanges: gate.ChangesRequested,
		sdk.ReviewStateComment:        gate.Commented,
	}
	var out []gate.Review
	for _, v := range all {
		if state, ok := states[v.State]; ok {
			out = append(out, gate.Review{By: user(v.Reviewer), State: state, Commit: gate.SHA(v.CommitID),
				Dismissed: v.Dismissed, Counts: v.Official, At: v.Submitted})
		}
	}
	return out, nil
}

func (f *Forge) reviews(ctx context.Context, op string, r gate.Repo, n int) ([]*sdk.PullReview, error) {
	return pages(ctx, f, op, func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.PullReview, *sdk.Response, error) {
		return c.ListPullReviews(r.Owner, r.Name, int64(n), sdk.ListPullReviewsOptions{ListOptions: page})
	})
}

// shortPage is less than any server's limit of entries to a page: a first page
// that is shorter, also with the comments on code that Gitea leaves out, is all.
const shortPage = 10

// lateNote is how long after a push Gitea may note it in the timeline, behind what
// people did meanwhile. A push that was noted within that time of a label or a
// comment may have been there before, and is not held against it.
const lateNote = 3 * time.Second

// Past implements forge.Forge, from the PR's timeline: two calls for a short
// one, else three or more.
//
// Gitea pages the timeline without a total, and leaves the comments on code out
// of a page after counting it. So an empty page is the end only when the reviews
// have too few such comments to fill one.
func (f *Forge) Past(ctx context.Context, r gate.Repo, n int, label string) (forge.Past, error) {
	op := fmt.Sprintf("read what happened to #%d of %s", n, r)
	reviews, err := f.reviews(ctx, op, r, n)
	if err != nil {
		return forge.Past{}, err
	}
	hidden := 0
	for _, v := range reviews {
		hidden += v.CodeCommentsCount
	}
	var past forge.Past
	var comments []event
	for page, longest, empty := 1, 1, 0; empty == 0 || empty*longest <= hidden; page++ {
		a, err := f.raw(ctx, op, http.MethodGet, fmt.Sprintf("%s/issues/%d/timeline?page=%d&limit=%d", repoPath(r), n, page, pageSize), nil)
		if err != nil {
			return forge.Past{}, err
		}
		var events []event
		if err := a.decode(op, &events); err != nil {
			return forge.Past{}, err
		}
		if len(events) == 0 {
			empty++
		} else {
			longest, empty = max(longest, len(events)), 0
		}
		for _, e := range events {
			switch {
			case e.puts(label):
				past.LabelledBy, past.LabelledAt, past.PushedSince = user(e.User), e.Created, false
			case e.Type == "change_target_branch":
				past.Retargeted = e.Created
			case e.Type == "pull_push":
				past.PushedSince = past.PushedSince || !past.LabelledAt.IsZero() && e.Created.Sub(past.LabelledAt) > lateNote
				for _, c := range comments {
					if e.Created.Sub(c.Created) > lateNote && !slices.Contains(past.Outdated, c.ID) {
						past.Outdated = append(past.Outdated, c.ID)
					}
				}
			case e.Type == "comment":
				comments = append(comments, e)
			}
		}
		if page == 1 && len(events)+hidden < shortPage {
			break
		}
	}
	return past, nil
}

// event is one entry of the timeline.
type event struct {
	ID      int64
	Type    string
	Body    string // "1" when a label was put on, empty when it was taken off
	User    *sdk.User
	Created time.Time `json:"created_at"`
	Label   *sdk.Label
}

func (e event) puts(label string) bool {
	return e.Type == "label" && e.Body == "1" && e.Label != nil && strings.EqualFold(e.Label.Name, label)
}

// AddLabel implements forge.Forge. Gitea ignores a name that it does not know,
// so the answer is looked at: ErrNotFound means that the label does not exist.
func (f *Forge) AddLabel(ctx context.Context, r gate.Repo, n int, label string) error {
	op := fmt.Sprintf("put the label %q on #%d of %s", label, n, r)
	a, err := f.raw(ctx, op, http.MethodPost, fmt.Sprintf("%s/issues/%d/labels", repoPath(r), n),
		map[string][]string{"labels": {label}})
	if err != nil {
		return err
	}
	var labels []*sdk.Label
	if err := a.decode(op, &labels); err != nil {
		return err
	}
	for _, l := range labels {
		if strings.EqualFold(l.Name, label) {
			return nil
		}
	}
	return &forge.Refusal{Kind: forge.ErrNotFound, Op: op, Status: a.status, Text: "but put no such label on; create it first"}
}

// RemoveLabel implements forge.Forge. Names are not unique in Gitea: every label
// of that name goes.
func (f *Forge) RemoveLabel(ctx context.Context, r gate.Repo, n int, label string) error {
	op := fmt.Sprintf("take the label %q off #%d of %s", label, n, r)
	labels, err := get(ctx, f, op, func(c *sdk.Client) ([]*sdk.Label, *sdk.Response, error) {
		return c.GetIssueLabels(r.Owner, r.Name, int64(n), sdk.ListLabelsOptions{})
	})
	if err != nil {
		return err
	}
	for _, l := range labels {
		if !strings.EqualFold(l.Name, label) {
			continue
		}
		if err := do(ctx, f, op, func(c *sdk.Client) (*sdk.Response, error) {
			return c.DeleteIssueLabel(r.Owner, r.Name, int64(n), l.ID)
		}); err != nil {
			return err
		}
	}
	return nil
}
