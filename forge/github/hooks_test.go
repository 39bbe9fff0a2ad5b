package github

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"

	"mergegate/forge"
	"mergegate/gate"
)

func sign(body, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestVerify(t *testing.T) {
	f := newScript(t, nil).forge(t)
	old := hmac.New(sha1.New, []byte("secret"))
	old.Write([]byte("body"))
	for _, tt := range []struct {
		name, header, value, secret string
		want                        bool
	}{
		{"good", "X-Hub-Signature-256", sign("body", "secret"), "secret", true},
		{"another body", "X-Hub-Signature-256", sign("bodies", "secret"), "secret", false},
		{"wrong secret", "X-Hub-Signature-256", sign("body", "secret"), "other", false},
		{"SHA-1", "X-Hub-Signature", "sha1=" + hex.EncodeToString(old.Sum(nil)), "secret", false},
		{"SHA-1 in the new header", "X-Hub-Signature-256", "sha1=" + hex.EncodeToString(old.Sum(nil)), "secret", false},
		{"without its prefix", "X-Hub-Signature-256", sign("body", "secret")[7:], "secret", false},
		{"empty", "X-Hub-Signature-256", "sha256=", "secret", false},
		{"not hex", "X-Hub-Signature-256", "sha256=zz", "secret", false},
		{"we have no secret", "X-Hub-Signature-256", sign("body", ""), "", false},
	} {
		h := http.Header{}
		h.Set(tt.header, tt.value)
		if got := f.Verify(h, []byte("body"), []byte(tt.secret)); got != tt.want {
			t.Errorf("%s: verified %v, want %v", tt.name, got, tt.want)
		}
	}
	if f.Verify(http.Header{}, []byte("body"), []byte("secret")) {
		t.Error("a delivery without a signature verified")
	}
}

func TestEvent(t *testing.T) {
	f := newScript(t, nil).forge(t)
	f.cfg.AppID, f.app = 99, &conn{} // as an App; nothing is called
	const about = `"repository":{"id":1,"name":"widgets","owner":{"login":"acme"}},"sender":{"id":5,"login":"ann"}`
	ann := gate.User{ID: 5, Login: "ann"}
	run := func(action, app, more string) string {
		return `{"action":"` + action + `","check_run":{"head_sha":"` + string(headSHA) + `","app":{"id":` + app + `},"pull_requests":[{"number":7}]},` + more + about + `}`
	}
	for _, tt := range []struct {
		name, kind, body string
		want             forge.Event
	}{
		{"labelled", "pull_request", `{"action":"labeled","number":7,"pull_request":{"number":7},` + about + `}`, forge.Event{PR: 7}},
		{"reviewed", "pull_request_review", `{"action":"submitted","pull_request":{"number":7},` + about + `}`, forge.Event{PR: 7}},
		{"commented", "issue_comment", `{"action":"created","issue":{"number":7,"pull_request":{}},"comment":{"id":3,"body":"/merge"},` + about + `}`, forge.Event{PR: 7, Comment: 3, Text: "/merge"}},
		{"comment edited", "issue_comment", `{"action":"edited","issue":{"number":7,"pull_request":{}},"comment":{"id":3,"body":"/merge"},` + about + `}`, forge.Event{PR: 7}},
		{"comment on an issue", "issue_comment", `{"action":"created","issue":{"number":8},"comment":{"id":3,"body":"/merge"},` + about + `}`, forge.Event{}},
		{"pushed", "push", `{"ref":"refs/heads/release/1.0",` + about + `}`, forge.Event{Branch: "release/1.0"}},
		{"pushed, owner by name", "push", `{"ref":"refs/heads/main","repository":{"id":1,"name":"widgets","owner":{"name":"acme"}},"sender":{"id":5,"login":"ann"}}`, forge.Event{Branch: "main"}},
		{"tagged", "push", `{"ref":"refs/tags/v1",` + about + `}`, forge.Event{}},
		{"status", "status", `{"sha":"` + string(headSHA) + `",` + about + `}`, forge.Event{Commit: headSHA}},
		{"CI finished", "check_run", run("completed", "4", ""), forge.Event{Commit: headSHA, PR: 7}},
		{"our own check run", "check_run", run("completed", "99", ""), forge.Event{}},
		{"Remove", "check_run", run("requested_action", "99", `"requested_action":{"identifier":"remove"},`), forge.Event{Commit: headSHA, PR: 7, Button: forge.ButtonRemove}},
		{"Requeue", "check_run", run("requested_action", "99", `"requested_action":{"identifier":"requeue"},`), forge.Event{Commit: headSHA, PR: 7, Button: forge.ButtonRequeue}},
		{"Re-run", "check_run", run("rerequested", "99", ""), forge.Event{Commit: headSHA, PR: 7, Button: forge.ButtonRequeue}},
		{"a button we do not have", "check_run", run("requested_action", "99", `"requested_action":{"identifier":"rm"},`), forge.Event{}},
		{"somebody else's Requeue", "check_run", run("requested_action", "4", `"requested_action":{"identifier":"requeue"},`), forge.Event{Commit: headSHA, PR: 7}},
		{"a kind of tomorrow", "pull_request_stacked", `{`, forge.Event{}},
		{"ping", "ping", `{"zen":"Keep it logically awesome."}`, forge.Event{}},
	} {
		if (tt.want != forge.Event{}) {
			tt.want.Repo, tt.want.Sender = widgets, ann
		}
		h := http.Header{"X-Github-Event": {tt.kind}}
		if got, err := f.Event(h, []byte(tt.body)); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
	for _, body := range []string{`{`, `{}`, `{"repository":{"id":1,"name":"widgets","owner":{"login":"acme"}}}`} {
		if e, err := f.Event(http.Header{"X-Github-Event": {"pull_request"}}, []byte(body)); err == nil {
			t.Errorf("%s was read as %+v", body, e)
		}
	}
}
