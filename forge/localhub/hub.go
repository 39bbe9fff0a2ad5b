// Package localhub is a small GitHub on a loopback port.
package localhub

import (
	"context"
	"errors"
	"net/http"
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
	// answers; faults and rate limits made on demand stay outside of it.
	Wrap func(http.Handler) http.Handler
	// Emitted, if not nil, is told of every webhook before it is signed. It is
	// called with the hub locked: it must not call the hub.
	Emitted func(event, action string, body []byte)
	// RateLimit is the number of requests that one account may make in an hour;
	// 0: GitHub's 5000.
	RateLimit int
	// MarkDefaultOnly makes an indirect merge (a push that contains a pull
	// request's head) count on the default branch only.
	MarkDefaultOnly bool
}

// Hub is a running GitHub. Its methods may be called concurrently.
type Hub struct {
	// URL is where people and git find it: http://127.0.0.1:PORT.
	URL string
	// API is the base of the REST API, as on GitHub Enterprise Server: URL + "/api/v3".
	API string
}

var errNotYet = errors.New("localhub: not yet")

// Start listens and serves until ctx ends or Stop is called.
func Start(ctx context.Context, o Options) (*Hub, error) { return nil, errNotYet }

// Stop ends the hub and waits for its webhooks. It may be called again.
func (h *Hub) Stop() {}

// User is an account and a personal access token for it.
type User struct {
	ID    int64
	Login string
	Token string
}

// App is a GitHub App with everything its owner is given.
type App struct {
	ID            int64
	Slug          string
	BotID         int64  // the id of the account it acts as, Slug + "[bot]"
	Key           []byte // PEM, PKCS #1
	WebhookSecret string
}

// Fault is something that goes wrong with requests that match.
type Fault struct {
	Method string // "" matches any
	Path   string // a part of the URL path, such as "/pulls/1/merge"; "" matches any
	Times  int    // how many requests it strikes; 0: until it is lifted

	Status int           // the answer instead of the real one; 0: the real one
	Header http.Header   // of that answer
	Body   string        // of that answer
	After  bool          // carry the request out first: the effect is there, the answer lies
	Drop   bool          // no answer: the connection is cut
	Delay  time.Duration // wait first
}

// Exchange is one request to the REST API as the hub answered it.
type Exchange struct {
	Method, Path string // as in GitHub's description, with real values
	Login        string // who asked; "" for nobody or an App's JWT
	Status       int
}
