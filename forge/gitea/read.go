package gitea

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Me implements forge.Forge. The token needs the scope read:user.
func (f *Forge) Me(ctx context.Context) (gate.User, error) {
	u, err := get(ctx, f, "read the bot's own account", func(c *sdk.Client) (*sdk.User, *sdk.Response, error) {
		return c.GetMyUserInfo()
	})
	return user(u), err
}

// Repos implements forge.Forge. The owner may be a user or an organization.
// Archived repositories are left out: nobody can write to them.
func (f *Forge) Repos(ctx context.Context, owner string) ([]gate.Repo, error) {
	all, err := pages(ctx, f, "list the repositories of "+owner, func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.Repository, *sdk.Response, error) {
		return c.ListUserRepos(owner, sdk.ListReposOptions{ListOptions: page})
	})
	if err != nil {
		return nil, err
	}
	var repos []gate.Repo
	for _, r := range all {
		if role(r.Permissions) >= gate.RoleWrite && !r.Archived {
			repos = append(repos, gate.Repo{Forge: f.name, Owner: r.Owner.UserName, Name: r.Name})
		}
	}
	return repos, nil
}

// Repository implements forge.Forge.
func (f *Forge) Repository(ctx context.Context, r gate.Repo) (forge.Repository, error) {
	repo, err := get(ctx, f, "read the repository "+r.String(), func(c *sdk.Client) (*sdk.Repository, *sdk.Response, error) {
		return c.GetRepo(r.Owner, r.Name)
	})
	if err != nil {
		return forge.Repository{}, err
	}
	out := forge.Repository{
		ID:            repo.ID,
		Private:       repo.Private,
		Archived:      repo.Archived,
		DefaultBranch: repo.DefaultBranch,
		CloneURL:      f.cloneURL(r.String()),
		HasIssues:     repo.HasIssues,
		Role:          role(repo.Permissions),
	}
	for _, m := range []struct {
		allowed bool
		method  gate.Method
	}{
		{repo.AllowFastForwardOnlyMerge, gate.FastForward},
		{repo.AllowRebase, gate.Rebase},
		{repo.AllowMerge, gate.Merge},
		{repo.AllowSquash, gate.Squash},
	} {
		if m.allowed {
			out.Methods = append(out.Methods, m.method)
		}
	}
	return out, nil
}

// cloneURL is where we reach owner/name. Gitea's own clone_url is not used: it
// is where people reach it, and the token must go nowhere else.
func (f *Forge) cloneURL(fullName string) string { return f.url + "/" + fullName + ".git" }

func role(p *sdk.Permission) gate.Role {
	switch {
	case p == nil:
		return gate.RoleUnknown
	case p.Admin:
		return gate.RoleAdmin
	case p.Push:
		return gate.RoleWrite
	case p.Pull:
		return gate.RoleRead
	}
	return gate.RoleNone
}

// Branch implements forge.Forge. Only an administrator of the repository is told
// what a push does to approvals and whether an outdated head is refused; for
// others Opaque is set when approvals are required, for else nothing that
// mergegate must know is hidden.
func (f *Forge) Branch(ctx context.Context, r gate.Repo, name string) (forge.Branch, error) {
	op := fmt.Sprintf("read the branch %s of %s", name, r)
	b, err := get(ctx, f, op, func(c *sdk.Client) (*sdk.Branch, *sdk.Response, error) {
		return c.GetRepoBranch(r.Owner, r.Name, name)
	})
	if err != nil {
		return forge.Branch{}, err
	}
	if b.Commit == nil || !gate.SHA(b.Commit.ID).Valid() {
		return forge.Branch{}, fmt.Errorf("%s: the forge names no commit", op)
	}
	out := forge.Branch{
		Tip:               gate.SHA(b.Commit.ID),
		Protected:         b.Protected,
		CanMerge:          b.UserCanMerge,
		RequiredApprovals: int(b.RequiredApprovals),
	}
	if b.EnableStatusCheck {
		out.RequiredChecks = b.StatusCheckContexts
	}
	rule := b.EffectiveBranchProtectionName // told to administrators only
	if rule == "" {
		out.Opaque = b.Protected && b.RequiredApprovals > 0
		return out, nil
	}
	p, err := get(ctx, f, fmt.Sprintf("read the protection %q of %s", rule, r), func(c *sdk.Client) (*sdk.BranchProtection, *sdk.Response, error) {
		return c.GetBranchProtection(r.Owner, r.Name, rule)
	})
	if errors.Is(err, forge.ErrDenied) {
		out.Opaque = true
		return out, nil
	}
	if err != nil {
		return forge.Branch{}, err
	}
	out.DismissStale, out.BlockOutdated = p.DismissStaleApprovals, p.BlockOnOutdatedBranch
	return out, nil
}

// Checks implements forge.Forge, from commit statuses: Gitea's Actions post
// them too. A warning counts as failed, as in Gitea's own gate; a state that
// Gitea does not define is pending, because it proves nothing.
func (f *Forge) Checks(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error) {
	op := fmt.Sprintf("read the checks of %s in %s", c.Short(), r)
	var checks []gate.Check
	for page, longest := 1, 1; ; page++ {
		a, err := f.raw(ctx, op, http.MethodGet, fmt.Sprintf("%s/commits/%s/status?page=%d&limit=%d", repoPath(r), c, page, pageSize), nil)
		if err != nil {
			return nil, err
		}
		var combined sdk.CombinedStatus
		if err := a.decode(op, &combined); err != nil {
			return nil, err
		}
		for _, s := range combined.Statuses {
			c := gate.Check{Context: s.Context, State: checkState(s.State), Text: s.Description, URL: s.TargetURL, By: user(s.Creator), At: s.Updated}
			if s.Creator == nil { // the API always has somebody's token
				c.App = gate.ForgeActions
			}
			checks = append(checks, c)
		}
		longest = max(longest, len(combined.Statuses))
		if page*longest >= count(a.header) {
			break
		}
	}
	slices.SortFunc(checks, func(a, b gate.Check) int { return strings.Compare(a.Context, b.Context) })
	return slices.CompactFunc(checks, func(a, b gate.Check) bool { return a.Context == b.Context }), nil
}

func checkState(s sdk.StatusState) gate.CheckState {
	switch s {
	case sdk.StatusSuccess, "skipped":
		return gate.CheckPassed
	case sdk.StatusFailure, sdk.StatusError, sdk.StatusWarning:
		return gate.CheckFailed
	}
	return gate.CheckPending
}

// GitAuth implements forge.Forge. Gitea takes a token as the password of any
// user name.
func (f *Forge) GitAuth(context.Context, gate.Repo) (string, error) {
	token, err := f.token()
	if err != nil {
		return "", fmt.Errorf("read the token of forge %s: %w", f.name, err)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("mergegate:"+token)), nil
}
