package localhub

import (
	"fmt"

	"mergegate/gate"
)

func (h *Hub) issueURL(i *issue) string {
	return fmt.Sprintf("%s/issues/%d", h.repoURL(i.repo), i.number)
}

func (h *Hub) pullURL(i *issue) string {
	return fmt.Sprintf("%s/pulls/%d", h.repoURL(i.repo), i.number)
}

func (h *Hub) page(i *issue) string {
	if i.pull != nil {
		return fmt.Sprintf("%s/pull/%d", h.repoPage(i.repo), i.number)
	}
	return fmt.Sprintf("%s/issues/%d", h.repoPage(i.repo), i.number)
}

func (i *issue) state() string {
	if i.open {
		return "open"
	}
	return "closed"
}

// issueView is issue, which a pull request is too.
func (h *Hub) issueView(i *issue) obj {
	at := h.issueURL(i)
	o := obj{
		"id": i.id, "node_id": nodeID("Issue", i.id), "url": at, "repository_url": h.repoURL(i.repo), "labels_url": at + "/labels{/name}",
		"comments_url": at + "/comments", "events_url": at + "/events", "timeline_url": at + "/timeline", "html_url": h.page(i),
		"number": i.number, "state": i.state(), "state_reason": nil, "title": i.title, "body": orNull(i.body), "user": h.user(i.by),
		"labels": h.labelViews(i.repo, i.labels), "assignee": nil, "assignees": []obj{}, "milestone": nil, "locked": false,
		"active_lock_reason": nil, "comments": len(i.comments), "closed_at": stamp(i.closed), "created_at": stamp(i.created),
		"updated_at": stamp(i.updated), "author_association": i.repo.association(i.by), "reactions": reactionsView(at, i.reactions),
		"performed_via_github_app": h.viaApp(i.app),
	}
	if !i.open {
		o["closed_by"] = h.userView(i.closedBy)
	}
	if i.pull != nil {
		o["draft"] = i.pull.draft
		o["pull_request"] = obj{"url": h.pullURL(i), "html_url": h.page(i), "diff_url": h.page(i) + ".diff",
			"patch_url": h.page(i) + ".patch", "merged_at": stamp(i.pull.mergedAt)}
	}
	return o
}

// commentView is issue-comment.
func (h *Hub) commentView(c *comment) obj {
	at := fmt.Sprintf("%s/issues/comments/%d", h.repoURL(c.issue.repo), c.id)
	return obj{
		"id": c.id, "node_id": nodeID("IssueComment", c.id), "url": at, "html_url": fmt.Sprintf("%s#issuecomment-%d", h.page(c.issue), c.id),
		"issue_url": h.issueURL(c.issue), "user": h.user(c.by), "body": c.body, "created_at": stamp(c.created), "updated_at": stamp(c.updated),
		"author_association": c.issue.repo.association(c.by), "reactions": reactionsView(at, c.reactions), "performed_via_github_app": h.viaApp(c.app),
	}
}

// side is head or base of a pull request.
func (h *Hub) side(r *repo, ref string, id gate.SHA) obj {
	if r == nil { // the fork is gone
		return obj{"label": "unknown:" + ref, "ref": ref, "sha": id, "user": nil, "repo": nil}
	}
	return obj{"label": r.owner.login + ":" + ref, "ref": ref, "sha": id, "user": h.user(r.owner), "repo": h.repoView(r)}
}

// simplePull is pull-request-simple, the form in lists and reviews: it does not
// say whether the pull request is merged or can be.
func (h *Hub) simplePull(i *issue) obj {
	p, at := i.pull, h.pullURL(i)
	link := func(href string) obj { return obj{"href": href} }
	statuses := h.repoURL(i.repo) + "/statuses/" + string(p.head)
	comment := h.repoURL(i.repo) + "/pulls/comments{/number}"
	labels := h.labelViews(i.repo, i.labels)
	for _, l := range labels {
		if l["description"] == nil {
			l["description"] = "" // in pull requests the description of GitHub knows no null here
		}
	}
	merge := p.trial.commit
	if p.merged {
		merge = p.landed
	}
	return obj{
		"url": at, "id": p.id, "node_id": nodeID("PullRequest", p.id), "html_url": h.page(i), "diff_url": h.page(i) + ".diff",
		"patch_url": h.page(i) + ".patch", "issue_url": h.issueURL(i), "commits_url": at + "/commits", "review_comments_url": at + "/comments",
		"review_comment_url": comment, "comments_url": h.issueURL(i) + "/comments", "statuses_url": statuses,
		"number": i.number, "state": i.state(), "locked": false, "title": i.title, "user": h.user(i.by), "body": orNull(i.body),
		"labels": labels, "milestone": nil, "active_lock_reason": nil, "created_at": stamp(i.created),
		"updated_at": stamp(i.updated), "closed_at": stamp(i.closed), "merged_at": stamp(p.mergedAt), "merge_commit_sha": orNull(merge),
		"assignee": nil, "assignees": []obj{}, "requested_reviewers": []obj{}, "requested_teams": []obj{}, "draft": p.draft, "auto_merge": nil,
		"head": h.side(p.headRepo, p.headBranch, p.head), "base": h.side(i.repo, p.base, p.baseSHA),
		"author_association": i.repo.association(i.by),
		"_links": obj{"self": link(at), "html": link(h.page(i)), "issue": link(h.issueURL(i)), "comments": link(h.issueURL(i) + "/comments"),
			"review_comments": link(at + "/comments"), "review_comment": link(comment), "commits": link(at + "/commits"), "statuses": link(statuses)},
	}
}

// fullPull is pull-request. Reading it makes GitHub find out whether it can be
// merged, which the next reading tells.
func (h *Hub) fullPull(i *issue) obj {
	merged, state := h.mergeable(i)
	return with(h.eventPull(i), obj{"mergeable": merged, "rebaseable": merged, "mergeable_state": state})
}

// eventPull is pull-request as webhooks bring it: they are too early to know
// whether it can be merged.
func (h *Hub) eventPull(i *issue) obj {
	p := i.pull
	h.measure(i)
	return with(h.simplePull(i), obj{
		"merged": p.merged, "mergeable": nil, "rebaseable": nil, "mergeable_state": "unknown", "merged_by": h.userView(p.mergedBy),
		"comments": len(i.comments), "review_comments": 0, "maintainer_can_modify": p.maintainer,
		"commits": p.trial.commits, "additions": p.trial.additions, "deletions": p.trial.deletions, "changed_files": p.trial.files,
	})
}

// minimalPull is pull-request-minimal.
func (h *Hub) minimalPull(i *issue) obj {
	side := func(r *repo, ref string, id gate.SHA) obj {
		return obj{"ref": ref, "sha": id, "repo": obj{"id": r.id, "url": h.repoURL(r), "name": r.name}}
	}
	return obj{"id": i.pull.id, "number": i.number, "url": h.pullURL(i),
		"head": side(i.repo, i.pull.headBranch, i.pull.head), "base": side(i.repo, i.pull.base, i.pull.baseSHA)}
}

// pullsOf are the open pull requests of the same repository with this head.
// GitHub leaves those from forks out.
func (h *Hub) pullsOf(r *repo, head gate.SHA) []obj {
	all := []obj{}
	for _, i := range r.open() {
		if i.pull.head == head && i.pull.headRepo == r {
			all = append(all, h.minimalPull(i))
		}
	}
	return all
}

// reviewView is pull-request-review.
func (h *Hub) reviewView(i *issue, v *review) obj {
	page := fmt.Sprintf("%s#pullrequestreview-%d", h.page(i), v.id)
	return obj{
		"id": v.id, "node_id": nodeID("PullRequestReview", v.id), "user": h.user(v.by), "body": v.body, "state": v.state, "html_url": page,
		"pull_request_url": h.pullURL(i), "_links": obj{"html": obj{"href": page}, "pull_request": obj{"href": h.pullURL(i)}},
		"submitted_at": stamp(v.at), "commit_id": v.commit, "author_association": i.repo.association(v.by),
	}
}

// eventView is one entry of issue-event-for-issue or, with the timeline's own
// kinds, of timeline-issue-events.
func (h *Hub) eventView(i *issue, e *event) obj {
	switch {
	case e.comment != nil:
		return with(h.commentView(e.comment), obj{"event": e.kind, "actor": h.user(e.actor)})
	case e.review != nil && e.kind == "reviewed":
		state := map[string]string{"APPROVED": "approved", "CHANGES_REQUESTED": "changes_requested", "COMMENTED": "commented", "DISMISSED": "dismissed"}
		return with(h.reviewView(i, e.review), obj{"event": e.kind, "state": state[e.review.state]})
	case e.kind == "committed":
		c := h.commit(i.repo, e.commit)
		return with(h.gitCommit(i.repo, c), obj{"event": e.kind})
	}
	o := obj{
		"id": e.id, "node_id": nodeID("Event", e.id), "url": fmt.Sprintf("%s/issues/events/%d", h.repoURL(i.repo), e.id),
		"actor": h.user(e.actor), "event": e.kind, "commit_id": orNull(e.commit), "commit_url": nil, "created_at": stamp(e.at),
		"performed_via_github_app": h.viaApp(e.app),
	}
	if e.commit != "" {
		o["commit_url"] = h.repoURL(i.repo) + "/commits/" + string(e.commit)
	}
	switch e.kind {
	case "labeled", "unlabeled":
		o["label"] = obj{"name": e.label.name, "color": e.label.color}
	case "renamed":
		o["rename"] = obj{"from": e.from, "to": e.to}
	case "review_dismissed":
		o["dismissed_review"] = obj{"state": e.from, "review_id": e.review.id, "dismissal_message": orNull(e.to)}
	}
	return o
}
