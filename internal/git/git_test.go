package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func bare(t *testing.T) Dir {
	t.Helper()
	d := Dir{Path: filepath.Join(t.TempDir(), "r.git"), Count: new(atomic.Int64)}
	if _, err := d.Run(t.Context(), "", "init", "-q", "--bare", "--template="); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestVersion(t *testing.T) {
	v, err := Version(t.Context())
	if err != nil || !strings.HasPrefix(v, "2.") {
		t.Errorf("Version = %q, %v", v, err)
	}
}

// A git with known holes is refused, or warned of where a distribution may have
// mended it without a new number.
func TestAttack114OldGit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for said, want := range map[string]struct {
		err    string
		advice string
	}{
		"git version 1.9.5":               {err: "install 2.39.4"},
		"git version 2.34.1":              {err: "install 2.39.4"},
		"git version 2.38.0":              {err: "install 2.39.4"},
		"git version 2.39.3 (Apple Git)":  {err: "install 2.39.4"},
		"git version 2.39.4":              {},
		"git version 2.39.5":              {},
		"git version 2.43.0":              {advice: "install 2.43.4"},
		"git version 2.45.0":              {advice: "install 2.45.1"},
		"git version 2.45.2.windows.1":    {},
		"git version 2.51.0":              {},
		"git version 2.52.0-rc1":          {},
		"git version 3.0":                 {},
		"git version unknown; echo pwned": {err: "not a number"},
		"":                                {err: "not a number"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\necho '"+said+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		v, err := Version(t.Context())
		if (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%q: %v; want %q", said, err, want.err)
		}
		if got := Advice(v); err == nil && ((got == "") != (want.advice == "") || !strings.Contains(got, want.advice)) {
			t.Errorf("%q: advice %q; want %q", said, got, want.advice)
		}
	}
	if err := os.Remove(filepath.Join(dir, "git")); err != nil {
		t.Fatal(err)
	}
	if _, err := Version(t.Context()); err == nil || !strings.Contains(err.Error(), "is git installed") {
		t.Errorf("no git: %v", err)
	}
}

func TestRun(t *testing.T) {
	d := bare(t)
	out, err := d.Run(t.Context(), "hello", "hash-object", "-w", "--stdin")
	if err != nil || out != "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0\n" {
		t.Fatalf("hash-object = %q, %v", out, err)
	}
	_, err = d.Run(t.Context(), "", "cat-file", "blob", strings.Repeat("0", 40))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Op != "cat-file" || e.Code != 128 || Code(err) != 128 || !strings.Contains(err.Error(), "cat-file") {
		t.Errorf("missing blob: %#v", err)
	}
	if d.Count.Load() != 3 {
		t.Errorf("counted %d processes, want 3", d.Count.Load())
	}
}

// The machine's and the user's configuration, and the caller's environment,
// must not change what git does.
func TestAttack60And61SurroundingsAreIgnored(t *testing.T) {
	home := t.TempDir()
	config := filepath.Join(home, ".gitconfig")
	if err := os.WriteFile(config, []byte("[user]\n\tname = from home\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_CONFIG_GLOBAL", config)
	t.Setenv("GIT_DIR", home)
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "user.name")
	t.Setenv("GIT_CONFIG_VALUE_0", "from env")
	d := bare(t)
	out, err := d.Run(t.Context(), "", "config", "user.name")
	if Code(err) != 1 || out != "" {
		t.Errorf("user.name = %q, %v; want unset", out, err)
	}
	for key, want := range map[string]string{
		"core.hookspath": "/dev/null", "core.fsmonitor": "false", "fetch.fsckobjects": "true",
		"credential.helper": "", "http.followredirects": "false",
	} {
		if out, err := d.Run(t.Context(), "", "config", key); err != nil || out != want+"\n" {
			t.Errorf("%s = %q, %v; want %q", key, out, err, want)
		}
	}
}

func TestHooksDoNotRun(t *testing.T) {
	d := bare(t)
	ran := filepath.Join(t.TempDir(), "ran")
	hook := filepath.Join(d.Path, "hooks", "reference-transaction")
	if err := os.MkdirAll(filepath.Dir(hook), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	blob, err := d.Run(t.Context(), "x", "hash-object", "-w", "--stdin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(t.Context(), "", "update-ref", "refs/x/y", strings.TrimSpace(blob)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a hook ran")
	}
}

func TestRemoteIsTheOnlyWayOut(t *testing.T) {
	d, other := bare(t), bare(t)
	if _, err := d.Run(t.Context(), "", "ls-remote", "--", other.Path); Code(err) != 128 {
		t.Errorf("a Dir without Remote reached another repository: %v", err)
	}
	r, err := d.Remote(other.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), "", "ls-remote", "--", other.Path); err != nil {
		t.Error(err)
	}
	for _, u := range []string{"", "relative/path", "ext::sh -c id", "ssh://host/x", "git://host/x", "file:///etc", "https:///x", "-x"} {
		if _, err := d.Remote(u, ""); err == nil {
			t.Errorf("Remote(%q) is allowed", u)
		}
	}
	_, err = d.Remote("https://me:hunter2@host/x", "")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("URL with a password: %v", err)
	}
	if _, err = d.Remote("https://host/x", "token a\nInjected: b"); err == nil || strings.Contains(err.Error(), "token a") {
		t.Errorf("token with a line break: %v", err)
	}
}

// The header reaches the server it is for, does not follow a redirect, and
// is not repeated in an error even when the server repeats it.
func TestAttack64Authorization(t *testing.T) {
	const secret = "c2VjcmV0LXRva2Vu"
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var got atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusFound)
			return
		}
		got.Store(r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "no entry for %s\x1b[2J\n", r.Header.Get("Authorization"))
	}))
	defer s.Close()

	d, err := bare(t).Remote(s.URL+"/r.git", "Basic "+secret)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Run(t.Context(), "", "ls-remote", "--", s.URL+"/r.git")
	if got.Load() != "Basic "+secret {
		t.Errorf("the server saw %q", got.Load())
	}
	if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "***") {
		t.Errorf("error %q; want the server's words without the secret", err)
	}

	d, err = d.Remote(s.URL+"/moved.git", "Basic "+secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = d.Run(t.Context(), "", "ls-remote", "--", s.URL+"/moved.git"); err == nil || elsewhere.Load() != 0 {
		t.Errorf("redirect: error %v, %d requests elsewhere", err, elsewhere.Load())
	}
}

// A server that never answers is left when the context ends.
func TestContextEndsGitAndItsHelpers(t *testing.T) {
	reached := make(chan struct{}, 8)
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(release)
	d, err := bare(t).Remote(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the lease ended")
	go func() { <-reached; cancel(why) }()
	start := time.Now()
	_, err = d.Run(ctx, "", "ls-remote", "--", s.URL)
	if !errors.Is(err, why) || Code(err) != -1 {
		t.Errorf("err = %v, want the context's cause", err)
	}
	if took := time.Since(start); took >= grace {
		t.Errorf("took %v to leave", took)
	}
}

func TestStreamAndLimit(t *testing.T) {
	d := bare(t)
	l := &limited{max: 4}
	if err := d.Stream(t.Context(), strings.NewReader("hello"), l, "hash-object", "--stdin"); err != nil {
		t.Fatal(err)
	}
	if l.kept.String() != "b6fc" || !l.cut {
		t.Errorf("kept %q, cut %v", l.kept.String(), l.cut)
	}
	if n, err := io.WriteString(l, "more"); n != 4 || err != nil {
		t.Errorf("a full buffer must swallow, not fail: %d, %v", n, err)
	}
}
