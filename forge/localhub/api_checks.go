package localhub

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"mergegate/gate"
)

func reportRoutes() map[string]handler {
	return map[string]handler{"POST /statuses/{sha}": postStatus}
}

func postStatus(q *request) (int, any, error) {
	var in struct {
		State, Context, Description string
		Link                        string `json:"target_url"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	sha := gate.SHA(q.path("sha"))
	s, err := q.setStatus(q.repo, q.caller, sha, in.State, in.Context, in.Description, in.Link)
	if err != nil {
		return no(err)
	}
	return created(q.statusView(q.repo, sha, s, false))
}

// combinedStatus pages the newest statuses of each context.
func combinedStatus(q *request, id gate.SHA) (int, any, error) {
	all := newest(q.repo.statuses[id])
	return ok(paged{obj{
		"state": combined(all), "sha": id, "repository": q.minimalRepo(q.repo),
		"commit_url": q.repoURL(q.repo) + "/commits/" + string(id), "url": q.repoURL(q.repo) + "/commits/" + string(id) + "/status",
	}, "statuses", list(all, func(s *status) obj { return q.statusView(q.repo, id, s, true) })})
}

// listStatuses is every status, newest first.
func listStatuses(q *request, id gate.SHA) (int, any, error) {
	all := list(q.repo.statuses[id], func(s *status) obj { return q.statusView(q.repo, id, s, false) })
	slices.Reverse(all)
	return ok(all)
}

func checkRoutes() map[string]handler {
	return map[string]handler{
		"GET /check-runs/{id}": forRun(func(q *request, c *run) (int, any, error) { return ok(q.runView(q.repo, c)) }),
		"GET /check-suites/{id}": func(q *request) (int, any, error) {
			for _, s := range q.repo.suites {
				if s.id == q.number("id") {
					return ok(q.suiteView(q.repo, s))
				}
			}
			return no(notFound())
		},
	}
}

func checkWriteRoutes() map[string]handler {
	return map[string]handler{
		"POST /check-runs":       createRun,
		"PATCH /check-runs/{id}": forRun(editRun),
	}
}

func forRun(f func(*request, *run) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		c := q.repo.runs[q.number("id")]
		if c == nil {
			return no(notFound())
		}
		return f(q, c)
	}
}

// runsOf lists the check runs on a commit, newest first.
func (r *repo) runsOf(id gate.SHA) []*run {
	var all []*run
	for _, n := range slices.Sorted(maps.Keys(r.runs)) {
		if r.runs[n].suite.sha == id {
			all = append(all, r.runs[n])
		}
	}
	slices.Reverse(all)
	return all
}

// newestRuns keeps the newest of each App and name.
func (h *Hub) newestRuns(r *repo, id gate.SHA) []*run {
	type key struct {
		app  *app
		name string
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(r.runsOf(id), func(c *run) bool {
		k := key{c.suite.app, c.name}
		again := seen[k]
		seen[k] = true
		return again
	})
}

func listRuns(q *request, id gate.SHA) (int, any, error) {
	if err := q.allow(q.caller, q.repo, "checks", "read", gate.RoleRead); err != nil {
		return no(err)
	}
	v := q.http.URL.Query()
	all := q.newestRuns(q.repo, id)
	if v.Get("filter") == "all" {
		all = q.repo.runsOf(id)
	}
	all = slices.DeleteFunc(all, func(c *run) bool {
		return v.Get("check_name") != "" && v.Get("check_name") != c.name || v.Get("status") != "" && v.Get("status") != c.status
	})
	return ok(paged{obj{}, "check_runs", list(all, func(c *run) obj { return q.runView(q.repo, c) })})
}

func listSuites(q *request, id gate.SHA) (int, any, error) {
	if err := q.allow(q.caller, q.repo, "checks", "read", gate.RoleRead); err != nil {
		return no(err)
	}
	all := []obj{}
	for _, s := range q.repo.suites {
		if s.sha == id {
			all = append(all, q.suiteView(q.repo, s))
		}
	}
	return ok(paged{obj{}, "check_suites", all})
}

// runFields is what a check run is made or changed with.
type runFields struct {
	Name, Status, Conclusion *string
	Head                     gate.SHA   `json:"head_sha"`
	ExternalID               *string    `json:"external_id"`
	Link                     *string    `json:"details_url"`
	Started                  *time.Time `json:"started_at"`
	Completed                *time.Time `json:"completed_at"`
	Output                   obj
	Actions                  []obj
}

func createRun(q *request) (int, any, error) {
	var in runFields
	if err := q.mayCheck(&in); err != nil {
		return no(err)
	}
	switch {
	case in.Name == nil || *in.Name == "":
		return no(refused(http.StatusUnprocessableEntity, "Invalid request.\n\n\"name\" wasn't supplied."))
	case q.commit(q.repo, in.Head) == nil:
		return no(refused(http.StatusUnprocessableEntity, "No commit found for SHA: %s", in.Head))
	}
	c := q.newRun(q.repo, q.app, in.Head, *in.Name)
	c.change(in)
	q.emitRun("created", q.repo, c, q.caller, nil)
	if c.status == "completed" {
		q.runDone(q.repo, c, q.caller)
	}
	return created(q.runView(q.repo, c))
}

// mayCheck reads the fields and refuses everybody but Apps.
func (q *request) mayCheck(in *runFields) error {
	if q.inst == nil {
		return refused(http.StatusForbidden, "You must authenticate via a GitHub App.")
	}
	if err := q.allow(q.caller, q.repo, "checks", "write", gate.RoleWrite); err != nil {
		return err
	}
	if err := q.decode(in); err != nil {
		return err
	}
	if len(in.Actions) > 3 {
		return custom("CheckRun", "Only three actions are allowed")
	}
	return nil
}

func editRun(q *request, c *run) (int, any, error) {
	var in runFields
	if err := q.mayCheck(&in); err != nil {
		return no(err)
	}
	if c.suite.app != q.app {
		return no(refused(http.StatusForbidden, "Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", q.app.ID))
	}
	before := c.status
	c.change(in)
	c.suite.updated = now()
	if c.status == "completed" && (before != "completed" || in.Conclusion != nil) {
		q.runDone(q.repo, c, q.caller)
	}
	return ok(q.runView(q.repo, c))
}

// change sets the fields that were sent. A conclusion completes the run, and a
// status that is not completed takes the conclusion away.
func (c *run) change(in runFields) {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&c.name, in.Name)
	set(&c.status, in.Status)
	set(&c.externalID, in.ExternalID)
	set(&c.link, in.Link)
	if in.Started != nil {
		c.started = *in.Started
	}
	switch {
	case in.Conclusion != nil:
		c.status, c.conclusion, c.completed = "completed", *in.Conclusion, now()
		if in.Completed != nil {
			c.completed = *in.Completed
		}
	case in.Status != nil && *in.Status != "completed":
		c.conclusion, c.completed = "", time.Time{}
	}
	if in.Output != nil {
		c.output = in.Output
	}
	if in.Actions != nil {
		c.actions = in.Actions
	}
}

// suiteOf is the App's suite on a commit, made when it is not there.
func (h *Hub) suiteOf(r *repo, a *app, id gate.SHA) *suite {
	for _, s := range r.suites {
		if s.app == a && s.sha == id {
			return s
		}
	}
	s := &suite{id: h.id(), app: a, sha: id, created: now(), updated: now()}
	if at := r.branchesAt(id); at != nil {
		s.branch = at[0]
	}
	r.suites = append(r.suites, s)
	return s
}

func (h *Hub) newRun(r *repo, a *app, id gate.SHA, name string) *run {
	c := &run{id: h.id(), suite: h.suiteOf(r, a, id), name: name, status: "queued", output: obj{}, started: now()}
	r.runs[c.id] = c
	return c
}

// runDone tells of a completed run and, when it was the last, of its suite.
func (h *Hub) runDone(r *repo, c *run, by *caller) {
	h.emitRun("completed", r, c, by, nil)
	if status, _, _ := r.sum(c.suite); status == "completed" {
		h.emitSuite("completed", r, c.suite, by)
	}
}

// requestSuites asks the Apps that check this repository to do so.
func (h *Hub) requestSuites(r *repo, branch string, id gate.SHA, c *caller) {
	for _, n := range slices.Sorted(maps.Keys(h.installations)) {
		i := h.installations[n]
		if slices.Contains(i.repos, r) && i.suspended.IsZero() && i.app.permissions["checks"] == "write" {
			s := h.suiteOf(r, i.app, id)
			s.branch = cmp.Or(s.branch, branch)
			h.emitSuite("requested", r, s, c)
		}
	}
}

// buttons are the actions of a run, for the pages.
func (c *run) buttons() []struct{ Label, Description, Identifier string } {
	var all []struct{ Label, Description, Identifier string }
	data, _ := json.Marshal(c.actions) // came as JSON
	_ = json.Unmarshal(data, &all)
	return all
}
