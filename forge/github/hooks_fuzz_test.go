package github

import (
	"net/http"
	"strings"
	"testing"

	"mergegate/forge"
)

// Whatever is signed, an event is about the delivery's repository; a button is one
// on a check run, and names its commit.
func FuzzEvent(f *testing.F) {
	const about = `"repository":{"id":1,"name":"widgets","owner":{"login":"acme"}},"sender":{"id":5,"login":"ann"}}`
	for kind, body := range map[string]string{
		"pull_request":        `{"action":"labeled","number":7,"pull_request":{"number":7},` + about,
		"pull_request_review": `{"action":"submitted","pull_request":{"number":7},` + about,
		"issue_comment":       `{"action":"created","issue":{"number":7,"pull_request":{}},"comment":{"id":3,"body":"/merge"},` + about,
		"push":                `{"ref":"refs/heads/release/1.0",` + about,
		"status":              `{"sha":"` + string(headSHA) + `",` + about,
		"check_run":           `{"action":"requested_action","check_run":{"head_sha":"` + string(headSHA) + `","app":{"id":99},"name":"mergegate","pull_requests":[{"number":7}]},"requested_action":{"identifier":"requeue"},` + about,
		"installation":        `{"action":"deleted","installation":{"id":4,"account":{"login":"acme"}}}`,
		"stacked":             `[[[{]`,
	} {
		f.Add(kind, []byte(body))
	}
	// An event calls nothing, so the real address does no harm.
	gh, err := New(Config{Name: "work", URL: "https://api.github.com", Token: func() (string, error) { return "x", nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		e, err := gh.Event(http.Header{"X-Github-Event": {kind}}, body)
		if err != nil {
			if !strings.Contains(err.Error(), "delivery") || e != (forge.Event{}) {
				t.Errorf("%v with %+v", err, e)
			}
			return
		}
		if e.Button != "" && (kind != "check_run" || e.Commit == "") || e.Comment != 0 && kind != "issue_comment" {
			t.Errorf("%s of %q became %+v", kind, body, e)
		}
		if gh.Verify(http.Header{"X-Hub-Signature-256": {"sha256=" + kind}}, body, nil) {
			t.Errorf("%q verifies without a secret", kind)
		}
	})
}
