package localhub

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"mergegate/gate"
)

// TestUnchanged: an unchanged answer is 304, and costs nothing.
func TestUnchanged(t *testing.T) {
	w := newWorld(t, Options{})
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	first := w.ask(200, "GET", "/pulls", nil)
	tag, left := first.header.Get("ETag"), first.header.Get("X-RateLimit-Remaining")
	for range 3 {
		a := w.call(w.ann.Token, "GET", "/repos/ann/lib/pulls", nil, "If-None-Match: "+tag)
		if a.status != http.StatusNotModified || len(a.body) > 0 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	w.must(w.Label("ann/lib", 1, "ann", "merge"))
	a := w.call(w.ann.Token, "GET", "/repos/ann/lib/pulls", nil, "If-None-Match: "+tag)
	before, _ := strconv.Atoi(left)
	after, _ := strconv.Atoi(a.header.Get("X-RateLimit-Remaining"))
	if a.status != 200 || a.header.Get("ETag") == tag || before-after != 1 {
		t.Errorf("after a change: %d, %d requests counted for one", a.status, before-after)
	}
	free := 0
	for _, e := range w.Exchanges() {
		if e.Free && e.Status == 304 && e.Login == "ann" {
			free++
		}
	}
	if free != 3 {
		t.Errorf("%d free exchanges in the log, want 3", free)
	}
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t, Options{RateLimit: 3})
	for range 3 {
		w.ask(200, "GET", "", nil)
	}
	a := w.ask(403, "GET", "", nil)
	if !strings.HasPrefix(a.text("message"), "API rate limit exceeded") || a.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("%v %s", a.header, a.body)
	}
	if b := w.call(w.bob.Token, "GET", "/repos/ann/lib", nil); b.status != 200 {
		t.Errorf("bob is limited by ann's requests: %d", b.status)
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t, Options{})
	for i := range 35 {
		_, err := w.CreateIssue("ann/lib", "ann", sprint("issue ", i), "")
		w.must(err)
	}
	a := w.ask(200, "GET", "/issues?state=all", nil)
	if links := a.header.Get("Link"); a.get("29") == nil || a.get("30") != nil || !strings.Contains(links, `/issues?state=all&page=2>; rel="next"`) || !strings.Contains(links, `page=2>; rel="last"`) {
		t.Errorf("Link %q", links)
	}
	next := strings.TrimPrefix(strings.SplitN(a.header.Get("Link"), ">", 2)[0], "<"+w.API)
	b := w.call(w.ann.Token, "GET", next, nil)
	if b.status != 200 || b.text("4.title") != "issue 0" || b.get("5") != nil {
		t.Errorf("second page at %s: %d %s", next, b.status, b.body)
	}
}

func TestRenamed(t *testing.T) {
	w := newWorld(t, Options{})
	id := w.ask(200, "GET", "", nil).get("id")
	w.must(w.Rename("ann/lib", "library"))
	a := w.ask(301, "GET", "/pulls", nil)
	if to := a.header.Get("Location"); to != sprintf("%s/repositories/%.0f/pulls", w.API, id) {
		t.Errorf("Location %q", to)
	}
	b := w.call(w.ann.Token, "GET", sprintf("/repositories/%.0f", id), nil)
	if b.text("full_name") != "ann/library" {
		t.Errorf("by id: %s", b.body)
	}
	w.ask(307, "POST", "/issues", map[string]string{"title": "x"})
}

// TestFaults: each kind strikes as often as it was told to, and not again.
func TestFaults(t *testing.T) {
	w := newWorld(t, Options{})
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	w.Fault(Fault{Method: "GET", Path: "/pulls", Times: 2, Status: 502})
	w.ask(200, "GET", "/issues/1", nil)
	w.ask(502, "GET", "/pulls", nil)
	w.ask(502, "GET", "/pulls/1", nil)
	w.ask(200, "GET", "/pulls/1", nil)

	lift := w.Fault(SecondaryLimit(429, 7*time.Second))
	if a := w.ask(429, "GET", "", nil); a.header.Get("Retry-After") != "7" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	lift()
	w.Fault(func() Fault { f := PrimaryLimit(403, time.Unix(99, 0)); f.Times = 1; return f }())
	if a := w.ask(403, "GET", "", nil); a.header.Get("X-RateLimit-Remaining") != "0" || a.header.Get("X-RateLimit-Reset") != "99" {
		t.Errorf("%v", a.header)
	}

	// The reply is lost, the effect is not.
	w.Fault(Fault{Method: "PUT", Path: "/merge", Times: 1, After: true, Drop: true})
	req, err := http.NewRequestWithContext(t.Context(), "PUT", w.API+"/repos/ann/lib/pulls/1/merge", strings.NewReader("{}"))
	w.must(err)
	req.Header.Set("Authorization", "token "+w.ann.Token)
	req.Header.Set("Content-Type", "application/json")
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("answered %s", resp.Status)
	}
	w.ask(204, "GET", "/pulls/1/merge", nil)
	w.Fault(Fault{Path: "/comments", Times: 1, Delay: time.Nanosecond})
	w.ask(201, "POST", "/issues/1/comments", map[string]string{"body": "late"})
}

// TestPeoplePages: a person labels, approves and comments on the page, text is
// shown as text, and another site cannot press the buttons.
func TestPeoplePages(t *testing.T) {
	w := newWorld(t, Options{})
	w.propose("feature", map[string]string{"a.txt": "a\n"})
	at := w.URL + "/ann/lib/act/1"
	press := func(origin string, form url.Values) int {
		req, err := http.NewRequestWithContext(t.Context(), "POST", at, strings.NewReader(form.Encode()))
		w.must(err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		w.must(err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for do, text := range map[string]string{"label": "merge", "approve": "", "comment": "<script>alert(1)</script>"} {
		if got := press(w.URL, url.Values{"do": {do}, "as": {"ann"}, "text": {text}}); got != 200 {
			t.Errorf("%s: %d", do, got)
		}
	}
	if got := press("http://evil.example", url.Values{"do": {"approve"}, "as": {"ann"}}); got != http.StatusForbidden {
		t.Errorf("from another site: %d", got)
	}
	if w.ask(200, "GET", "/issues/1/labels", nil).text("0.name") != "merge" || w.ask(200, "GET", "/pulls/1/reviews", nil).text("0.state") != "APPROVED" {
		t.Error("the label or the approval is not there")
	}
	for path, want := range map[string]string{"/": "ann/lib", "/ann/lib": "Change feature", "/ann/lib/pull/1": "&lt;script&gt;alert(1)"} {
		resp, err := http.Get(w.URL + path)
		w.must(err)
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		w.must(err)
		if resp.StatusCode != 200 || !strings.Contains(string(page), want) || strings.Contains(string(page), "<script>") {
			t.Errorf("%s: %d, without %q:\n%s", path, resp.StatusCode, want, page)
		}
	}
	w.must(w.Collaborate("ann/lib", "bob", gate.RoleNone))
	if a := w.call(w.bob.Token, "POST", "/repos/ann/lib/labels", map[string]string{"name": "x"}); a.status != 404 {
		t.Errorf("no longer a writer: %d", a.status)
	}
}

func TestOnlyLoopback(t *testing.T) {
	if h, err := Start(t.Context(), Options{Addr: "0.0.0.0:0"}); err == nil {
		h.Stop()
		t.Error("listens on every address")
	}
}
