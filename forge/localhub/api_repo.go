package localhub

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"mergegate/gate"
)

func repoRoutes() map[string]handler {
	return map[string]handler{
		"GET ":                                 func(q *request) (int, any, error) { return ok(q.fullRepo(q.repo, q.caller)) },
		"GET /rules/branches/{branch...}":      func(q *request) (int, any, error) { return ok(q.branchRules(q.repo, q.path("branch"))) },
		"GET /rulesets":                        listRulesets,
		"GET /rulesets/{id}":                   oneRuleset,
		"GET /collaborators/{user}/permission": permission,
	}
}

// permission is what an account may do, for those who may push.
func permission(q *request) (int, any, error) {
	if err := q.allow(q.caller, q.repo, "metadata", "read", gate.RoleWrite); err != nil && q.inst == nil {
		return no(refused(http.StatusForbidden, "Must have push access to view collaborator permission."))
	}
	a := q.whois(q.path("user"))
	if a == nil {
		return no(notFound())
	}
	role := q.repo.role(a)
	if a.kind == "Bot" {
		role = q.botRole(q.repo, a)
	}
	legacy := map[gate.Role]string{gate.RoleNone: "none", gate.RoleRead: "read", gate.RoleWrite: "write", gate.RoleMaintain: "write", gate.RoleAdmin: "admin"}
	who := with(q.user(a), obj{"role_name": role.String(), "permissions": obj{
		"admin": role >= gate.RoleAdmin, "maintain": role >= gate.RoleMaintain, "push": role >= gate.RoleWrite,
		"triage": role >= gate.RoleWrite, "pull": role >= gate.RoleRead}})
	return ok(obj{"permission": legacy[role], "role_name": role.String(), "user": who})
}

// botRole is an App's access as if its bot were a person.
func (h *Hub) botRole(r *repo, bot *account) gate.Role {
	for _, i := range h.installations {
		c := &caller{account: bot, app: i.app, inst: i}
		switch {
		case i.app.bot != bot || !slices.Contains(i.repos, r):
			continue
		case h.mayAs(c, r, "administration", "write", gate.RoleAdmin):
			return gate.RoleAdmin
		case h.mayAs(c, r, "contents", "write", gate.RoleWrite):
			return gate.RoleWrite
		}
		return gate.RoleRead
	}
	return r.role(bot)
}

func (h *Hub) branchURL(r *repo, branch string) string {
	return h.repoURL(r) + "/branches/" + strings.ReplaceAll(branch, "/", "%2F")
}

func listBranches(q *request) (int, any, error) {
	all := []obj{}
	for _, ref := range slices.Sorted(maps.Keys(q.repo.refs)) {
		if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			tip := q.repo.refs[ref]
			all = append(all, obj{"name": branch, "commit": obj{"sha": tip, "url": q.repoURL(q.repo) + "/commits/" + string(tip)},
				"protected": q.isProtected(q.repo, branch)})
		}
	}
	return ok(all)
}

func (h *Hub) isProtected(r *repo, branch string) bool {
	return r.protections[branch] != nil || len(h.branchRules(r, branch)) > 0
}

// branchOrProtection serves paths that begin with a branch, whose name may have
// slashes itself.
func branchOrProtection(q *request) (int, any, error) {
	rest := q.path("branch")
	if branch, ok := strings.CutSuffix(rest, "/protection/required_status_checks"); ok {
		return getProtection(q, branch, true)
	}
	if branch, ok := strings.CutSuffix(rest, "/protection"); ok {
		return getProtection(q, branch, false)
	}
	tip := q.repo.tip(rest)
	if tip == "" {
		return no(refused(http.StatusNotFound, "Branch not found"))
	}
	at := q.branchURL(q.repo, rest)
	protection := obj{"enabled": false, "required_status_checks": obj{"enforcement_level": "off", "contexts": []string{}, "checks": []obj{}}}
	if p := q.repo.protections[rest]; p != nil {
		protection["enabled"] = true
		if len(p.Checks) > 0 {
			protection["required_status_checks"] = obj{"enforcement_level": "non_admins", "contexts": p.Checks,
				"checks": list(p.Checks, func(c string) obj { return obj{"context": c, "app_id": nil} })}
		}
	}
	return ok(obj{"name": rest, "commit": q.commitView(q.repo, q.commit(q.repo, tip)), "protected": q.isProtected(q.repo, rest),
		"protection": protection, "protection_url": at + "/protection",
		"_links": obj{"self": at, "html": q.repoPage(q.repo) + "/tree/" + rest}})
}

func getProtection(q *request, branch string, checksOnly bool) (int, any, error) {
	if err := q.allow(q.caller, q.repo, "administration", "read", gate.RoleAdmin); err != nil {
		return no(err)
	}
	p := q.repo.protections[branch]
	switch {
	case q.repo.tip(branch) == "":
		return no(refused(http.StatusNotFound, "Branch not found"))
	case p == nil:
		return no(refused(http.StatusNotFound, "Branch not protected"))
	case checksOnly && len(p.Checks) == 0 && !p.Strict:
		return no(refused(http.StatusNotFound, "Required status checks not enabled"))
	case checksOnly:
		return ok(q.statusPolicy(q.branchURL(q.repo, branch)+"/protection", p))
	}
	return ok(q.protectionView(q.repo, branch, p))
}

func listRulesets(q *request) (int, any, error) {
	return ok(list(q.repo.rulesets, func(s *ruleset) obj { return q.rulesetView(q.repo, s, false) }))
}

func oneRuleset(q *request) (int, any, error) {
	for _, s := range q.repo.rulesets {
		if s.id == q.number("id") {
			return ok(q.rulesetView(q.repo, s, true))
		}
	}
	return no(notFound())
}

// rulesetRoutes change rules, as an administrator does.
func rulesetRoutes() map[string]handler {
	return map[string]handler{
		"PUT /collaborators/{user}": func(q *request) (int, any, error) {
			a := q.whois(q.path("user"))
			if a == nil {
				return no(notFound())
			}
			q.repo.roles[a] = gate.RoleWrite
			return done(nil)
		},
		"PATCH ": editRepo,
	}
}

func editRepo(q *request) (int, any, error) {
	var in struct {
		Name   string
		About  *string `json:"description"`
		Merge  *bool   `json:"allow_merge_commit"`
		Squash *bool   `json:"allow_squash_merge"`
		Rebase *bool   `json:"allow_rebase_merge"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if in.About != nil {
		q.repo.about = *in.About
	}
	if in.Name != "" && in.Name != q.repo.name {
		if err := q.rename(q.repo, q.caller, in.Name); err != nil {
			return no(err)
		}
	}
	for method, on := range map[gate.Method]*bool{gate.Merge: in.Merge, gate.Squash: in.Squash, gate.Rebase: in.Rebase} {
		if on == nil {
			continue
		}
		q.repo.methods = slices.DeleteFunc(q.repo.methods, func(m gate.Method) bool { return m == method })
		if *on {
			q.repo.methods = append(q.repo.methods, method)
		}
	}
	return ok(q.fullRepo(q.repo, q.caller))
}
