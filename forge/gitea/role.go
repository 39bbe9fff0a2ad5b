package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Role implements forge.Forge, for the code of the repository: whoever may write
// only issues, and so labels, does not write.
//
// Only an administrator may ask for somebody's permission, and of those who write by
// the units of a team Gitea says "read" even then. Other bots see who may be assigned:
// outside of organizations that is the owner and the writers, of whom an administrator
// cannot be told; in an organization also people who only label, or read. Then the
// teams decide, where their members may be seen; else the role is unknown.
func (f *Forge) Role(ctx context.Context, r gate.Repo, u gate.User) (gate.Role, error) {
	op := fmt.Sprintf("read what %s may do in %s", u.Login, r)
	p, err := get(ctx, f, op, func(c *sdk.Client) (*sdk.CollaboratorPermissionResult, *sdk.Response, error) {
		return c.CollaboratorPermission(r.Owner, r.Name, u.Login)
	})
	switch {
	case errors.Is(err, forge.ErrDenied):
		return f.roleAmongAssignees(ctx, op, r, u)
	case errors.Is(err, forge.ErrNotFound):
		return gate.RoleNone, nil // the account is gone
	case err != nil:
		return gate.RoleUnknown, err
	case user(p.User).ID != u.ID:
		return gate.RoleNone, nil // the login belongs to somebody else by now
	}
	switch p.Permission {
	case "owner", sdk.AccessModeAdmin:
		return gate.RoleAdmin, nil
	case sdk.AccessModeWrite:
		return gate.RoleWrite, nil
	case sdk.AccessModeRead:
		role, org, err := f.roleByTeams(ctx, op, r, u)
		if err == nil && !org {
			role = gate.RoleRead
		}
		return role, err
	}
	return gate.RoleNone, nil
}

func (f *Forge) roleAmongAssignees(ctx context.Context, op string, r gate.Repo, u gate.User) (gate.Role, error) {
	all, err := get(ctx, f, op, func(c *sdk.Client) ([]*sdk.User, *sdk.Response, error) {
		return c.GetAssignees(r.Owner, r.Name)
	})
	switch {
	case err != nil:
		return gate.RoleUnknown, err
	case !slices.ContainsFunc(all, func(a *sdk.User) bool { return a.ID == u.ID }):
		return gate.RoleRead, nil
	case strings.EqualFold(u.Login, r.Owner):
		return gate.RoleAdmin, nil
	}
	role, org, err := f.roleByTeams(ctx, op, r, u)
	switch {
	case err != nil:
		return gate.RoleUnknown, err
	case !org:
		return gate.RoleWrite, nil
	case role >= gate.RoleWrite:
		return role, nil
	}
	return gate.RoleUnknown, nil // perhaps a collaborator who writes
}

// roleByTeams is what somebody may do by the teams of an organization: write, read,
// or unknown when a team that writes does not show us its members. org is false when
// the owner is none.
func (f *Forge) roleByTeams(ctx context.Context, op string, r gate.Repo, u gate.User) (role gate.Role, org bool, err error) {
	a, err := f.raw(ctx, op, http.MethodGet, repoPath(r)+"/teams", nil)
	if err != nil {
		return gate.RoleUnknown, false, err
	}
	if a.status == http.StatusMethodNotAllowed {
		return gate.RoleUnknown, false, nil
	}
	var teams []struct {
		ID         int64
		Permission string
		Units      map[string]string `json:"units_map"`
	}
	if err := a.decode(op, &teams); err != nil {
		return gate.RoleUnknown, true, err
	}
	role = gate.RoleRead
	for _, t := range teams {
		if t.Permission == "admin" || t.Permission == "owner" || t.Permission != "write" && t.Units["repo.code"] != "write" {
			continue // of administrators Gitea says so itself
		}
		member, seen, err := f.member(ctx, op, t.ID, u)
		switch {
		case err != nil:
			return gate.RoleUnknown, true, err
		case member:
			return gate.RoleWrite, true, nil
		case !seen:
			role = gate.RoleUnknown
		}
	}
	return role, true, nil
}

// member says whether somebody is in a team, and whether we may see that: members and
// owners of the organization may. To others Gitea says the same as of a stranger.
func (f *Forge) member(ctx context.Context, op string, team int64, u gate.User) (member, seen bool, err error) {
	path := fmt.Sprintf("/teams/%d", team)
	a, err := f.raw(ctx, op, http.MethodGet, path+"/members/"+url.PathEscape(u.Login), nil)
	if err != nil {
		return false, false, err
	}
	if a.status == http.StatusNotFound {
		if a, err = f.raw(ctx, op, http.MethodGet, path, nil); err != nil {
			return false, false, err
		}
		return false, a.status == http.StatusOK, nil
	}
	var who sdk.User
	err = a.decode(op, &who)
	if errors.Is(err, forge.ErrDenied) {
		return false, false, nil
	}
	return who.ID == u.ID, true, err
}
