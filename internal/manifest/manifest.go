// Package manifest creates a GitHub App for mergegate by GitHub's App manifest
// flow, so that nobody has to fill in a form of thirty fields and carry a
// private key around by hand.
//
// The flow, as GitHub documents it ("Registering a GitHub App from a manifest"):
//
//  1. A page on this machine posts the manifest to GitHub in the person's
//     browser. GitHub shows what the App will be; the person presses Create.
//  2. GitHub sends the browser back here with a code.
//  3. The code is exchanged, once, for the App's id, key and webhook secret.
//  4. The browser goes on to GitHub's page where the App is installed.
//
// Invariants: the page listens on loopback only and answers only to its own
// address; a callback counts only with the state of this run; the code is used
// at most once; secrets are written to files that only their owner can read, and
// nowhere else: they are in no output, error, URL or argument. A file that is
// there already is never written to. The files are made before GitHub is asked
// for anything, because a key that cannot be kept is lost.
package manifest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Setup is what the App shall be. All URLs are without a trailing slash.
type Setup struct {
	Web  string // GitHub's pages: https://github.com
	API  string // GitHub's API: https://api.github.com
	Org  string // the organization that shall own the App; "" for the person
	Name string // the App's name, unique on all of GitHub
	// External is mergegate's own address, shown on the App's page.
	External string
	// Webhook is where GitHub delivers to. It must be reachable from GitHub;
	// "" makes an App without a webhook, which mergegate serves by polling.
	Webhook string
	Events  []string // to subscribe to; used only with a Webhook
	// Workflows asks for the permission to push changes to workflow files.
	Workflows  bool
	KeyFile    string // where the private key goes
	SecretFile string // where the webhook secret goes
}

// App is what was created. It holds no secrets.
type App struct {
	ID    int64
	Slug  string // its account is slug[bot]
	Owner string
	URL   string // its page
	// SecretToSet: GitHub gave no webhook secret, so one was made up; it has to
	// be entered on the App's settings page before deliveries are accepted.
	SecretToSet bool
}

// Install is the page where the App is given repositories.
func (a App) Install() string { return a.URL + "/installations/new" }

// lifetime is GitHub's limit for the whole flow.
const lifetime = time.Hour

// Run goes through the flow. It calls visit with the address that the person
// must open in a browser on this machine, and returns when the App exists and
// its secrets are kept, when ctx ends, or when GitHub's hour is over. If it fails
// before GitHub created the App it leaves nothing behind and may be repeated.
func (s Setup) Run(ctx context.Context, client *http.Client, visit func(url string)) (App, error) {
	if s.Webhook != "" && loopback(s.Webhook) && !loopback(s.Web) {
		return App{}, fmt.Errorf("create the App: %s cannot be reached from GitHub; set external_url to a public address, or create the App without a webhook", s.Webhook)
	}
	kept, err := reserve(s.KeyFile, s.SecretFile)
	if err != nil {
		return App{}, fmt.Errorf("create the App: %w", err)
	}
	app, err := s.converse(ctx, client, kept, visit)
	if err != nil {
		kept.discard()
		return App{}, fmt.Errorf("create the App: %w", err)
	}
	return app, nil
}

// converse serves the two pages until the flow has ended.
func (s Setup) converse(ctx context.Context, client *http.Client, kept *files, visit func(string)) (App, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lifetime, errors.New("nobody finished it within GitHub's hour; start again"))
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return App{}, err
	}
	home := "http://" + listener.Addr().String()
	p := &pages{
		setup: s, home: home, host: listener.Addr().String(), state: rand.Text(),
		convert: func(code string) (App, error) { return s.convert(ctx, client, kept, code) },
		done:    make(chan result, 1),
	}
	server := &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	visit(home + "/")
	select {
	case r := <-p.done:
		// The browser still waits for the page that sends it on.
		bye, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		server.Shutdown(bye)
		return r.app, r.err
	case <-ctx.Done():
		server.Close()
		return App{}, context.Cause(ctx)
	}
}

// document is the manifest. The permissions are the least that mergegate needs;
// docs/github-app.md says what each is for.
func (s Setup) document(home string) map[string]any {
	permissions := map[string]string{
		"metadata": "read", "contents": "write", "pull_requests": "write", "issues": "write",
		"checks": "write", "statuses": "write", "administration": "read",
	}
	if s.Workflows {
		permissions["workflows"] = "write"
	}
	doc := map[string]any{
		"name":                s.Name,
		"url":                 cmp.Or(s.External, "https://example.org"),
		"description":         "Merge queue: lands only what it has tested.",
		"public":              false,
		"redirect_url":        home + callback,
		"default_permissions": permissions,
	}
	if s.Webhook != "" {
		doc["hook_attributes"] = map[string]any{"url": s.Webhook, "active": true}
		doc["default_events"] = s.Events
	}
	return doc
}

// form is GitHub's page that takes the manifest.
func (s Setup) form(state string) string {
	path := "/settings/apps/new"
	if s.Org != "" {
		path = "/organizations/" + url.PathEscape(s.Org) + path
	}
	return s.Web + path + "?state=" + url.QueryEscape(state)
}

// loopback says whether an address is on this machine.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := u.Hostname()
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
