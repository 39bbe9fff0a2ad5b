package stories

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A running bot survives whatever stands in its way, says so on its page, blames
// nobody's PR, and goes on without a restart.
func TestTroublePasses(t *testing.T) {
	for _, name := range []string{"forge down", "permission missing", "credentials refused", "repository out of reach"} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				c, ok := w.troubles()[name]
				if !ok {
					c = trouble{"502", func(w *world) {
						w.proxy.on(func(rw http.ResponseWriter, _ *http.Request, _ func() *bytes.Buffer) bool {
							http.Error(rw, "down", http.StatusBadGateway)
							return true
						})
					}, func(w *world) { w.proxy.off() }}
				}
				w.manual()
				bot := w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.label(w.bob, pr)
				candidate := w.testing(pr)
				c.begin(w)
				w.ci(candidate, "ci", "success")
				w.until("the page to say what is wrong", func() bool { return strings.Contains(bot.page("/"), c.says) })
				if text := w.sticky(pr); strings.Contains(text, "ropped") || w.pr(pr).Merged {
					t.Errorf("the PR was blamed, or landed:\n%s", text)
				}
				c.end(w)
				w.landed(pr)
			})
		})
	}
}

// The JSON view and the pages answer, and name the PR.
func TestPages(t *testing.T) {
	w := newWorld(t, "gitea", true)
	w.manual()
	bot := w.start()
	pr := w.pull("left", map[string]string{"left": "1"})
	w.label(w.bob, pr)
	w.testing(pr)
	for path, want := range map[string]string{
		"/":                             w.repo(),
		"/r/work/" + w.repo() + "/main": "Add left",
		"/p/work/" + w.repo() + "/1":    "Add left",
		"/metrics":                      "mergegate_requests{",
		"/healthz":                      "ok",
		"/readyz":                       "ok",
		"/style.css":                    "{",
		"/api/queue":                    `"state":"testing"`,
	} {
		resp, err := http.Get(bot.url + path)
		w.must(err)
		body, err := io.ReadAll(resp.Body)
		w.must(err)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("GET %s answered %d without %q:\n%s", path, resp.StatusCode, want, body)
		}
		if resp.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("GET %s has no content security policy", path)
		}
	}
	for path, want := range map[string]int{"/p/work/" + w.repo() + "/77": 404, "/log/nosuchlog": 404, "/r/work/x/y/main": 404, "/nothing": 404} {
		resp, err := http.Get(bot.url + path)
		w.must(err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s answered %d, want %d", path, resp.StatusCode, want)
		}
	}
	var queues []map[string]any
	resp, err := http.Get(bot.url + "/api/queue")
	w.must(err)
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&queues); err != nil || len(queues) != 1 {
		t.Errorf("/api/queue: %v, %v", queues, err)
	}
}

// A delivery that is not signed with the secret is refused, whatever it says.
func TestForgedDeliveries(t *testing.T) {
	t.Parallel()
	tellOn(t, testForgedDeliveries, "gitea", "github")
}

func testForgedDeliveries(t *testing.T, w *world) {
	bot := w.start()
	for name, h := range map[string]http.Header{
		"unsigned":  {},
		"wrong":     {"X-Gitea-Signature": {strings.Repeat("00", 32)}, "X-Hub-Signature-256": {"sha256=" + strings.Repeat("00", 32)}},
		"empty":     {"X-Gitea-Signature": {""}, "X-Hub-Signature-256": {"sha256="}},
		"sha1 only": {"X-Hub-Signature": {"sha1=" + strings.Repeat("00", 20)}},
	} {
		req, err := http.NewRequest("POST", bot.url+"/webhook/work", strings.NewReader(`{"action":"created"}`))
		w.must(err)
		req.Header = h
		req.Header.Set("X-Gitea-Event", "push")
		req.Header.Set("X-GitHub-Event", "push")
		req.Header.Set("X-GitHub-Delivery", name)
		resp, err := http.DefaultClient.Do(req)
		w.must(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, resp.StatusCode)
		}
	}
	large, err := http.NewRequest("POST", bot.url+"/webhook/work", bytes.NewReader(make([]byte, 6<<20)))
	w.must(err)
	large.Header.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("00", 32)) // without one nothing is read
	if resp, err := http.DefaultClient.Do(large); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("6 MiB: %d, want 413", resp.StatusCode)
		}
	}
}
