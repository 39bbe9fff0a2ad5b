// Package localhub is a small GitHub on a loopback port: accounts, repositories
// with real git behind smart HTTP, issues, pull requests, reviews, checks,
// branch protection, rulesets, Apps and their installations, webhooks, and the
// part of the REST API that a merge queue needs. mergegate's demo runs on it,
// and so do the tests of the GitHub adapter.
//
// What it answers follows GitHub's published description and the behaviour that
// GitHub documents or was seen to have; where the real GitHub is inconvenient
// the hub is too, because that is what an adapter must be tested against:
//
//   - whether a pull request can be merged is unknown (null) when it is first
//     read after a change, and known when it is read again;
//   - merge_commit_sha of an open pull request is a test merge, not a landing;
//   - base.sha of a pull request does not follow its base branch;
//   - a pull request whose head reaches its base by a push is marked as merged;
//   - lists come in pages of 30 unless asked, and the rest only through Link;
//   - an unchanged answer to If-None-Match is 304 and costs nothing;
//   - webhooks come late, are not sent twice by themselves, and may be sent
//     again by hand under the same id;
//   - an operation that it does not have is 404, like a thing that is not there;
//   - an App sees only what it is installed on, and an installation's token is
//     longer than 40 characters and ends after an hour.
//
// One lock guards everything. A request holds it from its first look to its
// answer, git included, so every request is atomic; only fetches, pages being
// written and webhooks being sent happen outside. Nothing is kept when the hub
// stops, and nothing is deleted but what it made itself.
//
// It never asks the network anything except for the webhook addresses it was
// given, never listens beyond loopback, and its tokens are worth nothing
// elsewhere. It is not a place to keep work: there is no sign-in, and whoever
// reaches the port may act as anybody on its pages.
package localhub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Options say how a Hub is started. The zero value is good.
type Options struct {
	// Dir is where the git repositories live. It must exist. "": a temporary
	// directory that Stop removes.
	Dir string
	// Addr is the loopback address to listen on; "": a free port of 127.0.0.1.
	Addr string
	// Wrap, if not nil, is put around the REST API. It sees paths as GitHub's
	// description has them (/repos/…, without /api/v3), and what the hub itself
	// answers; faults and rate limits stay outside of it.
	Wrap func(http.Handler) http.Handler
	// Emitted, if not nil, is told of every webhook before it is signed. It is
	// called with the hub locked: it must not call the hub.
	Emitted func(event, action string, body []byte)
	// RateLimit is the number of requests that one account may make in an hour;
	// 0: GitHub's 5000.
	RateLimit int
	// MarkDefaultOnly makes an indirect merge (a push that contains a pull
	// request's head) count on the default branch only, as GitHub's
	// documentation can be read.
	MarkDefaultOnly bool
}

// Hub is a running GitHub. Its methods may be called concurrently.
type Hub struct {
	// URL is where people and git find it: http://127.0.0.1:PORT.
	URL string
	// API is the base of the REST API, as on GitHub Enterprise Server: URL + "/api/v3".
	API string

	opts   Options
	dir    string
	ctx    context.Context // ends with the hub; git and webhooks run under it
	cancel context.CancelFunc
	server *http.Server
	stop   sync.Once
	posts  *post

	mu            sync.Mutex // guards everything below and all they point to
	lastID        int64
	accounts      map[string]*account // by lower-case login
	tokens        map[string]*caller
	apps          map[int64]*app
	installations map[int64]*installation
	manifests     map[string]manifest // by code
	repos         map[int64]*repo
	names         map[string]*repo // by lower-case owner/name, old names too
	faults        []*fault
	exchanges     []Exchange
	used          map[string]*usage // by account
}

// Start listens and serves until ctx ends or Stop is called.
func Start(ctx context.Context, o Options) (*Hub, error) {
	addr := o.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("local GitHub: %q is not a loopback address like 127.0.0.1:0; whoever reaches the hub may do anything in it", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("local GitHub: %w", err)
	}
	dir := o.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "localhub-"); err != nil {
			listener.Close()
			return nil, fmt.Errorf("local GitHub: %w", err)
		}
	}
	h := &Hub{
		URL: "http://" + listener.Addr().String(), opts: o, dir: dir,
		lastID: 1000, accounts: map[string]*account{}, tokens: map[string]*caller{}, apps: map[int64]*app{},
		installations: map[int64]*installation{}, manifests: map[string]manifest{}, repos: map[int64]*repo{},
		names: map[string]*repo{}, used: map[string]*usage{},
	}
	h.API = h.URL + "/api/v3"
	h.ctx, h.cancel = context.WithCancel(ctx)
	h.posts = newPost(h.ctx)
	h.server = &http.Server{Handler: h.handler(), ReadHeaderTimeout: time.Minute}
	go h.server.Serve(listener)
	context.AfterFunc(h.ctx, h.Stop)
	return h, nil
}

// Stop ends the hub and waits for what it is doing. It may be called again.
func (h *Hub) Stop() {
	h.stop.Do(func() {
		h.cancel()
		h.server.Close()
		h.posts.wait()
		h.mu.Lock() // whatever still runs git is done
		defer h.mu.Unlock()
		if h.opts.Dir == "" {
			os.RemoveAll(h.dir)
		}
	})
}

// id gives the next number; ids are unique over everything, which GitHub does
// not promise but nothing may depend on.
func (h *Hub) id() int64 {
	h.lastID++
	return h.lastID
}

// now is GitHub's clock: whole seconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// problem is an answer that says no, with GitHub's words.
type problem struct {
	status  int
	message string
	errors  []obj
}

func (p *problem) Error() string { return p.message }

func notFound() error { return &problem{status: http.StatusNotFound, message: "Not Found"} }

// invalid is GitHub's answer to a request that makes no sense.
func invalid(resource, field, code string) error {
	return &problem{http.StatusUnprocessableEntity, "Validation Failed", []obj{{"resource": resource, "field": field, "code": code}}}
}

func refused(status int, format string, args ...any) error {
	return &problem{status: status, message: fmt.Sprintf(format, args...)}
}

// errStopped is what people get from a hub that has ended.
var errStopped = errors.New("the local GitHub has stopped")
