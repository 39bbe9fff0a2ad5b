package localhub

import (
	"net/http"
	"testing"

	"mergegate/gate"
)

// TestReads asks every reading operation once, of things that are there, and
// leaves it to GitHub's description to say whether the answers are right.
func TestReads(t *testing.T) {
	w := newWorld(t, Options{})
	n, head := w.propose("feature/one", map[string]string{"a.txt": "a\n", "dir/b c.txt": "b\n"})
	w.must(w.Label("ann/lib", n, "ann", "merge queue"))
	w.must(w.Review("ann/lib", n, "ann", gate.Approved))
	id, err := w.Comment("ann/lib", n, "ann", "hello")
	w.must(err)
	w.must(w.Status("ann/lib", head, "ann", "ci/build", "success", "done"))
	run, err := w.CheckRun("ann/lib", head, "CI", "test", "success")
	w.must(err)
	w.must(w.Protect("ann/lib", "main", &Protection{Approvals: 1, Checks: []string{"ci/build"}, Strict: true, DismissStale: true}))
	ruleset, err := w.AddRuleset("ann/lib", Ruleset{Name: "all", Branch: "main", MergeQueue: true, Protection: Protection{Approvals: 1, Checks: []string{"x"}}})
	w.must(err)
	hook := w.ask(http.StatusCreated, "POST", "/hooks", map[string]any{"config": map[string]string{"url": w.URL + "/nowhere", "content_type": "json", "secret": "s"}, "events": []string{"push"}})
	suite := w.ask(http.StatusOK, "GET", "/commits/"+string(head)+"/check-suites", nil)
	for _, path := range []string{
		"", "/pulls", "/pulls?state=all&sort=updated&direction=desc", "/pulls/1", "/pulls/1/reviews", "/pulls/1/commits", "/pulls/1/files",
		"/pulls/1/requested_reviewers", "/issues?state=all&creator=bob", "/issues/1", "/issues/1/comments", "/issues/1/labels", "/issues/1/events",
		"/issues/1/timeline", "/issues/1/reactions", sprint("/issues/comments/", id), sprint("/issues/comments/", id, "/reactions"), "/labels",
		"/labels/merge%20queue", "/branches", "/branches/main", "/branches/feature%2Fone", "/branches/main/protection",
		"/branches/main/protection/required_status_checks", "/rules/branches/main", "/rulesets", sprint("/rulesets/", ruleset), "/commits",
		"/commits/main", sprint("/commits/", head, "/status"), sprint("/commits/", head, "/statuses"), sprint("/commits/", head, "/check-runs"),
		sprint("/commits/", head, "/pulls"), "/commits/feature%2Fone/status", sprint("/check-runs/", run),
		sprintf("/check-suites/%.0f", suite.get("check_suites.0.id")), "/git/ref/heads/feature/one", "/git/matching-refs/heads/fea",
		sprint("/git/commits/", head), "/compare/main...feature%2Fone", "/contents/README.md", "/contents/dir/b%20c.txt?ref=feature%2Fone",
		"/collaborators/bob/permission", "/collaborators/ann/permission", "/hooks", sprintf("/hooks/%.0f", hook.get("id")),
		sprintf("/hooks/%.0f/deliveries", hook.get("id")),
	} {
		w.ask(http.StatusOK, "GET", path, nil)
	}
	for _, path := range []string{"/user", "/users/bob", "/users/ann/repos", "/user/repos", "/rate_limit", "/meta"} {
		if a := w.call(w.ann.Token, "GET", path, nil); a.status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, a.status, a.body)
		}
	}
}
