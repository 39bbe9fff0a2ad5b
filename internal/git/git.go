// Package git starts the git program. Nothing else in mergegate does.
//
// Content that git handles (commits, trees, names) comes from strangers; the
// repositories it runs in are ours. Every process therefore gets the same
// surroundings, whatever the machine's owner has configured:
//
//   - an environment built from nothing: no system, global or inherited
//     configuration, no home directory (so no .netrc), no prompt, English messages;
//   - an explicit GIT_DIR, so that a .git found on the way is never believed;
//   - no hooks, fsmonitor, filters, external diff, credential helper, pager,
//     signing, replace refs, submodule recursion or automatic maintenance;
//   - no transport at all, unless Remote allowed exactly the one its URL needs;
//   - objects from a remote are checked (fsck) before they are stored, and
//     stored as one pack, so that an interrupted fetch leaves nothing half there;
//   - limits on its memory, and for Fetch on time and size;
//   - its own process group, which ends with the context.
//
// The Authorization header travels in the environment of one process
// (GIT_CONFIG_COUNT), scoped to one URL. It is never in argv, never in a file,
// never in an error, and redirects are refused so that it goes nowhere else.
//
// What callers owe: names are given as full refs or 40-digit ids, options end
// with "--" or "--end-of-options" before anything a stranger chose. Git
// permutes its arguments, so a branch called --upload-pack=x is an option even
// behind the repository. Paths are literal, never patterns.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxOutput = 64 << 20 // of stdout kept by Run; more is an error
	maxStderr = 4 << 10  // of stderr kept for an Error
	// maxMemory is the data that one git process may have (RLIMIT_DATA). Objects
	// that inflate to more make git fail, and not the machine.
	maxMemory = 4 << 30
	// grace is how long git may tidy up its lock files after SIGTERM.
	grace = 3 * time.Second
)

// Dir is a git directory and the surroundings of the commands that run in it.
// It is a plain value: copy it, change the copy. Methods may run concurrently
// as far as git itself allows (readers and object writers always do).
type Dir struct {
	Path     string   // the git directory (a bare repository), absolute
	WorkTree string   // GIT_WORK_TREE and current directory; "" for none
	Env      []string // further variables for git, such as GIT_INDEX_FILE=…
	// Count, if not nil, is incremented for each process started.
	Count *atomic.Int64

	remote   string // what Remote was given; "" without one
	protocol string // the one transport allowed; "" for none
	auth     string // secret
}

// Error is a git command that did not end with 0, or could not run.
type Error struct {
	Op     string // the subcommand
	Code   int    // exit code; -1 when git was killed or did not start
	Stderr string // trimmed, printable, without secrets; at most 4 KiB
	Err    error  // why there is no exit code: the context's error, or exec's; else nil
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Stderr != "":
		return fmt.Sprintf("git %s: %v: %s", e.Op, e.Err, e.Stderr)
	case e.Err != nil:
		return fmt.Sprintf("git %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("git %s: exit %d: %s", e.Op, e.Code, e.Stderr)
}

func (e *Error) Unwrap() error { return e.Err }

// Code is the exit code in err: 0 for nil, -1 when err is not a git exit.
func Code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return -1
}

// Remote is d with the right to talk to one remote, and nothing else. The URL
// is http(s)://… or an absolute path of this machine; auth is the value of the
// Authorization header, or "". A URL with a user or password in it is refused,
// without repeating it.
func (d Dir) Remote(remote, auth string) (Dir, error) {
	if filepath.IsAbs(remote) {
		d.remote, d.protocol = remote, "file"
		return d, nil
	}
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return d, errors.New("the remote must be an http(s) URL or an absolute path")
	}
	if u.User != nil {
		return d, fmt.Errorf("the URL of %s carries a user or password; leave them out, the token goes into a header", u.Host)
	}
	if strings.ContainsAny(auth, "\r\n\x00") {
		return d, fmt.Errorf("the token for %s contains a line break", u.Host)
	}
	d.remote, d.protocol, d.auth = remote, u.Scheme, auth
	return d, nil
}

// Run runs git with the given arguments, the first of which is the subcommand,
// and the given stdin, and answers its stdout, byte for byte. A non-zero exit
// is an *Error together with what stdout said; so is more than 64 MiB of it.
func (d Dir) Run(ctx context.Context, stdin string, args ...string) (string, error) {
	out := &limited{max: maxOutput}
	err := d.Stream(ctx, strings.NewReader(stdin), out, args...)
	if err == nil && out.cut {
		err = &Error{Op: args[0], Code: -1, Err: fmt.Errorf("more than %d bytes of output", maxOutput)}
	}
	return out.kept.String(), err
}

// Stream is Run for input and output of any size.
func (d Dir) Stream(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	_, err := d.start(ctx, stdin, stdout, args...)
	return err
}

// start is Stream that also answers what git said on stderr, cleaned.
func (d Dir) start(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append(pinned(), args...)...)
	cmd.Env = d.environ()
	cmd.Dir = d.WorkTree
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	stderr := &limited{max: maxStderr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// SIGTERM first: git removes its lock files. WaitDelay sends SIGKILL.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if d.Count != nil {
		d.Count.Add(1)
	}
	err := cmd.Start()
	if err == nil {
		limitMemory(cmd.Process.Pid, maxMemory)
		err = cmd.Wait()
	}
	said := d.redact(stderr.kept.String())
	if err == nil {
		return said, nil
	}
	e := &Error{Op: args[0], Code: -1, Stderr: said}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers that ignored SIGTERM
		}
		e.Err = context.Cause(ctx)
	case exited && exit.Exited():
		e.Code = exit.ExitCode()
	default:
		e.Err = err
	}
	return said, e
}

// pinned is the configuration of every command, as arguments. It comes after
// every file, so nothing can undo it.
func pinned() []string {
	settings := []string{
		"core.hooksPath=/dev/null",
		"core.fsmonitor=false",
		"core.attributesFile=/dev/null",
		"core.pager=cat",
		"credential.helper=",
		"diff.external=",
		"filter.lfs.process=",
		"filter.lfs.smudge=",
		"filter.lfs.clean=",
		"filter.lfs.required=false",
		"commit.gpgSign=false",
		"submodule.recurse=false",
		"fetch.recurseSubmodules=false",
		"push.recurseSubmodules=no",
		"fetch.fsckObjects=true",
		"transfer.fsckObjects=true",
		// Old histories have these three, and they harm nobody.
		"fetch.fsck.zeroPaddedFilemode=warn",
		"fetch.fsck.badTimezone=warn",
		"fetch.fsck.missingSpaceBeforeDate=warn",
		"fetch.unpackLimit=1",
		"protocol.version=2",        // the server lists only the refs that are asked for
		"core.bigFileThreshold=64m", // larger blobs are streamed, never compared line by line
		"http.lowSpeedLimit=1000",   // a server that sends less for so many seconds is gone
		"http.lowSpeedTime=60",
		"maintenance.auto=false",
		"gc.autoDetach=false",
		"http.followRedirects=false",
		"advice.detachedHead=false",
	}
	var args []string
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// environ is the whole environment of git.
func (d Dir) environ() []string {
	protocol := d.protocol
	if protocol == "" {
		protocol = "none"
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/nonexistent",
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_LITERAL_PATHSPECS=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_ALLOW_PROTOCOL=" + protocol,
		"GIT_DIR=" + d.Path,
	}
	if d.WorkTree != "" {
		env = append(env, "GIT_WORK_TREE="+d.WorkTree)
	}
	if d.protocol != "" {
		// What a network needs of our own environment.
		for _, name := range []string{
			"http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY",
			"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO",
		} {
			if v, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+v)
			}
		}
	}
	if d.auth != "" {
		env = append(env, "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=http."+d.remote+".extraHeader",
			"GIT_CONFIG_VALUE_0=Authorization: "+d.auth)
	}
	return append(env, d.Env...)
}

// redact makes stderr fit for logs: without the secret, also without its part
// after "Basic " or "Bearer ", and without bytes that move a terminal's cursor.
func (d Dir) redact(s string) string {
	if d.auth != "" {
		s = strings.ReplaceAll(s, d.auth, "***")
		if _, credentials, ok := strings.Cut(d.auth, " "); ok && credentials != "" {
			s = strings.ReplaceAll(s, credentials, "***")
		}
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.TrimSpace(s)
}

// limited keeps the first max bytes and swallows the rest. Its buffer is not
// embedded: io.Copy would find ReadFrom and go round the limit.
type limited struct {
	kept bytes.Buffer
	max  int
	cut  bool
}

func (l *limited) Write(p []byte) (int, error) {
	keep := min(len(p), l.max-l.kept.Len())
	l.cut = l.cut || keep < len(p)
	l.kept.Write(p[:keep])
	return len(p), nil
}
