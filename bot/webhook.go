package bot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/mux"

	"mergegate/bot/chat"
	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/internal/web"
)

const (
	// maxDelivery is the largest delivery that is read. Forges send far less, and
	// polling sees what a larger one was about.
	maxDelivery = 5 << 20
	// maxDeliveries is what all deliveries may take that are being read at once.
	maxDeliveries = 32 << 20
	// maxDepth is how deep a delivery may be nested. Forges need about ten.
	maxDepth = 64
	// maxPressed is how many buttons wait for a round.
	maxPressed = 256
)

// webhook takes a delivery. It is news, not a fact: after the signature is
// verified the only thing it does is to make a round due, and to acknowledge a
// command at once. Nothing in it is used as an address or a path. It answers before
// anything slow happens, because Gitea gives up after five seconds and delivers
// nothing else meanwhile.
func (b *Bot) webhook(rw http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["forge"]
	conf, f, ok := b.forgeNamed(name)
	if !ok {
		http.Error(rw, "no such forge", http.StatusNotFound)
		return
	}
	if !signed(r.Header) {
		b.refuse(rw, name)
		return
	}
	body, done, err := b.bodies.Read(rw, r)
	defer done()
	if err != nil {
		b.metrics.deliveries.WithLabelValues(name, "unread").Inc()
		rw.Header().Set("Retry-After", "10")
		http.Error(rw, "the body could not be read", unreadStatus(err))
		return
	}
	secrets, err := conf.WebhookSecrets()
	if err != nil {
		b.log.Error("webhook secret", "forge", name, "err", err)
		http.Error(rw, "the webhook secret cannot be read here", http.StatusServiceUnavailable)
		return
	}
	if !slices.ContainsFunc(secrets, func(s []byte) bool { return len(s) > 0 && f.Verify(r.Header, body, s) }) {
		b.refuse(rw, name)
		return
	}
	e, err := event(f, r.Header, body)
	if err != nil {
		b.metrics.deliveries.WithLabelValues(name, "unreadable").Inc()
		b.log.Info("a signed delivery cannot be read; polling will see what it was about", "forge", name, "err", err)
		http.Error(rw, "the delivery cannot be read", http.StatusBadRequest)
		return
	}
	e.Repo.Forge = name
	w := b.worker(e.Repo)
	if w == nil {
		b.metrics.deliveries.WithLabelValues(name, "ignored").Inc()
		rw.WriteHeader(http.StatusAccepted)
		return
	}
	ids := identities(name, e, body)
	if !b.heard.add(ids...) {
		b.metrics.deliveries.WithLabelValues(name, "repeated").Inc()
		rw.WriteHeader(http.StatusAccepted)
		return
	}
	if !w.hear(e) {
		b.heard.drop(ids...) // it may be sent again
		b.metrics.deliveries.WithLabelValues(name, "unheard").Inc()
		rw.Header().Set("Retry-After", "10")
		http.Error(rw, "too much is waiting already", http.StatusServiceUnavailable)
		return
	}
	b.metrics.deliveries.WithLabelValues(name, "taken").Inc()
	rw.WriteHeader(http.StatusAccepted)
}

// signed says whether there is anything to verify; without it nothing is read.
func signed(h http.Header) bool {
	return h.Get("X-Hub-Signature-256") != "" || h.Get("X-Gitea-Signature") != "" || h.Get("X-Forgejo-Signature") != ""
}

func (b *Bot) refuse(rw http.ResponseWriter, name string) {
	b.metrics.deliveries.WithLabelValues(name, "refused").Inc()
	rw.Header().Set("Connection", "close")
	http.Error(rw, "the signature is missing or wrong", http.StatusUnauthorized)
}

func unreadStatus(err error) int {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge
	}
	if errors.Is(err, web.ErrBusy) {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// event reads a verified delivery.
func event(f forge.Forge, h http.Header, body []byte) (forge.Event, error) {
	if nesting(body) > maxDepth {
		return forge.Event{}, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	return f.Event(h, body)
}

// nesting is how deep the objects and lists of a JSON text go.
func nesting(text []byte) int {
	depth, deepest := 0, 0
	quoted, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// hear wakes the worker. What the bot did itself is no news. It is false when so
// much waits for the next round that this cannot wait too.
func (w *worker) hear(e forge.Event) bool {
	me := w.myself.Load()
	if me != nil && e.Sender.ID == me.ID {
		return true
	}
	if e.Button != "" && !w.press(e) {
		return false
	}
	w.news(e.PR)
	if e.Comment == 0 || len(chat.Parse(e.Text)) == 0 {
		return true
	}
	select {
	case w.acks <- e.Comment:
	default: // too many at once: the round acknowledges the rest
	}
	return true
}

func (w *worker) press(e forge.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pressed) >= maxPressed {
		return false
	}
	w.pressed = append(w.pressed, e)
	return true
}

// acknowledge reacts to commands as they come in, beside the rounds.
func (w *worker) acknowledge(ctx context.Context) {
	for {
		select {
		case c := <-w.acks:
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			w.ack(ctx, c)
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bot) forgeNamed(name string) (config.Forge, forge.Forge, bool) {
	for _, c := range b.cfg.Forges {
		if c.Name == name {
			return c, b.forges[name], true
		}
	}
	return config.Forge{}, nil, false
}
