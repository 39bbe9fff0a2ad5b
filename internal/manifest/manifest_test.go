package manifest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// flow is one run with a person in front of it.
type flow struct {
	Setup
	hub *httptest.Server
	key string
}

// newFlow starts a GitHub that answers the exchange of a code with status and body.
func newFlow(t *testing.T, status int, body func(key string) string) *flow {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{key: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))}
	f.hub = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != "POST" || req.URL.Path != "/api/v3/app-manifests/c0de/conversions" {
			t.Errorf("GitHub is asked %s %s", req.Method, req.URL.Path)
		}
		w.WriteHeader(status)
		io.WriteString(w, body(f.key))
	}))
	t.Cleanup(f.hub.Close)
	dir := t.TempDir()
	f.Setup = Setup{
		Web: f.hub.URL, API: f.hub.URL + "/api/v3", Org: "acme", Name: "mergegate-acme",
		External: "https://mq.example.org", Webhook: "https://mq.example.org/webhook/github",
		Events: []string{"push"}, KeyFile: filepath.Join(dir, "app.pem"), SecretFile: filepath.Join(dir, "webhook.secret"),
	}
	return f
}

// start runs the flow beside the test. It gives the page that the person is
// sent to, and end, which waits for the outcome.
func (f *flow) start(t *testing.T, ctx context.Context) (page string, end func() (App, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	visit, done := make(chan string, 1), make(chan result, 1)
	go func() {
		app, err := f.Run(ctx, f.hub.Client(), func(page string) { visit <- page })
		done <- result{app, err}
	}()
	return <-visit, func() (App, error) {
		r := <-done
		return r.app, r.err
	}
}

// agree presses Create: GitHub sends the browser back with the code.
func agree(t *testing.T, page string) (sentTo string, status int) {
	t.Helper()
	target, _ := form(t, page)
	return get(t, page+"callback?code=c0de&state="+url.QueryEscape(target.Query().Get("state")))
}

// answer is GitHub's, with everything mergegate keeps.
func answer(key string) string {
	text, _ := json.Marshal(key)
	return `{"id":7,"slug":"mergegate-acme","owner":{"login":"acme"},"html_url":"https://hub.example/apps/mergegate-acme","client_secret":"cl13nt","webhook_secret":"h00k","pem":` + string(text) + `}`
}

// form opens the start page and gives the form's target and manifest.
func form(t *testing.T, page string) (*url.URL, map[string]any) {
	t.Helper()
	body, status := get(t, page)
	found := regexp.MustCompile(`(?s)action="([^"]*)".*name="manifest" value="([^"]*)"`).FindStringSubmatch(body)
	if status != 200 || found == nil {
		t.Fatalf("start page: %d %s", status, body)
	}
	target, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(html.UnescapeString(found[2])), &doc); err != nil {
		t.Fatalf("manifest: %v", err)
	}
	return target, doc
}

// get reads a page without following redirects.
func get(t *testing.T, page string) (body string, status int) {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + res.Header.Get("Location"), res.StatusCode
}

func TestRun(t *testing.T) {
	f := newFlow(t, http.StatusCreated, answer)
	page, end := f.start(t, t.Context())
	target, doc := form(t, page)
	if target.Path != "/organizations/acme/settings/apps/new" || doc["name"] != "mergegate-acme" || doc["redirect_url"] != page+"callback" {
		t.Errorf("form to %v with %v", target, doc)
	}
	state := url.QueryEscape(target.Query().Get("state"))
	if body, status := get(t, page+"callback?code=c0de&state=x"+state); status != 400 {
		t.Errorf("another state: %d %s", status, body)
	}
	if body, status := get(t, page+"callback?state="+state); status != 400 {
		t.Errorf("no code: %d %s", status, body)
	}
	if to, status := agree(t, page); status != 303 || !strings.HasSuffix(to, "https://hub.example/apps/mergegate-acme/installations/new") {
		t.Errorf("callback: %d %s", status, to)
	}
	app, err := end()
	if err != nil {
		t.Fatal(err)
	}
	want := App{ID: 7, Slug: "mergegate-acme", Owner: "acme", URL: "https://hub.example/apps/mergegate-acme"}
	if app != want {
		t.Errorf("%+v, want %+v", app, want)
	}
	for path, text := range map[string]string{f.KeyFile: f.key, f.SecretFile: "h00k\n"} {
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("%s holds %d bytes, %v; want %d", path, len(got), err, len(text))
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want only its owner to read it", path, info.Mode(), err)
		}
	}
}

// A page under another name, which a hostile site could have pointed here, is
// not answered.
func TestOtherHost(t *testing.T) {
	f := newFlow(t, http.StatusCreated, answer)
	ctx, cancel := context.WithCancel(t.Context())
	page, end := f.start(t, ctx)
	req, err := http.NewRequestWithContext(ctx, "GET", page, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusMisdirectedRequest || strings.Contains(string(body), "state=") {
		t.Errorf("%d %s, %v", res.StatusCode, body, err)
	}
	cancel()
	_, err = end()
	if err == nil {
		t.Error("a run that was broken off succeeds")
	}
	empty(t, f)
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   func(string) string
		want   string
	}{
		{"code used", 404, func(string) string { return `{"message":"Not Found"}` }, "used already, or is older than an hour"},
		{"GitHub is down", 502, func(string) string { return "<html>" }, "answered 502"},
		{"no key", 201, func(string) string { return answer("") }, "no App with a private key"},
		{"no JSON", 201, func(string) string { return "OK" }, "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFlow(t, tt.status, tt.body)
			page, end := f.start(t, t.Context())
			agree(t, page)
			_, err := end()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if strings.Contains(fmt.Sprint(err), "c0de") || strings.Contains(fmt.Sprint(err), "PRIVATE") {
				t.Errorf("the error tells a secret: %v", err)
			}
			empty(t, f)
		})
	}
}

// A code is as good as a key until it is used; an error is not the place for it.
func TestGitHubOutOfReach(t *testing.T) {
	f := newFlow(t, http.StatusCreated, answer)
	page, end := f.start(t, t.Context())
	f.hub.Close()
	agree(t, page)
	_, err := end()
	if err == nil || strings.Contains(err.Error(), "c0de") || !strings.Contains(err.Error(), "start again") {
		t.Errorf("error %v", err)
	}
	empty(t, f)
}

// GitHub may leave the webhook secret out.
func TestNoSecretFromGitHub(t *testing.T) {
	f := newFlow(t, http.StatusCreated, func(key string) string {
		return strings.Replace(answer(key), `"h00k"`, "null", 1)
	})
	page, end := f.start(t, t.Context())
	agree(t, page)
	app, err := end()
	if err != nil || !app.SecretToSet {
		t.Fatalf("%+v, %v; want a secret to set", app, err)
	}
	if secret, err := os.ReadFile(f.SecretFile); err != nil || len(secret) < 20 {
		t.Errorf("the made-up secret has %d bytes, %v", len(secret), err)
	}
}

func TestFilesAreNeverOverwritten(t *testing.T) {
	f := newFlow(t, http.StatusCreated, answer)
	if err := os.WriteFile(f.SecretFile, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := f.Run(ctx, f.hub.Client(), func(string) { t.Error("somebody is asked to open a page") })
	if err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("error %v", err)
	}
	if kept, err := os.ReadFile(f.SecretFile); err != nil || string(kept) != "precious" {
		t.Errorf("the file holds %q, %v", kept, err)
	}
	if _, err := os.Stat(f.KeyFile); err == nil {
		t.Error("the other file is left behind")
	}
}

func TestDocument(t *testing.T) {
	s := Setup{Web: "https://github.com", Name: "x", Webhook: "https://mq.example.org/webhook/github", Events: []string{"push"}}
	doc := s.document("http://127.0.0.1:1")
	if hook := fmt.Sprint(doc["hook_attributes"], doc["default_events"]); hook != "map[active:true url:https://mq.example.org/webhook/github] [push]" {
		t.Errorf("webhook %s", hook)
	}
	if p := doc["default_permissions"].(map[string]string); p["workflows"] != "" || p["administration"] != "read" {
		t.Errorf("permissions %v", p)
	}
	s.Webhook, s.Workflows = "", true
	doc = s.document("http://127.0.0.1:1")
	if doc["hook_attributes"] != nil || doc["default_events"] != nil {
		t.Errorf("without a webhook: %v", doc)
	}
	if p := doc["default_permissions"].(map[string]string); p["workflows"] != "write" {
		t.Errorf("permissions %v", p)
	}
	if got := s.form("a b"); got != "https://github.com/settings/apps/new?state=a+b" {
		t.Errorf("form %s", got)
	}
}

// GitHub does not deliver to this machine, so such an App would be deaf.
func TestLoopbackWebhook(t *testing.T) {
	s := Setup{Web: "https://github.com", Webhook: "http://localhost:8080/webhook/github"}
	if _, err := s.Run(t.Context(), http.DefaultClient, nil); err == nil || !strings.Contains(err.Error(), "external_url") {
		t.Errorf("error %v", err)
	}
}

// empty checks that a run that failed left no files.
func empty(t *testing.T, f *flow) {
	t.Helper()
	for _, path := range []string{f.KeyFile, f.SecretFile} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left behind", path)
		}
	}
}
