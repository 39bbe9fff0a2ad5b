package gitea

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is signed, an event says no more than the delivery does: its repository,
// and a comment only where one was created.
func FuzzEvent(f *testing.F) {
	files, err := filepath.Glob("testdata/deliveries/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no recorded deliveries: %v", err)
	}
	for _, file := range files[:10] {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var d struct {
			Headers map[string]string
			Payload json.RawMessage
		}
		if err := json.Unmarshal(data, &d); err != nil {
			f.Fatal(err)
		}
		f.Add(d.Headers["X-Gitea-Event-Type"], []byte(d.Payload))
	}
	f.Add("push", []byte(`{"ref":"refs/heads/x","repository":{"name":"..","owner":{"login":"/"}}}`))
	f.Add("pull_request_comment", []byte(`{"action":"created","comment":{"id":-1,"body":"\ud800"},"repository":{"owner":null}}`))
	forge, err := New(Config{Name: "work", URL: "http://127.0.0.1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		e, err := forge.Event(http.Header{"X-Gitea-Event-Type": {kind}}, body)
		if err != nil {
			if !strings.Contains(err.Error(), "delivery") {
				t.Errorf("an error that does not say what was read: %v", err)
			}
			return
		}
		if e.Comment != 0 && (kind != "pull_request_comment" || !strings.Contains(strings.ToLower(string(body)), "created")) {
			t.Errorf("%s of %q created comment %d", kind, body, e.Comment)
		}
		if e.Repo.Forge != "" && e.Repo.Forge != "work" || e.Button != "" {
			t.Errorf("%s of %q became %+v", kind, body, e)
		}
		if forge.Verify(http.Header{"X-Gitea-Signature": {kind}}, body, nil) || forge.Verify(http.Header{"X-Gitea-Signature": {kind}}, body, []byte("secret of the test")) {
			t.Errorf("%q verifies", kind)
		}
	})
}
