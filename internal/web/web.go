// Package web serves HTTP to strangers: it cuts off who is slow, and when the house
// is full it shows out whoever has waited longest without asking for anything, so
// that a few thousand idle connections keep nobody else away.
package web

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// MaxConnections is how many connections a server keeps open.
const MaxConnections = 1000

// Server serves h. A header must be complete within five seconds, a whole request
// within 15, an answer must be taken within 30; at most limit connections are open.
func Server(h http.Handler, limit int, log *slog.Logger) *http.Server {
	house := &house{limit: limit, guests: map[net.Conn]*list.Element{}, waiting: list.New()}
	return &http.Server{
		Handler:           house.serving(h),
		ConnState:         house.state,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, guestKey{}, c) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers cause what it says
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}

type guestKey struct{}

// house knows every open connection. Those for which no handler runs stand in
// waiting, the one that has waited longest first.
type house struct {
	limit int

	mu      sync.Mutex
	guests  map[net.Conn]*list.Element // nil while a handler runs
	waiting *list.List                 // of net.Conn
}

// state follows the connections as http.Server sees them.
func (h *house) state(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		h.mu.Lock()
		out := h.makeRoom(c)
		if out != c {
			h.guests[c] = h.waiting.PushBack(c)
		}
		h.mu.Unlock()
		if out != nil {
			out.Close()
		}
	case http.StateClosed, http.StateHijacked:
		h.mu.Lock()
		h.forget(c)
		h.mu.Unlock()
	}
}

// makeRoom is the connection that must go so that c may stay: c itself when
// handlers run for all the others, nil when there is room.
func (h *house) makeRoom(c net.Conn) net.Conn {
	if len(h.guests) < h.limit {
		return nil
	}
	longest := h.waiting.Front()
	if longest == nil {
		return c
	}
	out := longest.Value.(net.Conn)
	h.forget(out)
	return out
}

func (h *house) forget(c net.Conn) {
	if e := h.guests[c]; e != nil {
		h.waiting.Remove(e)
	}
	delete(h.guests, c)
}

// serving keeps a connection from being shown out while its handler runs.
func (h *house) serving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(guestKey{}).(net.Conn)
		if !ok { // not of a Server
			next.ServeHTTP(w, r)
			return
		}
		h.mu.Lock()
		if e := h.guests[c]; e != nil {
			h.waiting.Remove(e)
			h.guests[c] = nil
		}
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			if e, here := h.guests[c]; here && e == nil {
				h.guests[c] = h.waiting.PushBack(c)
			}
			h.mu.Unlock()
		}()
		next.ServeHTTP(w, r)
	})
}
