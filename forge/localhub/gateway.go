package localhub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong with the REST requests that match.
type Fault struct {
	Method string // "" matches any
	Path   string // a part of the path, such as "/pulls/1/merge"; "" matches any
	Times  int    // how many requests it strikes; 0: until it is lifted

	Status int           // the answer instead of the real one; 0: the real one
	Header http.Header   // of that answer
	Body   string        // of that answer
	After  bool          // carry the request out first: the effect is there, the answer lies
	Drop   bool          // no answer: the connection is cut, with After when all is done
	Delay  time.Duration // wait first
}

// fault is one that is in force.
type fault struct {
	Fault
	left int
}

// PrimaryLimit is the answer when the hour's requests are used up until reset.
func PrimaryLimit(status int, reset time.Time) Fault {
	return Fault{Status: status, Body: `{"message":"API rate limit exceeded for installation ID 1.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}`,
		Header: http.Header{"X-Ratelimit-Limit": {"5000"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(reset.Unix(), 10)}}}
}

// SecondaryLimit is the answer to a caller that asks too much at once. The wait
// is in whole seconds; 0 leaves Retry-After out, as GitHub sometimes does.
func SecondaryLimit(status int, wait time.Duration) Fault {
	f := Fault{Status: status, Header: http.Header{}, Body: `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`}
	if wait > 0 {
		f.Header.Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	}
	return f
}

// Fault makes matching requests go wrong until it has struck often enough or
// lift is called. Faults are asked in the order they were made; the first that
// matches strikes.
func (h *Hub) Fault(f Fault) (lift func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := &fault{f, f.Times}
	h.faults = append(h.faults, one)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		one.left = -1
	}
}

// strike finds the fault that hits a request.
func (h *Hub) strike(r *http.Request, path string) (Fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.faults {
		if f.left < 0 || f.Method != "" && f.Method != r.Method || !strings.Contains(path, f.Path) {
			continue
		}
		if f.left > 0 {
			if f.left--; f.left == 0 {
				f.left = -1
			}
		}
		return f.Fault, true
	}
	return Fault{}, false
}

// Exchange is one request to the REST API as it was answered.
type Exchange struct {
	Method string
	Path   string // with the query, as in GitHub's description
	Login  string // who asked; "" for nobody and for an App's JWT
	Status int
	Free   bool // did not count against the rate limit
}

// Exchanges are the REST requests so far, oldest first.
func (h *Hub) Exchanges() []Exchange {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Exchange(nil), h.exchanges...)
}

// usage is what an account used of its hour.
type usage struct {
	used  int
	reset time.Time
}

type callerKey struct{}

// gateway is what stands in front of the REST API: faults, credentials, rate
// limits, moved repositories, and the log.
func (h *Hub) gateway(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.EscapedPath(), "/api/v3")
		if f, ok := h.strike(r, path); ok {
			h.fail(w, r, f, api, path)
			return
		}
		h.pass(w, r, api, path)
	})
}

// fail answers as the fault wants.
func (h *Hub) fail(w http.ResponseWriter, r *http.Request, f Fault, api http.Handler, path string) {
	select {
	case <-time.After(f.Delay):
	case <-r.Context().Done():
		return
	}
	if f.Status == 0 && !f.Drop {
		h.pass(w, r, api, path)
		return
	}
	if f.After {
		h.pass(&blind{header: http.Header{}}, r, api, path)
	} else {
		h.log(Exchange{Method: r.Method, Path: withQuery(path, r), Status: f.Status, Free: true})
	}
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for k, v := range f.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(f.Status)
	fmt.Fprint(w, f.Body)
}

// blind swallows an answer.
type blind struct{ header http.Header }

func (b *blind) Header() http.Header         { return b.header }
func (b *blind) Write(p []byte) (int, error) { return len(p), nil }
func (b *blind) WriteHeader(int)             {}

// pass lets a request through to the API.
func (h *Hub) pass(w http.ResponseWriter, r *http.Request, api http.Handler, path string) {
	seen := &watcher{ResponseWriter: w, status: http.StatusOK}
	c, err := h.enter(r, seen)
	if err == nil {
		path, err = h.canonical(r.Method, path)
	}
	if err == nil {
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
		r.URL.RawPath = path
		r.URL.Path, err = url.PathUnescape(path)
	}
	if err != nil {
		writeProblem(seen, err)
	} else {
		api.ServeHTTP(seen, r)
	}
	free := seen.status == http.StatusNotModified || c == nil
	if free && c != nil {
		h.refund(c)
	}
	e := Exchange{Method: r.Method, Path: withQuery(path, r), Status: seen.status, Free: free}
	if c != nil {
		e.Login = c.login()
	}
	h.log(e)
}

func withQuery(path string, r *http.Request) string {
	if r.URL.RawQuery == "" {
		return path
	}
	return path + "?" + r.URL.RawQuery
}

// watcher remembers the status.
type watcher struct {
	http.ResponseWriter
	status int
}

func (w *watcher) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (h *Hub) log(e Exchange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.exchanges = append(h.exchanges, e)
}

// enter authenticates and counts.
func (h *Hub) enter(r *http.Request, w http.ResponseWriter) (*caller, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := h.authenticate(r)
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(h.opts.RateLimit, 5000)
	u := h.usage(c)
	over := u.used >= limit
	u.used = min(u.used+1, limit)
	head := w.Header()
	head.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	head.Set("X-RateLimit-Remaining", strconv.Itoa(limit-u.used))
	head.Set("X-RateLimit-Used", strconv.Itoa(u.used))
	head.Set("X-RateLimit-Reset", strconv.FormatInt(u.reset.Unix(), 10))
	head.Set("X-RateLimit-Resource", "core")
	head.Set("X-GitHub-Media-Type", "github.v3; format=json")
	head.Set("X-GitHub-Request-Id", fmt.Sprintf("%04X:%d", 0xE000, h.id()))
	head.Set("X-GitHub-Api-Version-Selected", "2022-11-28")
	if over {
		return nil, refused(http.StatusForbidden, "API rate limit exceeded for %s.", cmp.Or(c.login(), "127.0.0.1"))
	}
	return c, nil
}

// usage is the account's current hour.
func (h *Hub) usage(c *caller) *usage {
	u := h.used[c.login()]
	if u == nil || time.Now().After(u.reset) {
		u = &usage{reset: now().Add(time.Hour)}
		h.used[c.login()] = u
	}
	return u
}

func (h *Hub) refund(c *caller) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.usage(c)
	u.used = max(0, u.used-1)
}

// canonical turns /repositories/{id}/… into /repos/{owner}/{repo}/…, and answers
// 301 for a repository's old name (307 for a write), which redirects to its id.
func (h *Hub) canonical(method, path string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rest, ok := strings.CutPrefix(path, "/repositories/"); ok {
		id, below, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseInt(id, 10, 64)
		r := h.repos[n]
		if err != nil || r == nil {
			return path, notFound()
		}
		return strings.TrimSuffix("/repos/"+url.PathEscape(r.owner.login)+"/"+url.PathEscape(r.name)+"/"+below, "/"), nil
	}
	f := strings.SplitN(path, "/", 5) // "", repos, owner, name, rest
	if len(f) < 4 || f[1] != "repos" {
		return path, nil
	}
	owner, _ := url.PathUnescape(f[2]) // an unreadable name is not found
	name, _ := url.PathUnescape(f[3])
	r := h.find(owner + "/" + name)
	if r == nil || strings.EqualFold(r.full(), owner+"/"+name) {
		return path, nil
	}
	to := fmt.Sprintf("%s/repositories/%d", h.API, r.id)
	if len(f) == 5 {
		to += "/" + f[4]
	}
	if method != http.MethodGet {
		return path, &elsewhere{http.StatusTemporaryRedirect, to}
	}
	return path, &elsewhere{http.StatusMovedPermanently, to}
}

// elsewhere is a redirect.
type elsewhere struct {
	status int
	url    string
}

func (e *elsewhere) Error() string { return "Moved Permanently" } // GitHub says so of 307 too

// writeProblem answers an error in GitHub's form.
func writeProblem(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	body := obj{"message": err.Error(), "documentation_url": "https://docs.github.com/rest"}
	status := http.StatusInternalServerError
	if p, ok := errors.AsType[*problem](err); ok {
		status = p.status
		if p.errors != nil {
			body["errors"] = p.errors
		}
	} else if e, ok := errors.AsType[*elsewhere](err); ok {
		status = e.status
		w.Header().Set("Location", e.url)
		body["url"] = e.url
	}
	if status != http.StatusUnprocessableEntity { // which GitHub's description gives another form
		body["status"] = strconv.Itoa(status)
	}
	data, _ := json.Marshal(body) // strings only
	w.WriteHeader(status)
	w.Write(data)
}
