package localhub

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"mergegate/gate"
)

// receiver is a webhook's other end.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	down   bool
	got    []string // event.action, in order
	guids  []string
	secret string
	forged int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		body, err := io.ReadAll(req.Body)
		if err != nil || r.down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if req.Header.Get("X-Hub-Signature-256") != "sha256="+sign(sha256.New, r.secret, body) {
			r.forged++
		}
		var payload struct{ Action string }
		if err := json.Unmarshal(body, &payload); err != nil {
			t.Error(err)
		}
		r.got = append(r.got, strings.TrimSuffix(req.Header.Get("X-GitHub-Event")+"."+payload.Action, "."))
		r.guids = append(r.guids, req.Header.Get("X-GitHub-Delivery"))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// appWorld is a world with an App at work in ann/lib.
func appWorld(t *testing.T) (*world, *receiver, App, string) {
	w, r := newWorld(t, Options{}), newReceiver(t)
	app, err := w.CreateApp("ann", "Merge Bot", r.URL)
	w.must(err)
	r.secret = app.WebhookSecret
	_, err = w.InstallApp(app.ID, "ann/lib")
	w.must(err)
	return w, r, app, w.installationToken(app)
}

// TestEvents does everything that has an event; the world holds every payload to
// its schema.
func TestEvents(t *testing.T) {
	w, r, app, token := appWorld(t)
	n, head := w.propose("feature", map[string]string{"a.txt": "a\n"})
	w.must(w.Label("ann/lib", n, "ann", "merge"))
	w.must(w.Unlabel("ann/lib", n, "ann", "merge"))
	w.must(w.Draft("ann/lib", n, "bob", true))
	w.must(w.Draft("ann/lib", n, "bob", false))
	w.must(w.Retitle("ann/lib", n, "bob", "Another title"))
	w.must(w.Review("ann/lib", n, "ann", gate.Approved))
	w.must(w.Dismiss("ann/lib", n, "ann", "ann"))
	id, err := w.Comment("ann/lib", n, "ann", "/merge")
	w.must(err)
	w.must(w.EditComment("ann/lib", id, "ann", "/merge status"))
	w.must(w.DeleteComment("ann/lib", id, "ann"))
	w.must(w.Status("ann/lib", head, "bob", "ci", "success", ""))
	run := w.call(token, "POST", "/repos/ann/lib/check-runs", map[string]any{"name": "Merge queue", "head_sha": head, "status": "in_progress",
		"actions": []map[string]string{{"label": "Requeue", "description": "Try again", "identifier": "requeue"}}})
	number := int64(run.get("id").(float64))
	w.must(w.Press("ann/lib", number, "ann", "requeue"))
	w.must(w.Rerun("ann/lib", number, "ann"))
	w.call(token, "PATCH", sprint("/repos/ann/lib/check-runs/", number), map[string]any{"conclusion": "success", "status": "completed"})
	_, err = w.Commit("ann/lib", "bob", "feature", "More", map[string]string{"a.txt": "b\n"})
	w.must(err)
	_, err = w.Commit("ann/lib", "ann", "release", "Release", map[string]string{"r.txt": "r\n"})
	w.must(err)
	w.must(w.Retarget("ann/lib", n, "bob", "release"))
	w.must(w.Close("ann/lib", n, "bob"))
	w.must(w.Reopen("ann/lib", n, "bob"))
	w.must(w.Merge("ann/lib", n, "ann", gate.Squash))
	w.must(w.DeleteBranch("ann/lib", "ann", "feature"))
	w.must(w.AddRepo("ann/other"))
	inst, err := w.InstallApp(app.ID, "ann/other")
	w.must(err)
	w.must(w.RemoveFromApp(inst, "ann/other"))
	w.must(w.Suspend(inst, true))
	w.must(w.Suspend(inst, false))
	w.must(w.Uninstall(inst))
	_, err = w.Comment("ann/lib", n, "ann", "not heard any more")
	w.must(err)
	w.Settle()
	want := []string{"installation.created", "push", "check_suite.requested", "pull_request.opened", "pull_request.labeled", "pull_request.unlabeled",
		"pull_request.converted_to_draft", "pull_request.ready_for_review", "pull_request.edited", "pull_request_review.submitted",
		"pull_request_review.dismissed", "issue_comment.created", "issue_comment.edited", "issue_comment.deleted", "status", "check_run.created",
		"check_run.requested_action", "check_run.rerequested", "check_run.completed", "check_suite.completed", "push", "pull_request.synchronize",
		"check_suite.requested", "push", "check_suite.requested", "pull_request.edited", "pull_request.closed", "pull_request.reopened",
		"pull_request.closed", "push", "check_suite.requested", "push", "installation_repositories.added", "installation_repositories.removed",
		"installation.suspend", "installation.unsuspend", "installation.deleted"}
	if got := r.seen(); !slices.Equal(got, want) {
		t.Errorf("events\n%v\nwant\n%v", got, want)
	}
	if r.forged > 0 {
		t.Errorf("%d deliveries were not signed with the App's secret", r.forged)
	}
}

// TestRedelivery: what did not arrive is listed, and arrives when asked for
// again, under its own id.
func TestRedelivery(t *testing.T) {
	w, r, app, _ := appWorld(t)
	w.Settle()
	r.mu.Lock()
	r.down, r.got, r.guids = true, nil, nil
	r.mu.Unlock()
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	w.Settle()
	jwt := w.jwt(app)
	missed := w.call(jwt, "GET", "/app/hook/deliveries?per_page=1", nil)
	if missed.status != 200 || missed.get("0.status_code") != 502.0 || missed.text("0.event") != "pull_request" || !strings.Contains(missed.header.Get("Link"), "cursor=") {
		t.Fatalf("%d %s %s", missed.status, missed.header.Get("Link"), missed.body)
	}
	id := sprintf("%.0f", missed.get("0.id"))
	whole := w.call(jwt, "GET", "/app/hook/deliveries/"+id, nil)
	if whole.text("request.payload.action") != "opened" || whole.text("request.headers.X-Github-Event") != "pull_request" {
		t.Errorf("the delivery: %s", whole.body)
	}
	r.mu.Lock()
	r.down = false
	r.mu.Unlock()
	if a := w.call(jwt, "POST", "/app/hook/deliveries/"+id+"/attempts", nil); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.Settle()
	if got := r.seen(); !slices.Equal(got, []string{"pull_request.opened"}) || r.guids[0] != missed.text("0.guid") {
		t.Errorf("redelivered %v as %v, want the opened pull request as %s", got, r.guids, missed.text("0.guid"))
	}
	again := w.call(jwt, "GET", "/app/hook/deliveries", nil)
	if again.get("0.redelivery") != true || again.get("0.status_code") != 200.0 || again.text("0.guid") != missed.text("0.guid") {
		t.Errorf("listed as %s", again.body)
	}
}

// TestRepositoryHooks: pinged when made, signed with their own secret, and only
// for what they subscribed to.
func TestRepositoryHooks(t *testing.T) {
	w, r := newWorld(t, Options{}), newReceiver(t)
	r.secret = "s3cret"
	config := map[string]string{"url": r.URL, "content_type": "json", "secret": r.secret}
	made := w.ask(201, "POST", "/hooks", map[string]any{"config": config, "events": []string{"pull_request"}})
	w.ask(422, "POST", "/hooks", map[string]any{"config": config, "events": []string{"pull_request"}})
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	w.Settle()
	if got := r.seen(); !slices.Equal(got, []string{"ping", "pull_request.opened"}) || r.forged > 0 {
		t.Errorf("%v, %d forged", got, r.forged)
	}
	if strings.Contains(string(made.body), r.secret) {
		t.Error("the answer shows the secret")
	}
	at := sprintf("/hooks/%.0f", made.get("id"))
	w.ask(200, "PATCH", at, map[string]any{"events": []string{"issue_comment"}, "active": true})
	w.ask(204, "POST", at+"/pings", nil)
	w.ask(204, "DELETE", at, nil)
	w.ask(404, "GET", at, nil)
	if a := w.call(w.bob.Token, "GET", "/repos/ann/lib/hooks", nil); a.status != 404 && a.status != 403 {
		t.Errorf("a writer reads the hooks: %d", a.status)
	}
}
