package localhub

import (
	"strings"

	"mergegate/gate"
)

// The payloads of the webhooks, one function for each family. Their schemas
// differ from those of the REST API: a push has its times as numbers, and a
// review does not say whether its pull request is merged.

func (h *Hub) emitPull(action string, i *issue, c *caller, more obj) {
	h.emit("pull_request", action, i.repo, c, func() obj {
		return with(obj{"number": i.number, "pull_request": h.eventPull(i)}, more)
	})
}

func (h *Hub) emitReview(action string, i *issue, v *review, c *caller) {
	h.emit("pull_request_review", action, i.repo, c, func() obj {
		review := with(h.reviewView(i, v), obj{"state": strings.ToLower(v.state)})
		return obj{"pull_request": h.simplePull(i), "review": review}
	})
}

func (h *Hub) emitComment(action string, m *comment, c *caller, more obj) {
	h.emit("issue_comment", action, m.issue.repo, c, func() obj {
		issue := h.issueView(m.issue)
		delete(issue, "closed_by")
		return with(obj{"comment": h.commentView(m), "issue": issue}, more)
	})
}

func (h *Hub) emitStatus(r *repo, id gate.SHA, s *status, c *caller) {
	branches := r.branchesAt(id)
	h.emit("status", "", r, c, func() obj {
		return obj{
			"id": s.id, "sha": id, "name": r.full(), "context": s.context, "state": s.state, "description": orNull(s.text),
			"target_url": orNull(s.link), "avatar_url": h.user(s.by)["avatar_url"], "created_at": stamp(s.at), "updated_at": stamp(s.at),
			"commit": h.commitView(r, h.commit(r, id)),
			"branches": list(branches[:min(len(branches), 10)], func(b string) obj {
				return obj{"name": b, "protected": h.isProtected(r, b), "commit": obj{"sha": id, "url": h.repoURL(r) + "/commits/" + string(id)}}
			}),
		}
	})
}

func (h *Hub) emitRun(action string, r *repo, run *run, c *caller, more obj) {
	h.emit("check_run", action, r, c, func() obj {
		view, s := h.runView(r, run), run.suite
		status, conclusion, _ := r.sum(s)
		view["check_suite"] = obj{
			"id": s.id, "node_id": nodeID("CheckSuite", s.id), "head_branch": orNull(s.branch), "head_sha": s.sha, "status": status,
			"conclusion": orNull(conclusion), "url": h.suiteView(r, s)["url"], "before": nil, "after": s.sha,
			"pull_requests": h.pullsOf(r, s.sha), "app": h.appView(s.app), "created_at": stamp(s.created), "updated_at": stamp(s.updated),
		}
		return with(obj{"check_run": view}, more)
	})
}

func (h *Hub) emitSuite(action string, r *repo, s *suite, c *caller) {
	h.emit("check_suite", action, r, c, func() obj {
		view := h.suiteView(r, s)
		delete(view, "repository")
		return obj{"check_suite": view}
	})
}

// emitPush tells of one moved ref.
func (h *Hub) emitPush(r *repo, m move, c *caller) {
	h.emit("push", "", r, c, func() obj { return h.pushPayload(r, m, c) })
}

func (h *Hub) pushPayload(r *repo, m move, c *caller) obj {
	zero := gate.SHA(strings.Repeat("0", 40))
	before, after := m.from, m.to
	var commits []*commit
	forced := false
	switch {
	case m.from == "":
		before = zero
	case m.to == "":
		after = zero
	default:
		commits, _ = h.between(r, m.from, m.to) // none, if they cannot be read
		forced = !h.contains(r, m.to, m.from)
	}
	repository := with(h.repoView(r), obj{"created_at": r.created.Unix(), "pushed_at": r.pushed.Unix(),
		"master_branch": r.defaultBranch, "stargazers": 0})
	payload := obj{
		"ref": m.ref, "before": before, "after": after, "base_ref": nil, "created": m.from == "", "deleted": m.to == "", "forced": forced,
		"compare": h.repoPage(r) + "/compare/" + string(before) + "..." + string(after), "repository": repository,
		"pusher": obj{"name": c.account.login, "email": h.ident(c.account).email}, "head_commit": nil,
		"commits": list(commits[:min(len(commits), 2048)], func(one *commit) obj { return h.pushedCommit(r, one) }),
	}
	if one := h.commit(r, m.to); one != nil {
		payload["head_commit"] = h.pushedCommit(r, one)
	}
	return payload
}

func (h *Hub) pushedCommit(r *repo, c *commit) obj {
	none := []string{}
	return with(headCommit(c), obj{"url": h.repoPage(r) + "/commit/" + string(c.id), "distinct": true, "added": none, "removed": none, "modified": none})
}

// emitInstallation tells the App about itself.
func (h *Hub) emitInstallation(action string, i *installation, c *caller) {
	repos := list(i.repos, shortRepo)
	h.sendApp("installation", action, i, c, obj{"repositories": repos, "requester": nil})
}

func (h *Hub) emitRepositories(action string, i *installation, changed []*repo, c *caller) {
	payload := obj{"repository_selection": "selected", "repositories_added": []obj{}, "repositories_removed": []obj{}, "requester": nil}
	payload["repositories_"+action] = list(changed, shortRepo)
	h.sendApp("installation_repositories", action, i, c, payload)
}

func (h *Hub) sendApp(event, action string, i *installation, c *caller, payload obj) {
	receivers := map[*hook]*installation{}
	if i.app.hook.wants(event) {
		receivers[i.app.hook] = i
	}
	payload["installation"] = h.installationView(i)
	h.send(event, action, nil, c, payload, receivers)
}

func shortRepo(r *repo) obj {
	return obj{"id": r.id, "node_id": nodeID("Repository", r.id), "name": r.name, "full_name": r.full(), "private": r.private}
}
