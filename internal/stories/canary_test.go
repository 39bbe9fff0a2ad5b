package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mergegate/internal/canary"
)

// Every story also watches mergegate's secrets: the token, or the App's key and the
// tokens that GitHub gave it, and the webhook secret. They may be in the files that
// the operator made and in the Authorization header, which git gets through its
// environment. Everywhere else they are looked for: in all that goes to the forge,
// on the pages, in data_dir and the log, in arguments and environments of every
// process that mergegate starts.

// keepSecret looks for what a replica signs in with from now on, and at the end
// looks at everything that the replica left behind.
func (w *world) keepSecret(r *replica) {
	w.Helper()
	files, err := os.ReadDir(r.dir)
	w.must(err)
	for _, f := range files {
		if isSecret(f.Name()) {
			data, err := os.ReadFile(filepath.Join(r.dir, f.Name()))
			w.must(err)
			w.canary.Add(string(data))
		}
	}
	w.Cleanup(func() { // after the replica's end: it was registered first
		if err := w.canary.Files(r.dir, func(path string) bool {
			return filepath.Dir(path) == r.dir && isSecret(filepath.Base(path))
		}); err != nil {
			w.Errorf("look for secrets on disk: %v", err)
		}
		if finds := w.canary.Finds(); len(finds) > 0 {
			w.Errorf("a secret was where it must not be:\n%s", strings.Join(finds, "\n"))
		}
		secrets.add(w.canary)
	})
}

// isSecret says whether a file of the operator's is one.
func isSecret(name string) bool {
	return name == "token" || name == "secret" || name == "previous" || name == "key.pem"
}

// lookAtPages looks at the pages as a story ends.
func (r *replica) lookAtPages() {
	for _, path := range []string{"/", "/api/queue", "/metrics", "/r/work/" + r.w.repo() + "/main", "/p/work/" + r.w.repo() + "/1"} {
		resp, err := (&http.Client{Timeout: 10 * time.Second}).Get(r.url + path)
		if err != nil {
			continue // it was stopped or killed
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		r.w.canary.Look("page "+path, body)
	}
}

// learn makes the tokens that GitHub gives an App known.
func learn(watch *canary.Watch, resp *http.Response) {
	if !strings.HasSuffix(resp.Request.URL.Path, "/access_tokens") {
		return
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var given struct{ Token string }
	if err == nil && json.Unmarshal(body, &given) == nil {
		watch.Add(given.Token)
	}
}

// secrets adds up what all stories looked at.
var secrets tally

type tally struct {
	mu      sync.Mutex
	watches map[*canary.Watch]bool
}

func (t *tally) add(w *canary.Watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watches == nil {
		t.watches = map[*canary.Watch]bool{}
	}
	t.watches[w] = true
}

func (t *tally) print() {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all canary.Sum
	finds := 0
	for w := range t.watches {
		s := w.Sum()
		all.Bytes, all.Files = all.Bytes+s.Bytes, all.Files+s.Files
		all.Requests, all.Processes = all.Requests+s.Requests, all.Processes+s.Processes
		finds += len(w.Finds())
	}
	line := fmt.Sprintf("internal/stories: secrets looked for in %d requests, %d files, %d looks at processes, %d bytes: %d finds\n",
		all.Requests, all.Files, all.Processes, all.Bytes, finds)
	fmt.Print(line)
	if path := os.Getenv("GHSPEC_REPORTS"); path != "" { // .ci/run shows what is there at its end
		if f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			_, _ = f.WriteString(line)
			_ = f.Close()
		}
	}
}
