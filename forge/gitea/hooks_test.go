package gitea

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mergegate/forge"
	"mergegate/gate"
)

// TestRecordedDeliveries reads what a real Gitea once sent.
func TestRecordedDeliveries(t *testing.T) {
	want := map[string]string{ // file: pr, branch, comment
		"comment_by_mallory.pull_request_comment":      "#1 says /merge",
		"comment_deleted.pull_request_comment":         "#1",
		"comment_edited.pull_request_comment":          "#1",
		"comment_merge.pull_request_comment":           "#1 says /merge",
		"label_added.pull_request_label":               "#1",
		"label_added_again.pull_request_label":         "#1",
		"label_removed.pull_request_label":             "#1",
		"label_replaced.pull_request_label":            "#1",
		"pr_assigned.pull_request_assign":              "#1",
		"pr_closed.pull_request":                       "#1",
		"pr_merged.delete":                             "",
		"pr_merged.pull_request":                       "#1",
		"pr_merged.push":                               "branch main",
		"pr_opened.pull_request":                       "#1",
		"pr_reopened.pull_request":                     "#1",
		"pr_title_edit.pull_request":                   "#1",
		"pr_title_edit_wip.pull_request":               "#1",
		"push_branch.create":                           "",
		"push_branch.push":                             "branch feat",
		"push_main.push":                               "branch main",
		"review_approved.pull_request_review_approved": "#1",
		"review_comment.pull_request_review_comment":   "#1",
		"review_mallory.pull_request_review_approved":  "#1",
		"review_rejected.pull_request_review_rejected": "#1",
		"review_requested.pull_request_review_request": "#1",
		"status.status":                                "commit",
		"sync_forcepush.pull_request_sync":             "#1",
		"sync_forcepush.push":                          "branch feat",
		"sync_push.pull_request_sync":                  "#1",
		"sync_push.push":                               "branch feat",
	}
	f, err := New(Config{Name: "work", URL: "http://127.0.0.1"})
	check(t, err)
	files, err := filepath.Glob("testdata/deliveries/*.json")
	check(t, err)
	if len(files) != len(want) {
		t.Errorf("%d recorded deliveries, want %d", len(files), len(want))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		data, err := os.ReadFile(file)
		check(t, err)
		var rec struct {
			Headers map[string]string
			Payload json.RawMessage
		}
		check(t, json.Unmarshal(data, &rec))
		h := http.Header{}
		for k, v := range rec.Headers {
			h.Set(k, v)
		}
		e, err := f.Event(h, rec.Payload)
		check(t, err)
		got := ""
		switch {
		case e.PR != 0 && e.Comment != 0:
			got = fmt.Sprintf("#%d says %s", e.PR, e.Text)
		case e.PR != 0:
			got = fmt.Sprintf("#%d", e.PR)
		case e.Branch != "":
			got = "branch " + e.Branch
		case e.Commit.Valid():
			got = "commit"
		}
		if got != want[name] {
			t.Errorf("%s: %q, want %q", name, got, want[name])
		}
		if got == "" {
			if e != (forge.Event{}) {
				t.Errorf("%s: %+v, want nothing", name, e)
			}
			continue
		}
		if (e.Repo != gate.Repo{Forge: "work", Owner: "alice", Name: "hooks"}) || e.Sender.ID == 0 || e.Sender.Login == "" {
			t.Errorf("%s: repository %v, sender %v", name, e.Repo, e.Sender)
		}
	}
	if _, err := f.Event(http.Header{"X-Gitea-Event-Type": {"push"}}, []byte("{")); err == nil {
		t.Error("half a body was read")
	}
	if _, err := f.Event(http.Header{"X-Gitea-Event-Type": {"push"}}, []byte("{}")); err == nil {
		t.Error("a push to no repository was read")
	}
}

// TestWebhook registers a webhook on a real Gitea and checks the deliveries that
// the subscribed events bring.
func TestWebhook(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	r := w.Repo(t)
	secret := []byte("delivery secret")
	type delivery struct {
		header http.Header
		body   []byte
	}
	got := make(chan delivery, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got <- delivery{req.Header, body}
	}))
	defer receiver.Close()

	check(t, w.forge.CreateWebhook(ctx, r, receiver.URL+"/webhook/old", []byte("old")))
	hooks, err := w.forge.Webhooks(ctx, r)
	check(t, err)
	if len(hooks) != 1 || hooks[0].URL != receiver.URL+"/webhook/old" || !hooks[0].Active {
		t.Fatalf("webhooks %+v", hooks)
	}
	for _, e := range []string{"pull_request_sync", "pull_request_comment", "pull_request_label", "pull_request_review", "push", "status"} {
		if !slices.Contains(hooks[0].Events, e) {
			t.Errorf("events %v lack %s", hooks[0].Events, e)
		}
	}
	old := hooks[0].ID
	check(t, w.forge.UpdateWebhook(ctx, r, old, receiver.URL+"/webhook/work", secret))
	hooks, err = w.forge.Webhooks(ctx, r)
	check(t, err)
	if len(hooks) != 1 || hooks[0].URL != receiver.URL+"/webhook/work" {
		t.Fatalf("webhooks after the update %+v", hooks)
	}
	if err := w.forge.UpdateWebhook(ctx, r, old, receiver.URL, secret); kind(err) != forge.ErrNotFound {
		t.Errorf("updating a webhook that is gone: %v", err)
	}

	author := w.Person(t, r, gate.RoleWrite)
	head := w.Push(t, r, tip(t, w.forge, r, "main"), map[string]string{"a.txt": "a\n"}, "feature")
	n := w.Open(t, r, author, "feature", "main", "Add a")
	comment := w.Comment(t, r, n, author, "/merge")
	check(t, w.forge.EditComment(ctx, r, comment, "/merge now"))
	check(t, w.forge.SetStatus(ctx, r, head, forge.Status{Context: "ci", State: forge.StatusSuccess}))
	w.Comment(t, r, w.CreateIssue(t, r, author, "Not a pull request", ""), author, "/merge")

	want := map[forge.Event]bool{}
	for _, e := range []forge.Event{{Branch: "feature"}, {PR: n}, {PR: n, Comment: comment, Text: "/merge"}, {Commit: head}} {
		e.Repo = r
		want[e] = true
	}
	eventually(t, fmt.Sprintf("deliveries of %v", want), func() bool {
		select {
		case d := <-got:
			if !w.forge.Verify(d.header, d.body, secret) || w.forge.Verify(d.header, d.body, []byte("old")) {
				t.Errorf("signature of %s does not verify with the new secret alone", d.header.Get("X-Gitea-Event"))
			}
			e, err := w.forge.Event(d.header, d.body)
			check(t, err)
			if e.Delivery == "" {
				t.Error("a delivery has no id")
			}
			e.Sender, e.Delivery = gate.User{}, ""
			delete(want, e)
		default:
		}
		return len(want) == 0
	})
}

func TestVerify(t *testing.T) {
	f, err := New(Config{Name: "work", URL: "http://127.0.0.1"})
	check(t, err)
	good := sign("body", "secret")
	for _, tt := range []struct {
		name, header, value, secret string
		want                        bool
	}{
		{"Gitea's", "X-Gitea-Signature", good, "secret", true},
		{"GitHub's form", "X-Hub-Signature-256", "sha256=" + good, "secret", true},
		{"another body", "X-Gitea-Signature", sign("bodies", "secret"), "secret", false},
		{"wrong secret", "X-Gitea-Signature", good, "other", false},
		{"empty", "X-Gitea-Signature", "", "secret", false},
		{"empty, GitHub's form", "X-Hub-Signature-256", "sha256=", "secret", false},
		{"not hex", "X-Gitea-Signature", "zz", "secret", false},
		{"cut short", "X-Gitea-Signature", good[:20], "secret", false},
		{"we have no secret", "X-Gitea-Signature", sign("body", ""), "", false},
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

func sign(body, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}
