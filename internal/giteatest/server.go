package giteatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Options say how to run a server. The zero value asks for the channel queue in
// a directory that Start makes.
type Options struct {
	Dir   string    // where everything lives; "" makes a directory that Stop removes
	Queue string    // "channel" (quick, default) or "level" (what users have)
	Log   io.Writer // progress of the first build; nil for none
}

// Server is a running Gitea. Its methods may be called concurrently, except
// Stop, Kill and Restart.
type Server struct {
	URL        string // http://127.0.0.1:port, without a slash at the end
	Dir        string
	Admin      User   // a site administrator
	AdminToken string // Admin.Token, with all scopes

	prog   program
	temp   bool
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	serial atomic.Int64
}

// Start builds Gitea if need be, boots it on a free loopback port and makes the
// administrator. The server runs until Stop or Kill, or until this process dies;
// ctx bounds only the start.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	prog, err := build(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	return boot(ctx, prog, o)
}

func boot(ctx context.Context, prog program, o Options) (*Server, error) {
	s := &Server{prog: prog, Dir: o.Dir}
	if s.Dir == "" {
		dir, err := os.MkdirTemp("", "mergegate-gitea-")
		if err != nil {
			return nil, fmt.Errorf("start Gitea: %w", err)
		}
		s.Dir, s.temp = dir, true
	}
	port, err := FreePort()
	if err != nil {
		return nil, fmt.Errorf("start Gitea: %w", err)
	}
	s.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
	if o.Queue == "" {
		o.Queue = "channel"
	}
	if err := os.WriteFile(s.path("app.ini"), []byte(s.config(port, o.Queue)), 0o600); err != nil {
		return nil, fmt.Errorf("start Gitea: %w", err)
	}
	if err := s.run(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	if err := s.createAdmin(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

func (s *Server) config(port int, queue string) string {
	return strings.NewReplacer("{dir}", s.Dir, "{static}", s.prog.static,
		"{port}", fmt.Sprint(port), "{url}", s.URL, "{queue}", queue).Replace(`
WORK_PATH = {dir}
APP_NAME = throwaway
RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {url}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = throwaway-throwaway-throwaway-00
INTERNAL_TOKEN = throwaway-throwaway-throwaway-throwaway-throwaway
PASSWORD_HASH_ALGO = pbkdf2$1$50
SUCCESSFUL_TOKENS_CACHE_SIZE = 1000
[oauth2]
JWT_SECRET = dGhyb3dhd2F5LXRocm93YXdheS10aHJvd2F3YXktMDA
[git.config]
core.fsync = none
[repository]
DEFAULT_BRANCH = main
[session]
PROVIDER = memory
[webhook]
ALLOWED_HOST_LIST = loopback
[queue]
TYPE = {queue}
[queue.pr_patch_checker]
TYPE = level
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[cron.update_checker]
ENABLED = false
[log]
LEVEL = Warn
`)
}

// run starts the process and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	log, err := os.OpenFile(s.path("gitea.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start Gitea: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(s.prog.bin, "web", "--config", s.path("app.ini"))
	cmd.Env = s.env()
	cmd.Stdout, cmd.Stderr = log, log
	contain(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start Gitea: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s.cmd, s.exited = cmd, exited

	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("start Gitea: it ended at once:\n%s", s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("start Gitea: no answer at %s: %w\n%s", s.URL, ctx.Err(), s.lastWords())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// env keeps the settings of whoever runs us out of the server.
func (s *Server) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "GITEA_WORK_DIR=" + s.Dir}
}

func (s *Server) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/version", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (s *Server) lastWords() string {
	text, _ := os.ReadFile(s.path("gitea.log"))
	return tail(string(text), 10)
}

// createAdmin uses Gitea's command line, which is the only way in.
func (s *Server) createAdmin(ctx context.Context) error {
	s.Admin = User{Name: "root-admin", Password: password}
	cmd := exec.CommandContext(ctx, s.prog.bin, "admin", "user", "create", "--config", s.path("app.ini"),
		"--username", s.Admin.Name, "--password", password, "--email", s.Admin.Name+"@example.test",
		"--admin", "--must-change-password=false")
	cmd.Env = s.env()
	contain(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create Gitea's administrator: %w\n%s", err, tail(string(out), 5))
	}
	token, err := s.Token(ctx, s.Admin, "all")
	s.Admin.Token, s.AdminToken = token, token
	return err
}

// Stop ends the server politely, then by force, and removes the directory that
// Start made. It may be repeated.
func (s *Server) Stop() {
	if s.cmd != nil {
		signal(s.cmd, syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(5 * time.Second):
		}
	}
	s.Kill()
	if s.temp {
		_ = os.RemoveAll(s.Dir)
	}
}

// Kill ends the server at once, as a power cut would, and waits for its end. It
// may be repeated.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	signal(s.cmd, syscall.SIGKILL)
	<-s.exited
}

// Restart boots the server again on the same address and data, after Kill, or
// by killing it.
func (s *Server) Restart(ctx context.Context) error {
	if s.cmd == nil {
		return errors.New("restart Gitea: it was never started")
	}
	s.Kill()
	return s.run(ctx)
}
