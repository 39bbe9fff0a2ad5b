package manifest_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mergegate/forge/github"
	"mergegate/forge/localhub"
	"mergegate/gate"
	"mergegate/internal/ghspec"
	"mergegate/internal/manifest"
)

// A person goes the whole way on the local GitHub: the start page, GitHub's
// form, back with the code, the installation. With what was kept the App can work.
func TestOnLocalGitHub(t *testing.T) {
	judge, err := ghspec.New()
	if err != nil {
		t.Fatal(err)
	}
	hub, err := localhub.Start(t.Context(), localhub.Options{Dir: t.TempDir(), Wrap: judge.Handler})
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Stop()
	if err := hub.AddOrg("acme"); err != nil {
		t.Fatal(err)
	}
	if err := hub.AddRepo("acme/widgets"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := manifest.Setup{
		Web: hub.URL, API: hub.API, Org: "acme", Name: "mergegate-acme", External: "http://127.0.0.1:1",
		Webhook: "http://127.0.0.1:1/webhook/gh", Events: []string{"pull_request", "push"},
		KeyFile: filepath.Join(dir, "app.pem"), SecretFile: filepath.Join(dir, "webhook.secret"),
	}
	visit, done := make(chan string, 1), make(chan error, 1)
	var app manifest.App
	go func() {
		var err error
		app, err = s.Run(t.Context(), &http.Client{Transport: judge.Transport(http.DefaultTransport)}, func(page string) { visit <- page })
		done <- err
	}()

	var b browser
	b.open(t, <-visit)
	b.submit(t, nil) // Continue to GitHub
	b.submit(t, url.Values{"owner": {"acme"}})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := app.Install(); b.at.String() != want {
		t.Errorf("the browser ends at %s, want %s", b.at, want)
	}
	b.submit(t, url.Values{"repo": {"acme/widgets"}})

	f, err := github.New(github.Config{Name: "gh", URL: hub.API, AppID: app.ID, Key: func() ([]byte, error) { return os.ReadFile(s.KeyFile) },
		Transport: judge.Transport(http.DefaultTransport)})
	if err != nil {
		t.Fatal(err)
	}
	r := gate.Repo{Forge: "gh", Owner: "acme", Name: "widgets"}
	if _, err := f.Repository(t.Context(), r); err != nil {
		t.Errorf("the App cannot read the repository: %v", err)
	}
	if me, err := f.Me(t.Context()); err != nil || me.Login != app.Slug+"[bot]" {
		t.Errorf("the App is %v, %v", me, err)
	}
	if hooks, err := f.Webhooks(t.Context(), r); err != nil || len(hooks) != 1 || hooks[0].URL != s.Webhook {
		t.Errorf("the App's webhook: %v, %v", hooks, err)
	}
	if r := judge.Report(); len(r.Violations) > 0 || r.Exchanges == 0 {
		t.Error(r)
	}
}

// browser is at one page, and can fill in its form.
type browser struct {
	at   *url.URL
	page string
}

func (b *browser) open(t *testing.T, address string) {
	t.Helper()
	res, err := http.Get(address)
	b.arrive(t, res, err)
}

// submit sends the page's form with its hidden fields and these.
func (b *browser) submit(t *testing.T, fields url.Values) {
	t.Helper()
	form := regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">.*?</form>`).FindStringSubmatch(b.page)
	if form == nil {
		t.Fatalf("%s has no form:\n%s", b.at, b.page)
	}
	values := url.Values{}
	for _, hidden := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(form[0], -1) {
		values.Set(hidden[1], html.UnescapeString(hidden[2]))
	}
	for name, v := range fields {
		values[name] = v
	}
	to, err := b.at.Parse(html.UnescapeString(form[1]))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.PostForm(to.String(), values)
	b.arrive(t, res, err)
}

func (b *browser) arrive(t *testing.T, res *http.Response, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	b.at, b.page = res.Request.URL, string(body)
	if res.StatusCode != http.StatusOK {
		t.Fatal(fmt.Sprint(b.at, ": ", res.Status, "\n", strings.TrimSpace(b.page)))
	}
}
