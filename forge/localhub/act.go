package localhub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"mergegate/gate"
)

// The functions of this file are what both the REST API and people do. They
// expect the hub locked and the caller allowed.

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// note puts an event on the timeline of an issue.
func (h *Hub) note(i *issue, c *caller, e event) {
	e.id, e.actor, e.app, e.at = h.id(), c.account, c.app, now()
	i.history = append(i.history, &e)
}

func (h *Hub) newIssue(r *repo, c *caller, title, body string) *issue {
	r.number++
	i := &issue{id: h.id(), repo: r, number: r.number, by: c.account, app: c.app, title: title, body: body, open: true, created: now(), updated: now()}
	r.issues[i.number] = i
	return i
}

// openPull opens a pull request; head is a branch, or owner:branch.
func (h *Hub) openPull(r *repo, c *caller, head, base, title, body string, draft, maintainer bool) (*issue, error) {
	from, branch := r, head
	if owner, rest, ok := strings.Cut(head, ":"); ok {
		from, branch = h.forkOf(r, owner), rest
	}
	switch {
	case title == "":
		return nil, invalid("PullRequest", "title", "missing_field")
	case from == nil || from.tip(branch) == "":
		return nil, invalid("PullRequest", "head", "invalid")
	case r.tip(base) == "":
		return nil, invalid("PullRequest", "base", "invalid")
	case r.tip(base) == from.tip(branch):
		return nil, custom("PullRequest", "No commits between %s and %s", base, head)
	}
	for _, i := range r.open() {
		if i.pull.headRepo == from && i.pull.headBranch == branch && i.pull.base == base {
			return nil, custom("PullRequest", "A pull request already exists for %s:%s.", from.owner.login, branch)
		}
	}
	i := h.newIssue(r, c, title, body)
	i.pull = &pull{id: h.id(), base: base, headRepo: from, headBranch: branch, draft: draft, maintainer: maintainer && from != r}
	h.fetchHead(i, from.tip(branch))
	h.noteCommits(i, r.tip(base), c)
	h.emitPull("opened", i, c, nil)
	return i, nil
}

// custom is a validation error in words.
func custom(resource, format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, "Validation Failed",
		[]obj{{"resource": resource, "code": "custom", "message": fmt.Sprintf(format, args...)}}}
}

// forkOf is the owner's repository in the network of r.
func (h *Hub) forkOf(r *repo, owner string) *repo {
	for _, f := range h.sorted() {
		if strings.EqualFold(f.owner.login, owner) && (f == r || f.parent == r || r.parent == f) {
			return f
		}
	}
	return nil
}

// setState closes or reopens.
func (h *Hub) setState(i *issue, c *caller, open bool) {
	if i.open == open {
		return
	}
	kind := "closed"
	i.open, i.closed, i.closedBy = open, now(), c.account
	if open {
		kind, i.closed, i.closedBy = "reopened", time.Time{}, nil
	}
	h.note(i, c, event{kind: kind})
	i.touch()
	if i.pull != nil {
		h.emitPull(kind, i, c, nil)
	}
}

func (h *Hub) retitle(i *issue, c *caller, title string) {
	if title == i.title {
		return
	}
	was := i.title
	i.title = title
	h.note(i, c, event{kind: "renamed", from: was, to: title})
	i.touch()
	if i.pull != nil {
		h.emitPull("edited", i, c, obj{"changes": obj{"title": obj{"from": was}}})
	}
}

func (h *Hub) setBody(i *issue, c *caller, body string) {
	if body == i.body {
		return
	}
	was := i.body
	i.body = body
	i.touch()
	if i.pull != nil {
		h.emitPull("edited", i, c, obj{"changes": obj{"body": obj{"from": was}}})
	}
}

func (h *Hub) retarget(i *issue, c *caller, base string) error {
	p, was := i.pull, i.pull.base
	switch {
	case base == was:
		return nil
	case i.repo.tip(base) == "":
		return invalid("PullRequest", "base", "invalid")
	}
	sha := p.baseSHA
	p.base, p.baseSHA = base, i.repo.tip(base)
	h.note(i, c, event{kind: "base_ref_changed"})
	i.touch()
	h.emitPull("edited", i, c, obj{"changes": obj{"base": obj{"ref": obj{"from": was}, "sha": obj{"from": sha}}}})
	return nil
}

func (h *Hub) setDraft(i *issue, c *caller, draft bool) {
	if i.pull.draft == draft {
		return
	}
	i.pull.draft = draft
	kind, action := "ready_for_review", "ready_for_review"
	if draft {
		kind, action = "convert_to_draft", "converted_to_draft"
	}
	h.note(i, c, event{kind: kind})
	i.touch()
	h.emitPull(action, i, c, nil)
}

// putLabel puts a label on, which need not exist yet. Again is no change.
func (h *Hub) putLabel(i *issue, c *caller, name string) {
	if i.has(name) {
		return
	}
	l := i.repo.label(name)
	if l == nil {
		l = &label{id: h.id(), name: name, color: "ededed"}
		i.repo.labels = append(i.repo.labels, l)
	}
	i.labels = append(i.labels, l)
	h.note(i, c, event{kind: "labeled", label: l})
	i.touch()
	if i.pull != nil {
		h.emitPull("labeled", i, c, obj{"label": h.labelView(i.repo, l)})
	}
}

// takeLabel says whether the label was there.
func (h *Hub) takeLabel(i *issue, c *caller, name string) bool {
	l := i.repo.label(name)
	if l == nil || !i.has(name) {
		return false
	}
	i.labels = slices.DeleteFunc(i.labels, func(o *label) bool { return o == l })
	h.note(i, c, event{kind: "unlabeled", label: l})
	i.touch()
	if i.pull != nil {
		h.emitPull("unlabeled", i, c, obj{"label": h.labelView(i.repo, l)})
	}
	return true
}

func (h *Hub) addComment(i *issue, c *caller, body string) *comment {
	m := &comment{id: h.id(), issue: i, by: c.account, app: c.app, body: body, created: now(), updated: now()}
	i.comments = append(i.comments, m)
	i.repo.comments[m.id] = m
	h.note(i, c, event{kind: "commented", comment: m})
	i.touch()
	h.emitComment("created", m, c, nil)
	return m
}

func (h *Hub) editComment(m *comment, c *caller, body string) {
	was := m.body
	m.body, m.updated = body, now()
	m.issue.touch()
	h.emitComment("edited", m, c, obj{"changes": obj{"body": obj{"from": was}}})
}

func (h *Hub) deleteComment(m *comment, c *caller) {
	i := m.issue
	delete(i.repo.comments, m.id)
	i.comments = slices.DeleteFunc(i.comments, func(o *comment) bool { return o == m })
	i.history = slices.DeleteFunc(i.history, func(e *event) bool { return e.comment == m })
	i.touch()
	h.emitComment("deleted", m, c, nil)
}

// react gives the caller's reaction and says whether it is new.
func (h *Hub) react(all *[]*reaction, c *caller, content string) (*reaction, bool, error) {
	if !slices.Contains(reactionNames(), content) {
		return nil, false, invalid("Reaction", "content", "invalid")
	}
	for _, r := range *all {
		if r.by == c.account && r.content == content {
			return r, false, nil
		}
	}
	r := &reaction{h.id(), c.account, content, now()}
	*all = append(*all, r)
	return r, true, nil
}

func (h *Hub) submitReview(i *issue, c *caller, state, body string, commit gate.SHA) (*review, error) {
	if state != "COMMENTED" && i.by == c.account {
		words := map[string]string{"APPROVED": "approve", "CHANGES_REQUESTED": "request changes on"}
		return nil, refused(http.StatusUnprocessableEntity, "Can not %s your own pull request", words[state])
	}
	if commit == "" {
		commit = i.pull.head
	}
	v := &review{h.id(), c.account, state, body, commit, now()}
	i.pull.reviews = append(i.pull.reviews, v)
	h.note(i, c, event{kind: "reviewed", review: v})
	i.touch()
	h.emitReview("submitted", i, v, c)
	return v, nil
}

func (h *Hub) dismiss(i *issue, v *review, c *caller, why string) {
	was := strings.ToLower(v.state)
	v.state = "DISMISSED"
	h.note(i, c, event{kind: "review_dismissed", review: v, from: was, to: why})
	i.touch()
	h.emitReview("dismissed", i, v, c)
}

func (h *Hub) setStatus(r *repo, c *caller, sha gate.SHA, state, context, text, link string) (*status, error) {
	switch {
	case h.commit(r, sha) == nil:
		return nil, refused(http.StatusUnprocessableEntity, "No commit found for SHA: %s", sha)
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, state):
		return nil, invalid("Status", "state", "custom")
	case len([]rune(text)) > 140:
		return nil, custom("Status", "description is too long (maximum is 140 characters)")
	case len(r.statuses[sha]) >= 1000:
		return nil, custom("Status", "This SHA and context has reached the maximum number of statuses.")
	}
	if context == "" {
		context = "default"
	}
	s := &status{h.id(), c.account, state, context, text, link, now()}
	r.statuses[sha] = append(r.statuses[sha], s)
	h.emitStatus(r, sha, s, c)
	return s, nil
}

// rename gives a repository another name. The old one keeps leading to it.
func (h *Hub) rename(r *repo, c *caller, name string) error {
	was, full := r.name, r.owner.login+"/"+name
	if other := h.find(full); other != nil && other != r {
		return custom("Repository", "name already exists on this account")
	}
	r.name = name
	h.names[strings.ToLower(full)] = r
	h.emit("repository", "renamed", r, c, func() obj {
		return obj{"changes": obj{"repository": obj{"name": obj{"from": was}}}}
	})
	return nil
}
