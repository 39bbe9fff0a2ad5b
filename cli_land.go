package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mergegate/gate/catchup"
	"mergegate/gate/lease"
	"mergegate/internal/git"
	"mergegate/internal/land"
)

// landCommand is the gate on a plain git remote.
type landCommand struct {
	Repo   string `required:"" placeholder:"DIR|URL" help:"The repository: a directory, or an http(s) address without user and password."`
	Branch string `required:"" placeholder:"B" help:"The branch to land."`
	Onto   string `required:"" placeholder:"BRANCH" help:"The branch it lands on."`

	Lease  string        `placeholder:"FILE" help:"The lease file, the same for all who land on this branch. Default: beside the repository's refs for a DIR, in --dir for a URL."`
	Wait   time.Duration `default:"10m" help:"How long to wait for one's turn; 0 answers busy at once."`
	TTL    time.Duration `name:"ttl" default:"30s" help:"When a holder of the lease without a sign of life counts as dead."`
	Holder string        `placeholder:"NAME" help:"Who holds the lease. A process of the same name takes it over at once: a job that starts again need not wait for itself. Default: host, process and chance."`

	Timeout time.Duration     `default:"30m" help:"How long the test may take."`
	Network bool              `help:"Give the test the network."`
	Env     map[string]string `placeholder:"NAME=VALUE" help:"Set a variable for the test, which otherwise gets none of yours."`

	ReadOnly []string `placeholder:"DIR" sep:"none" type:"existingdir" help:"Let the test read this directory too, such as a module cache. May be repeated."`

	TokenFile string `placeholder:"FILE" help:"For a URL: the file with the token to fetch and push with."`
	TokenEnv  string `placeholder:"NAME" help:"For a URL: the environment variable with it."`
	User      string `default:"x-access-token" help:"The user name that goes with the token."`

	Dir  string `placeholder:"DIR" help:"Where mirrors, work trees and logs are kept. Default: mergegate/land in your cache directory."`
	JSON bool   `name:"json" help:"Print the outcome as one JSON object."`

	Command []string `arg:"" optional:"" passthrough:"" name:"cmd" help:"The test, after --: a program and its arguments, run in a clean checkout of what would land."`
}

// Help is printed by --help.
func (landCommand) Help() string {
	return `Takes the lease, catches the branch up with the target in memory, runs the test
on exactly that commit in a sandbox, pushes the branch, and fast-forwards the
target if it is still where it was when the test began.

    mergegate land --repo /srv/git/app.git --branch fix-7 --onto main -- make test

The outcome is the exit code, and one line or one JSON object on stdout:

    0  landed       the target is at the tested commit
    1  failed       something else, which was said
    2               wrong usage
    3  up to date   the target has the whole change already
    4  conflict     the change does not apply; the files are named
    5  red          the test failed or took too long; its last lines are shown
    6  busy         it is somebody else's turn, and --wait is 0
    7  timeout      it was somebody else's turn for all of --wait

After a crash or an unclear answer, run it again: what has landed is up to date.
For a shell as the test, write: -- sh -c 'make && make test'.`
}

// landExits are the exit codes of the outcomes; see Help.
func landExits(o land.Outcome) int {
	return map[land.Outcome]int{
		land.Landed: 0, land.UpToDate: 3, land.Conflict: 4, land.Red: 5, land.Busy: 6, land.Timeout: 7,
	}[o]
}

// Run is called by kong.
func (c landCommand) Run(ctx context.Context, out io.Writer) error {
	r, err := c.request(ctx)
	if err != nil {
		return usageError{err}
	}
	if _, err := git.Version(ctx); err != nil {
		return err
	}
	res, err := land.Run(ctx, r)
	if c.JSON {
		line := json.NewEncoder(out)
		line.SetEscapeHTML(false)
		if jerr := line.Encode(res); jerr != nil {
			return errors.Join(err, jerr)
		}
	} else if err == nil {
		printLanding(out, res)
	}
	switch {
	case errors.Is(err, catchup.ErrNoRef):
		return usageError{fmt.Errorf("%w; give the names of branches that %s has", err, c.Repo)}
	case err != nil:
		return err
	case res.Outcome != land.Landed:
		return exitError(landExits(res.Outcome))
	}
	return nil
}

// printLanding is the outcome for people.
func printLanding(out io.Writer, res land.Result) {
	fmt.Fprintf(out, "%s: %s\n", res.Outcome, res.Why)
	for _, f := range res.Files {
		fmt.Fprintf(out, "  %-14s %q\n", f.Kind, f.Path)
	}
	if res.Outcome == land.Red {
		for line := range strings.Lines(res.Tail) {
			fmt.Fprintf(out, "  | %s\n", strings.TrimSuffix(line, "\n"))
		}
		fmt.Fprintf(out, "the log: %s\n", res.Log)
	}
}

// request checks the command line. Its errors are all bad usage.
func (c landCommand) request(ctx context.Context) (land.Request, error) {
	words := c.Command
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	switch {
	case len(words) == 0:
		return land.Request{}, errors.New("there is no test: give one after --, such as -- make test. No test is not a passed test")
	case c.Branch == c.Onto:
		return land.Request{}, fmt.Errorf("--branch and --onto are both %q; name two branches", c.Branch)
	case c.Wait < 0 || c.Timeout <= 0:
		return land.Request{}, errors.New("--wait must not be negative, and --timeout must be positive")
	}
	remote, err := c.remote()
	if err != nil {
		return land.Request{}, err
	}
	dir := c.Dir
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return land.Request{}, fmt.Errorf("--dir is needed: %w", err)
		}
		dir = filepath.Join(cache, "mergegate", "land")
	}
	dir = filepath.Join(dir, dirName(remote.URL))
	file, err := c.leaseFile(remote, dir)
	if err != nil {
		return land.Request{}, err
	}
	return land.Request{
		Remote: remote, Branch: c.Branch, Onto: c.Onto,
		Command: shellWords(words), Env: c.Env, Timeout: c.Timeout, Network: c.Network, ReadOnly: c.ReadOnly,
		Committer: catchup.Person{Name: "mergegate", Email: "mergegate@localhost"},
		Lease:     file, Wait: c.Wait, Dir: dir,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Say: func(s string) { fmt.Fprintf(os.Stderr, "%s: %s\n", c.Branch, s) },
	}, nil
}

// remote is the repository with the right to talk to it.
func (c landCommand) remote() (catchup.Remote, error) {
	if c.TokenFile != "" && c.TokenEnv != "" {
		return catchup.Remote{}, errors.New("give --token-file or --token-env, not both")
	}
	if !strings.Contains(c.Repo, "://") {
		path, err := filepath.Abs(c.Repo)
		if err != nil {
			return catchup.Remote{}, err
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			return catchup.Remote{}, fmt.Errorf("--repo %s is not a directory; give a repository, or an http(s) address", c.Repo)
		}
		return catchup.Remote{URL: path}, nil
	}
	if _, err := (git.Dir{}).Remote(c.Repo, ""); err != nil {
		return catchup.Remote{}, fmt.Errorf("--repo: %w", err)
	}
	remote := catchup.Remote{URL: c.Repo}
	if c.TokenFile != "" || c.TokenEnv != "" {
		remote.Auth = c.auth
		if _, err := c.auth(context.Background()); err != nil {
			return remote, err
		}
	}
	return remote, nil
}

// auth is the Authorization header, read anew for each use.
func (c landCommand) auth(context.Context) (string, error) {
	token, from := os.Getenv(c.TokenEnv), "the variable "+c.TokenEnv
	if c.TokenFile != "" {
		data, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		token, from = string(data), c.TokenFile
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return "", fmt.Errorf("there is no token in %s; put it there", from)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.User+":"+token)), nil
}

// leaseFile prepares the lease, by default where all who land on this branch of
// a local repository find it.
func (c landCommand) leaseFile(remote catchup.Remote, dir string) (*lease.File, error) {
	path := c.Lease
	if path == "" {
		path = filepath.Join(dir, leaseName(c.Onto))
		if filepath.IsAbs(remote.URL) {
			own, err := gitDir(remote.URL)
			if err != nil {
				return nil, err
			}
			path = filepath.Join(own, leaseName(c.Onto))
		} else if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("--lease: there is no directory %s; make it", filepath.Dir(path))
	}
	clock, err := lease.MachineClock()
	if err != nil {
		return nil, err
	}
	name := c.Holder
	if name == "" {
		name = holder() + "/" + rand.Text()[:8]
	}
	return lease.NewFile(lease.FileConfig{Path: path, Holder: name, TTL: c.TTL, Clock: clock})
}

func leaseName(onto string) string { return "mergegate-" + url.PathEscape(onto) + ".lease" }

// dirName is a short name for the directory of one repository.
func dirName(remote string) string {
	sum := sha256.Sum256([]byte(remote))
	return url.PathEscape(filepath.Base(remote)) + "-" + hex.EncodeToString(sum[:6])
}

// gitDir is where a repository on this machine keeps its refs.
func gitDir(repo string) (string, error) {
	for _, dir := range []string{filepath.Join(repo, ".git"), repo} {
		if info, err := os.Stat(filepath.Join(dir, "objects")); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("--repo %s is not a git repository; give its top directory, or a --lease if it is a linked work tree", repo)
}

// shellWords is a command line on which a shell finds exactly these words.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
