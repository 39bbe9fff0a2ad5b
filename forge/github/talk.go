package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// Comments implements forge.Forge. Comments on code are not among them.
func (f *Forge) Comments(ctx context.Context, r gate.Repo, n int) ([]forge.Comment, time.Time, error) {
	op := fmt.Sprintf("read the comments of #%d of %s", n, r)
	var date string
	all, err := pages(ctx, f, r, op, (*sdk.IssueComment).GetID, func(s site, page sdk.ListOptions) ([]*sdk.IssueComment, *sdk.Response, error) {
		part, resp, err := s.api.Issues.ListComments(ctx, s.owner, s.name, n, &sdk.IssueListCommentsOptions{ListOptions: page})
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

func comment(c *sdk.IssueComment) forge.Comment {
	return forge.Comment{ID: c.GetID(), By: user(c.User), Body: c.GetBody(), Created: c.GetCreatedAt().Time, Updated: c.GetUpdatedAt().Time}
}

// Comment implements forge.Forge.
func (f *Forge) Comment(ctx context.Context, r gate.Repo, id int64) (forge.Comment, error) {
	c, err := get(ctx, f, r, fmt.Sprintf("read the comment %d of %s", id, r), func(s site) (*sdk.IssueComment, *sdk.Response, error) {
		return s.api.Issues.GetComment(ctx, s.owner, s.name, id)
	})
	if err != nil {
		return forge.Comment{}, err
	}
	return comment(c), nil
}

// PostComment implements forge.Forge.
func (f *Forge) PostComment(ctx context.Context, r gate.Repo, n int, body string) (forge.Comment, error) {
	c, err := get(ctx, f, r, fmt.Sprintf("comment on #%d of %s", n, r), func(s site) (*sdk.IssueComment, *sdk.Response, error) {
		return s.api.Issues.CreateComment(ctx, s.owner, s.name, n, &sdk.IssueComment{Body: &body})
	})
	if err != nil {
		return forge.Comment{}, err
	}
	return comment(c), nil
}

// EditComment implements forge.Forge.
func (f *Forge) EditComment(ctx context.Context, r gate.Repo, id int64, body string) error {
	return do(ctx, f, r, fmt.Sprintf("edit the comment %d of %s", id, r), func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Issues.EditComment(ctx, s.owner, s.name, id, &sdk.IssueComment{Body: &body})
		return resp, err
	})
}

// DeleteComment implements forge.Forge.
func (f *Forge) DeleteComment(ctx context.Context, r gate.Repo, id int64) error {
	err := do(ctx, f, r, fmt.Sprintf("delete the comment %d of %s", id, r), func(s site) (*sdk.Response, error) {
		return s.api.Issues.DeleteComment(ctx, s.owner, s.name, id)
	})
	if errors.Is(err, forge.ErrNotFound) {
		return nil
	}
	return err
}

// React implements forge.Forge.
func (f *Forge) React(ctx context.Context, r gate.Repo, id int64, reaction string) error {
	return do(ctx, f, r, fmt.Sprintf("react to the comment %d of %s", id, r), func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Reactions.CreateIssueCommentReaction(ctx, s.owner, s.name, id, reaction)
		return resp, err
	})
}

// FindIssues implements forge.Forge. It reads all open issues: GitHub's filter by
// creator is not documented for Apps, and an issue that it missed would be made
// twice.
func (f *Forge) FindIssues(ctx context.Context, r gate.Repo, by gate.User, marker string) ([]forge.Issue, error) {
	all, err := pages(ctx, f, r, "list the issues of "+r.String(), (*sdk.Issue).GetNumber, func(s site, page sdk.ListOptions) ([]*sdk.Issue, *sdk.Response, error) {
		return s.api.Issues.ListByRepo(ctx, s.owner, s.name, &sdk.IssueListByRepoOptions{
			State: "open", Sort: "created", Direction: "asc", ListOptions: page})
	})
	if err != nil {
		return nil, err
	}
	var found []forge.Issue
	for _, i := range all {
		if !i.IsPullRequest() && i.GetUser().GetID() == by.ID && strings.Contains(i.GetBody(), marker) {
			found = append(found, issue(i))
		}
	}
	slices.SortFunc(found, func(a, b forge.Issue) int { return a.Number - b.Number })
	return found, nil
}

func issue(i *sdk.Issue) forge.Issue {
	return forge.Issue{Number: i.GetNumber(), By: user(i.User), Title: i.GetTitle(), Body: i.GetBody(),
		URL: i.GetHTMLURL(), Open: i.GetState() == "open"}
}

// Issue implements forge.Forge.
func (f *Forge) Issue(ctx context.Context, r gate.Repo, n int) (forge.Issue, error) {
	i, err := get(ctx, f, r, fmt.Sprintf("read the issue #%d of %s", n, r), func(s site) (*sdk.Issue, *sdk.Response, error) {
		return s.api.Issues.Get(ctx, s.owner, s.name, n)
	})
	if err != nil {
		return forge.Issue{}, err
	}
	return issue(i), nil
}

// CreateIssue implements forge.Forge.
func (f *Forge) CreateIssue(ctx context.Context, r gate.Repo, title, body string) (forge.Issue, error) {
	i, err := get(ctx, f, r, "create an issue in "+r.String(), func(s site) (*sdk.Issue, *sdk.Response, error) {
		return s.api.Issues.Create(ctx, s.owner, s.name, &sdk.IssueRequest{Title: &title, Body: &body})
	})
	if err != nil {
		return forge.Issue{}, err
	}
	return issue(i), nil
}

// EditIssue implements forge.Forge.
func (f *Forge) EditIssue(ctx context.Context, r gate.Repo, n int, body string) error {
	return f.editIssue(ctx, r, fmt.Sprintf("edit the issue #%d of %s", n, r), n, &sdk.IssueRequest{Body: &body})
}

// CloseIssue implements forge.Forge.
func (f *Forge) CloseIssue(ctx context.Context, r gate.Repo, n int) error {
	return f.editIssue(ctx, r, fmt.Sprintf("close the issue #%d of %s", n, r), n, &sdk.IssueRequest{State: new("closed")})
}

func (f *Forge) editIssue(ctx context.Context, r gate.Repo, op string, n int, change *sdk.IssueRequest) error {
	return do(ctx, f, r, op, func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Issues.Edit(ctx, s.owner, s.name, n, change)
		return resp, err
	})
}
