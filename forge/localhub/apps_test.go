package localhub

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"

	"mergegate/gate"
)

// jwt is what the App proves itself with.
func (w *world) jwt(app App) string { return w.signed(app, 5*time.Minute) }

func (w *world) signed(app App, life time.Duration) string {
	w.t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM(app.Key)
	w.must(err)
	claims := jwt.RegisteredClaims{Issuer: strconv.FormatInt(app.ID, 10), IssuedAt: jwt.NewNumericDate(time.Now()),
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(life))}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	w.must(err)
	return token
}

// installationToken is a token of the App's first installation.
func (w *world) installationToken(app App) string {
	w.t.Helper()
	all := w.call(w.jwt(app), "GET", "/app/installations", nil)
	a := w.call(w.jwt(app), "POST", sprintf("/app/installations/%.0f/access_tokens", all.get("0.id")), nil)
	if a.status != http.StatusCreated {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	return a.text("token")
}

func TestAppCredentials(t *testing.T) {
	w, _, app, token := appWorld(t)
	if len(token) <= 40 || !strings.HasPrefix(token, "ghs_") {
		t.Errorf("token %q; want a long one that begins with ghs_", token)
	}
	if a := w.call(w.jwt(app), "GET", "/app", nil); a.status != 200 || a.text("slug") != "merge-bot" {
		t.Errorf("GET /app: %d %s", a.status, a.body)
	}
	for what, bad := range map[string]string{
		"a JWT for a day": w.signed(app, 24*time.Hour), "an old JWT": w.signed(app, -time.Minute),
		"a JWT of another key": strings.TrimRight(w.jwt(app), "AQgw") + "AAAA", "a made-up token": "ghs_x",
	} {
		if a := w.call(bad, "GET", "/app", nil); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	for _, path := range []string{"/app/hook/config", "/repos/ann/lib/installation", "/users/ann/installation", "/app/installations"} {
		if a := w.call(w.jwt(app), "GET", path, nil); a.status != 200 {
			t.Errorf("GET %s: %d %s", path, a.status, a.body)
		}
	}
	if a := w.call(token, "GET", "/user", nil); a.status != http.StatusForbidden {
		t.Errorf("GET /user as an installation: %d", a.status)
	}
	if a := w.call(token, "GET", "/installation/repositories", nil); a.text("repositories.0.full_name") != "ann/lib" {
		t.Errorf("its repositories: %s", a.body)
	}
	w.ExpireTokens()
	if a := w.call(token, "GET", "/repos/ann/lib", nil); a.status != http.StatusUnauthorized {
		t.Errorf("an expired token: %d", a.status)
	}
}

// TestAppReach: an App sees and does what it was given, where it is installed.
func TestAppReach(t *testing.T) {
	w, _, app, token := appWorld(t)
	w.must(w.AddRepo("ann/secret"))
	w.must(w.SetPrivate("ann/secret", true))
	w.must(w.AddRepo("ann/open"))
	n, _ := w.propose("feature", map[string]string{"a.txt": "a\n"})
	comment := map[string]string{"body": "x"}
	for _, tt := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/repos/ann/lib", nil, 200},
		{"GET", "/repos/ann/secret", nil, 404},
		{"GET", "/repos/ann/open", nil, 200},
		{"POST", "/repos/ann/open/issues", map[string]string{"title": "x"}, 403},
		{"POST", sprint("/repos/ann/lib/issues/", n, "/comments"), comment, 201},
		{"GET", "/repos/ann/lib/branches/main/protection", nil, 404},
	} {
		if a := w.call(token, tt.method, tt.path, tt.body); a.status != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, a.status, a.body, tt.status)
		}
	}
	w.must(w.SetPermission(app.ID, "issues", "read"))
	if a := w.call(token, "POST", sprint("/repos/ann/lib/issues/", n, "/comments"), comment); a.status != 403 {
		t.Errorf("a comment without the permission: %d", a.status)
	}
	if a := w.call(w.ann.Token, "GET", "/repos/ann/lib/collaborators/merge-bot%5Bbot%5D/permission", nil); a.text("permission") != "write" {
		t.Errorf("the bot's permission: %s", a.body)
	}
}

// TestBypass: an App moves a protected branch only when the rules let it pass.
func TestBypass(t *testing.T) {
	w, _, _, token := appWorld(t)
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	rules := Protection{Approvals: 1, EnforceAdmins: true}
	w.must(w.Protect("ann/lib", "main", &rules))
	if a := w.call(token, "PATCH", "/repos/ann/lib/git/refs/heads/main", to("feature")(w)); a.status != 422 {
		t.Errorf("without bypass: %d %s", a.status, a.body)
	}
	rules.Bypass = []string{"merge-bot[bot]"}
	w.must(w.Protect("ann/lib", "main", &rules))
	if a := w.call(token, "PATCH", "/repos/ann/lib/git/refs/heads/main", to("feature")(w)); a.status != 200 {
		t.Errorf("with bypass: %d %s", a.status, a.body)
	}
}

func TestSuspended(t *testing.T) {
	w, _, app, token := appWorld(t)
	all := w.call(w.jwt(app), "GET", "/app/installations", nil)
	id := int64(all.get("0.id").(float64))
	w.must(w.Suspend(id, true))
	if a := w.call(token, "GET", "/repos/ann/lib", nil); a.status != 403 || a.text("message") != "This installation has been suspended" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.call(w.jwt(app), "POST", sprint("/app/installations/", id, "/access_tokens"), nil); a.status != 403 {
		t.Errorf("a new token: %d", a.status)
	}
	w.must(w.Uninstall(id))
	if a := w.call(token, "GET", "/repos/ann/lib", nil); a.status != 401 {
		t.Errorf("after removal: %d", a.status)
	}
}

// TestManifest is the flow that makes an App: a form from elsewhere, a page to
// look at, a redirect with a code, and the secrets for the code, once.
func TestManifest(t *testing.T) {
	w := newWorld(t, Options{})
	const manifest = `{"name":"mq <acme>","url":"https://example.com","redirect_url":"http://127.0.0.1:1/callback?x=1","hook_attributes":{"url":"https://example.com/hook","active":false},"default_permissions":{"contents":"write"},"default_events":["push"]}`
	resp, err := http.PostForm(w.URL+"/settings/apps/new?state=st4te", url.Values{"manifest": {manifest}})
	w.must(err)
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("the page: %d", resp.StatusCode)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	made, err := client.PostForm(w.URL+"/settings/apps/create", url.Values{"manifest": {manifest}, "state": {"st4te"}, "owner": {"ann"}})
	w.must(err)
	defer made.Body.Close()
	to := made.Header.Get("Location")
	code := regexp.MustCompile(`^http://127\.0\.0\.1:1/callback\?code=([0-9a-f]{40})&state=st4te&x=1$`).FindStringSubmatch(to)
	if made.StatusCode != http.StatusFound || code == nil {
		t.Fatalf("%d to %q", made.StatusCode, to)
	}
	a := w.call("", "POST", "/app-manifests/"+code[1]+"/conversions", nil)
	if a.status != 201 || !strings.HasPrefix(a.text("pem"), "-----BEGIN RSA PRIVATE KEY-----") || a.text("webhook_secret") == "" || a.text("name") != "mq <acme>" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if again := w.call("", "POST", "/app-manifests/"+code[1]+"/conversions", nil); again.status != 404 {
		t.Errorf("the code twice: %d", again.status)
	}
	app := App{ID: int64(a.get("id").(float64)), Key: []byte(a.text("pem"))}
	if a := w.call(w.jwt(app), "GET", "/app", nil); a.status != 200 {
		t.Errorf("the key does not work: %d %s", a.status, a.body)
	}
	if w.call(w.ann.Token, "GET", "/repos/ann/lib/collaborators/bob/permission", nil).text("role_name") != gate.RoleWrite.String() {
		t.Error("bob is no writer")
	}
}
