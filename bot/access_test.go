package bot

import (
	"bytes"
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mergegate/bot/config"
	"mergegate/gate"
	"mergegate/templates"
)

// oneLog is the log "abc", of the PR that testSite shows.
type oneLog struct{ text string }

func (l oneLog) OpenLog(id string) (io.ReadSeekCloser, error) {
	if id != "abc" {
		return nil, fs.ErrNotExist
	}
	return closing{bytes.NewReader([]byte(l.text))}, nil
}

type closing struct{ *bytes.Reader }

func (closing) Close() error { return nil }

// testSite is a bot whose pages show one PR, with word everywhere a stranger's word
// can be.
func testSite(t *testing.T, word string, public bool) *Bot {
	b, w := testBot(t, oneLog{word + "\n" + word})
	line := gate.Line{PR: 1, Title: word, Author: word, By: word, Base: "main", State: gate.Waiting, Why: []string{word}, URL: "http://forge.example/1", Since: time.Now()}
	row := templates.Row{Line: line, Href: "http://127.0.0.1:8080/p/work/acme/widgets/1", LogHref: "http://127.0.0.1:8080/log/abc"}
	trouble := &templates.Trouble{Error: "dial 10.1.2.3: " + word, Since: time.Now()}
	w.view.Store(&view{
		repo: w.repo, at: time.Now(), public: map[string]bool{"main": public}, trouble: trouble,
		queues: []templates.BaseView{{
			Forge: "work", Repo: "acme/widgets", Base: "main", Holder: "replica-host/7", Href: "javascript:alert(1)", Trouble: trouble,
			Frozen: &gate.Freeze{By: word, Reason: word, At: time.Now()}, Rows: []templates.Row{row}, Outcomes: []templates.Row{row},
		}},
		prs: map[int]templates.PRPageView{1: {
			Row: row, Forge: "work", Repo: "acme/widgets", QueueHref: "http://127.0.0.1:8080/r/work/acme/widgets/main",
			ModeWhy: word, Events: []gate.Happened{{At: time.Now(), What: word}},
		}},
	})
	return b
}

// visit is how somebody asks for a page.
type visit struct {
	from, host string
	header     http.Header
}

var here = visit{from: "127.0.0.1:4444", host: "127.0.0.1:8080"}

func (v visit) get(b *Bot, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr, r.Host = v.from, v.host
	for k, values := range v.header {
		r.Header[k] = values
	}
	rw := httptest.NewRecorder()
	b.Handler("v1.2.3").ServeHTTP(rw, r)
	return rw
}

var (
	pagesOfARepo = []string{"/r/work/acme/widgets/main", "/p/work/acme/widgets/1", "/log/abc", "/log/abc?raw"}
	allPages     = append([]string{"/", "/api/queue"}, pagesOfARepo...)
)

func basic(password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("anyone:"+password))}}
}

func TestAttack93StrangersSeeNothingPrivate(t *testing.T) {
	const token = "0123456789abcdef-token"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := config.Pages{Auth: config.PagesNone}
	withToken := config.Pages{Auth: config.PagesToken, TokenFile: file}
	proxy := config.Pages{Auth: config.PagesProxy, Header: "X-Forwarded-User", Proxies: []string{"10.0.0.2/32", "127.0.0.1/32"}}
	const local, abroad = "http://127.0.0.1:8080", "https://merge.example.org"
	named := http.Header{"X-Forwarded-User": {"ann"}}
	for _, tc := range []struct {
		name     string
		pages    config.Pages
		external string
		visit    visit
		status   int
	}{
		{"this machine", none, local, here, 200},
		{"this machine by name", none, local, visit{from: "[::1]:4", host: "localhost:8080"}, 200},
		{"another machine", none, local, visit{from: "10.0.0.9:4", host: "127.0.0.1:8080"}, 403},
		{"a page elsewhere whose name points here", none, local, visit{from: "127.0.0.1:4", host: "rebound.example:8080"}, 403},
		{"no host at all", none, local, visit{from: "127.0.0.1:4", host: ""}, 403},
		{"through a proxy that nobody told us of", none, abroad, here, 403},
		{"no token", withToken, abroad, here, 401},
		{"a wrong token", withToken, abroad, visit{here.from, here.host, basic("guess")}, 401},
		{"no password", withToken, abroad, visit{here.from, here.host, basic("")}, 401},
		{"a wrong bearer", withToken, abroad, visit{here.from, here.host, http.Header{"Authorization": {"Bearer " + token[1:]}}}, 401},
		{"the token as a name", withToken, abroad, visit{here.from, here.host, http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(token+":"))}}}, 401},
		{"the token in the address", withToken, abroad, visit{here.from, here.host, http.Header{"Cookie": {"token=" + token}}}, 401},
		{"the password", withToken, abroad, visit{"203.0.113.9:4", "merge.example.org", basic(token)}, 200},
		{"the bearer", withToken, abroad, visit{"203.0.113.9:4", "merge.example.org", http.Header{"Authorization": {"Bearer " + token}}}, 200},
		{"a token file that is gone", config.Pages{Auth: config.PagesToken, TokenFile: file + ".no"}, abroad, visit{here.from, here.host, basic("")}, 401},
		{"the proxy names nobody", proxy, abroad, visit{from: "10.0.0.2:4", host: "merge.example.org"}, 403},
		{"somebody says to be the proxy", proxy, abroad, visit{"10.0.0.9:4", "merge.example.org", named}, 403},
		{"a page elsewhere says it through the browser", proxy, abroad, visit{"127.0.0.1:4", "rebound.example", named}, 403},
		{"the proxy", proxy, abroad, visit{"10.0.0.2:4", "merge.example.org", named}, 200},
		{"the proxy here", proxy, abroad, visit{"127.0.0.1:4", "127.0.0.1:8080", named}, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := testSite(t, "SECRETWORD", false)
			b.cfg.Pages, b.cfg.ExternalURL = tc.pages, tc.external
			for _, path := range append([]string{"/metrics"}, allPages...) {
				rw := tc.visit.get(b, path)
				if rw.Code != tc.status {
					t.Errorf("%s: %d, want %d", path, rw.Code, tc.status)
				}
				if tc.status == 200 {
					continue
				}
				for _, secret := range []string{"SECRETWORD", "acme", "widgets", "10.1.2.3", "v1.2.3", "replica-host", token} {
					if strings.Contains(rw.Body.String(), secret) {
						t.Errorf("%s shows %s", path, secret)
					}
				}
			}
			for _, path := range []string{"/log/nosuch", "/p/work/acme/widgets/2", "/r/work/acme/other/main"} {
				want := 404
				if tc.status != 200 {
					want = tc.status // whether it exists is not told either
				}
				if rw := tc.visit.get(b, path); rw.Code != want {
					t.Errorf("%s: %d, want %d", path, rw.Code, want)
				}
			}
			for _, path := range []string{"/healthz", "/style.css"} {
				if rw := tc.visit.get(b, path); rw.Code != 200 {
					t.Errorf("%s: %d, want 200", path, rw.Code)
				}
			}
			if rw := tc.visit.get(b, "/readyz"); rw.Code != 503 || strings.Contains(rw.Body.String(), "work") != (tc.status == 200) {
				t.Errorf("/readyz: %d %q", rw.Code, rw.Body)
			}
		})
	}
}

func TestAPublicQueueIsForEverybodyWithoutWhatIsTheOperators(t *testing.T) {
	b := testSite(t, "TITLE", true)
	b.cfg.ExternalURL = "https://merge.example.org"
	stranger := visit{from: "203.0.113.9:4", host: "merge.example.org"}
	for _, path := range allPages {
		rw := stranger.get(b, path)
		if rw.Code != 200 {
			t.Errorf("%s: %d, want 200", path, rw.Code)
		}
		for _, secret := range []string{"10.1.2.3", "v1.2.3", "replica-host"} {
			if strings.Contains(rw.Body.String(), secret) {
				t.Errorf("%s shows %s", path, secret)
			}
		}
	}
	for _, path := range []string{"/metrics", "/log/other", "/p/work/acme/widgets/2"} {
		if rw := stranger.get(b, path); rw.Code != 403 {
			t.Errorf("%s: %d, want 403", path, rw.Code)
		}
	}
}

func TestAttack94And92PagesAreHarmlessAndDoNothing(t *testing.T) {
	b := testSite(t, "x", false)
	for _, path := range append([]string{"/nowhere", "/metrics", "/healthz", "/style.css", "/p/work/acme/widgets/77"}, allPages...) {
		rw := here.get(b, path)
		for field, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Referrer-Policy":         "no-referrer",
			"Cache-Control":           "no-store",
		} {
			if got := rw.Header().Get(field); got != want {
				t.Errorf("%s: %s: %q, want %q", path, field, got, want)
			}
		}
		if rw.Header().Get("Content-Type") == "" {
			t.Errorf("%s: no Content-Type", path)
		}
	}
	before := b.workers[gate.Repo{Forge: "work", Owner: "acme", Name: "widgets"}]
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, "FROB"} {
		for _, path := range append([]string{"/metrics", "/healthz", "/login"}, allPages...) {
			r := httptest.NewRequest(method, path, strings.NewReader("a=b"))
			r.RemoteAddr, r.Host = here.from, here.host
			rw := httptest.NewRecorder()
			b.Handler("").ServeHTTP(rw, r)
			if rw.Code < 400 {
				t.Errorf("%s %s: %d, want a refusal", method, path, rw.Code)
			}
			if rw.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %s lets other sites read it", method, path)
			}
		}
	}
	if before.touched() {
		t.Error("asking for pages made a round due")
	}
	if rw := here.get(b, "/webhook/work"); rw.Code != 404 && rw.Code != 405 || before.touched() {
		t.Errorf("GET of the webhook: %d", rw.Code)
	}
}

func TestAddressesArePathsOfNothing(t *testing.T) {
	b := testSite(t, "x", false)
	for _, path := range []string{
		"/log/..%2f..%2fetc%2fpasswd", "/log/%2e%2e", "/log/../../etc/passwd", "/log/ABC", "/log/a%00b", "/log/" + strings.Repeat("a", 9000),
		"/r/work/acme%2fwidgets/x/main", "/r/%2e%2e/%2e%2e/%2e%2e/%2e%2e", "/p/work/acme/widgets/99999999999999999999", "/p/work/acme/widgets/-1",
		"/style.css/../../../etc/passwd", "/templates/frame.html.tmpl",
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL, r.RequestURI, r.RemoteAddr, r.Host = u, path, here.from, here.host
		rw := httptest.NewRecorder()
		b.Handler("").ServeHTTP(rw, r)
		if rw.Code < 300 || strings.Contains(rw.Body.String(), "root:") {
			t.Errorf("%s: %d", path, rw.Code)
		}
	}
}
