// Package github speaks to GitHub, as a GitHub App or with a plain token, on
// github.com or on GitHub Enterprise Server.
//
// A call goes through these layers, each with one duty:
//
//	Forge            what mergegate asks, and what an answer means (read, write, failure)
//	go-github        paths and JSON
//	traffic          pace, rate limits, retries of reads, conditional requests
//	authorized       the token, made new when it ends
//	Config.Transport the network
//
// There is one client, one traffic and one AppsTransport for each installation:
// limits are counted per installation, and ghinstallation's AppsTransport may not
// be shared (its token refresh writes it without a lock).
//
// Some calls go below go-github v62: a branch (its redirects go to any host, and
// its errors have no status), a branch's rules (one rule of an unknown kind fails
// the whole answer), who may bypass a ruleset (not in its type), the labels of an
// issue (names are not escaped; the body is a bare array), and a branch's activity
// (not in the library).
//
// Answers are told apart by status. Where one status has many meanings, as for a
// refused merge, the facts are read again: words are shown to people, and
// compared only where being wrong is harmless ("Branch not protected", "No commit
// found", "has been suspended").
//
// A failure of the App itself (suspended, uninstalled, a wrong key) is never
// ErrNotFound or ErrDenied: those would be taken for a word about a pull request.
//
// The package never sends a token to another host, never follows a redirect that
// would turn a write into a read, never forces a ref, and never repeats a write.
package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// Config says which GitHub to speak to, and as whom: as an App with AppID and
// Key, or else with Token.
type Config struct {
	Name  string                 // the forge's name in the configuration
	URL   string                 // base of the REST API: https://api.github.com or https://HOST/api/v3
	Token func() (string, error) // asked before each call, so that a token may be replaced while we run
	AppID int64
	Key   func() ([]byte, error) // the App's private key, PEM; asked before each new token, so that it may be replaced
	Learn func(token string)     // if not nil, is told each token that GitHub gives
	// Transport is the network; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Pause is kept between the writes of an installation; 0 is the second that
	// GitHub asks for.
	Pause time.Duration
}

// Forge is one GitHub. It implements forge.Forge and forge.Admin, and is safe
// for concurrent use.
type Forge struct {
	cfg Config
	api *url.URL // with a slash at the end
	git string   // where git finds repositories, without a slash at the end
	app *conn    // as the App itself; nil with a token

	mu     sync.Mutex
	self   identity
	conns  map[string]*conn // by owner, lower case; with a token only ""
	places map[gate.Repo]place
}

// place is where a repository of the configuration is now. People rename
// repositories; the id stays.
type place struct {
	id          int64
	owner, name string
}

// New checks the configuration; it does not call GitHub.
func New(cfg Config) (*Forge, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("forge %s: url must be like https://api.github.com or https://HOST/api/v3", cfg.Name)
	}
	if u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("forge %s: url must carry no password and no query; the token has its own key", cfg.Name)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	if !strings.HasPrefix(u.Host, "api.") && !strings.HasSuffix(u.Path, "/api/v3/") {
		return nil, fmt.Errorf("forge %s: %s is not where an API is; write https://api.github.com, or https://HOST/api/v3 for GitHub Enterprise Server", cfg.Name, cfg.URL)
	}
	if cfg.AppID == 0 && cfg.Token == nil || cfg.AppID != 0 && cfg.Key == nil {
		return nil, fmt.Errorf("forge %s: give an App's id and private key, or a token", cfg.Name)
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if cfg.Pause == 0 {
		cfg.Pause = time.Second
	}
	f := &Forge{cfg: cfg, api: u, git: gitHost(u),
		conns: make(map[string]*conn), places: make(map[gate.Repo]place)}
	if cfg.AppID != 0 {
		f.app = f.asApp()
	}
	return f, nil
}

// gitHost is where people and git find what the API speaks of: github.com for
// api.github.com, HOST for HOST/api/v3. What the API itself calls clone_url is
// not used, because the token must go nowhere else.
func gitHost(api *url.URL) string {
	return api.Scheme + "://" + strings.TrimPrefix(api.Host, "api.") + strings.TrimSuffix(strings.TrimSuffix(api.Path, "/"), "/api/v3")
}

// Web is where people see what the API speaks of, without a slash at the end.
func (f *Forge) Web() string { return f.git }

// site is a repository with the connection to it.
type site struct {
	*conn
	owner, name string
}

// path is a path of the API below the repository.
func (s site) path(format string, args ...any) string {
	return "repos/" + s.owner + "/" + s.name + fmt.Sprintf(format, args...)
}

// place is where the repository was last seen, or else where it is configured.
func (f *Forge) place(r gate.Repo) (p place, seen bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, seen = f.places[r]; !seen {
		p = place{owner: r.Owner, name: r.Name}
	}
	return p, seen
}

// at finds the connection and the present name of a repository.
func (f *Forge) at(ctx context.Context, r gate.Repo) (site, error) {
	p, ok := f.place(r)
	c, err := f.connect(ctx, p.owner, p.name)
	return site{c, p.owner, p.name}, unseen(r, ok, err)
}

// unseen makes "not installed" mean "not found" for a repository that was never
// seen; about one that was, it says nothing.
func unseen(r gate.Repo, seen bool, err error) error {
	if !seen && errors.Is(err, errNotInstalled) {
		return &forge.Refusal{Kind: forge.ErrNotFound, Op: "reach " + r.String(), Status: http.StatusNotFound, Text: err.Error()}
	}
	return err
}

// get makes one call of the library about a repository and gives its error a
// meaning.
func get[T any](ctx context.Context, f *Forge, r gate.Repo, op string, call func(site) (T, *sdk.Response, error)) (T, error) {
	var zero T
	s, err := f.at(ctx, r)
	if err != nil {
		return zero, fmt.Errorf("%s: %w", op, err)
	}
	v, _, err := call(s)
	if err != nil {
		return zero, f.failure(op, s.conn, err)
	}
	return v, nil
}

// do is get for calls without an answer.
func do(ctx context.Context, f *Forge, r gate.Repo, op string, call func(site) (*sdk.Response, error)) error {
	_, err := get(ctx, f, r, op, func(s site) (struct{}, *sdk.Response, error) {
		resp, err := call(s)
		return struct{}{}, resp, err
	})
	return err
}

// ask is get for what the library does not know: path is below the repository.
func ask[T any](ctx context.Context, f *Forge, r gate.Repo, op, method string, in any, path string, args ...any) (T, error) {
	return get(ctx, f, r, op, func(s site) (T, *sdk.Response, error) {
		return raw[T](ctx, s.api, method, s.path(path, args...), in)
	})
}

func raw[T any](ctx context.Context, api *sdk.Client, method, path string, in any) (T, *sdk.Response, error) {
	var out T
	req, err := api.NewRequest(method, path, in)
	if err != nil {
		return out, nil, err
	}
	resp, err := api.Do(ctx, req, &out)
	return out, resp, err
}

// pageSize is the most that GitHub gives.
const pageSize = 100

// pages reads a list to its end, without doubles. GitHub tells no total, and an
// entry that goes away on an earlier page pulls another over unseen. So a list
// of more than one page is read until two readings in a row have the same
// entries; the second mostly costs nothing (see traffic). It is an error after
// four readings.
func pages[T any, K comparable](ctx context.Context, f *Forge, r gate.Repo, op string, key func(T) K, call func(site, sdk.ListOptions) ([]T, *sdk.Response, error)) ([]T, error) {
	s, err := f.at(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return sweeps(f, op, s.conn, key, func(page sdk.ListOptions) ([]T, *sdk.Response, error) { return call(s, page) })
}

func sweeps[T any, K comparable](f *Forge, op string, c *conn, key func(T) K, call func(sdk.ListOptions) ([]T, *sdk.Response, error)) ([]T, error) {
	var before []K
	for range 4 {
		var all []T
		var keys []K
		seen := make(map[K]bool)
		page := sdk.ListOptions{PerPage: pageSize}
		single := true
		for {
			part, resp, err := call(page)
			if err != nil {
				return nil, f.failure(op, c, err)
			}
			for _, v := range part {
				if k := key(v); !seen[k] {
					seen[k] = true
					all, keys = append(all, v), append(keys, k)
				}
			}
			if resp.NextPage == 0 {
				break
			}
			page.Page, single = resp.NextPage, false
		}
		if single || slices.Equal(before, keys) {
			return all, nil
		}
		before = keys
	}
	return nil, fmt.Errorf("%s: the list kept changing while it was read", op)
}

// failure gives an error of the library its meaning.
func (f *Forge) failure(op string, c *conn, err error) error {
	var answer *sdk.ErrorResponse
	var limit *sdk.RateLimitError
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		if answer.Response.StatusCode == http.StatusUnauthorized {
			f.forget(c)
			return f.unauthorized(op, c, words(answer))
		}
		if answer.Response.StatusCode == http.StatusForbidden && f.app != nil && strings.Contains(answer.Message, "installation has been suspended") {
			f.forget(c)
			return fmt.Errorf("%s: %w: %s", op, errInstallation, answer.Message)
		}
		return meaning(op, answer.Response.StatusCode, words(answer))
	case errors.As(err, &limit): // the library counts too
		return fmt.Errorf("%s: %w", op, &forge.RateLimited{Until: limit.Rate.Reset.Time})
	case errors.Is(err, errInstallation):
		f.forget(c)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// unauthorized says whose credentials were not accepted.
func (f *Forge) unauthorized(op string, c *conn, text string) error {
	switch {
	case f.app == nil:
		return fmt.Errorf("%s: GitHub does not accept the token (401 %s); make a new one", op, text)
	case c == f.app:
		return fmt.Errorf("%s: GitHub does not accept the App's key (401 %s); check app_id, the private key, and this machine's clock", op, text)
	}
	return fmt.Errorf("%s: GitHub accepts the installation's token no longer (401 %s); the next call makes a new one", op, text)
}

// meaning is what a status outside 2xx says about any call but a landing.
func meaning(op string, status int, text string) error {
	var kind error
	switch status {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusUnprocessableEntity,
		http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusUnavailableForLegalReasons:
		kind = forge.ErrDenied
	case http.StatusNotFound, http.StatusGone:
		kind = forge.ErrNotFound
	default:
		return fmt.Errorf("%s: the forge answered %d %s", op, status, text)
	}
	return &forge.Refusal{Kind: kind, Op: op, Status: status, Text: text}
}

// words is all that an answer says, for people.
func words(e *sdk.ErrorResponse) string {
	all := []string{e.Message}
	for _, d := range e.Errors {
		switch {
		case d.Message != "":
			all = append(all, d.Message)
		case d.Field != "":
			all = append(all, d.Field+" "+d.Code)
		}
	}
	return strings.Join(all, "; ")
}

// status is the HTTP status of a refusal, 0 for any other error.
func status(err error) int {
	var r *forge.Refusal
	if errors.As(err, &r) {
		return r.Status
	}
	return 0
}

func user(u *sdk.User) gate.User { return gate.User{ID: u.GetID(), Login: u.GetLogin()} }
