package ghspec_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"mergegate/forge"
	"mergegate/forge/github"
	"mergegate/internal/ghspec"
)

// Every example payload that GitHub's users have contributed goes through the
// adapter's handler: none is an error, those it knows point to a place, and all
// others are of no interest.
func TestExamplePayloads(t *testing.T) {
	f, err := github.New(github.Config{Name: "gh", URL: "https://api.github.com", AppID: 1, Key: func() ([]byte, error) { return nil, nil }})
	must(t, err)
	var events []struct {
		Name     string
		Examples []json.RawMessage
	}
	unpack(t, "testdata/webhooks-examples.json.gz", &events)
	all := 0
	news := map[string]int{}
	for _, event := range events {
		for i, body := range event.Examples {
			all++
			e, err := f.Event(http.Header{"X-Github-Event": {event.Name}}, body)
			if err != nil {
				t.Errorf("%s, example %d: %v", event.Name, i, err)
			}
			if e == (forge.Event{}) {
				continue
			}
			news[event.Name]++
			if e.Repo.Owner == "" || e.Repo.Name == "" || e.Branch == "" && e.PR == 0 && e.Commit == "" {
				t.Errorf("%s, example %d: %+v points nowhere", event.Name, i, e)
			}
		}
	}
	t.Logf("%d payloads of %d events; news in %v", all, len(events), news)
	want := map[string]int{"pull_request": 29, "pull_request_review": 4, "push": 2, "status": 4, "check_run": 9}
	for name, n := range want {
		if news[name] != n {
			t.Errorf("%s: news in %d examples, want %d", name, news[name], n)
		}
		delete(news, name)
	}
	if len(news) > 0 {
		t.Errorf("news in %v, of which none was expected", news)
	}
}

// The judge of payloads takes real ones, and no key that GitHub does not have.
// Most of the examples are older than today's schemas; these are not.
func TestWebhookExamples(t *testing.T) {
	judge, err := ghspec.New()
	must(t, err)
	var events []struct {
		Name     string
		Examples []map[string]any
	}
	unpack(t, "testdata/webhooks-examples.json.gz", &events)
	passed := 0
	for _, event := range events {
		if event.Name != "check_suite" && event.Name != "merge_group" {
			continue
		}
		for _, payload := range event.Examples {
			action := payload["action"].(string)
			if suite, ok := payload["check_suite"].(map[string]any); ok { // GitHub has dropped one permission since
				delete(suite["app"].(map[string]any)["permissions"].(map[string]any), "team_discussions")
			}
			say := func() error {
				body, err := json.Marshal(payload)
				must(t, err)
				return judge.Webhook(event.Name, action, body)
			}
			if err := say(); err != nil {
				t.Error(err)
			}
			payload["repository"].(map[string]any)["ownr"] = "misspelt"
			if err := say(); err == nil || !strings.HasSuffix(err.Error(), "payload.repository.ownr") {
				t.Errorf("%s with a misspelt key: %v", event.Name, err)
			}
			passed++
		}
	}
	if passed < 10 {
		t.Errorf("%d payloads", passed)
	}
}
