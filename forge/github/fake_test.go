package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

const secretToken = "ghp_do-not-tell"

var (
	errUnknown = errors.New("an error without a meaning")
	widgets    = gate.Repo{Forge: "work", Owner: "acme", Name: "widgets"}
)

// kind is which of the errors that callers tell apart err is.
func kind(err error) error {
	for _, k := range []error{forge.ErrNotFound, forge.ErrDenied, forge.ErrMoved, forge.ErrBusy} {
		if errors.Is(err, k) {
			return k
		}
	}
	if err != nil {
		return errUnknown
	}
	return nil
}

// reply is what a script answers.
type reply struct {
	status int
	body   string
}

// script is a GitHub that answers by heart, for what a quiet hub does not say.
// Keys are "GET /repos/acme/widgets"; several replies are given in turn, and the
// last one again. What is not in it is 404.
type script struct {
	url string

	mu      sync.Mutex
	replies map[string][]reply
	asked   []string
	bodies  map[string]string // of the last request of each key
	header  http.Header       // of the last request
}

func newScript(t *testing.T, replies map[string][]reply) *script {
	s := &script{replies: replies, bodies: make(map[string]string)}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL + "/api/v3"
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/api/v3")
	body, _ := io.ReadAll(r.Body)
	s.asked, s.bodies[key], s.header = append(s.asked, key), string(body), r.Header
	answer := reply{404, `{"message":"Not Found"}`}
	if all := s.replies[key]; len(all) > 0 {
		answer = all[0]
		if len(all) > 1 {
			s.replies[key] = all[1:]
		}
	}
	if to, ok := strings.CutPrefix(answer.body, "→ "); ok {
		w.Header().Set("Location", strings.ReplaceAll(to, "SELF", s.url))
	}
	w.WriteHeader(answer.status)
	fmt.Fprint(w, answer.body)
}

func (s *script) times(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count("\n"+strings.Join(s.asked, "\n")+"\n", "\n"+key+"\n")
}

// forge is the script seen with a token.
func (s *script) forge(t *testing.T) *Forge {
	t.Helper()
	f, err := New(Config{Name: "work", URL: s.url, Token: func() (string, error) { return secretToken, nil }, Pause: time.Nanosecond})
	check(t, err)
	return f
}

func marshal(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

func TestNewRefuses(t *testing.T) {
	token := func() (string, error) { return secretToken, nil }
	for _, url := range []string{"", "api.github.com", "ftp://api.github.com", "https://bot:secret@api.github.com", "https://api.github.com/?token=secret"} {
		_, err := New(Config{Name: "work", URL: url, Token: token})
		if err == nil || !strings.Contains(err.Error(), "forge work: url must") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := New(Config{Name: "work", URL: "https://git.example.com", Token: token}); err == nil || !strings.Contains(err.Error(), "https://HOST/api/v3") {
		t.Errorf("a host without its API: %v", err)
	}
	for _, cfg := range []Config{{}, {AppID: 1}, {AppID: 1, Token: token}} {
		cfg.Name, cfg.URL = "work", "https://api.github.com"
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "private key, or a token") {
			t.Errorf("without credentials: %v", err)
		}
	}
}

// TestGitHost: git is spoken where the API's documentation says, whatever the API
// itself calls a clone URL.
func TestGitHost(t *testing.T) {
	for api, want := range map[string]string{
		"https://api.github.com":            "https://github.com/acme/widgets.git",
		"https://git.example.com/api/v3/":   "https://git.example.com/acme/widgets.git",
		"https://api.acme.ghe.com":          "https://acme.ghe.com/acme/widgets.git",
		"http://127.0.0.1:3000/api/v3":      "http://127.0.0.1:3000/acme/widgets.git",
		"https://example.com/github/api/v3": "https://example.com/github/acme/widgets.git",
	} {
		f, err := New(Config{Name: "work", URL: api, Token: func() (string, error) { return "", nil }})
		check(t, err)
		if got := f.cloneURL("acme/widgets"); got != want {
			t.Errorf("%s: %s, want %s", api, got, want)
		}
	}
}

func TestAnswersWithoutMeaning(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   error
		text   string
	}{
		{401, `{"message":"Bad credentials"}`, errUnknown, "make a new one"},
		{403, `{"message":"Resource not accessible by personal access token"}`, forge.ErrDenied, "not accessible"},
		{404, `{"message":"Not Found"}`, forge.ErrNotFound, "404"},
		{410, `{"message":"Issues are disabled for this repo"}`, forge.ErrNotFound, "disabled"},
		{422, `{"message":"Validation Failed","errors":[{"resource":"Issue","field":"title","code":"missing_field"}]}`, forge.ErrDenied, "title missing_field"},
		{451, `{"message":"Repository access blocked"}`, forge.ErrDenied, "blocked"},
		{500, ``, errUnknown, "500"},
		{502, `<html>`, errUnknown, "502"},
		{200, `<html>`, errUnknown, "read the issue #1"},
	} {
		s := newScript(t, map[string][]reply{"GET /repos/acme/widgets/issues/1": {{tt.status, tt.body}}})
		_, err := s.forge(t).Issue(t.Context(), widgets, 1)
		if kind(err) != tt.want || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%d %s: error %v; want %v with %q", tt.status, tt.body, err, tt.want, tt.text)
		}
		if strings.Contains(err.Error(), secretToken) {
			t.Errorf("the error %q tells the token", err)
		}
	}
}

// TestRedirects: the token stays on its host, and a write is never answered by a
// read.
func TestRedirects(t *testing.T) {
	thief := newScript(t, nil)
	issue := reply{200, `{"number":1,"title":"found"}`}
	const path = "/repos/acme/widgets/issues/1"
	for _, tt := range []struct {
		name   string
		status int
		to     string
		write  bool
		text   string // of the error; "" for none
	}{
		{"read, same host", 301, "SELF/repositories/7/issues/1", false, ""},
		{"read, other host", 302, thief.url + path, false, "redirected to"},
		{"read, in a circle", 302, "SELF" + path, false, "in a circle"},
		{"write, told to repeat", 307, "SELF/repositories/7/issues/1", true, ""},
		{"write, told to look elsewhere", 301, "SELF/repositories/7/issues/1", true, "renamed or moved"},
		{"write, other host", 307, thief.url + path, true, "redirected to"},
	} {
		s := newScript(t, map[string][]reply{
			"GET " + path: {{tt.status, "→ " + tt.to}}, "PATCH " + path: {{tt.status, "→ " + tt.to}},
			"GET /repositories/7/issues/1": {issue}, "PATCH /repositories/7/issues/1": {issue},
		})
		f := s.forge(t)
		var err error
		if tt.write {
			err = f.EditIssue(t.Context(), widgets, 1, "text")
		} else {
			_, err = f.Issue(t.Context(), widgets, 1)
		}
		if tt.text == "" && err != nil || tt.text != "" && (kind(err) != errUnknown || !strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.text)
		}
		if tt.write && tt.text == "" && s.bodies["PATCH /repositories/7/issues/1"] != "{\"body\":\"text\"}\n" {
			t.Errorf("%s: the body became %q", tt.name, s.bodies["PATCH /repositories/7/issues/1"])
		}
	}
	if len(thief.asked) != 0 {
		t.Errorf("the other host was asked %v", thief.asked)
	}
}

// TestTokenIsReadEachTime, so that it may be replaced while we run.
func TestTokenIsReadEachTime(t *testing.T) {
	s := newScript(t, map[string][]reply{"GET /repos/acme/widgets/issues/1": {{200, `{"number":1}`}}})
	token := "first"
	f, err := New(Config{Name: "work", URL: s.url, Token: func() (string, error) { return token, nil }})
	check(t, err)
	for _, token = range []string{"first", "second"} {
		_, err := f.Issue(t.Context(), widgets, 1)
		check(t, err)
		if got := s.header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("Authorization %q, want %q", got, token)
		}
	}
	auth, err := f.GitAuth(t.Context(), widgets)
	if want := "Basic eC1hY2Nlc3MtdG9rZW46c2Vjb25k"; err != nil || auth != want {
		t.Errorf("git's %q, %v; want %q", auth, err, want)
	}
}

// TestListThatMoves: an entry that slipped to an earlier page while the list was
// read is not lost, and a list that never holds still is an error.
func TestListThatMoves(t *testing.T) {
	page := func(numbers ...int) string {
		var all []map[string]any
		for _, n := range numbers {
			all = append(all, map[string]any{"number": n, "state": "open"})
		}
		return marshal(all)
	}
	serve := func(t *testing.T, answers ...string) *Forge {
		n := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") != "2" {
				w.Header().Set("Link", `<http://`+r.Host+r.URL.Path+`?page=2>; rel="next"`)
			}
			fmt.Fprint(w, answers[n%len(answers)])
			n++
		}))
		t.Cleanup(srv.Close)
		return (&script{url: srv.URL + "/api/v3"}).forge(t)
	}
	numbers := func(prs []gate.PR) string {
		var all []string
		for _, p := range prs {
			all = append(all, fmt.Sprint(p.Number))
		}
		return strings.Join(all, " ")
	}
	// #1 is closed after the first page was read: #3 slips to it, unseen.
	f := serve(t, page(1, 2), page(4), page(2, 3), page(4), page(2, 3), page(4))
	prs, err := f.PullRequests(t.Context(), widgets)
	if got := numbers(prs); err != nil || got != "2 3 4" {
		t.Errorf("pull requests %s, %v; want 2 3 4", got, err)
	}
	// #5 is opened meanwhile and pushes nothing out of sight.
	f = serve(t, page(1, 2), page(2, 3, 5))
	prs, err = f.PullRequests(t.Context(), widgets)
	if got := numbers(prs); err != nil || got != "1 2 3 5" {
		t.Errorf("pull requests %s, %v; want 1 2 3 5", got, err)
	}
	f = serve(t, page(1), page(2), page(3), page(4), page(5), page(6), page(7), page(8))
	if prs, err := f.PullRequests(t.Context(), widgets); err == nil {
		t.Errorf("a list that never held still is %s", numbers(prs))
	}
}
