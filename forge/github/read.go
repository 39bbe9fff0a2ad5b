package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// Me implements forge.Forge. An App acts as the account SLUG[bot].
func (f *Forge) Me(ctx context.Context) (gate.User, error) {
	self, err := f.whoami(ctx)
	return self.user, err
}

// Repos implements forge.Forge. Archived repositories are left out: nobody can
// write to them. An App is told the repositories it is installed on.
func (f *Forge) Repos(ctx context.Context, owner string) ([]gate.Repo, error) {
	op := "list the repositories of " + owner
	c, list, err := f.lister(ctx, op, owner)
	if err != nil || c == nil {
		return nil, err
	}
	all, err := sweeps(f, op, c, (*sdk.Repository).GetID, list)
	if err != nil {
		return nil, err
	}
	var repos []gate.Repo
	for _, r := range all {
		if strings.EqualFold(r.GetOwner().GetLogin(), owner) && f.role(c, r) >= gate.RoleWrite && !r.GetArchived() {
			repos = append(repos, gate.Repo{Forge: f.cfg.Name, Owner: r.GetOwner().GetLogin(), Name: r.GetName()})
		}
	}
	return repos, nil
}

// lister is the connection and the call that list an owner's repositories; nil
// when the App is not installed there.
func (f *Forge) lister(ctx context.Context, op, owner string) (*conn, func(sdk.ListOptions) ([]*sdk.Repository, *sdk.Response, error), error) {
	if f.app == nil {
		c, err := f.connect(ctx, "", "")
		return c, func(page sdk.ListOptions) ([]*sdk.Repository, *sdk.Response, error) {
			return c.api.Repositories.ListByAuthenticatedUser(ctx, &sdk.RepositoryListByAuthenticatedUserOptions{ListOptions: page})
		}, err
	}
	all, err := f.installations(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	i := slices.IndexFunc(all, func(in *sdk.Installation) bool { return strings.EqualFold(in.GetAccount().GetLogin(), owner) })
	if i < 0 {
		return nil, nil, nil
	}
	c, err := f.installed(all[i])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	return c, func(page sdk.ListOptions) ([]*sdk.Repository, *sdk.Response, error) {
		all, resp, err := c.api.Apps.ListRepos(ctx, &page)
		if err != nil {
			return nil, resp, err
		}
		return all.Repositories, resp, nil
	}, nil
}

// role is our own. What a repository says about an App's permissions is not what
// the App may do; its installation says that.
func (f *Forge) role(c *conn, r *sdk.Repository) gate.Role {
	p := r.GetPermissions()
	switch {
	case f.app != nil:
		return c.role
	case p["admin"]:
		return gate.RoleAdmin
	case p["maintain"]:
		return gate.RoleMaintain
	case p["push"]:
		return gate.RoleWrite
	case p["pull"]:
		return gate.RoleRead
	case p == nil:
		return gate.RoleUnknown
	}
	return gate.RoleNone
}

// Repository implements forge.Forge. It also learns the repository's id and its
// present name, which every other call then uses: a renamed repository is
// followed, and another one that took its old name is never mistaken for it.
//
// A method of merging whose setting GitHub hides from us counts as allowed.
// Fast-forward always does: it is a ref update, which only the branch's rules can
// forbid (see Branch).
func (f *Forge) Repository(ctx context.Context, r gate.Repo) (forge.Repository, error) {
	op := "read the repository " + r.String()
	known, ok := f.place(r)
	if f.app != nil { // a suspension or new permissions must not stay unseen
		if _, err := f.find(ctx, known.owner, known.name); err != nil {
			return forge.Repository{}, fmt.Errorf("%s: %w", op, unseen(r, ok, err))
		}
	}
	repo, err := f.locate(ctx, op, r, known.id)
	if err != nil {
		return forge.Repository{}, err
	}
	s, err := f.at(ctx, r)
	if err != nil {
		return forge.Repository{}, fmt.Errorf("%s: %w", op, err)
	}
	out := forge.Repository{
		ID:            repo.GetID(),
		Private:       repo.GetPrivate(),
		Archived:      repo.GetArchived(),
		DefaultBranch: repo.GetDefaultBranch(),
		CloneURL:      f.cloneURL(repo.GetFullName()),
		HasIssues:     repo.GetHasIssues(),
		Role:          f.role(s.conn, repo),
		Methods:       []gate.Method{gate.FastForward},
		Lacks:         s.lacks,
	}
	for _, m := range []struct {
		allowed *bool
		method  gate.Method
	}{
		{repo.AllowRebaseMerge, gate.Rebase},
		{repo.AllowMergeCommit, gate.Merge},
		{repo.AllowSquashMerge, gate.Squash},
	} {
		if m.allowed == nil || *m.allowed {
			out.Methods = append(out.Methods, m.method)
		}
	}
	return out, nil
}

// locate reads the repository by the name it had last, or by the id it had (0 for
// unknown) when that name is gone or another's.
func (f *Forge) locate(ctx context.Context, op string, r gate.Repo, id int64) (*sdk.Repository, error) {
	repo, err := get(ctx, f, r, op, func(s site) (*sdk.Repository, *sdk.Response, error) {
		return s.api.Repositories.Get(ctx, s.owner, s.name)
	})
	if id != 0 && (errors.Is(err, forge.ErrNotFound) || err == nil && repo.GetID() != id) {
		repo, err = get(ctx, f, r, op, func(s site) (*sdk.Repository, *sdk.Response, error) {
			return s.api.Repositories.GetByID(ctx, id)
		})
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.places[r] = place{repo.GetID(), repo.GetOwner().GetLogin(), repo.GetName()}
	f.mu.Unlock()
	return repo, nil
}

// cloneURL is where we reach owner/name with git.
func (f *Forge) cloneURL(fullName string) string { return f.git + "/" + fullName + ".git" }

// Role implements forge.Forge. A login that belongs to somebody else by now has
// no role, nor has an account that is gone. A role that an organization made up
// counts as what it is built on.
func (f *Forge) Role(ctx context.Context, r gate.Repo, u gate.User) (gate.Role, error) {
	op := fmt.Sprintf("read what %s may do in %s", u.Login, r)
	if f.app != nil {
		self, err := f.whoami(ctx)
		if err != nil {
			return gate.RoleUnknown, fmt.Errorf("%s: %w", op, err)
		}
		if u.ID == self.user.ID {
			s, err := f.at(ctx, r)
			if err != nil {
				return gate.RoleUnknown, fmt.Errorf("%s: %w", op, err)
			}
			return s.role, nil
		}
	}
	p, err := ask[struct {
		Permission string
		RoleName   string `json:"role_name"`
		User       *sdk.User
	}](ctx, f, r, op, http.MethodGet, nil, "/collaborators/%s/permission", url.PathEscape(u.Login))
	switch {
	case errors.Is(err, forge.ErrNotFound):
		return gate.RoleNone, nil
	case errors.Is(err, forge.ErrDenied):
		return gate.RoleUnknown, nil
	case err != nil:
		return gate.RoleUnknown, err
	case p.User.GetID() != u.ID:
		return gate.RoleNone, nil
	}
	roles := map[string]gate.Role{"admin": gate.RoleAdmin, "maintain": gate.RoleMaintain, "write": gate.RoleWrite,
		"triage": gate.RoleRead, "read": gate.RoleRead, "none": gate.RoleNone}
	if role, ok := roles[p.RoleName]; ok {
		return role, nil
	}
	return roles[p.Permission], nil
}

// Checks implements forge.Forge, from commit statuses and check runs together.
// Of the check runs with one name by one App the newest is given, and of the statuses
// of one context the newest by each account. (GitHub's combined status would be
// shorter, but does not say who posted them.) Our own check run is left out: it is no
// evidence.
func (f *Forge) Checks(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error) {
	op := fmt.Sprintf("read the checks of %s in %s", c.Short(), r)
	statuses, err := pages(ctx, f, r, op, (*sdk.RepoStatus).GetID, func(s site, page sdk.ListOptions) ([]*sdk.RepoStatus, *sdk.Response, error) {
		return s.api.Repositories.ListStatuses(ctx, s.owner, s.name, string(c), &page)
	})
	if err != nil {
		return nil, err
	}
	runs, err := f.checkRuns(ctx, r, op, c, sdk.ListCheckRunsOptions{})
	if err != nil {
		return nil, err
	}
	var checks []gate.Check
	for _, s := range newestStatuses(statuses) {
		checks = append(checks, gate.Check{Context: s.GetContext(), State: statusState(s.GetState()), Text: s.GetDescription(),
			URL: s.GetTargetURL(), By: user(s.GetCreator()), At: s.GetUpdatedAt().Time})
	}
	for _, run := range newest(runs) {
		if f.app == nil || run.GetApp().GetID() != f.cfg.AppID {
			checks = append(checks, checkOf(run))
		}
	}
	slices.SortStableFunc(checks, func(a, b gate.Check) int {
		return cmp.Or(strings.Compare(a.Context, b.Context), strings.Compare(a.App, b.App))
	})
	return checks, nil
}

func (f *Forge) checkRuns(ctx context.Context, r gate.Repo, op string, c gate.SHA, o sdk.ListCheckRunsOptions) ([]*sdk.CheckRun, error) {
	return pages(ctx, f, r, op, (*sdk.CheckRun).GetID, func(s site, page sdk.ListOptions) ([]*sdk.CheckRun, *sdk.Response, error) {
		o.ListOptions = page
		all, resp, err := s.api.Checks.ListCheckRunsForRef(ctx, s.owner, s.name, string(c), &o)
		if err != nil {
			return nil, resp, err
		}
		return all.CheckRuns, resp, nil
	})
}

// newestStatuses keeps of the statuses of one context by one account the one that was
// posted last: ids only grow. The oldest comes first.
func newestStatuses(all []*sdk.RepoStatus) []*sdk.RepoStatus {
	type key struct {
		context string
		by      int64
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *sdk.RepoStatus) int { return cmp.Compare(a.GetID(), b.GetID()) })
	last := make(map[key]int64)
	of := func(s *sdk.RepoStatus) key { return key{s.GetContext(), s.GetCreator().GetID()} }
	for _, s := range all {
		last[of(s)] = s.GetID()
	}
	return slices.DeleteFunc(all, func(s *sdk.RepoStatus) bool { return last[of(s)] != s.GetID() })
}

// newest keeps of the runs with one name by one App the one that started last:
// ids only grow.
func newest(runs []*sdk.CheckRun) []*sdk.CheckRun {
	type name struct {
		app  int64
		name string
	}
	last := make(map[name]*sdk.CheckRun)
	for _, run := range runs {
		n := name{run.GetApp().GetID(), run.GetName()}
		if last[n] == nil || run.GetID() > last[n].GetID() {
			last[n] = run
		}
	}
	return slices.DeleteFunc(slices.Clone(runs), func(run *sdk.CheckRun) bool {
		return last[name{run.GetApp().GetID(), run.GetName()}] != run
	})
}

func statusState(s string) gate.CheckState {
	switch s {
	case "success":
		return gate.CheckPassed
	case "failure", "error":
		return gate.CheckFailed
	}
	return gate.CheckPending
}

func checkOf(run *sdk.CheckRun) gate.Check {
	c := gate.Check{Context: run.GetName(), State: gate.CheckPending, Text: run.GetOutput().GetTitle(), URL: run.GetDetailsURL(),
		App: run.GetApp().GetSlug(), At: run.GetStartedAt().Time}
	if run.GetStatus() != "completed" {
		return c
	}
	c.At = run.GetCompletedAt().Time
	switch run.GetConclusion() {
	case "success", "neutral", "skipped":
		c.State = gate.CheckPassed
	default:
		c.State = gate.CheckFailed
	}
	if c.Text == "" {
		c.Text = run.GetConclusion()
	}
	return c
}

// branchTip reads where a branch is. ErrNotFound when there is none.
func (f *Forge) branchTip(ctx context.Context, r gate.Repo, name string) (gate.SHA, error) {
	ref, err := ask[sdk.Reference](ctx, f, r, fmt.Sprintf("read the tip of %s in %s", name, r), http.MethodGet, nil, "/git/ref/heads/%s", escapeRef(name))
	return gate.SHA(ref.GetObject().GetSHA()), err
}
