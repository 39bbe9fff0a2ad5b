// Command mergegate is a merge queue for Gitea and Forgejo. It lands a pull
// request only in the exact state that was tested on the exact base it lands on.
//
// This package is wiring: commands, signals, constructors, exit codes. It is the
// only place that knows which forges exist. Exit codes are 0 for done, 1 for
// failed (the reason was said), 2 for bad usage or a bad configuration; land has more.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"mergegate/bot/config"
	"mergegate/bot/doctor"
	"mergegate/forge/gitea"
	"mergegate/forge/github"
	"mergegate/gate/retest"
	"mergegate/internal/redact"
)

// commands is the command line.
type commands struct {
	Demo    demoCommand    `cmd:"" help:"Tell the story of five pull requests and a merge queue, with no configuration, and fail if it does not end as it must."`
	Serve   serveCommand   `cmd:"" help:"Run the merge queue."`
	Check   checkCommand   `cmd:"" help:"Say what stands in the way: configuration, forge, permissions, webhooks, protection, git, sandbox. Changes nothing."`
	Setup   setupCommands  `cmd:"" help:"Make what is missing: webhook, label, queue issue, fast-forward-only. May be repeated."`
	Land    landCommand    `cmd:"" help:"Land a branch of a plain git repository, tested on the tip it lands on: the gate without a forge."`
	Audit   auditCommand   `cmd:"" help:"Hold each move of a base branch against its evidence; name what went around the gate."`
	Version versionCommand `cmd:"" help:"Print the versions of mergegate, Go and git."`
}

// setupCommands are setup itself and what it can make before there is a configuration.
type setupCommands struct {
	Repositories setupCommand       `cmd:"" default:"withargs" help:"The repositories of a configuration: what plain setup --config FILE does; with --dry-run it only says what it would do."`
	GitHub       setupGitHubCommand `cmd:"" name:"github" help:"Create the GitHub App in your browser; prints the lines for the configuration."`
}

// withConfig is part of every command that reads the configuration.
type withConfig struct {
	known  *redact.Set
	Config string `required:"" placeholder:"FILE" help:"The configuration; see config.example.yaml."`
}

// AfterApply is called by kong, before Run.
func (w *withConfig) AfterApply(known *redact.Set) error {
	w.known = known
	return nil
}

// errFailed ends a command with 1 when it has already said why.
var errFailed = errors.New("failed")

// usageError ends a command with 2.
type usageError struct{ error }

// exitError ends a command, which has said why, with a code of its own.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func main() {
	retest.Child()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out one command line and answers the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	known := new(redact.Set)
	parser := kong.Must(&commands{},
		kong.Name("mergegate"),
		kong.Description("A merge queue that lands only what it has tested."),
		kong.Writers(stdout, stderr),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(stdout, (*io.Writer)(nil)),
		kong.Bind(known),
	)
	line, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "mergegate: %v\nSee mergegate --help.\n", err)
		return 2
	}
	err = line.Run()
	if err == nil {
		return 0
	}
	if code, own := errors.AsType[exitError](err); own {
		return int(code)
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintf(known.Writer(stderr), "mergegate: %v\n", err)
	}
	if _, usage := errors.AsType[usageError](err); usage {
		return 2
	}
	return 1
}

// load reads the configuration and prepares its forges, without calling them.
func (w withConfig) load() (*config.Config, map[string]doctor.Forge, error) {
	cfg, err := config.Load(w.Config)
	if err != nil {
		return nil, nil, usageError{err}
	}
	cfg.Remember(w.known)
	_ = cfg.CheckSecrets() // makes them known; each command says itself what is wrong with them
	forges := map[string]doctor.Forge{}
	for _, conf := range cfg.Forges {
		switch conf.Type {
		case "gitea", "forgejo":
			forges[conf.Name], err = gitea.New(gitea.Config{Name: conf.Name, URL: conf.URL, Token: conf.Token})
		case "github":
			forges[conf.Name], err = github.New(github.Config{Name: conf.Name, URL: conf.URL, Token: conf.Token, AppID: int64(conf.AppID), Key: conf.PrivateKey, Learn: w.known.Add})
		default:
			err = fmt.Errorf("forge %s: there is no type %q", conf.Name, conf.Type)
		}
		if err != nil {
			return nil, nil, usageError{err}
		}
	}
	return cfg, forges, nil
}

// logger writes to w as the configuration asks.
func logger(conf config.Log, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(conf.Level)); err != nil {
		return nil, usageError{err}
	}
	o := &slog.HandlerOptions{Level: level}
	if conf.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}
