package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"mergegate/bot/config"
	"mergegate/internal/hostile"
)

// server is the real program in a process of its own, serving acme/widgets of a
// forge that only counts what it is asked.
type server struct {
	url, addr string
	pid       int
	secret    string
	asked     *atomic.Int64
	log       string // file
}

func startServer(t testing.TB) *server {
	t.Helper()
	s := &server{asked: &atomic.Int64{}, secret: rand.Text()}
	forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		http.Error(w, "down", http.StatusServiceUnavailable)
	}))
	t.Cleanup(forge.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"token": rand.Text(), "secret": s.secret,
		"config.yaml": fmt.Sprintf(`listen: 127.0.0.1:0
data_dir: data
forges:
  - {name: work, type: gitea, url: "%s", token_file: token, webhook_secret_file: secret, repos: [acme/widgets]}
`, forge.URL),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.log = filepath.Join(dir, "log")
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(self)
	cmd.Args = []string{"mergegate", "serve", "--config", filepath.Join(dir, "config.yaml")}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	s.pid = cmd.Process.Pid
	listens := regexp.MustCompile(`listen=(127\.0\.0\.1:\d+)`)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		said, _ := os.ReadFile(s.log)
		if m := listens.FindSubmatch(said); m != nil {
			s.addr = string(m[1])
			s.url = "http://" + s.addr
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve:\n%s", said)
		}
	}
}

// memory is VmRSS or VmHWM (the most it ever was), in MiB.
func (s *server) memory(t testing.TB, field string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Skipf("the memory of a process is read from /proc: %v", err)
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(data)
	if m == nil {
		t.Fatalf("no %s in /proc/%d/status", field, s.pid)
	}
	kb, _ := strconv.Atoi(string(m[1])) // digits
	return kb / 1024
}

// Every address in a true delivery is replaced by one of ours that counts visits.
// The deliveries wake mergegate, and it asks its forge; nobody visits us.
func TestAttack95And48AddressesInDeliveriesAreNotVisited(t *testing.T) {
	s := startServer(t)
	var visits atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer evil.Close()
	address := regexp.MustCompile(`(http|https|ssh)://[^"\\\\ ]*`)
	recorded, err := filepath.Glob("forge/gitea/testdata/deliveries/*.json")
	if err != nil || len(recorded) == 0 {
		t.Fatalf("no recorded deliveries: %v", err)
	}
	for _, file := range recorded {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Headers map[string]string
			Payload json.RawMessage
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		body := address.ReplaceAll(d.Payload, []byte(evil.URL+"/x"))
		if !bytes.Contains(body, []byte(evil.URL)) {
			t.Errorf("%s has no address", file)
		}
		if code := s.deliver(t, d.Headers["X-Gitea-Event-Type"], body); code != http.StatusAccepted {
			t.Errorf("%s: answered %d", file, code)
		}
	}
	before := s.asked.Load()
	body := []byte(fmt.Sprintf(`{"action":"opened","number":1,"repository":{"name":"widgets","clone_url":"%[1]s/a.git","html_url":"%[1]s/a","owner":{"login":"acme","username":"acme","avatar_url":"%[1]s/b"}},"sender":{"id":9,"avatar_url":"%[1]s/c"},"pull_request":{"number":1,"head":{"repo":{"clone_url":"%[1]s/d.git"}},"diff_url":"%[1]s/e","url":"%[1]s/f"}}`, evil.URL))
	for deadline := time.Now().Add(time.Minute); s.asked.Load() < before+3; time.Sleep(50 * time.Millisecond) {
		if code := s.deliver(t, "pull_request", body); code != http.StatusAccepted {
			t.Fatalf("answered %d", code)
		}
		if time.Now().After(deadline) {
			t.Fatal("deliveries do not make it ask its forge")
		}
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d visits at addresses from deliveries", n)
	}
}

// deliver posts a signed body of a kind.
func (s *server) deliver(t *testing.T, kind string, body []byte) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.url+"/webhook/work", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write(body)
	r.Header.Set("X-Gitea-Signature", hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Gitea-Event", kind)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestAttack38SignaturesThatAreNone(t *testing.T) {
	s := startServer(t)
	body := []byte(`{"repository":{"name":"widgets","owner":{"username":"acme"}}}`)
	with := func(new func() hash.Hash, key string) string {
		mac := hmac.New(new, []byte(key))
		mac.Write(body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	right := with(sha256.New, s.secret)
	for _, tc := range []struct{ field, value string }{
		{"X-Nothing", ""},
		{"X-Gitea-Signature", ""},
		{"X-Gitea-Signature", with(sha1.New, s.secret)},
		{"X-Hub-Signature", "sha1=" + with(sha1.New, s.secret)},
		{"X-Hub-Signature-256", "sha256=" + with(sha1.New, s.secret)},
		{"X-Hub-Signature-256", "sha256="},
		{"X-Gitea-Signature", with(sha256.New, "")},
		{"X-Gitea-Signature", with(sha256.New, s.secret+"x")},
		{"X-Gitea-Signature", right[:63]},
		{"X-Gitea-Signature", right + "00"},
		{"X-Gitea-Signature", strings.Repeat("0", 64)},
		{"Authorization", "Bearer " + right},
	} {
		for _, address := range []string{"/webhook/work", "/webhook/work?X-Gitea-Signature=" + right} {
			r, err := http.NewRequest(http.MethodPost, s.url+address, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Gitea-Event", "push")
			r.Header.Set(tc.field, tc.value)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %q at %s: answered %d", tc.field, tc.value, address, resp.StatusCode)
			}
		}
	}
	if code := s.deliver(t, "push", body); code != http.StatusAccepted {
		t.Errorf("the right signature: answered %d", code)
	}
}

// A secret or signature is compared in constant time wherever there is one: whoever
// computes an HMAC compares it with hmac.Equal.
func TestAttack39SignaturesAreComparedInConstantTime(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte("hmac.New(")) || strings.Contains(path, "localhub") || strings.Contains(path, "attacks") {
			return nil
		}
		found++
		if bytes.Contains(text, []byte("bytes.Equal(")) || bytes.Contains(text, []byte("reflect.DeepEqual(")) || !bytes.Contains(text, []byte("hmac.Equal(")) {
			t.Errorf("%s makes an HMAC and does not compare it with hmac.Equal", path)
		}
		return nil
	})
	if err != nil || found < 3 {
		t.Errorf("%d files with an HMAC, %v; want at least both forges and the seals", found, err)
	}
}

func TestAttack115NoLibraryWithKnownHoles(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mod, []byte("go-git/go-git")) {
		t.Error("go-git is required; git itself is what we run")
	}
	ci, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\s*GOTOOLCHAIN=auto go run "\$govulncheck" -db \S+ \./\.\.\.$`).Match(ci) {
		t.Error(".ci/run does not run govulncheck over everything")
	}
}

// What strangers write is a value in a log line, never a line or a level of its own.
func TestAttack91WordsMakeNoLogLines(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		for _, word := range hostile.Words() {
			var out bytes.Buffer
			log, err := logger(config.Log{Level: "info", Format: format}, &out)
			if err != nil {
				t.Fatal(err)
			}
			log.With("branch", word).Info("request", "title", word, "err", errors.New(word))
			line, rest, _ := strings.Cut(out.String(), "\n")
			if rest != "" || strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 || format == "text" && unicode.IsControl(r) }) {
				t.Errorf("%s: %q is written as %q", format, word, out.String())
			}
			fields, err := logFields(format, line)
			if err != nil {
				t.Errorf("%s: %q is written as %q: %v", format, word, line, err)
			}
			if len(fields) != 6 || fields["level"] != "INFO" || fields["msg"] != "request" {
				t.Errorf("%s: %q makes the fields %q", format, word, fields)
			}
			if want := strings.ToValidUTF8(word, "\ufffd"); format == "json" && fields["title"] != want && fields["title"] != strings.ToValidUTF8(word, "\ufffd\ufffd") {
				t.Errorf("%q reads %q", want, fields["title"])
			}
		}
	}
}

// logFields reads a line as programs do.
func logFields(format, line string) (map[string]string, error) {
	fields := map[string]string{}
	if format == "json" {
		return fields, json.Unmarshal([]byte(line), &fields)
	}
	for line != "" {
		key, rest, ok := strings.Cut(line, "=")
		if !ok || strings.ContainsAny(key, " \"") || fields[key] != "" {
			return fields, fmt.Errorf("%q is no key, or there twice", key)
		}
		value, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return fields, err
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return fields, err
			}
			after = strings.TrimPrefix(rest[len(quoted):], " ")
		}
		fields[key], line = value, after
	}
	return fields, nil
}
