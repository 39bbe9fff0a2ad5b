package giteatest

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version is the Gitea that is built.
const Version = "1.26.0"

// The nested module's files carry a suffix because go:embed refuses go.mod.
//
//go:embed giteamodule/go.mod.txt giteamodule/go.sum.txt
var module embed.FS

// program is a built Gitea: the binary and the folder with its templates.
type program struct{ bin, static string }

// build gives the cached program, or builds it: minutes the first time, told to
// progress. It needs the go command, a C compiler (SQLite) and, the first time,
// the Go module proxy. Processes that build at the same time wait for each other.
func build(ctx context.Context, progress io.Writer) (program, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return program{}, fmt.Errorf("build Gitea: %w", err)
	}
	dir := filepath.Join(cache, "mergegate", "gitea-"+Version)
	src := filepath.Join(dir, "module")
	if err := os.MkdirAll(src, 0o755); err != nil {
		return program{}, fmt.Errorf("build Gitea: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return program{}, fmt.Errorf("build Gitea: %w", err)
	}
	defer unlock()
	if p, ok := cached(dir); ok {
		return p, nil
	}
	for _, tool := range []string{"go", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return program{}, fmt.Errorf("build Gitea: %s is not installed; it is needed once, to build Gitea %s into %s", tool, Version, dir)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := module.ReadFile("giteamodule/" + name + ".txt")
		if err != nil {
			return program{}, err
		}
		if err := os.WriteFile(filepath.Join(src, name), data, 0o644); err != nil {
			return program{}, fmt.Errorf("build Gitea: %w", err)
		}
	}
	fmt.Fprintf(progress, "building Gitea %s into %s (minutes the first time, then never again)\n", Version, dir)
	fresh := filepath.Join(dir, "gitea.new")
	if _, err := goCommand(ctx, src, progress, "build", "-v",
		"-tags", "sqlite sqlite_unlock_notify", "-ldflags", "-X main.Version="+Version,
		"-o", fresh, "code.gitea.io/gitea"); err != nil {
		return program{}, err
	}
	static, err := goCommand(ctx, src, io.Discard, "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
	if err != nil {
		return program{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "static"), []byte(static), 0o644); err != nil {
		return program{}, fmt.Errorf("build Gitea: %w", err)
	}
	if err := os.Rename(fresh, filepath.Join(dir, "gitea")); err != nil {
		return program{}, fmt.Errorf("build Gitea: %w", err)
	}
	p, ok := cached(dir)
	if !ok {
		return program{}, fmt.Errorf("build Gitea: its templates are not in %q; run `go clean -modcache` and try again", static)
	}
	return p, nil
}

// cached looks for a program whose templates are still in the module cache.
func cached(dir string) (program, bool) {
	static, err := os.ReadFile(filepath.Join(dir, "static"))
	if err != nil {
		return program{}, false
	}
	p := program{bin: filepath.Join(dir, "gitea"), static: strings.TrimSpace(string(static))}
	for _, path := range []string{p.bin, filepath.Join(p.static, "templates"), filepath.Join(p.static, "options")} {
		if _, err := os.Stat(path); err != nil {
			return program{}, false
		}
	}
	return p, true
}

// goCommand runs go in the nested module and gives what it printed. The error
// carries the last lines of what went wrong.
func goCommand(ctx context.Context, dir string, progress io.Writer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=1")
	var out bytes.Buffer
	said := &packages{to: progress}
	cmd.Stdout, cmd.Stderr = &out, said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build Gitea: go %s: %w\n%s", args[0], err, tail(said.all.String(), 5))
	}
	return strings.TrimSpace(out.String()), nil
}

// packages is go build's -v output, told as a count now and then.
type packages struct {
	to   io.Writer
	all  bytes.Buffer
	seen int
}

func (p *packages) Write(b []byte) (int, error) {
	const step = 100
	before := p.seen / step
	p.seen += bytes.Count(b, []byte("\n"))
	if p.seen/step > before {
		fmt.Fprintf(p.to, "building Gitea: %d packages so far\n", p.seen)
	}
	return p.all.Write(b)
}

// tail is the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
