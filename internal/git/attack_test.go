package git

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Variables that make git run programs, write files or talk to others.
func TestAttack60HostileEnvironment(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "ran")
	evil := filepath.Join(dir, "evil")
	if err := os.WriteFile(evil, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"GIT_SSH": evil, "GIT_SSH_COMMAND": evil, "GIT_PROXY_COMMAND": evil, "GIT_ASKPASS": evil, "SSH_ASKPASS": evil,
		"GIT_EXTERNAL_DIFF": evil, "GIT_PAGER": evil, "PAGER": evil, "GIT_EDITOR": evil, "GIT_SEQUENCE_EDITOR": evil,
		"GIT_EXEC_PATH": dir, "GIT_TEMPLATE_DIR": dir, "GIT_TRACE": filepath.Join(dir, "trace"), "GIT_TRACE_CURL": filepath.Join(dir, "curl"),
		"GIT_OBJECT_DIRECTORY": dir, "GIT_ALTERNATE_OBJECT_DIRECTORIES": dir, "GIT_INDEX_FILE": filepath.Join(dir, "index"), "GIT_NAMESPACE": "evil",
		"GIT_CONFIG_COUNT": "3", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": evil,
		"GIT_CONFIG_KEY_1": "core.sshCommand", "GIT_CONFIG_VALUE_1": evil, "GIT_CONFIG_KEY_2": "diff.external", "GIT_CONFIG_VALUE_2": evil,
		"GIT_CONFIG_PARAMETERS": "'core.fsmonitor=" + evil + "'", "GIT_ALLOW_PROTOCOL": "ext", "GIT_PROTOCOL_FROM_USER": "1",
	} {
		t.Setenv(name, value)
	}
	d, c := history(t)
	for _, args := range [][]string{
		{"log", "-p", "--end-of-options", c}, {"diff-tree", "-p", "--root", "--end-of-options", c}, {"cat-file", "-p", "--end-of-options", c},
	} {
		if _, err := d.Run(t.Context(), "", args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, remote := range []string{"ext::" + evil, "ssh://x/y", "x:y"} {
		if _, err := d.Run(t.Context(), "", "ls-remote", "--end-of-options", remote); err == nil {
			t.Errorf("%s was reached", remote)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("the environment had an effect: %v, %v", left, err)
	}
}

// Configuration files of the user and of the machine, in each place git looks.
func TestAttack61HostileConfiguration(t *testing.T) {
	home := t.TempDir()
	mark := filepath.Join(home, "ran")
	config := "[core]\n\tfsmonitor = touch " + mark + "\n\tpager = touch " + mark + "\n\thooksPath = " + home + "\n" +
		"[alias]\n\tlog = !touch " + mark + "\n[diff]\n\texternal = touch " + mark + "\n[url \"ext::touch " + mark + "\"]\n\tinsteadOf = http\n" +
		"[init]\n\ttemplateDir = " + home + "\n[credential]\n\thelper = !touch " + mark + "\n"
	for _, name := range []string{".gitconfig", ".config/git/config", "system"} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hook := filepath.Join(home, "reference-transaction")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("GIT_CONFIG_SYSTEM", filepath.Join(home, "system"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "0")
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		rw.WriteHeader(http.StatusUnauthorized)
	}))
	defer s.Close()
	d, c := history(t)
	if out, err := d.Run(t.Context(), "", "log", "--format=%H", "--end-of-options", c); err != nil || out != c+"\n" {
		t.Errorf("log = %q, %v", out, err)
	}
	r, err := d.Remote(s.URL+"/x.git", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), "", "ls-remote", "--end-of-options", s.URL+"/x.git"); err == nil {
		t.Error("a server that asks for a password was reached")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a configuration file ran something")
	}
}

// Nothing of the machine's own configuration is read. The program git is replaced by
// one for which another file is /etc/gitconfig.
func TestAttack61SystemConfiguration(t *testing.T) {
	d, _ := history(t)
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	system := filepath.Join(dir, "gitconfig")
	if err := errors.Join(
		os.WriteFile(system, []byte("[core]\n\tsshCommand = evil\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\nGIT_CONFIG_SYSTEM='"+system+"' exec '"+program+"' \"$@\"\n"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "")
	if out, err := exec.Command("git", "config", "--list").CombinedOutput(); err != nil || !strings.Contains(string(out), "core.sshcommand=evil") {
		t.Fatalf("the file is not read by others either: %q, %v", out, err)
	}
	if out, err := d.Run(t.Context(), "", "config", "--list"); err != nil || strings.Contains(out, "evil") || !strings.Contains(out, "core.hookspath=/dev/null") {
		t.Errorf("config = %q, %v", out, err)
	}
}

// history is a bare repository with one commit.
func history(t *testing.T) (Dir, string) {
	t.Helper()
	d := bare(t)
	in := "commit refs/heads/main\ncommitter a <a@b> 0 +0000\ndata 1\nx\nM 100644 inline f\ndata 2\nf\n\n"
	if _, err := d.Run(t.Context(), in, "fast-import", "--quiet"); err != nil {
		t.Fatal(err)
	}
	c, err := d.Run(t.Context(), "", "rev-parse", "refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	return d, strings.TrimSpace(c)
}

// While git talks to a server the token is in the environment of git and of its
// helper, and in no process's arguments.
func TestAttack62TokenIsInNoArgument(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("/proc is missing: arguments of other processes cannot be read")
	}
	const secret = "Y2FuYXJ5LW9mLXJvdy02Mg"
	reached, looked := make(chan struct{}, 8), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		reached <- struct{}{}
		<-looked
		rw.WriteHeader(http.StatusNotFound)
	}))
	defer s.Close()
	d, err := bare(t).Remote(s.URL+"/r.git", "Basic "+secret)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Fetch(t.Context(), Limits{Time: time.Minute, Size: 1 << 20}, "refs/heads/main") }()
	<-reached
	carriers := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range dirs {
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if strings.Contains(string(args), secret) {
			t.Errorf("in the arguments of %q", args)
		}
		if env, _ := os.ReadFile(filepath.Join(p, "environ")); strings.Contains(string(env), secret) {
			carriers++
			if program, _, _ := strings.Cut(string(args), "\x00"); !strings.HasPrefix(filepath.Base(program), "git") {
				t.Errorf("in the environment of %q", args)
			}
		}
	}
	close(looked)
	if err := <-done; err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("fetch: %v", err)
	}
	if carriers == 0 {
		t.Error("git was not seen at work: this test saw nothing")
	}
}

// The memory of a git process is bounded.
func TestMemoryLimit(t *testing.T) {
	if _, err := os.Stat("/proc/self/limits"); err != nil {
		t.Skip("/proc is missing: limits of other processes cannot be read")
	}
	d := bare(t)
	hold, release := pipe(t)
	done := make(chan error, 1)
	var out limited
	go func() { done <- d.Stream(t.Context(), hold, &out, "cat-file", "--batch") }()
	want := fmt.Sprintf("%d", uint64(maxMemory))
	deadline := time.Now().Add(30 * time.Second)
	for found := false; !found; {
		all, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, name := range all {
			env, _ := os.ReadFile(name)
			limits, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "limits"))
			if strings.Contains(string(env), "GIT_DIR="+d.Path+"\x00") && strings.Contains(line(string(limits), "Max data size"), want) {
				found = true
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no git process with the limit was seen")
		}
		time.Sleep(10 * time.Millisecond)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func line(text, prefix string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}

func pipe(t *testing.T) (*os.File, func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, func() { w.Close() }
}

// Nothing but this package starts git, and nothing but the few named here starts
// a program at all.
func TestOnlyThisPackageStartsGit(t *testing.T) {
	starters := map[string]string{
		"internal/git":       "the wrapper",
		"gate/retest":        "the sandbox and the test command in it",
		"internal/demo":      "the demo's test command, sh",
		"internal/giteatest": "builds and boots Gitea",
		"internal/ghspec":    "go list, in tests",
		"internal/attacks":   "go test",
		"forge/forgetest":    "the suite pushes as a person would, in tests",
	}
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (strings.HasPrefix(e.Name(), ".") && e.Name() != ".." || e.Name() == "testdata") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		seen++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		starts, names := startsPrograms(file)
		if _, ok := starters[pkg]; starts && !ok {
			t.Errorf("%s starts programs: use internal/git for git, or name the package here with its reason", path)
		}
		if names && pkg != "internal/git" && pkg != "forge/forgetest" {
			t.Errorf("%s starts git: only internal/git may, because only it pins what git believes", path)
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("looked at %d files: %v", seen, err)
	}
}

// startsPrograms says whether a file can start programs, and whether the word
// "git" is in it as a program's name would be.
func startsPrograms(f *ast.File) (starts, git bool) {
	for _, i := range f.Imports {
		switch path, _ := strconv.Unquote(i.Path.Value); path {
		case "os/exec":
			starts = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && (x.Name == "os" && n.Sel.Name == "StartProcess" ||
				(x.Name == "syscall" || x.Name == "unix") && (n.Sel.Name == "ForkExec" || n.Sel.Name == "StartProcess" || n.Sel.Name == "Exec")) {
				starts = true
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && (text == "git" || strings.HasSuffix(text, "/git") || strings.HasPrefix(text, "git ") && strings.Contains(text, "--")) {
				git = true
			}
		}
		return true
	})
	return starts, starts && git
}

func TestStartsPrograms(t *testing.T) {
	for src, want := range map[string][2]bool{
		`import "os/exec"; var c = exec.Command("git", "log")`:                {true, true},
		`import x "os/exec"; var c = x.Command("/usr/bin/git")`:               {true, true},
		`import "os/exec"; var c = exec.Command("sh", "-c", "git log --all")`: {true, true},
		`import "os/exec"; var c = exec.Command("bwrap")`:                     {true, false},
		`import "os"; var c, _ = os.StartProcess("/bin/git", nil, nil)`:       {true, true},
		`import "syscall"; var c = syscall.Exec("/bin/git", nil, nil)`:        {true, true},
		`import "fmt"; var c = fmt.Sprint("git")`:                             {false, false},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if starts, git := startsPrograms(f); [2]bool{starts, git} != want {
			t.Errorf("%s: starts %v, git %v", src, starts, git)
		}
	}
}
