package localhub

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"time"

	"mergegate/gate"
)

// obj is a JSON object. The functions in the view files make GitHub's out of the
// hub's; each names the schema of GitHub's description that it follows.
type obj = map[string]any

// with adds fields to an object and gives it back.
func with(o obj, more obj) obj {
	for k, v := range more {
		o[k] = v
	}
	return o
}

// list maps a slice to JSON; it is never null.
func list[T any](all []T, view func(T) obj) []obj {
	out := make([]obj, 0, len(all))
	for _, v := range all {
		out = append(out, view(v))
	}
	return out
}

// stamp is a time, or null for the zero time.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// orNull is null for an empty string.
func orNull[S ~string](s S) any {
	if s == "" {
		return nil
	}
	return string(s)
}

func nodeID(kind string, id any) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Append(nil, kind, ":", id))
}

// userView is simple-user; null for nobody.
func (h *Hub) userView(a *account) any {
	if a == nil {
		return nil
	}
	return h.user(a)
}

func (h *Hub) user(a *account) obj {
	api := h.API + "/users/" + url.PathEscape(a.login)
	return obj{
		"login": a.login, "id": a.id, "node_id": nodeID("User", a.id),
		"avatar_url": fmt.Sprintf("%s/avatars/%d", h.URL, a.id), "gravatar_id": "",
		"url": api, "html_url": h.URL + "/" + url.PathEscape(a.login),
		"followers_url": api + "/followers", "following_url": api + "/following{/other_user}",
		"gists_url": api + "/gists{/gist_id}", "starred_url": api + "/starred{/owner}{/repo}",
		"subscriptions_url": api + "/subscriptions", "organizations_url": api + "/orgs",
		"repos_url": api + "/repos", "events_url": api + "/events{/privacy}",
		"received_events_url": api + "/received_events", "type": a.kind, "site_admin": false,
	}
}

// publicUser is public-user.
func (h *Hub) publicUser(a *account) obj {
	n := 0
	for _, r := range h.repos {
		if r.owner == a && !r.private {
			n++
		}
	}
	return with(h.user(a), obj{
		"user_view_type": "public", "name": nil, "company": nil, "blog": "", "location": nil, "email": nil, "hireable": nil, "bio": nil,
		"public_repos": n, "public_gists": 0, "followers": 0, "following": 0,
		"created_at": stamp(a.created), "updated_at": stamp(a.created),
	})
}

func (h *Hub) repoURL(r *repo) string {
	return h.API + "/repos/" + url.PathEscape(r.owner.login) + "/" + url.PathEscape(r.name)
}

func (h *Hub) repoPage(r *repo) string { return h.URL + "/" + r.full() }

// minimalRepo is what minimal-repository asks for and every other form of a
// repository contains.
func (h *Hub) minimalRepo(r *repo) obj {
	o := obj{
		"id": r.id, "node_id": nodeID("Repository", r.id), "name": r.name, "full_name": r.full(), "owner": h.user(r.owner),
		"private": r.private, "html_url": h.repoPage(r), "description": orNull(r.about), "fork": r.parent != nil, "url": h.repoURL(r),
	}
	for key, rest := range map[string]string{
		"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
		"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}",
		"commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}",
		"contributors_url": "/contributors", "deployments_url": "/deployments", "downloads_url": "/downloads", "events_url": "/events",
		"forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}",
		"hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
		"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages",
		"merges_url": "/merges", "milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}",
		"pulls_url": "/pulls{/number}", "releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
		"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams",
		"trees_url": "/git/trees{/sha}",
	} {
		o[key] = h.repoURL(r) + rest
	}
	return o
}

// repoView is repository, as it appears inside of other objects and in lists.
func (h *Hub) repoView(r *repo) obj {
	open, forks := 0, 0
	for _, i := range r.issues {
		if i.open {
			open++
		}
	}
	for _, other := range h.repos {
		if other.parent == r {
			forks++
		}
	}
	visibility := "public"
	if r.private {
		visibility = "private"
	}
	clone := h.repoPage(r) + ".git"
	return with(h.minimalRepo(r), obj{
		"git_url": clone, "ssh_url": clone, "clone_url": clone, "svn_url": h.repoPage(r), "mirror_url": nil, "homepage": nil, "language": nil,
		"forks_count": forks, "forks": forks, "stargazers_count": 0, "watchers_count": 0, "watchers": 0, "size": 1,
		"default_branch": r.defaultBranch, "open_issues_count": open, "open_issues": open, "is_template": false, "topics": []string{},
		"has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false, "has_downloads": false, "has_discussions": false,
		"archived": r.archived, "disabled": false, "visibility": visibility, "license": nil, "allow_forking": true,
		"web_commit_signoff_required": false, "pushed_at": stamp(r.pushed), "created_at": stamp(r.created), "updated_at": stamp(r.pushed),
	})
}

// fullRepo is full-repository, for the one who asks.
func (h *Hub) fullRepo(r *repo, c *caller) obj {
	o := with(h.repoView(r), obj{"network_count": 0, "subscribers_count": 0, "permissions": h.permissions(r, c)})
	if r.parent != nil {
		o["parent"], o["source"] = h.repoView(r.parent), h.repoView(r.parent)
	}
	if h.mayAs(c, r, "contents", "write", gate.RoleWrite) { // settings are shown to those who can write
		o = with(o, obj{
			"allow_merge_commit": slices.Contains(r.methods, gate.Merge), "allow_squash_merge": slices.Contains(r.methods, gate.Squash),
			"allow_rebase_merge": slices.Contains(r.methods, gate.Rebase), "allow_auto_merge": false, "allow_update_branch": false,
			"delete_branch_on_merge": false, "temp_clone_token": "",
		})
	}
	return o
}

// permissions are the caller's own in a repository.
func (h *Hub) permissions(r *repo, c *caller) obj {
	return obj{
		"admin":    h.mayAs(c, r, "administration", "write", gate.RoleAdmin),
		"maintain": h.mayAs(c, r, "administration", "write", gate.RoleMaintain),
		"push":     h.mayAs(c, r, "contents", "write", gate.RoleWrite),
		"triage":   h.mayAs(c, r, "issues", "write", gate.RoleWrite),
		"pull":     h.mayAs(c, r, "contents", "read", gate.RoleRead),
	}
}

// labelView is label.
func (h *Hub) labelView(r *repo, l *label) obj {
	return obj{"id": l.id, "node_id": nodeID("Label", l.id), "url": h.repoURL(r) + "/labels/" + url.PathEscape(l.name),
		"name": l.name, "description": orNull(l.description), "color": l.color, "default": false}
}

func (h *Hub) labelViews(r *repo, all []*label) []obj {
	return list(all, func(l *label) obj { return h.labelView(r, l) })
}

// association is author-association: what the author of something is to the
// repository. Being a collaborator says nothing of the role.
func (r *repo) association(a *account) string {
	switch {
	case a == r.owner:
		return "OWNER"
	case r.roles[a] != 0:
		return "COLLABORATOR"
	}
	for _, i := range r.issues {
		if i.pull != nil && i.pull.merged && i.by == a {
			return "CONTRIBUTOR"
		}
	}
	return "NONE"
}

// reactionsView is reaction-rollup.
func reactionsView(at string, all []*reaction) obj {
	o := obj{"url": at + "/reactions", "total_count": len(all)}
	for _, name := range reactionNames() {
		o[name] = 0
	}
	for _, r := range all {
		o[r.content] = o[r.content].(int) + 1
	}
	return o
}

func reactionNames() []string {
	return []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}
}

// reactionView is reaction.
func (h *Hub) reactionView(r *reaction) obj {
	return obj{"id": r.id, "node_id": nodeID("Reaction", r.id), "user": h.user(r.by), "content": r.content, "created_at": stamp(r.created)}
}

// personView is how git's authors appear.
func personView(p person) obj {
	return obj{"name": p.name, "email": p.email, "date": stamp(p.at)}
}

func unsigned() obj {
	return obj{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
}

// gitCommit is git-commit.
func (h *Hub) gitCommit(r *repo, c *commit) obj {
	at := func(id gate.SHA) string { return h.repoURL(r) + "/git/commits/" + string(id) }
	return obj{
		"sha": c.id, "node_id": nodeID("Commit", c.id), "url": at(c.id), "html_url": h.repoPage(r) + "/commit/" + string(c.id),
		"author": personView(c.author), "committer": personView(c.committer), "message": c.message, "verification": unsigned(),
		"tree": obj{"sha": c.tree, "url": h.repoURL(r) + "/git/trees/" + string(c.tree)},
		"parents": list(c.parents, func(p gate.SHA) obj {
			return obj{"sha": p, "url": at(p), "html_url": h.repoPage(r) + "/commit/" + string(p)}
		}),
	}
}

// commitView is commit.
func (h *Hub) commitView(r *repo, c *commit) obj {
	at := func(id gate.SHA) string { return h.repoURL(r) + "/commits/" + string(id) }
	page := func(id gate.SHA) string { return h.repoPage(r) + "/commit/" + string(id) }
	return obj{
		"sha": c.id, "node_id": nodeID("Commit", c.id), "url": at(c.id), "html_url": page(c.id), "comments_url": at(c.id) + "/comments",
		"commit": obj{
			"url": h.repoURL(r) + "/git/commits/" + string(c.id), "message": c.message, "comment_count": 0,
			"author": personView(c.author), "committer": personView(c.committer), "verification": unsigned(),
			"tree": obj{"sha": c.tree, "url": h.repoURL(r) + "/git/trees/" + string(c.tree)},
		},
		"author": nil, "committer": nil,
		"parents": list(c.parents, func(p gate.SHA) obj { return obj{"sha": p, "url": at(p), "html_url": page(p)} }),
	}
}

// refView is git-ref.
func (h *Hub) refView(r *repo, name string, id gate.SHA) obj {
	return obj{"ref": name, "node_id": nodeID("Ref", name), "url": h.repoURL(r) + "/git/" + name,
		"object": obj{"type": "commit", "sha": id, "url": h.repoURL(r) + "/git/commits/" + string(id)}}
}

// fileView is diff-entry.
func (h *Hub) fileView(r *repo, head gate.SHA, f file) obj {
	at := "/" + string(head) + "/" + (&url.URL{Path: f.name}).EscapedPath()
	return obj{
		"sha": f.blob, "filename": f.name, "status": f.status, "additions": f.additions, "deletions": f.removed, "changes": f.additions + f.removed,
		"blob_url": h.repoPage(r) + "/blob" + at, "raw_url": h.repoPage(r) + "/raw" + at,
		"contents_url": h.repoURL(r) + "/contents/" + (&url.URL{Path: f.name}).EscapedPath() + "?ref=" + string(head),
	}
}
