package stories

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"mergegate/internal/canary"
)

// proxy stands between mergegate and the forge: all of the API and of git goes
// through it. A story can count there, and do things to a request.
type proxy struct {
	url string
	// meddle is called for each request; true means that it has answered.
	meddle atomic.Pointer[meddler]
	// answered, if set, is told of each request that was passed on.
	answered atomic.Pointer[func(r *http.Request, status int)]
}

// meddler may answer a request itself. forward carries it out all the same, and
// gives the answer that mergegate does not get.
type meddler func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool

func newProxy(t testing.TB, target string, watch *canary.Watch) *proxy {
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	p := &proxy{url: "http://" + l.Addr().String()}
	rp := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(resp *http.Response) error {
			for _, header := range []string{"Location", "Link"} {
				if at := resp.Header.Get(header); at != "" {
					resp.Header.Set(header, strings.ReplaceAll(at, target, p.url))
				}
			}
			learn(watch, resp)
			if seen := p.answered.Load(); seen != nil {
				(*seen)(resp.Request, resp.StatusCode)
			}
			return nil
		},
	}
	server := &http.Server{Handler: watch.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if m := p.meddle.Load(); m != nil {
			forward := func() *bytes.Buffer {
				rec := &recorder{header: http.Header{}, code: 200}
				rp.ServeHTTP(rec, r)
				return &rec.body
			}
			if (*m)(rw, r, forward) {
				return
			}
		}
		rp.ServeHTTP(rw, r)
	}))}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return p
}

// on does something to requests from now on.
func (p *proxy) on(f meddler) { p.meddle.Store(&f) }

// off lets everything through again.
func (p *proxy) off() { p.meddle.Store(nil) }

// landing says whether a request would move main.
func landing(r *http.Request) bool {
	return r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/merge") || // Gitea
		r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/merge") ||
		r.Method == "PATCH" && strings.HasSuffix(r.URL.Path, "/git/refs/heads/main")
}

// later says whether Gitea has not looked at a pull request yet: it was asked to
// merge, and did nothing.
func later(answer *bytes.Buffer) bool { return strings.Contains(answer.String(), "try again later") }

// beforeLanding does something once, when mergegate asks the forge to move main
// and before the forge hears of it.
func (w *world) beforeLanding(something func()) {
	var done atomic.Bool
	w.proxy.on(func(_ http.ResponseWriter, r *http.Request, _ func() *bytes.Buffer) bool {
		if landing(r) && done.CompareAndSwap(false, true) {
			something()
		}
		return false
	})
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// recorder keeps an answer that the story does not pass on.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
