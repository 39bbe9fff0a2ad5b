package localhub

import (
	"net/http"
	"strings"
	"testing"

	"mergegate/gate"
)

// TestSemantics holds the hub to what GitHub does beyond its schemas. Each row
// names its source.
func TestSemantics(t *testing.T) {
	const (
		spec = "GitHub's OpenAPI description: documented statuses and examples"
		docs = "GitHub Docs"
	)
	for _, tt := range []struct {
		what, source string
		prepare      func(w *world) // after pull request #1 of bob was opened, feature onto main
		method, path string
		body         func(w *world) any
		status       int
		says         string // the beginning of the message
	}{
		{"merge", spec, nil, "PUT", "/pulls/1/merge", merge("merge"), 200, "Pull Request successfully merged"},
		{"squash", spec, nil, "PUT", "/pulls/1/merge", merge("squash"), 200, "Pull Request successfully merged"},
		{"rebase", spec, nil, "PUT", "/pulls/1/merge", merge("rebase"), 200, "Pull Request successfully merged"},
		{"merge another head", spec + ", pulls/merge 409", nil, "PUT", "/pulls/1/merge",
			func(w *world) any { return map[string]any{"sha": w.tip("main")} }, 409, "Head branch was modified"},
		{"merge twice", spec + ", pulls/merge 405", func(w *world) { w.must(w.Merge("ann/lib", 1, "ann", gate.Merge)) },
			"PUT", "/pulls/1/merge", merge("merge"), 405, "Pull Request is not mergeable"},
		{"merge a conflict", spec + ", pulls/merge 405", conflict, "PUT", "/pulls/1/merge", merge("merge"), 405, "Pull Request is not mergeable"},
		{"merge a draft", docs + ", about pull requests: drafts cannot be merged", func(w *world) { w.must(w.Draft("ann/lib", 1, "bob", true)) },
			"PUT", "/pulls/1/merge", merge("merge"), 405, "Pull Request is still a draft"},
		{"merge by a method that is off", "github-mcp-server#2258", func(w *world) { w.must(w.SetMergeMethods("ann/lib", gate.Squash)) },
			"PUT", "/pulls/1/merge", merge("merge"), 405, "Merge commits are not allowed on this repository."},
		{"merge without the approval", docs + ", about protected branches", protect(Protection{Approvals: 1}),
			"PUT", "/pulls/1/merge", merge("merge"), 405, "At least 1 approving review is required"},
		{"merge without the check", docs + ", about protected branches", protect(Protection{Checks: []string{"ci"}}),
			"PUT", "/pulls/1/merge", merge("merge"), 405, `Required status check "ci" is expected`},
		{"merge behind a strict base", docs + ", about protected branches: strict", func(w *world) {
			moveMain(w)
			protect(Protection{Strict: true})(w)
		}, "PUT", "/pulls/1/merge", merge("merge"), 405, "Head branch is out of date"},
		{"merge under GitHub's own queue", docs + ", merge queue", func(w *world) {
			_, err := w.AddRuleset("ann/lib", Ruleset{Name: "queue", Branch: "main", MergeQueue: true})
			w.must(err)
		}, "PUT", "/pulls/1/merge", merge("merge"), 405, "Repository rule violations found"},
		{"merge what does not exist", spec, nil, "PUT", "/pulls/9/merge", merge("merge"), 404, "Not Found"},

		{"fast-forward a ref", spec, nil, "PATCH", "/git/refs/heads/main", to("feature"), 200, ""},
		{"update that is no fast-forward", "git/update-ref 422; wording as bots match it", moveMain,
			"PATCH", "/git/refs/heads/main", to("feature"), 422, "Update is not a fast forward"},
		{"update a missing ref", "github/lock#48", nil, "PATCH", "/git/refs/heads/gone", to("feature"), 422, "Reference does not exist"},
		{"update to a missing commit", spec + ", git/update-ref 422", nil, "PATCH", "/git/refs/heads/main",
			func(*world) any { return map[string]any{"sha": strings.Repeat("1", 40)} }, 422, "Object does not exist"},
		{"update a branch that wants reviews", docs + ", about protected branches", protect(Protection{Approvals: 1}),
			"PATCH", "/git/refs/heads/main", to("feature"), 422, "At least 1 approving review"},
		{"create a ref that is there", "renovate#20281", nil, "POST", "/git/refs", ref("refs/heads/feature"), 422, "Reference already exists"},
		{"create a ref", spec, nil, "POST", "/git/refs", ref("refs/mergegate/lease/main"), 201, ""},
		{"create a branch inside of a branch", "actions/github-script#455", nil, "POST", "/git/refs", ref("refs/heads/main/x"), 422, "Reference update failed"},
		{"delete a missing ref", "github/lock#48", nil, "DELETE", "/git/refs/heads/gone", nil, 422, "Reference does not exist"},
		{"delete a ref", spec, nil, "DELETE", "/git/refs/heads/feature", nil, 204, ""},

		{"update-branch", spec + ", 202", moveMain, "PUT", "/pulls/1/update-branch",
			func(w *world) any { return map[string]any{"expected_head_sha": w.tip("feature")} }, 202, "Updating pull request branch."},
		{"update-branch of another head", spec + ", 422", moveMain, "PUT", "/pulls/1/update-branch",
			func(w *world) any { return map[string]any{"expected_head_sha": w.tip("main")} }, 422, "expected head sha"},
		{"merge branches", spec + ", repos/merge 201", nil, "POST", "/merges", branches, 201, ""},
		{"merge branches again", spec + ", repos/merge 204", func(w *world) { w.ask(201, "POST", "/merges", branches(w)) }, "POST", "/merges", branches, 204, ""},
		{"merge branches that conflict", spec + ", repos/merge 409", conflict, "POST", "/merges", branches, 409, "Merge conflict"},

		{"a label twice", spec + ", validation_failed", func(w *world) { w.must(w.CreateLabel("ann/lib", "merge", "00ff00")) },
			"POST", "/labels", value(map[string]any{"name": "Merge", "color": "00ff00"}), 422, "Validation Failed"},
		{"take off a label that is not on", "issues/remove-label 404", nil, "DELETE", "/issues/1/labels/merge", nil, 404, "Label does not exist"},
		{"a second pull request of the same head", spec + ", pulls/create 422", nil, "POST", "/pulls",
			value(map[string]any{"title": "again", "head": "feature", "base": "main"}), 422, "Validation Failed"},
		{"approve one's own", spec + ", pulls/create-review 422", func(w *world) {
			_, err := w.Commit("ann/lib", "ann", "mine", "Mine", map[string]string{"m.txt": "m\n"})
			w.must(err)
			_, err = w.OpenPR("ann/lib", "ann", "mine", "main", "Mine")
			w.must(err)
		}, "POST", "/pulls/2/reviews", value(map[string]any{"event": "APPROVE"}), 422, "Can not approve your own pull request"},
		{"a check run by a person", docs + ", checks: only Apps", nil, "POST", "/check-runs",
			func(w *world) any { return map[string]any{"name": "x", "head_sha": w.tip("main")} }, 403, "You must authenticate via a GitHub App."},
		{"write a file without its sha", "repos/create-or-update-file-contents 422", nil, "PUT", "/contents/README.md",
			value(map[string]any{"message": "m", "content": "eA=="}), 422, "Invalid request."},
		{"protection of an open branch", "recorded traffic of @octokit/fixtures", nil, "GET", "/branches/main/protection", nil, 404, "Branch not protected"},
		{"read what did not change", docs + ", conditional requests", known, "GET", "/pulls", nil, 304, ""},
		{"read what changed", docs + ", conditional requests", func(w *world) {
			known(w)
			w.must(w.Label("ann/lib", 1, "ann", "merge"))
		}, "GET", "/pulls", nil, 200, ""},
		{"write to an archive", docs + ", archiving", func(w *world) { w.must(w.Archive("ann/lib")) },
			"POST", "/issues/1/comments", value(map[string]any{"body": "x"}), 403, "Repository was archived"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.propose("feature", map[string]string{"a.txt": "a\n"})
			if tt.prepare != nil {
				tt.prepare(w)
			}
			var body any
			if tt.body != nil {
				body = tt.body(w)
			}
			a := w.call(w.ann.Token, tt.method, "/repos/ann/lib"+tt.path, body, w.known...)
			if a.status == http.StatusNotModified && len(a.body) > 0 {
				t.Errorf("304 with a body: %s", a.body)
			}
			if a.status != tt.status || !strings.HasPrefix(a.text("message"), tt.says) {
				t.Errorf("%d %s, want %d %q (%s)", a.status, a.body, tt.status, tt.says, tt.source)
			}
		})
	}
}

// known reads the list of pull requests, for a question about what changed since.
func known(w *world) {
	w.known = []string{"If-None-Match: " + w.ask(200, "GET", "/pulls", nil).header.Get("ETag")}
}

func value(v any) func(*world) any { return func(*world) any { return v } }

func merge(method string) func(*world) any {
	return func(w *world) any { return map[string]any{"merge_method": method, "sha": w.tip("feature")} }
}

func to(branch string) func(*world) any {
	return func(w *world) any { return map[string]any{"sha": w.tip(branch)} }
}

func ref(name string) func(*world) any {
	return func(w *world) any { return map[string]any{"ref": name, "sha": w.tip("main")} }
}

func branches(*world) any { return map[string]any{"base": "main", "head": "feature"} }

func protect(p Protection) func(*world) {
	p.EnforceAdmins = true
	return func(w *world) { w.must(w.Protect("ann/lib", "main", &p)) }
}

func moveMain(w *world) {
	_, err := w.Commit("ann/lib", "ann", "main", "Move", map[string]string{"b.txt": "b\n"})
	w.must(err)
}

func conflict(w *world) {
	_, err := w.Commit("ann/lib", "ann", "main", "Same file", map[string]string{"a.txt": "other\n"})
	w.must(err)
}

// TestMergeable: unknown at first, known when asked again, unknown after a push;
// and the test merge is not the landing.
func TestMergeable(t *testing.T) {
	w := newWorld(t, Options{})
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	read := func() answer { return w.ask(200, "GET", "/pulls/1", nil) }
	if a := read(); a.get("mergeable") != nil || a.text("mergeable_state") != "unknown" {
		t.Errorf("first read: mergeable %v, %v", a.get("mergeable"), a.get("mergeable_state"))
	}
	a := read()
	if a.get("mergeable") != true || a.text("mergeable_state") != "clean" || a.text("merge_commit_sha") == "" || a.get("merged") != false {
		t.Errorf("second read: mergeable %v, %v, merge commit %v", a.get("mergeable"), a.get("mergeable_state"), a.get("merge_commit_sha"))
	}
	base := a.text("base.sha")
	conflict(w)
	if a := read(); a.get("mergeable") != nil {
		t.Errorf("after base moved: mergeable %v", a.get("mergeable"))
	}
	if a := read(); a.get("mergeable") != false || a.text("mergeable_state") != "dirty" || a.text("base.sha") != base {
		t.Errorf("conflict: %v, %v, base %v; want dirty and the old base", a.get("mergeable"), a.get("mergeable_state"), a.get("base.sha"))
	}
}

// TestMergeResults: what the base becomes by each method.
func TestMergeResults(t *testing.T) {
	for _, tt := range []struct {
		method  gate.Method
		parents int
		subject string
	}{{gate.Merge, 2, "Merge pull request #1 from ann/feature"}, {gate.Squash, 1, "Change feature (#1)"}, {gate.Rebase, 1, "Change feature"}} {
		w := newWorld(t, Options{})
		_, head := w.propose("feature", map[string]string{"a.txt": "a\n"})
		was := w.tip("main")
		w.must(w.Merge("ann/lib", 1, "ann", tt.method))
		a := w.ask(200, "GET", "/commits/main", nil)
		parents, _ := a.get("parents").([]any)
		if len(parents) != tt.parents || a.text("parents.0.sha") != string(was) || !strings.HasPrefix(a.text("commit.message"), tt.subject) || a.text("sha") == string(head) {
			t.Errorf("%s: %s", tt.method, a.body)
		}
		if w.ask(200, "GET", "/pulls/1", nil).text("merge_commit_sha") != a.text("sha") {
			t.Errorf("%s: the pull request names another commit", tt.method)
		}
		if w.ask(204, "GET", "/pulls/1/merge", nil).status != http.StatusNoContent {
			t.Error("not merged")
		}
	}
}

// TestIndirectMerge: a push of the head to the base marks the pull request.
func TestIndirectMerge(t *testing.T) {
	w := newWorld(t, Options{})
	_, head := w.propose("feature", map[string]string{"a.txt": "a\n"})
	w.ask(200, "PATCH", "/git/refs/heads/main", to("feature")(w))
	a := w.ask(200, "GET", "/pulls/1", nil)
	if a.get("merged") != true || a.text("merge_commit_sha") != string(head) || a.text("state") != "closed" {
		t.Errorf("%s", a.body)
	}
}

// TestDismissStale: a push takes approvals away where the rules say so.
func TestDismissStale(t *testing.T) {
	w := newWorld(t, Options{})
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	protect(Protection{Approvals: 1, DismissStale: true})(w)
	w.must(w.Review("ann/lib", 1, "ann", gate.Approved))
	_, err := w.Commit("ann/lib", "bob", "feature", "More", map[string]string{"a.txt": "b\n"})
	w.must(err)
	if got := w.ask(200, "GET", "/pulls/1/reviews", nil).text("0.state"); got != "DISMISSED" {
		t.Errorf("the review is %s", got)
	}
	w.ask(405, "PUT", "/pulls/1/merge", merge("merge")(w))
}

// TestChecksDecide: a status and a check run of the same name must both pass.
func TestChecksDecide(t *testing.T) {
	w := newWorld(t, Options{})
	_, head := w.propose("feature", map[string]string{"a.txt": "a\n"})
	protect(Protection{Checks: []string{"ci"}})(w)
	refused := func(why string) {
		t.Helper()
		if got := w.ask(405, "PUT", "/pulls/1/merge", merge("merge")(w)).text("message"); got != why {
			t.Errorf("refused with %q, want %q", got, why)
		}
	}
	w.must(w.Status("ann/lib", head, "ann", "CI", "success", "done"))
	_, err := w.CheckRun("ann/lib", head, "runner", "ci", "failure")
	w.must(err)
	refused(`Required status check "ci" is failing.`)
	_, err = w.CheckRun("ann/lib", head, "runner", "ci", "")
	w.must(err)
	refused(`Required status check "ci" is in progress.`)
	_, err = w.CheckRun("ann/lib", head, "runner", "ci", "neutral")
	w.must(err)
	w.ask(200, "PUT", "/pulls/1/merge", merge("merge")(w))
}
