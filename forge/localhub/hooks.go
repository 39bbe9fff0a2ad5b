package localhub

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// hook is a webhook, of a repository or of an App.
type hook struct {
	id         int64
	repo       *repo // nil for an App's
	app        *app  // nil for a repository's
	url        string
	secret     string
	active     bool
	events     []string
	created    time.Time
	deliveries []*delivery // oldest first
}

func (k *hook) wants(event string) bool {
	always := k.app != nil && strings.HasPrefix(event, "installation")
	return k.active && k.url != "" && (always || event == "ping" || slices.Contains(k.events, event) || slices.Contains(k.events, "*"))
}

// delivery is one attempt to deliver, with its outcome once there is one.
type delivery struct {
	id, inst, repo int64
	hook           *hook
	guid           string
	event, action  string
	redelivery     bool
	at             time.Time
	header         http.Header
	payload        []byte

	took     time.Duration
	code     int // 0 when there was no answer
	status   string
	answer   http.Header
	response string
}

// emit tells everybody who subscribed to a repository's events. The payload is
// made now, if anybody is listening, and sent later.
func (h *Hub) emit(event, action string, r *repo, c *caller, payload func() obj) {
	receivers := map[*hook]*installation{}
	for _, k := range r.hooks {
		if k.wants(event) {
			receivers[k] = nil
		}
	}
	for _, i := range h.installations {
		if slices.Contains(i.repos, r) && i.suspended.IsZero() && i.app.hook.wants(event) {
			receivers[i.app.hook] = i
		}
	}
	if len(receivers) > 0 || h.opts.Emitted != nil {
		h.send(event, action, r, c, payload(), receivers)
	}
}

// send gives the payload to the receivers, each with the installation it is for.
func (h *Hub) send(event, action string, r *repo, c *caller, payload obj, receivers map[*hook]*installation) {
	if action != "" {
		payload["action"] = action
	}
	if r != nil && payload["repository"] == nil {
		payload["repository"] = h.repoView(r)
	}
	sender := c.account
	if sender == nil && c.app != nil {
		sender = c.app.bot
	}
	payload["sender"] = h.userView(sender)
	if len(receivers) == 0 && h.opts.Emitted != nil {
		h.opts.Emitted(event, action, encode(payload))
	}
	for _, k := range slices.SortedFunc(maps.Keys(receivers), func(a, b *hook) int { return int(a.id - b.id) }) {
		d := &delivery{id: h.id(), hook: k, guid: guid(), event: event, action: action, at: now()}
		one := maps.Clone(payload)
		if i := receivers[k]; i != nil {
			d.inst = i.id
			if one["installation"] == nil {
				one["installation"] = obj{"id": i.id, "node_id": nodeID("Installation", i.id)}
			}
		}
		if r != nil {
			d.repo = r.id
		}
		d.payload = encode(one)
		if h.opts.Emitted != nil {
			h.opts.Emitted(event, action, d.payload)
		}
		h.deliver(d)
	}
}

func encode(o obj) []byte {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // plain values always encode
	}
	return data
}

func guid() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// deliver signs a delivery and puts it in line.
func (h *Hub) deliver(d *delivery) {
	k := d.hook
	d.header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"GitHub-Hookshot/localhub"}, "X-Github-Event": {d.event},
		"X-Github-Delivery": {d.guid}, "X-Github-Hook-Id": {strconv.FormatInt(k.id, 10)},
	}
	if k.app != nil {
		d.header.Set("X-GitHub-Hook-Installation-Target-Type", "integration")
		d.header.Set("X-GitHub-Hook-Installation-Target-ID", strconv.FormatInt(k.app.ID, 10))
	} else {
		d.header.Set("X-GitHub-Hook-Installation-Target-Type", "repository")
		d.header.Set("X-GitHub-Hook-Installation-Target-ID", strconv.FormatInt(k.repo.id, 10))
	}
	if k.secret != "" {
		d.header.Set("X-Hub-Signature", "sha1="+sign(sha1.New, k.secret, d.payload))
		d.header.Set("X-Hub-Signature-256", "sha256="+sign(sha256.New, k.secret, d.payload))
	}
	k.deliveries = append(k.deliveries, d)
	url := k.url
	h.posts.add(func() {
		began := time.Now()
		code, status, answer, text := post1(h.ctx, url, d.header, d.payload)
		h.mu.Lock()
		defer h.mu.Unlock()
		d.took, d.code, d.status, d.answer, d.response = time.Since(began), code, status, answer, text
	})
}

func sign(algorithm func() hash.Hash, secret string, payload []byte) string {
	mac := hmac.New(algorithm, []byte(secret))
	mac.Write(payload)
	return hex.EncodeToString(mac.Sum(nil))
}

// post1 makes the one attempt that GitHub makes: ten seconds, no redirects.
func post1(ctx context.Context, url string, header http.Header, payload []byte) (int, string, http.Header, string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return 0, "failed to connect to host", nil, ""
	}
	req.Header = header.Clone()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "failed to connect to host", nil, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // what there is of it
	return resp.StatusCode, http.StatusText(resp.StatusCode), resp.Header, string(text)
}

// post is the line of webhooks to be sent, one after the other.
type post struct {
	mu      sync.Mutex
	changed *sync.Cond
	line    []func()
	busy    bool
	closed  bool
	ended   chan struct{}
}

// newPost works until the context ends.
func newPost(ctx context.Context) *post {
	p := &post{ended: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		p.changed.Broadcast()
	})
	go p.work()
	return p
}

func (p *post) work() {
	defer close(p.ended)
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.line) == 0 && !p.closed {
			p.changed.Wait()
		}
		if p.closed {
			return
		}
		next := p.line[0]
		p.line, p.busy = p.line[1:], true
		p.mu.Unlock()
		next()
		p.mu.Lock()
		p.busy = false
		p.changed.Broadcast()
	}
}

func (p *post) add(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = append(p.line, f)
	p.changed.Broadcast()
}

// settle waits until nothing is in line.
func (p *post) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (len(p.line) > 0 || p.busy) && !p.closed {
		p.changed.Wait()
	}
}

func (p *post) wait() { <-p.ended }

// Settle waits until every webhook emitted so far has been delivered or has
// failed.
func (h *Hub) Settle() { h.posts.settle() }

// redeliver sends a delivery again under its own id.
func (h *Hub) redeliver(d *delivery) {
	again := *d
	again.id, again.redelivery, again.at, again.code, again.status = h.id(), true, now(), 0, ""
	h.deliver(&again)
}
