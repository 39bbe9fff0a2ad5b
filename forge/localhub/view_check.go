package localhub

import (
	"fmt"

	"mergegate/gate"
)

// statusView is status; simple leaves out what simple-commit-status does not have.
func (h *Hub) statusView(r *repo, c gate.SHA, s *status, simple bool) obj {
	o := obj{
		"url": h.repoURL(r) + "/statuses/" + string(c), "id": s.id, "node_id": nodeID("StatusContext", s.id), "state": s.state,
		"description": orNull(s.text), "target_url": orNull(s.link), "context": s.context, "created_at": stamp(s.at), "updated_at": stamp(s.at),
		"avatar_url": fmt.Sprintf("%s/avatars/%d", h.URL, s.by.id),
	}
	if !simple {
		o["creator"] = h.user(s.by)
	}
	return o
}

// newest gives the newest status of each context. Contexts differ in more than
// case.
func newest(all []*status) []*status {
	var out []*status
	for _, s := range all {
		kept := out[:0]
		for _, o := range out {
			if !equalFold(o.context, s.context) {
				kept = append(kept, o)
			}
		}
		out = append(kept, s)
	}
	return out
}

// combined is the state that GitHub sums statuses up to; check runs have no part
// in it.
func combined(all []*status) string {
	state := "success"
	if len(all) == 0 {
		state = "pending"
	}
	for _, s := range all {
		switch s.state {
		case "error", "failure":
			return "failure"
		case "pending":
			state = "pending"
		}
	}
	return state
}

// viaApp is nullable-integration.
func (h *Hub) viaApp(a *app) any {
	if a == nil {
		return nil
	}
	return h.appView(a)
}

// appView is integration.
func (h *Hub) appView(a *app) obj {
	return obj{
		"id": a.ID, "slug": a.Slug, "node_id": nodeID("App", a.ID), "client_id": clientID(a), "owner": h.user(a.owner), "name": a.name,
		"description": orNull(a.description), "external_url": a.homepage, "html_url": h.URL + "/apps/" + a.Slug,
		"created_at": stamp(a.created), "updated_at": stamp(a.created), "permissions": a.permissions, "events": a.events,
	}
}

func clientID(a *app) string { return fmt.Sprintf("Iv1.%016x", a.ID) }

// installationView is installation.
func (h *Hub) installationView(i *installation) obj {
	return obj{
		"id": i.id, "account": h.user(i.account), "repository_selection": "selected",
		"access_tokens_url": fmt.Sprintf("%s/app/installations/%d/access_tokens", h.API, i.id), "repositories_url": h.API + "/installation/repositories",
		"html_url": fmt.Sprintf("%s/settings/installations/%d", h.URL, i.id), "app_id": i.app.ID, "app_slug": i.app.Slug,
		"target_id": i.account.id, "target_type": i.account.kind, "permissions": i.app.permissions, "events": i.app.events,
		"created_at": stamp(i.created), "updated_at": stamp(i.updated), "single_file_name": nil,
		"has_multiple_single_files": false, "single_file_paths": []string{},
		"suspended_by": h.userView(i.by), "suspended_at": stamp(i.suspended),
	}
}

// runView is check-run.
func (h *Hub) runView(r *repo, c *run) obj {
	at := fmt.Sprintf("%s/check-runs/%d", h.repoURL(r), c.id)
	page := fmt.Sprintf("%s/runs/%d", h.repoPage(r), c.id)
	link := c.link
	if link == "" {
		link = page
	}
	return obj{
		"id": c.id, "head_sha": c.suite.sha, "node_id": nodeID("CheckRun", c.id), "external_id": c.externalID, "url": at, "html_url": page,
		"details_url": link, "status": c.status, "conclusion": orNull(c.conclusion), "started_at": stamp(c.started),
		"completed_at": stamp(c.completed), "name": c.name, "check_suite": obj{"id": c.suite.id}, "app": h.appView(c.suite.app),
		"pull_requests": h.pullsOf(r, c.suite.sha),
		"output": obj{"title": c.output["title"], "summary": c.output["summary"], "text": c.output["text"],
			"annotations_count": 0, "annotations_url": at + "/annotations"},
	}
}

// sum is the status and conclusion of a suite, from its runs.
func (r *repo) sum(s *suite) (status, conclusion string, count int) {
	status, conclusion = "queued", ""
	worst := map[string]int{"success": 1, "neutral": 0, "skipped": 0}
	done, rank := true, -1
	for _, c := range r.runs {
		if c.suite != s {
			continue
		}
		count++
		done = done && c.status == "completed"
		n, ok := worst[c.conclusion]
		if !ok {
			n = 2
		}
		if c.status == "completed" && n > rank {
			rank, conclusion = n, c.conclusion
		}
	}
	switch {
	case count == 0:
		return "queued", "", 0
	case done:
		return "completed", conclusion, count
	}
	return "in_progress", "", count
}

// suiteView is check-suite.
func (h *Hub) suiteView(r *repo, s *suite) obj {
	at := fmt.Sprintf("%s/check-suites/%d", h.repoURL(r), s.id)
	status, conclusion, count := r.sum(s)
	o := obj{
		"id": s.id, "node_id": nodeID("CheckSuite", s.id), "head_branch": orNull(s.branch), "head_sha": s.sha, "status": status,
		"conclusion": orNull(conclusion), "url": at, "before": nil, "after": s.sha, "pull_requests": h.pullsOf(r, s.sha),
		"app": h.appView(s.app), "repository": h.minimalRepo(r), "created_at": stamp(s.created), "updated_at": stamp(s.updated),
		"latest_check_runs_count": count, "check_runs_url": at + "/check-runs",
	}
	if c := h.commit(r, s.sha); c != nil {
		o["head_commit"] = headCommit(c)
	}
	return o
}

// headCommit is simple-commit.
func headCommit(c *commit) obj {
	who := func(p person) obj { return obj{"name": p.name, "email": p.email} }
	return obj{"id": c.id, "tree_id": c.tree, "message": c.message, "timestamp": stamp(c.committer.at),
		"author": who(c.author), "committer": who(c.committer)}
}
