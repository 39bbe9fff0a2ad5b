// Package canary looks for secrets where none may be: in what a process writes to
// disk, sends and serves, and in the arguments and environments of the processes
// it starts. It is for tests; the production code has its own net in
// internal/redact, and shares with it only the list of forms a secret may have.
//
// Two places are allowed: the Authorization header of a request to the forge, and
// the environment of git's own processes, which is how that header gets there.
package canary

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"mergegate/internal/redact"
)

// shortest is the length below which a form is found by chance in packs.
const shortest = 12

// Watch looks for its secrets. The zero value knows none. Methods may be called
// concurrently.
type Watch struct {
	mu    sync.Mutex
	known map[string]bool
	forms [][]byte
	finds []string

	bytes, files, requests, processes atomic.Int64
}

// Sum is how much was looked at.
type Sum struct{ Bytes, Files, Requests, Processes int64 }

// Sum is how much this watch has looked at so far. Each process counts once for
// each look at it.
func (w *Watch) Sum() Sum {
	return Sum{w.bytes.Load(), w.files.Load(), w.requests.Load(), w.processes.Load()}
}

// Add adds a secret to look for from now on.
func (w *Watch) Add(secret string) {
	secret = strings.TrimSpace(secret)
	w.mu.Lock()
	defer w.mu.Unlock()
	if secret == "" || w.known[secret] {
		return
	}
	if w.known == nil {
		w.known = map[string]bool{}
	}
	w.known[secret] = true
	for _, f := range redact.Forms(secret) {
		if len(f) >= shortest {
			w.forms = append(w.forms, []byte(f))
		}
	}
}

// Finds are the places where a secret was, each once.
func (w *Watch) Finds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.finds...)
}

// Look looks at some bytes. where says where they were.
func (w *Watch) Look(where string, data []byte) {
	w.bytes.Add(int64(len(data)))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.forms {
		if at := bytes.Index(data, f); at >= 0 {
			found := fmt.Sprintf("%s: …%q[a secret]", where, data[max(0, at-40):at])
			for _, old := range w.finds {
				if old == found {
					return
				}
			}
			w.finds = append(w.finds, found)
			return
		}
	}
}

// Files looks at the names and contents of all files below dir. allowed, if not
// nil, names the files that are the secrets.
func (w *Watch) Files(dir string, allowed func(path string) bool) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // it was there a moment ago
			}
			return err
		}
		w.Look("name of a file", []byte(path))
		if !e.Type().IsRegular() || allowed != nil && allowed(path) {
			return nil
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		w.files.Add(1)
		w.Look("file "+path, data)
		return err
	})
}

// Handler looks at every request before next gets it: its line, its headers but
// Authorization, and its body, also unpacked.
func (w *Watch) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(rw, "the body could not be read", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		where := "request " + r.Method + " " + r.URL.Path
		w.requests.Add(1)
		w.Look(where, []byte(r.RequestURI))
		for name, values := range r.Header {
			if name != "Authorization" {
				w.Look(where+", header "+name, []byte(name+": "+strings.Join(values, "\n")))
			}
		}
		w.Look(where+", body", body)
		if z, err := gzip.NewReader(bytes.NewReader(body)); err == nil && r.Header.Get("Content-Encoding") == "gzip" {
			plain, _ := io.ReadAll(z) // what could be unpacked
			w.Look(where+", unpacked body", plain)
		}
		next.ServeHTTP(rw, r)
	})
}
