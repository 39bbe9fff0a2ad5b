package bot

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
)

const hookSecret = "a secret of the test"

// hookForge knows only webhooks: a delivery is a forge.Event in JSON. Everything
// else that is called panics, for it would be a call that a delivery caused.
type hookForge struct{ forge.Forge }

func (hookForge) Verify(h http.Header, body, secret []byte) bool {
	got, err := hex.DecodeString(h.Get("X-Gitea-Signature"))
	return err == nil && hmac.Equal(got, signature(body, secret))
}

func (hookForge) Event(_ http.Header, body []byte) (e forge.Event, err error) {
	err = json.Unmarshal(body, &e)
	return e, err
}

func signature(body, secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return mac.Sum(nil)
}

// testBot is a bot that serves acme/widgets without running, so that what a
// delivery leaves behind can be counted.
func testBot(t *testing.T, logs Logs) (*Bot, *worker) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(hookSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Forges = []config.Forge{{Name: "work", Type: "gitea", WebhookSecretFile: file, Repos: []string{"acme/widgets"}}}
	f := hookForge{}
	b := New(&cfg, map[string]forge.Forge{"work": f}, nil, runner{}, logs, "replica-1", func() uint64 { return 4 }, 1, slog.New(slog.DiscardHandler))
	repo := gate.Repo{Forge: "work", Owner: "acme", Name: "widgets"}
	w := newWorker(b, cfg.Forges[0], f, repo)
	b.workers[repo] = w
	return b, w
}

func news(e forge.Event) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return body
}

// deliver posts body to path, signed with secret unless that is "".
func deliver(b *Bot, path string, body io.Reader, signed string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, body)
	if signed != "" {
		r.Header.Set("X-Gitea-Signature", signed)
	}
	rw := httptest.NewRecorder()
	b.Handler("test").ServeHTTP(rw, r)
	return rw
}

func sign(body []byte, secret string) string {
	return hex.EncodeToString(signature(body, []byte(secret)))
}

// touched says whether anything is due that was not before.
func (w *worker) touched() bool {
	return len(w.wake)+len(w.acks)+len(w.dirty)+len(w.pressed) > 0
}

var widgets = gate.Repo{Owner: "acme", Name: "widgets"}

// unread fails the test when somebody reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestAttack37UnsignedDeliveryIsNotEvenRead(t *testing.T) {
	b, w := testBot(t, nil)
	if rw := deliver(b, "/webhook/work", unread{t}, ""); rw.Code != http.StatusUnauthorized || w.touched() {
		t.Errorf("answered %d, touched %v", rw.Code, w.touched())
	}
}

func TestAttack40NothingHappensBeforeTheSignatureIsVerified(t *testing.T) {
	b, w := testBot(t, nil)
	body := news(forge.Event{Repo: widgets, PR: 1, Comment: 7, Text: "/merge", Button: forge.ButtonRequeue})
	for name, signed := range map[string]string{
		"another secret": sign(body, "another"),
		"another body":   sign(append([]byte(" "), body...), hookSecret),
		"an empty key":   hex.EncodeToString(signature(body, nil)),
		"cut short":      sign(body, hookSecret)[:32],
		"no hex":         "zz",
	} {
		if rw := deliver(b, "/webhook/work", bytes.NewReader(body), signed); rw.Code != http.StatusUnauthorized || w.touched() {
			t.Errorf("%s: answered %d, touched %v", name, rw.Code, w.touched())
		}
	}
	if rw := deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, hookSecret)); rw.Code != http.StatusAccepted || !w.touched() {
		t.Errorf("the true signature: answered %d, touched %v", rw.Code, w.touched())
	}
}

func TestAttack41AReplayedDeliveryIsOneRound(t *testing.T) {
	b, w := testBot(t, nil)
	body := news(forge.Event{Repo: widgets, PR: 1, Comment: 7, Text: "/merge"})
	for range 100 {
		if rw := deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, hookSecret)); rw.Code != http.StatusAccepted {
			t.Fatalf("answered %d", rw.Code)
		}
	}
	if len(w.wake) != 1 || len(w.dirty) != 1 || len(w.acks) > cap(w.acks) {
		t.Errorf("100 deliveries left %d rounds, %d PRs, %d acknowledgements", len(w.wake), len(w.dirty), len(w.acks))
	}
}

// endless never ends; read counts how much of it was taken.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

func TestAttack44AnEndlessBodyIsCutOff(t *testing.T) {
	b, w := testBot(t, nil)
	body := &endless{}
	rw := deliver(b, "/webhook/work", body, "00") // its length is not announced
	if rw.Code != http.StatusRequestEntityTooLarge || w.touched() {
		t.Errorf("answered %d, touched %v", rw.Code, w.touched())
	}
	if body.read > 2*maxDelivery {
		t.Errorf("%d bytes were read", body.read)
	}
	r := httptest.NewRequest(http.MethodPost, "/webhook/work", unread{t})
	r.ContentLength = 200 << 20
	r.Header.Set("X-Gitea-Signature", "00")
	rw = httptest.NewRecorder()
	b.Handler("test").ServeHTTP(rw, r)
	if rw.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("200 MB announced: answered %d", rw.Code)
	}
}

// stuck gives some bytes, then waits until it is released.
type stuck struct {
	n       int
	started chan<- struct{}
	release <-chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.n > 0 {
		n := min(s.n, len(p))
		s.n -= n
		return n, nil
	}
	s.started <- struct{}{}
	<-s.release
	return 0, io.ErrUnexpectedEOF
}

func TestAttack44ManyBodiesTogetherAreBounded(t *testing.T) {
	b, w := testBot(t, nil)
	started, release := make(chan struct{}), make(chan struct{})
	done := make(chan int)
	const many = maxDeliveries/(4<<20) - 1
	for range many {
		go func() {
			done <- deliver(b, "/webhook/work", &stuck{4 << 20, started, release}, "00").Code
		}()
		<-started
	}
	if rw := deliver(b, "/webhook/work", bytes.NewReader(make([]byte, 5<<20)), "00"); rw.Code != http.StatusServiceUnavailable || rw.Header().Get("Retry-After") == "" {
		t.Errorf("a full house answers %d", rw.Code)
	}
	small := news(forge.Event{Repo: widgets, PR: 1})
	if rw := deliver(b, "/webhook/work", bytes.NewReader(small), sign(small, hookSecret)); rw.Code != http.StatusAccepted || !w.touched() {
		t.Errorf("a small delivery in the full house: %d", rw.Code)
	}
	close(release)
	for range many {
		<-done
	}
	big := news(forge.Event{Repo: widgets, PR: 1, Text: strings.Repeat("x", 4<<20)})
	if rw := deliver(b, "/webhook/work", bytes.NewReader(big), sign(big, hookSecret)); rw.Code != http.StatusAccepted {
		t.Errorf("after they have gone: %d", rw.Code)
	}
}

func TestAttack46BrokenDeliveriesAreRefused(t *testing.T) {
	b, w := testBot(t, nil)
	for name, body := range map[string]string{
		"deep lists":     strings.Repeat("[", 1<<20),
		"deep objects":   strings.Repeat(`{"a":`, 1<<18) + "1" + strings.Repeat("}", 1<<18),
		"a bit too deep": `{"Repo":{"Owner":"acme","Name":"widgets"},"PR":1,"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + "}",
		"a huge number":  `{"PR": 1` + strings.Repeat("0", 1<<16) + `}`,
		"a fraction":     `{"PR": 1.5}`,
		"no JSON":        "\xff\xfe",
		"half":           `{"PR": 1`,
		"empty":          "",
		"another type":   `{"Repo": "acme/widgets"}`,
	} {
		if rw := deliver(b, "/webhook/work", strings.NewReader(body), sign([]byte(body), hookSecret)); rw.Code != http.StatusBadRequest || w.touched() {
			t.Errorf("%s: answered %d, touched %v", name, rw.Code, w.touched())
		}
	}
	odd := `{"Repo":{"Owner":"acme","Name":"widgets"},"PR":1,"PR":2,"Text":"[[[[[[[[\ud800 \\\"{{{{` + "\xff" + `"}`
	if rw := deliver(b, "/webhook/work", strings.NewReader(odd), sign([]byte(odd), hookSecret)); rw.Code != http.StatusAccepted {
		t.Errorf("brackets in text, a key twice, half a character: answered %d", rw.Code)
	}
}

func TestAttack47And48OtherRepositoriesAreNotServed(t *testing.T) {
	b, w := testBot(t, nil)
	for _, repo := range []gate.Repo{
		{Owner: "acme", Name: "other"}, {Owner: "evil", Name: "widgets"}, {Owner: "..", Name: ".."},
		{Owner: "acme/widgets", Name: ""}, {Owner: "", Name: ""}, {Owner: "acme", Name: "widgets\x00"},
		{Forge: "http://evil.example", Owner: "evil", Name: "widgets"},
	} {
		body := news(forge.Event{Repo: repo, PR: 1, Comment: 1, Text: "/merge"})
		if rw := deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, hookSecret)); rw.Code != http.StatusAccepted || w.touched() {
			t.Errorf("%v: answered %d, touched %v", repo, rw.Code, w.touched())
		}
	}
	if len(b.workers) != 1 {
		t.Errorf("%d workers, want 1", len(b.workers))
	}
	for _, path := range []string{"/webhook/other", "/webhook/..", "/webhook/", "/webhook/work/x"} {
		body := news(forge.Event{Repo: widgets, PR: 1})
		if rw := deliver(b, path, bytes.NewReader(body), sign(body, hookSecret)); rw.Code == http.StatusAccepted || w.touched() {
			t.Errorf("%s: answered %d", path, rw.Code)
		}
	}
}

func TestAttack49AFloodIsRefusedInTheEnd(t *testing.T) {
	b, w := testBot(t, nil) // nobody works, so everything waits
	last := 0
	for i := range 2 * maxPressed {
		body := news(forge.Event{Repo: widgets, Commit: gate.SHA(fmt.Sprint("c0ffee", i)), Button: forge.ButtonRequeue, Sender: gate.User{ID: 4}})
		last = deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, hookSecret)).Code
	}
	if last != http.StatusServiceUnavailable || len(w.pressed) != maxPressed {
		t.Errorf("the last answer was %d with %d waiting", last, len(w.pressed))
	}
}

func TestASecretThatIsGoneRefusesEverybody(t *testing.T) {
	b, w := testBot(t, nil)
	body := news(forge.Event{Repo: widgets, PR: 1})
	if err := os.WriteFile(b.cfg.Forges[0].WebhookSecretFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"", hookSecret} {
		if rw := deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, secret)); rw.Code != http.StatusServiceUnavailable || w.touched() {
			t.Errorf("signed with %q: answered %d", secret, rw.Code)
		}
	}
	if _, err := b.cfg.Forges[0].WebhookSecret(); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v; want that it is empty", err)
	}
}

// A delivery that could not be taken may come again; one that was taken does nothing
// more, also when somebody sends a button's words again under another name.
func TestAttack41AReplayedButtonIsPressedOnce(t *testing.T) {
	b, w := testBot(t, nil)
	press := func(delivery, commit string) int {
		body := news(forge.Event{Repo: widgets, Delivery: delivery, Button: forge.ButtonRequeue, Commit: gate.SHA(commit)})
		return deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, hookSecret)).Code
	}
	for i := range maxPressed {
		if code := press("", fmt.Sprint(i)); code != http.StatusAccepted {
			t.Fatalf("the press %d was answered with %d", i, code)
		}
	}
	if code := press("one", "late"); code != http.StatusServiceUnavailable || len(w.pressed) != maxPressed {
		t.Fatalf("when all is full a press is answered with %d", code)
	}
	w.pressed = nil // a round took them
	for range 3 {
		if code := press("one", "late"); code != http.StatusAccepted {
			t.Errorf("pressed again it was answered with %d", code)
		}
	}
	if len(w.pressed) != 1 || w.pressed[0].Commit != "late" {
		t.Errorf("refused once and sent three times, it was pressed %d times", len(w.pressed))
	}
	body := news(forge.Event{Repo: widgets, Button: forge.ButtonRemove})
	for range 2 { // nothing but the body is signed
		deliver(b, "/webhook/work", bytes.NewReader(body), sign(body, hookSecret))
	}
	if len(w.pressed) != 2 {
		t.Errorf("sent twice, the second button was pressed %d times", len(w.pressed)-1)
	}
}
