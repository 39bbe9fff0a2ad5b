package bot

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"mergegate/bot/chat"
	"mergegate/bot/config"
	"mergegate/forge"
)

// maxDelivery is the largest delivery that is read. Forges send far less.
const maxDelivery = 5 << 20

// webhook takes a delivery. It is news, not a fact: after the signature is
// verified the only thing it does is to make a round due, and to acknowledge a
// command at once. It answers before anything slow happens, because Gitea gives
// up after five seconds and delivers nothing else meanwhile.
func (b *Bot) webhook(rw http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["forge"]
	conf, f, ok := b.forgeNamed(name)
	if !ok {
		http.Error(rw, "no such forge", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxDelivery))
	if err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(rw, "the body could not be read", status)
		return
	}
	secret, err := conf.WebhookSecret()
	if err != nil {
		b.log.Error("webhook secret", "forge", name, "err", err)
		http.Error(rw, "the webhook secret cannot be read here", http.StatusServiceUnavailable)
		return
	}
	if len(secret) == 0 || !f.Verify(r.Header, body, secret) {
		b.metrics.deliveries.WithLabelValues(name, "refused").Inc()
		http.Error(rw, "the signature is missing or wrong", http.StatusUnauthorized)
		return
	}
	e, err := f.Event(r.Header, body)
	if err != nil {
		b.metrics.deliveries.WithLabelValues(name, "unreadable").Inc()
		b.log.Info("a signed delivery cannot be read; polling will see what it was about", "forge", name, "err", err)
		rw.WriteHeader(http.StatusAccepted)
		return
	}
	e.Repo.Forge = name
	w := b.worker(e.Repo)
	if w == nil {
		b.metrics.deliveries.WithLabelValues(name, "ignored").Inc()
		rw.WriteHeader(http.StatusAccepted)
		return
	}
	b.metrics.deliveries.WithLabelValues(name, "taken").Inc()
	w.hear(e)
	rw.WriteHeader(http.StatusAccepted)
}

// hear wakes the worker. What the bot did itself is no news.
func (w *worker) hear(e forge.Event) {
	me := w.myself.Load()
	if me != nil && e.Sender.ID == me.ID {
		return
	}
	if e.Button != "" {
		w.mu.Lock()
		w.pressed = append(w.pressed, e)
		w.mu.Unlock()
	}
	w.news(e.PR)
	if e.Comment == 0 || len(chat.Parse(e.Text)) == 0 {
		return
	}
	select {
	case w.acks <- e.Comment:
	default: // too many at once: the round acknowledges the rest
	}
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
