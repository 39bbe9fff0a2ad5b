package canary

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const secret = "canary/token+5d0f=3a"

func watch() *Watch {
	w := new(Watch)
	w.Add(secret + "\n")
	return w
}

// Each planted leak is found, in each form.
func TestAttack63PlantedLeaksAreFound(t *testing.T) {
	forms := map[string]string{
		"plain":       secret,
		"base64":      base64.StdEncoding.EncodeToString([]byte(secret)),
		"basic auth":  "Basic " + base64.StdEncoding.EncodeToString([]byte("mergegate:"+secret)),
		"url base64":  base64.RawURLEncoding.EncodeToString([]byte("x" + secret + "yz")),
		"URL-encoded": url.QueryEscape(secret),
		"in a path":   url.PathEscape(secret),
	}
	for name, form := range forms {
		for place, plant := range map[string]func(*Watch, string){
			"file": func(w *Watch, s string) {
				dir := t.TempDir()
				if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "a/b/config"), []byte("[remote]\n\turl = http://me:"+s+"@h/\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := w.Files(dir, nil); err != nil {
					t.Error(err)
				}
			},
			"page": func(w *Watch, s string) { w.Look("page", []byte("<p>"+s+"</p>")) },
			"request line": func(w *Watch, s string) {
				send(t, w, func(r *http.Request) { r.URL.RawQuery = "token=" + strings.ReplaceAll(s, " ", "%20") })
			},
			"header": func(w *Watch, s string) { send(t, w, func(r *http.Request) { r.Header.Set("X-Note", s) }) },
			"body":   func(w *Watch, s string) { send(t, w, nil, []byte(`{"body":"`+s+`"}`)...) },
			"packed body": func(w *Watch, s string) {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				_, _ = z.Write([]byte("want " + s))
				_ = z.Close()
				send(t, w, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, b.Bytes()...)
			},
			"arguments":   func(w *Watch, s string) { start(t, w, "", "--url=http://me:"+s+"@h/") },
			"environment": func(w *Watch, s string) { start(t, w, "LEAK", s) },
		} {
			w := watch()
			plant(w, form)
			if finds := w.Finds(); len(finds) == 0 {
				t.Errorf("%s in a %s was not found", name, place)
			} else if strings.Contains(strings.Join(finds, " "), secret) {
				t.Errorf("the find tells the secret: %s", finds)
			}
		}
	}
}

// What is allowed, and what only looks like it, is not found.
func TestNothingIsFoundWhereNothingIs(t *testing.T) {
	w := watch()
	send(t, w, func(r *http.Request) { r.Header.Set("Authorization", "token "+secret) })
	start(t, w, "OTHER", "canary/token")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.Files(dir, func(path string) bool { return path == filepath.Join(dir, "token") }); err != nil {
		t.Error(err)
	}
	if finds := w.Finds(); len(finds) > 0 {
		t.Errorf("found %q", finds)
	}
	if s := w.Sum(); s.Requests != 1 || s.Processes < 2 || s.Bytes == 0 {
		t.Errorf("looked at %+v", s)
	}
}

// send sends a request through the watch.
func send(t *testing.T, w *Watch, change func(*http.Request), body ...byte) {
	t.Helper()
	var got []byte
	s := httptest.NewServer(w.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ = readAll(r)
	})))
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/x", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !bytes.Equal(got, body) {
		t.Errorf("passed on %q, want %q", got, body)
	}
}

func readAll(r *http.Request) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(r.Body)
	return b.Bytes(), err
}

// start starts a process whose child has the words in its arguments, or in its
// environment when name is not "", and looks until something is found or the child
// was seen for a while.
func start(t *testing.T, w *Watch, name, words string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(file, []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `sh -c 'read x' "$(cat "$0")"; true`
	if name != "" {
		script = name + `="$(cat "$0")" sh -c 'read x'; true`
	}
	cmd := exec.Command("/bin/sh", "-c", script, file)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for deadline := time.Now().Add(30 * time.Second); seen < 20 && len(w.Finds()) == 0; time.Sleep(5 * time.Millisecond) {
		before := w.Sum().Processes
		if w.Processes(cmd.Process.Pid); w.Sum().Processes >= before+2 {
			seen++
		}
		if time.Now().After(deadline) {
			t.Error("the child was not seen")
			break
		}
	}
	in.Close()
	_ = cmd.Wait()
}
