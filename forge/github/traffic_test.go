package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mergegate/forge"
)

// wire is a network in memory: it answers from a script and remembers when it
// was asked what.
type wire struct {
	mu     sync.Mutex
	start  time.Time
	log    []string
	answer func(n int, req *http.Request) (*http.Response, error)
}

func newWire(answer func(n int, req *http.Request) (*http.Response, error)) *wire {
	return &wire{start: time.Now(), answer: answer}
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.log = append(w.log, fmt.Sprintf("%s %s %v", req.Method, req.URL.Path, time.Since(w.start).Round(time.Millisecond)))
	n := len(w.log)
	w.mu.Unlock()
	return w.answer(n, req)
}

func (w *wire) seen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.log, "\n")
}

func answered(status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func fine(int, *http.Request) (*http.Response, error) { return answered(200, "{}") }

// send makes a request through the traffic and answers its status and body.
func send(t *testing.T, via http.RoundTripper, method, path string) (int, string, error) {
	t.Helper()
	var in io.Reader
	if method != http.MethodGet {
		in = strings.NewReader("{}")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://github.test"+path, in)
	check(t, err)
	resp, err := via.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp.StatusCode, string(body), nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWritesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(fine)
		via := newTraffic(w, time.Second)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { send(t, via, "POST", "/w") })
		}
		time.Sleep(time.Millisecond)
		send(t, via, "GET", "/r")
		wg.Wait()
		want := "POST /w 0s\nGET /r 1ms\nPOST /w 1s\nPOST /w 2s"
		if got := w.seen(); got != want {
			t.Errorf("sent\n%s\nwant\n%s", got, want)
		}
	})
}

func TestWriteGivesUpItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(fine)
		via := newTraffic(w, time.Minute)
		send(t, via, "POST", "/1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://github.test/2", nil)
		if _, err := via.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline's", err)
		}
		if got := w.seen(); got != "POST /1 0s" {
			t.Errorf("sent\n%s", got)
		}
	})
}

// TestLimits: every way in which GitHub says "not now" is understood, and nothing
// is sent before the time it names.
func TestLimits(t *testing.T) {
	soon := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
	for _, tt := range []struct {
		name   string
		status int
		body   string
		header func() []string
		wait   time.Duration
	}{
		{"primary", 403, "API rate limit exceeded", func() []string {
			return []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", soon(20 * time.Minute)}
		}, 20*time.Minute + time.Second},
		{"primary as 429", 429, "", func() []string {
			return []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", soon(time.Minute)}
		}, 61 * time.Second},
		{"secondary with Retry-After", 403, "You have exceeded a secondary rate limit", func() []string {
			return []string{"Retry-After", "17", "X-RateLimit-Remaining", "4000"}
		}, 17 * time.Second},
		{"Retry-After before the reset", 403, "", func() []string {
			return []string{"Retry-After", "5", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", soon(time.Hour)}
		}, 5 * time.Second},
		{"secondary in words only", 403, `{"message":"You have exceeded a Secondary Rate Limit."}`, nil, time.Minute},
		{"its old name", 403, `{"message":"You have triggered an abuse detection mechanism."}`, nil, time.Minute},
		{"429 without a word", 429, "", nil, time.Minute},
		{"down for a while", 503, "", func() []string { return []string{"Retry-After", "30"} }, 30 * time.Second},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWire(func(n int, req *http.Request) (*http.Response, error) {
						if n > 1 {
							return fine(n, req)
						}
						var h []string
						if tt.header != nil {
							h = tt.header()
						}
						return answered(tt.status, tt.body, h...)
					})
					via := newTraffic(w, time.Nanosecond)
					var limit *forge.RateLimited
					for range 3 {
						_, _, err := send(t, via, method, "/")
						if !errors.As(err, &limit) {
							t.Fatalf("error %v, want a rate limit", err)
						}
						if got := time.Until(limit.Until); got > tt.wait || got < tt.wait-time.Second {
							t.Errorf("come back in %v, want %v", got, tt.wait)
						}
					}
					if got := strings.Count(w.seen(), "\n"); got != 0 {
						t.Errorf("asked again before time:\n%s", w.seen())
					}
					time.Sleep(time.Until(limit.Until))
					if status, _, err := send(t, via, method, "/"); status != 200 {
						t.Errorf("afterwards: %d, %v", status, err)
					}
				})
			})
		}
	}
}

func TestLimitWithoutTimeGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(n int, req *http.Request) (*http.Response, error) {
			if n == 4 {
				return fine(n, req)
			}
			return answered(429, "")
		})
		via := newTraffic(w, time.Nanosecond)
		for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 0, time.Minute} {
			var limit *forge.RateLimited
			_, _, err := send(t, via, "GET", "/")
			got := time.Duration(0)
			if errors.As(err, &limit) {
				got = time.Until(limit.Until)
			}
			if got != want {
				t.Errorf("come back in %v, want %v", got, want)
			}
			time.Sleep(got)
		}
	})
}

func TestForbiddenIsNoLimit(t *testing.T) {
	w := newWire(func(int, *http.Request) (*http.Response, error) {
		return answered(403, `{"message":"Resource not accessible by integration"}`, "X-RateLimit-Remaining", "4999")
	})
	if status, _, err := send(t, newTraffic(w, time.Nanosecond), "GET", "/"); status != 403 || err != nil {
		t.Errorf("%d, %v; want the answer itself", status, err)
	}
}

// TestOnlyReadsAreRepeated, and only when a second try can help.
func TestOnlyReadsAreRepeated(t *testing.T) {
	broken := errors.New("connection reset")
	for _, tt := range []struct {
		name, method string
		first        func() (*http.Response, error)
		asked        int
	}{
		{"read, 500", "GET", func() (*http.Response, error) { return answered(500, "") }, 3},
		{"read, 502", "GET", func() (*http.Response, error) { return answered(502, "<html>") }, 3},
		{"read, connection broken", "GET", func() (*http.Response, error) { return nil, broken }, 3},
		{"read, body broken", "GET", func() (*http.Response, error) {
			resp, err := answered(200, "")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), brokenReader{broken}))
			return resp, err
		}, 3},
		{"read, not found", "GET", func() (*http.Response, error) { return answered(404, "") }, 1},
		{"read, uninstalled", "GET", func() (*http.Response, error) { return nil, errInstallation }, 1},
		{"write, 500", "POST", func() (*http.Response, error) { return answered(500, "") }, 1},
		{"write, connection broken", "PUT", func() (*http.Response, error) { return nil, broken }, 1},
		{"delete, 502", "DELETE", func() (*http.Response, error) { return answered(502, "") }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(func(n int, req *http.Request) (*http.Response, error) {
					if n < 3 {
						return tt.first()
					}
					return fine(n, req)
				})
				status, _, err := send(t, newTraffic(w, time.Nanosecond), tt.method, "/")
				if got := len(strings.Split(w.seen(), "\n")); got != tt.asked {
					t.Errorf("asked %d times, want %d", got, tt.asked)
				}
				if ok := status == 200 && err == nil; ok != (tt.asked == 3) {
					t.Errorf("%d, %v", status, err)
				}
			})
		})
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// TestConditional: what did not change is answered as if it had been sent again,
// with what the new answer says about the moment.
func TestConditional(t *testing.T) {
	version := "one"
	w := newWire(func(n int, req *http.Request) (*http.Response, error) {
		etag := `"` + version + `"`
		date := fmt.Sprintf("Mon, 23 Nov 2026 12:00:0%d GMT", n)
		if req.Method == "POST" {
			return answered(200, "posted", "ETag", etag)
		}
		if req.Header.Get("If-None-Match") == etag {
			return answered(304, "", "ETag", etag, "Date", date, "X-RateLimit-Remaining", "7")
		}
		return answered(200, version, "ETag", etag, "Date", date, "Link", `<http://github.test/?page=2>; rel="next"`)
	})
	via := newTraffic(w, time.Nanosecond)
	read := func(path, want, date string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://github.test"+path, nil)
		resp, err := via.RoundTrip(req)
		check(t, err)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || string(body) != want || resp.Header.Get("Date") != "Mon, 23 Nov 2026 12:00:0"+date+" GMT" || resp.Header.Get("Link") == "" {
			t.Errorf("%d %q, header %v; want %q at %s", resp.StatusCode, body, resp.Header, want, date)
		}
		if req.Header.Get("If-None-Match") != "" {
			t.Error("the caller's request was changed")
		}
	}
	read("/a", "one", "1")
	read("/a", "one", "2")
	read("/b", "one", "3")
	version = "two"
	read("/a", "two", "4")
	read("/a", "two", "5")
	if _, body, _ := send(t, via, "POST", "/a"); body != "posted" {
		t.Errorf("a write was answered %q", body)
	}
	read("/a", "two", "7")
}

// TestCacheForgets what was not used for longest.
func TestCacheForgets(t *testing.T) {
	c := newCache()
	page := func(n int) *http.Request {
		req, _ := http.NewRequest("GET", fmt.Sprintf("http://github.test/%d", n), nil)
		return req
	}
	for n := range 4 {
		c.put(page(n), http.Header{"Etag": {"x"}}, []byte("body"))
	}
	c.get(page(0))
	c.evict()
	c.evict()
	var left []int
	for n := range 4 {
		if _, ok := c.get(page(n)); ok {
			left = append(left, n)
		}
	}
	if fmt.Sprint(left) != "[0 3]" {
		t.Errorf("left are %v, want the used one and the newest", left)
	}
	one := c.size / 2
	c.put(page(0), http.Header{"Etag": {"y"}}, []byte("body"))
	if c.size != 2*one {
		t.Errorf("replacing an answer changed the size from %d to %d", 2*one, c.size)
	}
	c.size = cacheSize + one
	c.put(page(9), http.Header{"Etag": {"z"}}, []byte("body"))
	if _, ok := c.get(page(3)); ok || c.size > cacheSize+one {
		t.Errorf("a full cache kept the oldest; its size is %d", c.size)
	}
}
