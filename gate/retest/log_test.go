package retest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpenLog(t *testing.T) {
	r := runner(t, t.TempDir(), ladder())
	for _, id := range []string{"", "unknown", "../retest", "a/b", "A", strings.Repeat("a", 65)} {
		if _, err := r.OpenLog(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("OpenLog(%q): %v", id, err)
		}
	}
	job := newRepo(t).job("echo started; until test -e go-on; do sleep 0.01; done; echo ended")
	results := make(chan Result, 1)
	go func() { results <- r.Run(t.Context(), job) }()
	var id string
	until(t, "the log can be read while the test runs", func() bool {
		r.mu.Lock()
		for id = range r.live {
		}
		r.mu.Unlock()
		return id != "" && log(t, r, Result{Log: id}) == "started\n"
	})
	trees, err := filepath.Glob(filepath.Join(r.dir, "trees", "*", "*", "tree", "hello"))
	if err != nil || len(trees) != 1 {
		t.Fatal(trees, err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(trees[0]), "go-on"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	res := <-results
	if res.Log != id || res.Tail != "started\nended" || log(t, r, res) != "started\nended\n" {
		t.Errorf("%+v, read live as %s", res, id)
	}
	r.Sweep(time.Hour)
	if got := log(t, r, res); got != "started\nended\n" {
		t.Errorf("after a sweep of old logs: %q", got)
	}
	r.Sweep(-time.Hour)
	if _, err := r.OpenLog(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a sweep of all logs: %v", err)
	}
}

func TestTail(t *testing.T) {
	for name, tt := range map[string]struct{ log, want string }{
		"colours":       {"\x1b[31mred\x1b[0m \x1b]0;title\x07x\n", "red x"},
		"progress":      {"10%\r50%\r100%\ndone\r\n", "100%\ndone"},
		"control":       {"a\x00b\x08c\x07\td", "abc\td"},
		"direction":     {"abc\u202edef\u2066", "abcdef"},
		"not UTF-8":     {"a\xff\xfeb", "a\uFFFDb"},
		"a long line":   {strings.Repeat("é", 400), strings.Repeat("é", 300) + "…"},
		"many lines":    {strings.Repeat("x\n", 100), strings.TrimSpace(strings.Repeat("x\n", 30))},
		"nothing":       {"\n\n", ""},
		"cut escape":    {"a\x1b", "a"},
		"line endings":  {"a\r\nb\r\n", "a\nb"},
		"line seperate": {"a\u2028b", "ab"},
	} {
		if got := cleanTail([]byte(tt.log)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestPlain(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Minute: "30m", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 61 * time.Second: "1m1s",
	} {
		if got := plain(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
