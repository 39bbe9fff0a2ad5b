package github

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"mergegate/forge"
)

const (
	parallel = 16               // requests at the same time; GitHub allows 100 to all that share the account
	patience = 30 * time.Second // for one attempt, body included
	attempts = 3                // of a read
	maxBody  = 64 << 20
)

// traffic keeps one installation within GitHub's rules ("Rate limits for the
// REST API" and "Best practices for using the REST API" in its documentation):
//
//   - a write starts at least a pause after the one before;
//   - after an answer that says the limit is used up (primary, secondary or 429),
//     nothing is sent until the time it names: the caller gets forge.RateLimited;
//   - a read that gets no answer or a 5xx is tried again, a write never is;
//   - a read asks only for what changed since the last one (ETag). The answer
//     "not modified" costs nothing of the limit and is turned into the answer
//     remembered. Nothing is ever answered from memory alone.
//
// Bodies are read to their end here, so that a broken one is noticed while the
// read can still be repeated.
type traffic struct {
	next  http.RoundTripper
	pause time.Duration
	slots chan struct{}
	cache cache

	mu      sync.Mutex
	write   time.Time // when the next write may start
	closed  time.Time // nothing is sent before
	strikes int       // limits in a row that named no time
}

func newTraffic(next http.RoundTripper, pause time.Duration) *traffic {
	return &traffic{next: next, pause: pause, slots: make(chan struct{}, parallel), cache: newCache()}
}

// RoundTrip implements http.RoundTripper.
func (t *traffic) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		if err := t.turn(req.Context()); err != nil {
			return nil, drop(req, err)
		}
		return t.once(req)
	}
	for try := 1; ; try++ {
		resp, err := t.once(req)
		if try == attempts || err == nil && resp.StatusCode < 500 || err != nil && final(err) {
			return resp, err
		}
		if wait(req.Context(), time.Duration(try*try)*200*time.Millisecond) != nil {
			return resp, err
		}
	}
}

// drop closes the body of a request that is not sent, as a RoundTripper must.
func drop(req *http.Request, err error) error {
	if req.Body != nil {
		req.Body.Close()
	}
	return err
}

// turn waits until a write may start.
func (t *traffic) turn(ctx context.Context) error {
	t.mu.Lock()
	start := t.write
	if now := time.Now(); start.Before(now) {
		start = now
	}
	t.write = start.Add(t.pause)
	t.mu.Unlock()
	return wait(ctx, time.Until(start))
}

// wait is nil when the time has passed.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once makes one attempt.
func (t *traffic) once(req *http.Request) (*http.Response, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-req.Context().Done():
		return nil, drop(req, context.Cause(req.Context()))
	}
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	if time.Now().Before(closed) {
		return nil, drop(req, &forge.RateLimited{Until: closed})
	}
	ctx, cancel := context.WithTimeout(req.Context(), patience)
	defer cancel()
	send := req.Clone(ctx)
	old, remembered := t.cache.get(req)
	if remembered {
		send.Header.Set("If-None-Match", old.etag)
	}
	resp, err := t.next.RoundTrip(send)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if until, ok := t.limited(resp, body); ok {
		return nil, &forge.RateLimited{Until: until}
	}
	switch {
	case resp.StatusCode == http.StatusNotModified && remembered:
		if body, err = old.revive(resp); err != nil {
			return nil, err
		}
	case resp.StatusCode == http.StatusOK && req.Method == http.MethodGet:
		t.cache.put(req, resp.Header, body)
	}
	resp.Body, resp.ContentLength, resp.Request = io.NopCloser(bytes.NewReader(body)), int64(len(body)), req
	return resp, nil
}

// limited notes until when an answer forbids us to ask again.
func (t *traffic) limited(resp *http.Response, body []byte) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !overLimit(resp, body) {
		t.strikes = 0
		return time.Time{}, false
	}
	until, named := reopens(resp.Header)
	if !named {
		until = time.Now().Add(time.Minute << min(t.strikes, 4))
		t.strikes++
	}
	t.closed = until
	return until, true
}

// overLimit recognises a limit. GitHub says it in several ways, and go-github
// v62 knows only some: 403 or 429, with Retry-After, with no requests remaining,
// or with nothing but words.
func overLimit(resp *http.Response, body []byte) bool {
	named := resp.Header.Get("Retry-After") != ""
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return true
	case http.StatusServiceUnavailable:
		return named
	case http.StatusForbidden:
		text := strings.ToLower(string(body))
		return named || resp.Header.Get("X-RateLimit-Remaining") == "0" ||
			strings.Contains(text, "secondary rate limit") || strings.Contains(text, "abuse detection")
	}
	return false
}

// reopens is the time that an answer names. One second is added to the reset of
// the primary limit, because our clock may be ahead.
func reopens(h http.Header) (time.Time, bool) {
	if after, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		return time.Now().Add(time.Duration(after) * time.Second), true
	}
	reset, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || h.Get("X-RateLimit-Remaining") != "0" {
		return time.Time{}, false
	}
	return time.Unix(reset+1, 0), true
}

// final says whether a read that got no answer is not worth another try.
func final(err error) bool {
	var limit *forge.RateLimited
	return errors.As(err, &limit) || errors.Is(err, errInstallation)
}
