package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Comments implements forge.Forge. Gitea gives all comments of an issue in one
// answer; comments on code are not among them.
func (f *Forge) Comments(ctx context.Context, r gate.Repo, n int) ([]forge.Comment, time.Time, error) {
	op := fmt.Sprintf("read the comments of #%d of %s", n, r)
	var date string
	all, err := pages(ctx, f, op, func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.Comment, *sdk.Response, error) {
		part, resp, err := c.ListIssueComments(r.Owner, r.Name, int64(n), sdk.ListIssueCommentOptions{ListOptions: page})
		if err == nil {
			date = resp.Header.Get("Date")
		}
		return part, resp, err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	now, err := http.ParseTime(date)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: the answer has no date: %w", op, err)
	}
	comments := make([]forge.Comment, len(all))
	for i, c := range all {
		comments[i] = comment(c)
	}
	return comments, now, nil
}

func comment(c *sdk.Comment) forge.Comment {
	return forge.Comment{ID: c.ID, By: user(c.Poster), Body: c.Body, Created: c.Created, Updated: c.Updated}
}

// Comment implements forge.Forge.
func (f *Forge) Comment(ctx context.Context, r gate.Repo, id int64) (forge.Comment, error) {
	c, err := get(ctx, f, fmt.Sprintf("read the comment %d of %s", id, r), func(c *sdk.Client) (*sdk.Comment, *sdk.Response, error) {
		return c.GetIssueComment(r.Owner, r.Name, id)
	})
	if err != nil {
		return forge.Comment{}, err
	}
	return comment(c), nil
}

// PostComment implements forge.Forge.
func (f *Forge) PostComment(ctx context.Context, r gate.Repo, n int, body string) (forge.Comment, error) {
	c, err := get(ctx, f, fmt.Sprintf("comment on #%d of %s", n, r), func(c *sdk.Client) (*sdk.Comment, *sdk.Response, error) {
		return c.CreateIssueComment(r.Owner, r.Name, int64(n), sdk.CreateIssueCommentOption{Body: body})
	})
	if err != nil {
		return forge.Comment{}, err
	}
	return comment(c), nil
}

// EditComment implements forge.Forge.
func (f *Forge) EditComment(ctx context.Context, r gate.Repo, id int64, body string) error {
	return do(ctx, f, fmt.Sprintf("edit the comment %d of %s", id, r), func(c *sdk.Client) (*sdk.Response, error) {
		_, resp, err := c.EditIssueComment(r.Owner, r.Name, id, sdk.EditIssueCommentOption{Body: body})
		return resp, err
	})
}

// DeleteComment implements forge.Forge.
func (f *Forge) DeleteComment(ctx context.Context, r gate.Repo, id int64) error {
	err := do(ctx, f, fmt.Sprintf("delete the comment %d of %s", id, r), func(c *sdk.Client) (*sdk.Response, error) {
		return c.DeleteIssueComment(r.Owner, r.Name, id)
	})
	if errors.Is(err, forge.ErrNotFound) {
		return nil
	}
	return err
}

// React implements forge.Forge. Gitea allows the names of its [ui] REACTIONS,
// among them eyes, +1 and confused.
func (f *Forge) React(ctx context.Context, r gate.Repo, id int64, reaction string) error {
	return do(ctx, f, fmt.Sprintf("react to the comment %d of %s", id, r), func(c *sdk.Client) (*sdk.Response, error) {
		_, resp, err := c.PostIssueCommentReaction(r.Owner, r.Name, id, reaction)
		return resp, err
	})
}

// SetStatus implements forge.Forge.
func (f *Forge) SetStatus(ctx context.Context, r gate.Repo, c gate.SHA, s forge.Status) error {
	return do(ctx, f, fmt.Sprintf("set the status of %s in %s", c.Short(), r), func(api *sdk.Client) (*sdk.Response, error) {
		_, resp, err := api.CreateStatus(r.Owner, r.Name, string(c), sdk.CreateStatusOption{
			State: sdk.StatusState(s.State), TargetURL: s.URL, Description: s.Text, Context: s.Context})
		return resp, err
	})
}

// FindIssues implements forge.Forge.
func (f *Forge) FindIssues(ctx context.Context, r gate.Repo, by gate.User, marker string) ([]forge.Issue, error) {
	all, err := pages(ctx, f, "list the issues of "+r.String(), func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.Issue, *sdk.Response, error) {
		return c.ListRepoIssues(r.Owner, r.Name, sdk.ListIssueOption{ListOptions: page,
			State: sdk.StateOpen, Type: sdk.IssueTypeIssue, CreatedBy: by.Login})
	})
	if err != nil {
		return nil, err
	}
	var found []forge.Issue
	for _, i := range all {
		if user(i.Poster).ID == by.ID && strings.Contains(i.Body, marker) {
			found = append(found, issue(i))
		}
	}
	slices.SortFunc(found, func(a, b forge.Issue) int { return a.Number - b.Number })
	return found, nil
}

func issue(i *sdk.Issue) forge.Issue {
	return forge.Issue{Number: int(i.Index), By: user(i.Poster), Title: i.Title, Body: i.Body,
		URL: i.HTMLURL, Open: i.State == sdk.StateOpen}
}

// Issue implements forge.Forge.
func (f *Forge) Issue(ctx context.Context, r gate.Repo, n int) (forge.Issue, error) {
	i, err := get(ctx, f, fmt.Sprintf("read the issue #%d of %s", n, r), func(c *sdk.Client) (*sdk.Issue, *sdk.Response, error) {
		return c.GetIssue(r.Owner, r.Name, int64(n))
	})
	if err != nil {
		return forge.Issue{}, err
	}
	return issue(i), nil
}

// CreateIssue implements forge.Forge.
func (f *Forge) CreateIssue(ctx context.Context, r gate.Repo, title, body string) (forge.Issue, error) {
	i, err := get(ctx, f, "create an issue in "+r.String(), func(c *sdk.Client) (*sdk.Issue, *sdk.Response, error) {
		return c.CreateIssue(r.Owner, r.Name, sdk.CreateIssueOption{Title: title, Body: body})
	})
	if err != nil {
		return forge.Issue{}, err
	}
	return issue(i), nil
}

// CloseIssue implements forge.Forge.
func (f *Forge) CloseIssue(ctx context.Context, r gate.Repo, n int) error {
	closed := sdk.StateClosed
	return do(ctx, f, fmt.Sprintf("close the issue #%d of %s", n, r), func(c *sdk.Client) (*sdk.Response, error) {
		_, resp, err := c.EditIssue(r.Owner, r.Name, int64(n), sdk.EditIssueOption{State: &closed})
		return resp, err
	})
}

// EditIssue implements forge.Forge.
func (f *Forge) EditIssue(ctx context.Context, r gate.Repo, n int, body string) error {
	return do(ctx, f, fmt.Sprintf("edit the issue #%d of %s", n, r), func(c *sdk.Client) (*sdk.Response, error) {
		_, resp, err := c.EditIssue(r.Owner, r.Name, int64(n), sdk.EditIssueOption{Body: &body})
		return resp, err
	})
}
