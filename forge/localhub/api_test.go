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

// TestWrites does what a bot writes, each step seen by the next.
func TestWrites(t *testing.T) {
	w := newWorld(t, Options{})
	_, head := w.propose("feature", map[string]string{"a.txt": "a\n"})
	type fields = map[string]any

	w.ask(201, "POST", "/labels", fields{"name": "merge", "color": "00AABB", "description": "land it"})
	w.ask(200, "PATCH", "/labels/merge", fields{"color": "ffffff"})
	w.ask(200, "POST", "/issues/1/labels", fields{"labels": []string{"merge", "new one"}})
	if a := w.ask(200, "PUT", "/issues/1/labels", fields{"labels": []string{"new one"}}); a.text("0.name") != "new one" || a.get("1") != nil {
		t.Errorf("labels replaced: %s", a.body)
	}
	w.ask(200, "DELETE", "/issues/1/labels/new%20one", nil)
	w.ask(204, "DELETE", "/labels/merge", nil)

	comment := w.ask(201, "POST", "/issues/1/comments", fields{"body": "one"})
	at := sprintf("/issues/comments/%.0f", comment.get("id"))
	if a := w.ask(200, "PATCH", at, fields{"body": "two"}); a.text("body") != "two" || a.text("user.login") != "ann" {
		t.Errorf("comment: %s", a.body)
	}
	w.ask(201, "POST", at+"/reactions", fields{"content": "eyes"})
	w.ask(200, "POST", at+"/reactions", fields{"content": "eyes"})
	w.ask(201, "POST", "/issues/1/reactions", fields{"content": "+1"})
	w.ask(422, "POST", at+"/reactions", fields{"content": "shrug"})
	if a := w.call(w.bob.Token, "DELETE", "/repos/ann/lib"+at, nil); a.status != 204 {
		t.Errorf("a writer deletes a comment: %d", a.status)
	}
	w.ask(404, "GET", at, nil)

	issue := w.ask(201, "POST", "/issues", fields{"title": "Merge queue", "body": "empty"})
	number := sprintf("/issues/%.0f", issue.get("number"))
	if a := w.ask(200, "PATCH", number, fields{"body": "one waits", "state": "closed"}); a.text("body") != "one waits" || a.text("state") != "closed" {
		t.Errorf("issue: %s", a.body)
	}

	review := w.ask(200, "POST", "/pulls/1/reviews", fields{"event": "APPROVE"})
	a := w.ask(200, "PUT", sprintf("/pulls/1/reviews/%.0f/dismissals", review.get("id")), fields{"message": "changed my mind"})
	if a.text("state") != "DISMISSED" || review.text("commit_id") != string(head) {
		t.Errorf("review: %s", a.body)
	}
	w.ask(201, "POST", sprint("/statuses/", head), fields{"state": "pending", "context": "mergegate", "description": "Queued"})

	tree := w.ask(200, "GET", sprint("/git/commits/", head), nil).text("tree.sha")
	commit := w.ask(201, "POST", "/git/commits", fields{"message": "lease", "tree": tree, "parents": []gate.SHA{head}})
	w.ask(201, "POST", "/git/refs", fields{"ref": "refs/mergegate/lease/main", "sha": commit.text("sha")})
	w.ask(422, "POST", "/git/commits", fields{"message": "x", "tree": string(head), "parents": []gate.SHA{}})
	file := w.ask(201, "PUT", "/contents/new.txt", fields{"message": "Add", "content": "bmV3Cg=="})
	if a := w.ask(200, "GET", "/contents/new.txt", nil); a.text("sha") != file.text("content.sha") || a.text("content") != "bmV3Cg==" {
		t.Errorf("file: %s", a.body)
	}
	if a := w.ask(200, "PATCH", "", fields{"allow_rebase_merge": false}); a.get("allow_rebase_merge") != false || a.get("allow_squash_merge") != true {
		t.Errorf("settings: %s", a.body)
	}
	pr := w.ask(201, "POST", "/pulls", fields{"title": "Back", "head": "main", "base": "feature", "draft": true})
	if a := w.ask(200, "PATCH", sprintf("/pulls/%.0f", pr.get("number")), fields{"title": "Back again", "state": "closed"}); a.text("title") != "Back again" || a.text("state") != "closed" {
		t.Errorf("pull request: %s", a.body)
	}
}
