package localhub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mergegate/gate"
)

// Protection is what a branch demands of whoever wants to change it.
type Protection struct {
	Approvals     int      // reviews by writers; 0: pushes without a pull request are fine
	DismissStale  bool     // a push to the head dismisses approvals
	Checks        []string // contexts that must have succeeded
	Strict        bool     // the head must contain the base tip
	Bypass        []string // logins (slug[bot] for an App) that the rules do not bind
	EnforceAdmins bool     // classic protection binds administrators too; rulesets always do
}

// Ruleset is an active ruleset for one branch.
type Ruleset struct {
	Name       string
	Branch     string
	Protection Protection
	MergeQueue bool // GitHub's own queue is on
	Unknown    bool // has a rule of a type that no library knows yet
}

// demand is one set of rules that binds somebody on a branch.
type demand struct {
	Protection
	queue   bool
	ruleset bool
}

// demands are what binds the caller on the branch.
func (h *Hub) demands(r *repo, branch string, c *caller) []demand {
	bypasses := func(p Protection) bool {
		return c.account != nil && slices.ContainsFunc(p.Bypass, func(l string) bool { return strings.EqualFold(l, c.account.login) })
	}
	var all []demand
	if p := r.protections[branch]; p != nil && !bypasses(*p) {
		if p.EnforceAdmins || c.inst != nil || r.role(c.account) < gate.RoleAdmin {
			all = append(all, demand{Protection: *p})
		}
	}
	for _, s := range r.rulesets {
		if s.rule.Branch == branch && !bypasses(s.rule.Protection) {
			all = append(all, demand{s.rule.Protection, s.rule.MergeQueue, true})
		}
	}
	return all
}

// unmet says in GitHub's words what stands against moving the branch to the
// commit; "" when nothing does. i is the pull request that is being merged, nil
// for a push.
func (h *Hub) unmet(r *repo, branch string, to gate.SHA, i *issue, c *caller) string {
	for _, d := range h.demands(r, branch, c) {
		var all []string
		switch {
		case d.queue:
			all = append(all, "Changes must be made through the merge queue")
		case d.Approvals > 0 && i == nil && d.ruleset:
			all = append(all, "Changes must be made through a pull request.")
		case d.Approvals > 0 && (i == nil || r.approvals(i) < d.Approvals):
			s := "s are"
			if d.Approvals == 1 {
				s = " is"
			}
			all = append(all, fmt.Sprintf("At least %d approving review%s required by reviewers with write access.", d.Approvals, s))
		case d.Approvals > 0 && r.objections(i) > 0:
			all = append(all, "Changes have been requested by reviewers with write access.")
		}
		for _, context := range d.Checks {
			if word := h.checkWord(r, to, context); word != "" {
				all = append(all, fmt.Sprintf("Required status check %q %s.", context, word))
			}
		}
		if d.Strict && i != nil && len(all) == 0 && !h.contains(r, to, r.tip(branch)) {
			all = append(all, "Head branch is out of date with the base branch.")
		}
		if len(all) > 0 && d.ruleset {
			return "Repository rule violations found\n\n" + strings.Join(all, "\n\n")
		}
		if len(all) > 0 {
			return strings.Join(all, " ")
		}
	}
	return ""
}

// verdicts are the newest judgements of those who may approve. A comment takes
// nothing back.
func (r *repo) verdicts(i *issue) map[*account]string {
	last := map[*account]string{}
	for _, v := range i.pull.reviews {
		if v.state != "COMMENTED" && r.role(v.by) >= gate.RoleWrite {
			last[v.by] = v.state
		}
	}
	return last
}

func (r *repo) approvals(i *issue) int  { return count(r.verdicts(i), "APPROVED") }
func (r *repo) objections(i *issue) int { return count(r.verdicts(i), "CHANGES_REQUESTED") }

func count(verdicts map[*account]string, state string) int {
	n := 0
	for _, s := range verdicts {
		if s == state {
			n++
		}
	}
	return n
}

// checkWord is what GitHub says of a required context that is not fine; "" when
// it is. A status and a check run of the same name must both be.
func (h *Hub) checkWord(r *repo, c gate.SHA, context string) string {
	word, found := "", false
	for _, s := range newest(r.statuses[c]) {
		if equalFold(s.context, context) {
			found = true
			word = map[string]string{"success": "", "pending": "is expected"}[s.state]
			if s.state == "failure" || s.state == "error" {
				return "is failing"
			}
		}
	}
	for _, run := range h.newestRuns(r, c) {
		if run.name != context {
			continue
		}
		found = true
		switch {
		case run.status != "completed":
			word = "is in progress"
		case !slices.Contains([]string{"success", "neutral", "skipped"}, run.conclusion):
			return "is failing"
		}
	}
	if !found {
		return "is expected"
	}
	return word
}

// protectionView is branch-protection.
func (h *Hub) protectionView(r *repo, branch string, p *Protection) obj {
	at := h.branchURL(r, branch) + "/protection"
	on := func(path string, enabled bool) obj { return obj{"url": at + path, "enabled": enabled} }
	o := obj{
		"url": at, "enforce_admins": on("/enforce_admins", p.EnforceAdmins), "required_linear_history": obj{"enabled": false},
		"allow_force_pushes": obj{"enabled": false}, "allow_deletions": obj{"enabled": false}, "block_creations": obj{"enabled": false},
		"required_conversation_resolution": obj{"enabled": false}, "lock_branch": obj{"enabled": false}, "allow_fork_syncing": obj{"enabled": false},
		"required_signatures": on("/required_signatures", false),
	}
	if p.Approvals > 0 {
		o["required_pull_request_reviews"] = obj{"url": at + "/required_pull_request_reviews", "dismiss_stale_reviews": p.DismissStale,
			"require_code_owner_reviews": false, "required_approving_review_count": p.Approvals, "require_last_push_approval": false}
	}
	if len(p.Checks) > 0 || p.Strict {
		o["required_status_checks"] = h.statusPolicy(at, p)
	}
	return o
}

// statusPolicy is status-check-policy.
func (h *Hub) statusPolicy(at string, p *Protection) obj {
	checks := list(p.Checks, func(c string) obj { return obj{"context": c, "app_id": nil} })
	contexts := append([]string{}, p.Checks...)
	return obj{"url": at + "/required_status_checks", "strict": p.Strict, "contexts": contexts, "checks": checks,
		"contexts_url": at + "/required_status_checks/contexts"}
}

// rules are the rules of a ruleset, each with a type and parameters.
func (s Ruleset) rules() []obj {
	var all []obj
	p := s.Protection
	if p.Approvals > 0 {
		all = append(all, obj{"type": "pull_request", "parameters": obj{"required_approving_review_count": p.Approvals,
			"dismiss_stale_reviews_on_push": p.DismissStale, "require_code_owner_review": false, "require_last_push_approval": false,
			"required_review_thread_resolution": false, "allowed_merge_methods": []string{"merge", "squash", "rebase"}}})
	}
	if len(p.Checks) > 0 || p.Strict {
		all = append(all, obj{"type": "required_status_checks", "parameters": obj{"strict_required_status_checks_policy": p.Strict,
			"do_not_enforce_on_create": false,
			"required_status_checks":   list(p.Checks, func(c string) obj { return obj{"context": c} })}})
	}
	if s.MergeQueue {
		all = append(all, obj{"type": "merge_queue", "parameters": obj{"check_response_timeout_minutes": 60, "grouping_strategy": "ALLGREEN",
			"max_entries_to_build": 5, "max_entries_to_merge": 5, "merge_method": "MERGE", "min_entries_to_merge": 1, "min_entries_to_merge_wait_minutes": 5}})
	}
	if s.Unknown {
		all = append(all, obj{"type": "something_new", "parameters": obj{"how": "nobody knows"}})
	}
	return all
}

// branchRules is the answer of rules/branches: every rule in force, whoever
// asks.
func (h *Hub) branchRules(r *repo, branch string) []obj {
	all := []obj{}
	for _, s := range r.rulesets {
		if s.rule.Branch != branch {
			continue
		}
		for _, rule := range s.rule.rules() {
			all = append(all, with(rule, obj{"ruleset_source_type": "Repository", "ruleset_source": r.full(), "ruleset_id": s.id}))
		}
	}
	return all
}

// rulesetView is repository-ruleset; in lists it has no rules.
func (h *Hub) rulesetView(r *repo, s *ruleset, whole bool) obj {
	o := obj{"id": s.id, "name": s.rule.Name, "target": "branch", "source_type": "Repository", "source": r.full(), "enforcement": "active",
		"node_id": nodeID("Ruleset", s.id), "created_at": stamp(s.created), "updated_at": stamp(s.created),
		"_links": obj{"self": obj{"href": fmt.Sprintf("%s/rulesets/%d", h.repoURL(r), s.id)},
			"html": obj{"href": fmt.Sprintf("%s/rules/%d", h.repoPage(r), s.id)}}}
	if whole {
		o["conditions"] = obj{"ref_name": obj{"include": []string{"refs/heads/" + s.rule.Branch}, "exclude": []string{}}}
		o["rules"], o["bypass_actors"] = s.rule.rules(), []obj{}
	}
	return o
}

// pushable is an error if the caller may not move a branch by a push or through
// the refs API. from and to are "" for creation and deletion.
func (h *Hub) pushable(r *repo, ref string, from, to gate.SHA, c *caller) error {
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	if !ok {
		return nil
	}
	if to == "" || from != "" && !h.contains(r, to, from) {
		for range h.demands(r, branch, c) {
			return refused(http.StatusUnprocessableEntity, "Cannot force-push to this branch")
		}
	}
	if to != "" && from != "" {
		if why := h.unmet(r, branch, to, nil, c); why != "" {
			return refused(http.StatusUnprocessableEntity, "%s", why)
		}
	}
	return nil
}
