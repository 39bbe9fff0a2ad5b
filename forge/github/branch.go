package github

import (
	"context"
	"encoding/json"
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

// rule is a rule of a ruleset that applies to a branch. Kinds and parameters that
// we do not know are ignored.
type rule struct {
	Type       string
	Ruleset    int64 `json:"ruleset_id"`
	Parameters struct {
		Approvals    int      `json:"required_approving_review_count"`
		DismissStale bool     `json:"dismiss_stale_reviews_on_push"`
		Methods      []string `json:"allowed_merge_methods"`
		Strict       bool     `json:"strict_required_status_checks_policy"`
		Checks       []struct {
			Context string
		} `json:"required_status_checks"`
	}
}

// UnmarshalJSON reads a rule whose parameters may be of any shape.
func (r *rule) UnmarshalJSON(data []byte) error {
	type plain rule
	if err := json.Unmarshal(data, (*plain)(r)); err == nil {
		return nil
	}
	var only struct {
		Type    string
		Ruleset int64 `json:"ruleset_id"`
	}
	err := json.Unmarshal(data, &only)
	*r = rule{Type: only.Type, Ruleset: only.Ruleset}
	return err
}

// Branch implements forge.Forge, from classic protection and rulesets together;
// the stricter word counts. Rulesets are told to every reader, the details of
// classic protection only to who may read the administration; for others Opaque
// is set, and only its required checks are known.
//
// A branch with GitHub's own merge queue is Refused: two queues on one branch would
// undo each other's work.
func (f *Forge) Branch(ctx context.Context, r gate.Repo, name string) (forge.Branch, error) {
	op := fmt.Sprintf("read the branch %s of %s", name, r)
	b, err := ask[sdk.Branch](ctx, f, r, op, http.MethodGet, nil, "/branches/%s", url.PathEscape(name))
	if err != nil {
		return forge.Branch{}, err
	}
	tip := gate.SHA(b.GetCommit().GetSHA())
	if !tip.Valid() {
		return forge.Branch{}, fmt.Errorf("%s: the forge names no commit", op)
	}
	out := forge.Branch{Tip: tip, CanMerge: true}
	if err := f.rules(ctx, r, name, &out); err != nil {
		return forge.Branch{}, err
	}
	if b.GetProtected() {
		if err := f.protection(ctx, r, name, b.GetProtection(), &out); err != nil {
			return forge.Branch{}, err
		}
	}
	slices.Sort(out.RequiredChecks)
	out.RequiredChecks = slices.Compact(out.RequiredChecks)
	slices.Sort(out.Forbidden)
	out.Forbidden = slices.Compact(out.Forbidden)
	return out, nil
}

// rules reads what rulesets of all levels ask of the branch.
func (f *Forge) rules(ctx context.Context, r gate.Repo, name string, out *forge.Branch) error {
	op := fmt.Sprintf("read the rules of %s in %s", name, r)
	type key struct {
		Type    string
		Ruleset int64
	}
	all, err := pages(ctx, f, r, op, func(l rule) key { return key{l.Type, l.Ruleset} }, func(s site, page sdk.ListOptions) ([]rule, *sdk.Response, error) {
		return raw[[]rule](ctx, s.api, http.MethodGet, s.path("/rules/branches/%s?per_page=%d&page=%d", url.PathEscape(name), page.PerPage, max(page.Page, 1)), nil)
	})
	if err != nil {
		return err
	}
	for _, l := range all {
		out.Protected = true
		switch l.Type {
		case "merge_queue":
			out.Refused = "GitHub's own merge queue is on for " + name
		case "pull_request":
			out.RequiredApprovals = max(out.RequiredApprovals, l.Parameters.Approvals)
			out.DismissStale = out.DismissStale || l.Parameters.DismissStale
			for _, m := range []gate.Method{gate.Merge, gate.Squash, gate.Rebase} {
				if len(l.Parameters.Methods) > 0 && !slices.Contains(l.Parameters.Methods, string(m)) {
					out.Forbidden = append(out.Forbidden, m)
				}
			}
		case "required_status_checks":
			out.BlockOutdated = out.BlockOutdated || l.Parameters.Strict
			for _, c := range l.Parameters.Checks {
				out.RequiredChecks = append(out.RequiredChecks, c.Context)
			}
		case "required_linear_history":
			out.Forbidden = append(out.Forbidden, gate.Merge)
		}
		if l.Type != "pull_request" && l.Type != "update" {
			continue
		}
		free, err := f.bypasses(ctx, r, l.Ruleset)
		switch {
		case err != nil:
			return err
		case free:
		case l.Type == "update":
			out.CanMerge = false
		default:
			out.Forbidden = append(out.Forbidden, gate.FastForward)
		}
	}
	return nil
}

// bypasses says whether a ruleset does not bind us when we push.
func (f *Forge) bypasses(ctx context.Context, r gate.Repo, ruleset int64) (bool, error) {
	set, err := ask[struct {
		Bypass string `json:"current_user_can_bypass"`
	}](ctx, f, r, fmt.Sprintf("read the ruleset %d of %s", ruleset, r), http.MethodGet, nil, "/rulesets/%d", ruleset)
	if errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrDenied) {
		return false, nil
	}
	return set.Bypass == "always" || set.Bypass == "exempt", err
}

// protection reads classic protection. seen is the part of it that every reader
// is told.
func (f *Forge) protection(ctx context.Context, r gate.Repo, name string, seen *sdk.Protection, out *forge.Branch) error {
	p, err := get(ctx, f, r, fmt.Sprintf("read the protection of %s in %s", name, r), func(s site) (*sdk.Protection, *sdk.Response, error) {
		p, resp, err := s.api.Repositories.GetBranchProtection(ctx, s.owner, s.name, name)
		if errors.Is(err, sdk.ErrBranchNotProtected) {
			return nil, resp, nil // rulesets alone
		}
		return p, resp, err
	})
	switch {
	case errors.Is(err, forge.ErrDenied), errors.Is(err, forge.ErrNotFound):
		out.Protected, out.Opaque = true, true
		out.RequiredChecks = append(out.RequiredChecks, contexts(seen.GetRequiredStatusChecks())...)
		return nil
	case err != nil || p == nil:
		return err
	}
	self, err := f.whoami(ctx)
	if err != nil {
		return err
	}
	out.Protected = true
	if c := p.RequiredStatusChecks; c != nil {
		out.RequiredChecks = append(out.RequiredChecks, contexts(c)...)
		out.BlockOutdated = out.BlockOutdated || c.Strict
	}
	admin := false // an administrator is not bound; an App never is one
	if f.app == nil && !p.GetEnforceAdmins().Enabled {
		role, err := f.Role(ctx, r, self.user)
		if err != nil {
			return err
		}
		admin = role == gate.RoleAdmin
	}
	if v := p.GetRequiredPullRequestReviews(); v != nil {
		out.RequiredApprovals = max(out.RequiredApprovals, v.RequiredApprovingReviewCount)
		out.DismissStale = out.DismissStale || v.DismissStaleReviews
		if free := v.GetBypassPullRequestAllowances(); !admin && (free == nil || !self.among(free.Users, free.Apps)) {
			out.Forbidden = append(out.Forbidden, gate.FastForward)
		}
	}
	if p.GetRequireLinearHistory() != nil && p.RequireLinearHistory.Enabled {
		out.Forbidden = append(out.Forbidden, gate.Merge)
	}
	if only := p.GetRestrictions(); only != nil && !admin && !self.among(only.Users, only.Apps) {
		out.CanMerge = false
	}
	if p.GetLockBranch().GetEnabled() {
		out.CanMerge = false
	}
	return nil
}

// among says whether a list of accounts or Apps names us.
func (i identity) among(users []*sdk.User, apps []*sdk.App) bool {
	if i.slug != "" {
		return slices.ContainsFunc(apps, func(a *sdk.App) bool { return a.GetSlug() == i.slug })
	}
	return slices.ContainsFunc(users, func(u *sdk.User) bool { return u.GetID() == i.user.ID })
}

func contexts(c *sdk.RequiredStatusChecks) []string {
	if c == nil {
		return nil
	}
	all := slices.Clone(c.GetContexts())
	for _, k := range c.GetChecks() {
		all = append(all, k.Context)
	}
	return all
}

// escapeRef escapes what a branch's name may contain, and keeps its slashes.
func escapeRef(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
