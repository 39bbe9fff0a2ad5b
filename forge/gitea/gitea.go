// Package gitea speaks to Gitea and Forgejo, through the Gitea SDK.
//
// Three calls go below the SDK, because it loses what mergegate needs: the merge
// call (the reason of a refusal), the timeline (its label does not decode) and
// the combined status (only its first page). Adding a label by name is the
// fourth: the SDK knows label ids only.
//
// What an answer means is decided in two places: failure for every call, and
// refusal in land.go for the merge call, whose 405 and 409 have many meanings.
// Gitea tells them apart by words only, so words are compared; a word that
// Gitea changes one day makes an answer less precise, never wrong.
//
// Lists are read to their end or not at all. Gitea drops rows after it has
// counted a page, so a short page is not the last one; see pages and Past.
//
// PR.Updated is Gitea's updated_at. Measured on 1.26.0 (TestUpdated pins it), it
// moves, in the list and in the single read, when a comment is made, a review is
// submitted or dismissed, a label is put on or taken off, the title, draft mark,
// description or base branch is changed, the PR is closed or reopened, and when
// its head is pushed. It does not move when a comment is edited or deleted, for a
// reaction, a commit status, or when base moves. It has no fractions of a second:
// two changes within one second look like one.
//
// The package never sends a token anywhere but to the configured address, never
// puts it in a URL or an error, and never asks for a merge by force.
package gitea

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Config says which forge to speak to, and as whom.
type Config struct {
	Name  string                 // the forge's name in the configuration
	URL   string                 // base address, without /api/v1
	Token func() (string, error) // asked before each call, so that a token may be replaced while we run
	HTTP  *http.Client           // nil: a client that gives up after a minute
}

// Forge is one Gitea or Forgejo. It implements forge.Forge and forge.Admin, and
// is safe for concurrent use.
type Forge struct {
	name  string
	url   string // without a slash at the end
	token func() (string, error)
	http  *http.Client
}

// New checks the configuration; it does not call the forge.
func New(cfg Config) (*Forge, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("forge %s: url must be like https://git.example.com", cfg.Name)
	}
	if u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("forge %s: url must carry no password and no query; the token has its own key", cfg.Name)
	}
	client := http.Client{Timeout: time.Minute}
	if cfg.HTTP != nil {
		client = *cfg.HTTP
	}
	client.CheckRedirect = stayHere
	return &Forge{cfg.Name, strings.TrimSuffix(cfg.URL, "/"), cfg.Token, &client}, nil
}

// stayHere follows a few redirects on the same host and scheme (a renamed
// repository), because the token goes with them.
func stayHere(req *http.Request, via []*http.Request) error {
	from := via[0].URL
	if req.URL.Host != from.Host || req.URL.Scheme != from.Scheme {
		return fmt.Errorf("redirected to %s://%s; set the forge's url to where it lives", req.URL.Scheme, req.URL.Host)
	}
	if len(via) > 5 {
		return errors.New("redirected in a circle")
	}
	return nil
}

// client makes an SDK client for one call. It asks the forge nothing: the SDK's
// version probe is switched off.
func (f *Forge) client(ctx context.Context) (*sdk.Client, error) {
	token, err := f.token()
	if err != nil {
		return nil, fmt.Errorf("read the token of forge %s: %w", f.name, err)
	}
	return sdk.NewClient(f.url, sdk.SetGiteaVersion(""), sdk.SetContext(ctx), sdk.SetHTTPClient(f.http),
		sdk.SetToken(token), sdk.SetUserAgent("mergegate"))
}

// get makes one call of the SDK and gives its error a meaning.
func get[T any](ctx context.Context, f *Forge, op string, call func(*sdk.Client) (T, *sdk.Response, error)) (T, error) {
	var zero T
	c, err := f.client(ctx)
	if err != nil {
		return zero, fmt.Errorf("%s: %w", op, err)
	}
	v, resp, err := call(c)
	if err != nil {
		return zero, failure(op, resp, err)
	}
	return v, nil
}

// do is get for calls without an answer.
func do(ctx context.Context, f *Forge, op string, call func(*sdk.Client) (*sdk.Response, error)) error {
	_, err := get(ctx, f, op, func(c *sdk.Client) (struct{}, *sdk.Response, error) {
		resp, err := call(c)
		return struct{}{}, resp, err
	})
	return err
}

// pages reads a list to its end, and again when its total changed meanwhile,
// because then entries may have slipped from one page to another unseen. It is
// an error after three tries.
func pages[T any](ctx context.Context, f *Forge, op string, call func(*sdk.Client, sdk.ListOptions) ([]T, *sdk.Response, error)) ([]T, error) {
	for range 3 {
		all, same, err := sweep(ctx, f, op, call)
		if err != nil || same {
			return all, err
		}
	}
	return nil, fmt.Errorf("%s: the list changed under us three times", op)
}

// sweep is one reading. A page may be shorter than Gitea counted it, so the
// number of pages follows from the total and the longest page seen, which at
// worst asks for a page too many. same says that every page told one total.
func sweep[T any](ctx context.Context, f *Forge, op string, call func(*sdk.Client, sdk.ListOptions) ([]T, *sdk.Response, error)) (all []T, same bool, err error) {
	first, longest := 0, 1
	for page := 1; ; page++ {
		var total, next int
		part, err := get(ctx, f, op, func(c *sdk.Client) ([]T, *sdk.Response, error) {
			part, resp, err := call(c, sdk.ListOptions{Page: page, PageSize: pageSize})
			if err == nil {
				total, next = count(resp.Header), resp.NextPage
			}
			return part, resp, err
		})
		if err != nil {
			return nil, false, err
		}
		if page == 1 {
			first = total
		}
		all = append(all, part...)
		longest = max(longest, len(part))
		if total != first || total < 0 && next == 0 || total >= 0 && page*longest >= total {
			return all, total == first, nil
		}
	}
}

// pageSize is the most that Gitea gives by default.
const pageSize = 50

// count is the length of a list as the forge tells it, -1 when it does not.
func count(h http.Header) int {
	n, err := strconv.Atoi(h.Get("X-Total-Count"))
	if err != nil {
		return -1
	}
	return n
}

// answer is a reply below the SDK.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// raw calls path (below /api/v1) without the SDK. Every status is an answer; an
// error means that there was none.
func (f *Forge) raw(ctx context.Context, op, method, path string, in any) (answer, error) {
	token, err := f.token()
	if err != nil {
		return answer{}, fmt.Errorf("%s: read the token of forge %s: %w", op, f.name, err)
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return answer{}, fmt.Errorf("%s: %w", op, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, f.url+"/api/v1"+path, body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("Authorization", "token "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mergegate")
	resp, err := f.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", op, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", op, err)
	}
	return answer{resp.StatusCode, resp.Header, data}, nil
}

// decode reads a good answer into out and gives any other its meaning.
func (a answer) decode(op string, out any) error {
	if a.status/100 != 2 {
		return meaning(op, a.status, a.header, a.text())
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("%s: read the answer: %w", op, err)
	}
	return nil
}

// text is the forge's own word for what is wrong.
func (a answer) text() string {
	var said struct{ Message string }
	_ = json.Unmarshal(a.body, &said) // some refusals have no JSON body
	return said.Message
}

// failure gives an SDK error its meaning.
func failure(op string, resp *sdk.Response, err error) error {
	if resp == nil || resp.StatusCode/100 == 2 {
		return fmt.Errorf("%s: %w", op, err) // no answer, or one that does not decode
	}
	return meaning(op, resp.StatusCode, resp.Header, err.Error())
}

// meaning is what a status outside 2xx says about any call but a merge.
func meaning(op string, status int, h http.Header, text string) error {
	var kind error
	switch status {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusUnprocessableEntity,
		http.StatusRequestEntityTooLarge, http.StatusLocked:
		kind = forge.ErrDenied
	case http.StatusNotFound, http.StatusGone:
		kind = forge.ErrNotFound
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s: %w", op, &forge.RateLimited{Until: retryAfter(h)})
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: the forge does not accept the token (401 %s); make a new one", op, text)
	default:
		return fmt.Errorf("%s: the forge answered %d %s", op, status, text)
	}
	return &forge.Refusal{Kind: kind, Op: op, Status: status, Text: text}
}

func retryAfter(h http.Header) time.Time {
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		return time.Now().Add(time.Duration(seconds) * time.Second)
	}
	return time.Now().Add(time.Minute)
}

func user(u *sdk.User) gate.User {
	if u == nil {
		return gate.User{}
	}
	return gate.User{ID: u.ID, Login: u.UserName}
}

func repoPath(r gate.Repo) string {
	return "/repos/" + url.PathEscape(r.Owner) + "/" + url.PathEscape(r.Name)
}

// stamp reads a pointer that Gitea leaves out for "never".
func stamp(t *time.Time) time.Time { return *cmp.Or(t, &time.Time{}) }
