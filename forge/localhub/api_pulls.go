package localhub

import (
	"cmp"
	"fmt"
	"net/http"

	"mergegate/gate"
)

func pullRoutes() map[string]handler {
	return map[string]handler{
		"GET /pulls":          listPulls,
		"GET /pulls/{number}": forPull(func(q *request, i *issue) (int, any, error) { return ok(q.fullPull(i)) }),
		"GET /pulls/{number}/merge": forPull(func(q *request, i *issue) (int, any, error) {
			if i.pull.merged {
				return done(nil)
			}
			return no(notFound())
		}),
		"GET /pulls/{number}/reviews": forPull(func(q *request, i *issue) (int, any, error) {
			return ok(list(i.pull.reviews, func(v *review) obj { return q.reviewView(i, v) }))
		}),
		"GET /pulls/{number}/reviews/{id}": forReview(func(q *request, i *issue, v *review) (int, any, error) { return ok(q.reviewView(i, v)) }),
		"GET /pulls/{number}/commits":      forPull(pullCommits),
		"GET /pulls/{number}/files":        forPull(pullFiles),
		"GET /pulls/{number}/requested_reviewers": forPull(func(*request, *issue) (int, any, error) {
			return ok(obj{"users": []obj{}, "teams": []obj{}})
		}),
	}
}

func proposeRoutes() map[string]handler {
	return map[string]handler{
		"POST /pulls":                                 createPull,
		"PATCH /pulls/{number}":                       forPull(editPull),
		"PUT /pulls/{number}/merge":                   forPull(mergePull),
		"POST /pulls/{number}/reviews":                forPull(createReview),
		"PUT /pulls/{number}/reviews/{id}/dismissals": forReview(dismissReview),
		"PUT /pulls/{number}/update-branch":           forPull(updatePull),
	}
}

func forPull(f func(*request, *issue) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		i, err := q.pull()
		if err != nil {
			return no(err)
		}
		return f(q, i)
	}
}

func forReview(f func(*request, *issue, *review) (int, any, error)) handler {
	return forPull(func(q *request, i *issue) (int, any, error) {
		for _, v := range i.pull.reviews {
			if v.id == q.number("id") {
				return f(q, i, v)
			}
		}
		return no(notFound())
	})
}

func listPulls(q *request) (int, any, error) {
	v := q.http.URL.Query()
	var all []*issue
	for _, i := range q.repo.issues {
		state := cmp.Or(v.Get("state"), "open")
		switch {
		case i.pull == nil,
			state != "all" && state != i.state(),
			v.Get("base") != "" && v.Get("base") != i.pull.base,
			v.Get("head") != "" && v.Get("head") != i.pull.headRepo.owner.login+":"+i.pull.headBranch:
			continue
		}
		all = append(all, i)
	}
	direction := "desc"
	if by := v.Get("sort"); by != "" && by != "created" {
		direction = "asc"
	}
	sortIssues(all, v.Get("sort"), cmp.Or(v.Get("direction"), direction))
	return ok(list(all, q.simplePull))
}

func pullCommits(q *request, i *issue) (int, any, error) {
	base := q.mergeBase(q.repo, i.pull.baseSHA, i.pull.head)
	all, err := q.between(q.repo, base, i.pull.head)
	if err != nil {
		return no(err)
	}
	return ok(list(all, func(c *commit) obj { return q.commitView(q.repo, c) }))
}

func pullFiles(q *request, i *issue) (int, any, error) {
	base := q.mergeBase(q.repo, i.pull.baseSHA, i.pull.head)
	all, err := q.diff(q.repo, base, i.pull.head)
	if err != nil {
		return no(err)
	}
	return ok(list(all, func(f file) obj { return q.fileView(q.repo, i.pull.head, f) }))
}

func createPull(q *request) (int, any, error) {
	var in struct {
		Title, Body, Head, Base string
		Draft                   bool
		Maintainer              *bool `json:"maintainer_can_modify"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	i, err := q.openPull(q.repo, q.caller, in.Head, in.Base, in.Title, in.Body, in.Draft, in.Maintainer == nil || *in.Maintainer)
	if err != nil {
		return no(err)
	}
	return created(q.fullPull(i))
}

func editPull(q *request, i *issue) (int, any, error) {
	var in struct{ Title, Body, State, Base *string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if q.account != i.by && !q.mayAs(q.caller, q.repo, "pull_requests", "write", gate.RoleWrite) {
		return no(refused(http.StatusForbidden, "You do not have permission to edit this."))
	}
	if in.Base != nil {
		if err := q.retarget(i, q.caller, *in.Base); err != nil {
			return no(err)
		}
	}
	if err := q.edit(i, in.Title, in.Body, in.State); err != nil {
		return no(err)
	}
	return ok(q.fullPull(i))
}

func mergePull(q *request, i *issue) (int, any, error) {
	var in struct {
		Title   string `json:"commit_title"`
		Message string `json:"commit_message"`
		SHA     gate.SHA
		Method  string `json:"merge_method"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if err := q.allow(q.caller, q.repo, "contents", "write", gate.RoleWrite); err != nil {
		return no(err)
	}
	landed, err := q.merge(i, q.caller, cmp.Or(in.Method, "merge"), in.SHA, in.Title, in.Message)
	if err != nil {
		return no(err)
	}
	return ok(obj{"sha": landed, "merged": true, "message": "Pull Request successfully merged"})
}

func createReview(q *request, i *issue) (int, any, error) {
	var in struct {
		Event, Body string
		Commit      gate.SHA `json:"commit_id"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	states := map[string]string{"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
	switch {
	case states[in.Event] == "":
		return no(refused(http.StatusUnprocessableEntity, "Unprocessable Entity: no event; a pending review is not for this hub"))
	case in.Body == "" && in.Event != "APPROVE":
		return no(refused(http.StatusUnprocessableEntity, "Unprocessable Entity: body cannot be blank"))
	}
	v, err := q.submitReview(i, q.caller, states[in.Event], in.Body, in.Commit)
	if err != nil {
		return no(err)
	}
	return ok(q.reviewView(i, v))
}

func dismissReview(q *request, i *issue, v *review) (int, any, error) {
	var in struct{ Message string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if err := q.allow(q.caller, q.repo, "pull_requests", "write", gate.RoleWrite); err != nil {
		return no(err)
	}
	if v.state == "COMMENTED" || v.state == "DISMISSED" {
		return no(refused(http.StatusUnprocessableEntity, "Can not dismiss a %s pull request review", v.state))
	}
	q.dismiss(i, v, q.caller, in.Message)
	return ok(q.reviewView(i, v))
}

// updatePull is update-branch. GitHub does it later; the hub is that quick.
func updatePull(q *request, i *issue) (int, any, error) {
	var in struct {
		Expected gate.SHA `json:"expected_head_sha"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if err := q.allow(q.caller, q.repo, "contents", "write", gate.RoleWrite); err != nil {
		return no(err)
	}
	if err := q.updateBranch(i, q.caller, in.Expected); err != nil {
		return no(err)
	}
	return http.StatusAccepted, obj{"message": "Updating pull request branch.", "url": fmt.Sprintf("%s/pulls/%d", q.repoURL(q.repo), i.number)}, nil
}
