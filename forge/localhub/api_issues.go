package localhub

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"mergegate/gate"
)

func issueRoutes() map[string]handler {
	return map[string]handler{
		"GET /issues":                 listIssues,
		"GET /issues/{number}":        forIssue(func(q *request, i *issue) (int, any, error) { return ok(q.issueView(i)) }),
		"GET /issues/{number}/{what}": underIssue,
		"GET /issues/comments/{id}/reactions": forComment(func(q *request, m *comment) (int, any, error) {
			return ok(list(m.reactions, q.reactionView))
		}),
		"GET /labels":        func(q *request) (int, any, error) { return ok(q.labelViews(q.repo, q.repo.labels)) },
		"GET /labels/{name}": forLabel(func(q *request, l *label) (int, any, error) { return ok(q.labelView(q.repo, l)) }),
	}
}

// underIssue serves what an issue has, and /issues/comments/{id}, which looks
// the same to http.ServeMux.
func underIssue(q *request) (int, any, error) {
	what := q.path("what")
	if q.path("number") == "comments" {
		q.http.SetPathValue("id", what)
		return forComment(func(q *request, m *comment) (int, any, error) { return ok(q.commentView(m)) })(q)
	}
	i, err := q.issue()
	if err != nil {
		return no(err)
	}
	switch what {
	case "comments":
		since, _ := time.Parse(time.RFC3339, q.http.URL.Query().Get("since")) // zero: from the beginning
		return ok(list(slices.DeleteFunc(slices.Clone(i.comments), func(m *comment) bool { return m.updated.Before(since) }), q.commentView))
	case "labels":
		return ok(q.labelViews(q.repo, i.labels))
	case "reactions":
		return ok(list(i.reactions, q.reactionView))
	case "events", "timeline":
		return q.history(i, what == "timeline")
	}
	return no(notFound())
}

func talkRoutes() map[string]handler {
	return map[string]handler{
		"POST /issues":                         createIssue,
		"PATCH /issues/{number}":               forIssue(editIssue),
		"POST /issues/{number}/comments":       forIssue(postComment),
		"PATCH /issues/comments/{id}":          forComment(patchComment),
		"DELETE /issues/comments/{id}":         forComment(removeComment),
		"POST /issues/{number}/reactions":      forIssue(func(q *request, i *issue) (int, any, error) { return q.addReaction(&i.reactions) }),
		"POST /issues/comments/{id}/reactions": forComment(func(q *request, m *comment) (int, any, error) { return q.addReaction(&m.reactions) }),
	}
}

func labelRoutes() map[string]handler {
	return map[string]handler{
		"POST /issues/{number}/labels":          forIssue(addLabels),
		"PUT /issues/{number}/labels":           forIssue(setLabels),
		"DELETE /issues/{number}/labels/{name}": forIssue(removeLabel),
		"POST /labels":                          createLabel,
		"PATCH /labels/{name}":                  forLabel(editLabel),
		"DELETE /labels/{name}":                 forLabel(deleteLabel),
	}
}

func forIssue(f func(*request, *issue) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		i, err := q.issue()
		if err != nil {
			return no(err)
		}
		return f(q, i)
	}
}

func forComment(f func(*request, *comment) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		m := q.repo.comments[q.number("id")]
		if m == nil {
			return no(notFound())
		}
		return f(q, m)
	}
}

func forLabel(f func(*request, *label) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		l := q.repo.label(q.path("name"))
		if l == nil {
			return no(notFound())
		}
		return f(q, l)
	}
}

// listIssues lists issues and pull requests, newest first unless asked.
func listIssues(q *request) (int, any, error) {
	v := q.http.URL.Query()
	var all []*issue
	for _, i := range q.repo.issues {
		state := cmp.Or(v.Get("state"), "open")
		since, _ := time.Parse(time.RFC3339, v.Get("since")) // zero: from the beginning
		switch {
		case state != "all" && state != i.state(),
			v.Get("creator") != "" && !strings.EqualFold(v.Get("creator"), i.by.login),
			i.updated.Before(since):
			continue
		}
		if slices.ContainsFunc(strings.FieldsFunc(v.Get("labels"), func(r rune) bool { return r == ',' }), func(l string) bool { return !i.has(l) }) {
			continue
		}
		all = append(all, i)
	}
	sortIssues(all, v.Get("sort"), cmp.Or(v.Get("direction"), "desc"))
	return ok(list(all, q.issueView))
}

func sortIssues(all []*issue, by, direction string) {
	slices.SortFunc(all, func(a, b *issue) int {
		order := a.number - b.number
		if by == "updated" {
			order = cmp.Or(a.updated.Compare(b.updated), order)
		}
		if direction == "desc" {
			return -order
		}
		return order
	})
}

func createIssue(q *request) (int, any, error) {
	var in struct {
		Title, Body string
		Labels      []string
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if in.Title == "" {
		return no(invalid("Issue", "title", "missing_field"))
	}
	i := q.newIssue(q.repo, q.caller, in.Title, in.Body)
	for _, l := range in.Labels {
		q.putLabel(i, q.caller, l)
	}
	return created(q.issueView(i))
}

// editIssue also closes and reopens pull requests, as on GitHub.
func editIssue(q *request, i *issue) (int, any, error) {
	var in struct{ Title, Body, State *string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if err := q.mayEdit(i.by); err != nil {
		return no(err)
	}
	if err := q.edit(i, in.Title, in.Body, in.State); err != nil {
		return no(err)
	}
	return ok(q.issueView(i))
}

func (q *request) edit(i *issue, title, body, state *string) error {
	if title != nil {
		q.retitle(i, q.caller, *title)
	}
	if body != nil {
		q.setBody(i, q.caller, *body)
	}
	if state == nil {
		return nil
	}
	if i.pull != nil && i.pull.merged && *state == "open" {
		return invalid("PullRequest", "state", "invalid")
	}
	q.setState(i, q.caller, *state == "open")
	return nil
}

// mayEdit: authors edit what is theirs, writers everything.
func (q *request) mayEdit(author *account) error {
	if q.account == author || q.mayAs(q.caller, q.repo, "issues", "write", gate.RoleWrite) {
		return nil
	}
	return refused(http.StatusForbidden, "You do not have permission to edit this.")
}

func postComment(q *request, i *issue) (int, any, error) {
	var in struct{ Body string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	switch {
	case in.Body == "":
		return no(invalid("IssueComment", "body", "missing_field"))
	case len([]rune(in.Body)) > 65536:
		return no(custom("IssueComment", "body is too long (maximum is 65536 characters)"))
	}
	return created(q.commentView(q.addComment(i, q.caller, in.Body)))
}

func patchComment(q *request, m *comment) (int, any, error) {
	var in struct{ Body string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if err := q.mayEdit(m.by); err != nil {
		return no(err)
	}
	q.editComment(m, q.caller, in.Body)
	return ok(q.commentView(m))
}

func removeComment(q *request, m *comment) (int, any, error) {
	if err := q.mayEdit(m.by); err != nil {
		return no(err)
	}
	q.deleteComment(m, q.caller)
	return done(nil)
}

// addReaction answers 200 for one that is there already.
func (q *request) addReaction(all *[]*reaction) (int, any, error) {
	var in struct{ Content string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	r, fresh, err := q.react(all, q.caller, in.Content)
	if err != nil {
		return no(err)
	}
	if fresh {
		return created(q.reactionView(r))
	}
	return ok(q.reactionView(r))
}

// history is the list of events, or with everything the timeline.
func (q *request) history(i *issue, everything bool) (int, any, error) {
	all := []obj{}
	for _, e := range i.history {
		if everything || e.comment == nil && e.kind != "reviewed" && e.kind != "committed" {
			all = append(all, q.eventView(i, e))
		}
	}
	return ok(all)
}

// labelNames reads {"labels": ["a"]} or, as GitHub also takes it, ["a"].
func (q *request) labelNames() ([]string, error) {
	var bare []string
	if json.Unmarshal(q.body, &bare) == nil {
		return bare, nil
	}
	var in struct{ Labels []string }
	err := q.decode(&in)
	return in.Labels, err
}

func addLabels(q *request, i *issue) (int, any, error) {
	names, err := q.labelNames()
	if err != nil {
		return no(err)
	}
	for _, l := range names {
		if l == "" {
			return no(invalid("Label", "name", "missing_field"))
		}
		q.putLabel(i, q.caller, l)
	}
	return ok(q.labelViews(q.repo, i.labels))
}

func setLabels(q *request, i *issue) (int, any, error) {
	names, err := q.labelNames()
	if err != nil {
		return no(err)
	}
	for _, l := range slices.Clone(i.labels) {
		if !slices.ContainsFunc(names, func(n string) bool { return equalFold(n, l.name) }) {
			q.takeLabel(i, q.caller, l.name)
		}
	}
	for _, l := range names {
		q.putLabel(i, q.caller, l)
	}
	return ok(q.labelViews(q.repo, i.labels))
}

func removeLabel(q *request, i *issue) (int, any, error) {
	if !q.takeLabel(i, q.caller, q.path("name")) {
		return no(refused(http.StatusNotFound, "Label does not exist"))
	}
	return ok(q.labelViews(q.repo, i.labels))
}

func createLabel(q *request) (int, any, error) {
	var in struct{ Name, Color, Description string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	switch {
	case in.Name == "":
		return no(invalid("Label", "name", "missing_field"))
	case q.repo.label(in.Name) != nil:
		return no(invalid("Label", "name", "already_exists"))
	case strings.Trim(strings.ToLower(in.Color), "0123456789abcdef") != "" || in.Color != "" && len(in.Color) != 6 && len(in.Color) != 3:
		return no(invalid("Label", "color", "invalid"))
	}
	l := &label{q.id(), in.Name, cmp.Or(strings.ToLower(in.Color), "ededed"), in.Description}
	q.repo.labels = append(q.repo.labels, l)
	return created(q.labelView(q.repo, l))
}

func editLabel(q *request, l *label) (int, any, error) {
	var in struct {
		NewName            string `json:"new_name"`
		Color, Description string
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	l.name, l.color, l.description = cmp.Or(in.NewName, l.name), cmp.Or(in.Color, l.color), cmp.Or(in.Description, l.description)
	return ok(q.labelView(q.repo, l))
}

func deleteLabel(q *request, l *label) (int, any, error) {
	for _, i := range q.repo.issues {
		q.takeLabel(i, q.caller, l.name)
	}
	q.repo.labels = slices.DeleteFunc(q.repo.labels, func(o *label) bool { return o == l })
	return done(nil)
}
