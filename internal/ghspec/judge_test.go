package ghspec

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func newJudge(t *testing.T) *Judge {
	t.Helper()
	j, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

const (
	sha      = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
	mergeURL = "/repos/acme/widgets/pulls/12/merge"
	refsURL  = "/repos/acme/widgets/git/refs"
	refMain  = `{"ref":"refs/heads/main","node_id":"x","url":"http://hub/r","object":{"type":"commit","sha":"` + sha + `","url":"http://hub/c"}}`
	denied   = `{"message":"Head branch was modified. Review and try the merge again.","documentation_url":"http://hub/docs"}`
	merged   = `{"sha":"` + sha + `","merged":true,"message":"Pull Request successfully merged"}`
	label    = `{"id":1,"node_id":"x","url":"http://hub/l","name":"merge","description":null,"color":"ededed","default":false}`
)

// An exchange that GitHub could have had passes; each way of being a little
// wrong is found.
func TestPlanted(t *testing.T) {
	j := newJudge(t)
	for _, tt := range []struct {
		name         string
		method, path string
		sent         string
		status       int
		got          string
		want         string // part of the violation; "" for none
	}{
		{"merge", "PUT", mergeURL, `{"sha":"` + sha + `","merge_method":"squash"}`, 200, merged, ""},
		{"wrong enum in the request", "PUT", mergeURL, `{"merge_method":"fast-forward"}`, 200, merged, "merge_method"},
		{"unknown key in the request", "PUT", mergeURL, `{"head_commit_id":"` + sha + `"}`, 200, merged, "request.head_commit_id"},
		{"wrong type in the request", "PUT", mergeURL, `{"sha":1}`, 200, merged, "sha"},
		{"wrong type in the answer", "PUT", mergeURL, `{}`, 200, `{"sha":"x","merged":"yes","message":"m"}`, "merged"},
		{"missing field in the answer", "PUT", mergeURL, `{}`, 200, `{"sha":"x","merged":true}`, "message"},
		{"unknown key in the answer", "PUT", mergeURL, `{}`, 200, `{"sha":"x","merged":true,"message":"m","mergd":1}`, "answer.mergd"},
		{"unknown key deep in the answer", "GET", "/repos/acme/widgets/git/ref/heads/main", "", 200, strings.Replace(refMain, `"type"`, `"kind":"c","type"`, 1), "answer.object.kind"},
		{"undocumented status", "PUT", mergeURL, `{}`, 418, `{"message":"teapot"}`, "not documented"},
		{"409 as documented", "PUT", mergeURL, `{}`, 409, denied, ""},
		{"422 for 409", "PUT", mergeURL, `{}`, 422, denied, "with 422; GitHub says it with 409"},
		{"409 for 405", "PUT", mergeURL, `{}`, 409, strings.Replace(denied, "Head branch was modified", "Pull Request is not mergeable", 1), "with 409; GitHub says it with 405"},
		{"409 that says nothing of the head", "PUT", mergeURL, `{}`, 409, `{"message":"Conflict"}`, "409 means"},
		{"create a ref", "POST", refsURL, `{"ref":"refs/heads/main","sha":"` + sha + `"}`, 201, refMain, ""},
		{"ref without sha", "POST", refsURL, `{"ref":"refs/heads/main"}`, 201, refMain, "sha"},
		{"existing ref as a conflict", "POST", refsURL, `{"ref":"refs/heads/main","sha":"` + sha + `"}`, 409, `{"message":"Reference already exists","documentation_url":"d"}`, "with 409; GitHub says it with 422"},
		{"ref with slashes", "PATCH", refsURL + "/heads/team/x/y", `{"sha":"` + sha + `","force":false}`, 200, refMain, ""},
		{"status with a bad state", "POST", "/repos/acme/widgets/statuses/" + sha, `{"state":"failed"}`, 404, `{"message":"Not Found"}`, "state"},
		{"status with a long text", "POST", "/repos/acme/widgets/statuses/" + sha, `{"state":"error","description":"` + strings.Repeat("é", 141) + `"}`, 404, `{"message":"Not Found"}`, "140 characters"},
		{"status on no commit", "POST", "/repos/acme/widgets/statuses/" + sha, `{"state":"error"}`, 422, `{"message":"No commit found for SHA: ` + sha + `","documentation_url":"d"}`, ""},
		{"status on no commit, as not found", "POST", "/repos/acme/widgets/statuses/" + sha, `{"state":"error"}`, 404, `{"message":"No commit found for SHA","documentation_url":"d"}`, "with 404; GitHub says it with 422"},
		{"check run without a head", "POST", "/repos/acme/widgets/check-runs", `{"name":"x"}`, 404, `{"message":"Not Found"}`, "head_sha"},
		{"check run completed without a conclusion", "POST", "/repos/acme/widgets/check-runs", `{"name":"x","head_sha":"` + sha + `","status":"completed"}`, 404, `{"message":"Not Found"}`, "conclusion"},
		{"bad query value", "GET", "/repos/acme/widgets/pulls?state=merged", "", 200, `[]`, "state"},
		{"unknown query parameter", "GET", "/repos/acme/widgets/pulls?author=x", "", 200, `[]`, `query parameter "author"`},
		{"escaped name", "GET", "/repos/acme/widgets/labels/merge%3Fnow", "", 200, label, ""},
		{"path parameter of a wrong type", "GET", "/repos/acme/widgets/pulls/seven", "", 404, `{"message":"Not Found"}`, "pull_number"},
		{"no such operation", "GET", "/repos/acme/widgets/merge-queue", "", 200, `{}`, "no such operation"},
		{"by repository id", "GET", "/repositories/17/labels?per_page=100", "", 200, "[" + label + "]", ""},
		{"below a GitHub Enterprise Server", "GET", "/api/v3/repos/acme/widgets/labels", "", 200, "[" + label + "]", ""},
		{"wrong type in a list", "GET", "/repos/acme/widgets/labels", "", 200, "[" + strings.Replace(label, `"id":1`, `"id":"1"`, 1) + "]", "id"},
		{"renamed repository", "GET", "/repos/acme/widgets/pulls", "", 301, `{"message":"Moved Permanently","url":"http://hub/repositories/17/pulls","documentation_url":"d"}`, ""},
		{"rate limit", "GET", "/repos/acme/widgets/pulls", "", 429, `{"message":"API rate limit exceeded","documentation_url":"d"}`, ""},
		{"error without a message", "GET", "/repos/acme/widgets/pulls", "", 403, `{"error":"no"}`, "message"},
		{"a request that is no JSON", "GET", "/repos/acme/widgets/pulls", "", 400, `{"message":"Problems parsing JSON","documentation_url":"d","status":"400"}`, ""},
		{"unknown key in an error", "PUT", mergeURL, `{}`, 405, `{"message":"Pull Request is not mergeable","documentation_url":"d","status":"405","reason":"x"}`, "answer.reason"},
		{"unknown key in a common error", "PUT", mergeURL, `{}`, 401, `{"message":"Bad credentials","documentation_url":"d","reason":"x"}`, "answer.reason"},
		{"a proxy's error page", "GET", "/repos/acme/widgets/pulls", "", 502, `<html>`, ""},
		{"304 out of the blue", "GET", "/repos/acme/widgets/pulls", "", 304, "", "without a condition"},
		{"body where GitHub has none", "DELETE", refsURL + "/heads/x", "", 204, `{}`, "has a body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.sent))
			if tt.sent != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
			_, asked, answered := j.exchange(req, []byte(tt.sent), tt.status, h, []byte(tt.got))
			var all []string
			for _, err := range append(asked, answered...) {
				all = append(all, err.Error())
			}
			got := strings.Join(all, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) || len(all) > 1 {
				t.Errorf("violations %q, want one with %q", all, tt.want)
			}
		})
	}
}

// A {ref} may hold slashes, and what follows it is still seen.
func TestRoute(t *testing.T) {
	j := newJudge(t)
	for path, want := range map[string]string{
		"/commits/heads/main":            "repos/get-commit",
		"/commits/heads/main/status":     "repos/get-combined-status-for-ref",
		"/commits/main/check-runs":       "checks/list-for-ref",
		"/issues/comments":               "issues/list-comments-for-repo",
		"/issues/7":                      "issues/get",
		"/branches/team%2Fx":             "repos/get-branch",
		"/branches/team%2Fx/protection":  "repos/get-branch-protection",
		"/compare/main...team/x":         "repos/compare-commits-with-basehead",
		"/rules/branches/main":           "repos/get-branch-rules",
		"/git/matching-refs/heads/queue": "git/list-matching-refs",
		"/pulls/7/merge/now":             "",
	} {
		if got := j.operation("GET /repos/acme/widgets" + path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// Both sides of the wire are judged, and bodies arrive unharmed.
func TestWire(t *testing.T) {
	j := newJudge(t)
	hub := httptest.NewServer(j.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || string(body) != `{"sha":"`+sha+`"}` {
			t.Errorf("the server read %q, %v", body, err)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, merged)
	})))
	defer hub.Close()
	client := &http.Client{Transport: j.Transport(http.DefaultTransport)}
	put := func(url, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "PUT", url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != merged {
			t.Errorf("the client read %q, %v", got, err)
		}
	}

	put(hub.URL+mergeURL, `{"sha":"`+sha+`"}`)
	r := j.Report()
	if r.Exchanges != 2 || len(r.Violations) != 0 || strings.Join(r.Operations, " ") != "pulls/merge" {
		t.Errorf("one good exchange, seen from both sides: %v", r)
	}
	put(hub.URL+"/repos/acme/widgets/statuses/"+sha, `{"sha":"`+sha+`"}`)
	r = j.Report()
	sides := map[string]bool{}
	for _, v := range r.Violations {
		side, _, _ := strings.Cut(v, ":")
		sides[side] = true
	}
	if !sides["client"] || !sides["server"] {
		t.Errorf("a bad exchange must be found on both sides: %v", r)
	}
}

// A server that refuses what GitHub's description refuses does right; only the
// client that asked is at fault.
func TestRefusedRequest(t *testing.T) {
	j := newJudge(t)
	refuse := j.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		io.WriteString(w, `{"message":"Validation Failed","documentation_url":"d"}`)
	}))
	req := httptest.NewRequestWithContext(t.Context(), "POST", refsURL, strings.NewReader(`{"ref":"x"}`))
	req.Header.Set("Content-Type", "application/json")
	refuse.ServeHTTP(httptest.NewRecorder(), req)
	if r := j.Report(); r.Exchanges != 1 || len(r.Violations) != 0 {
		t.Errorf("the server is blamed: %v", r)
	}
}

func TestWebhook(t *testing.T) {
	j := newJudge(t)
	if err := j.Webhook("weather", "changed", []byte(`{"action":"changed"}`)); err == nil {
		t.Error("an event that GitHub does not have passes")
	}
	if err := j.Webhook("pull_request", "labeled", []byte(`{"action":"opened"}`)); err == nil || !strings.Contains(err.Error(), `action is "opened"`) {
		t.Errorf("another action: %v", err)
	}
	if err := j.Webhook("pull_request", "labeled", []byte(`{"action":"labeled"}`)); err == nil {
		t.Error("an empty payload passes")
	}
	if r := j.Report(); r.Webhooks != 3 || len(r.Violations) != 3 {
		t.Errorf("%v, want 3 webhooks and 3 violations", r)
	}
}
