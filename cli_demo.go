package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"mergegate/bot/config"
	"mergegate/bot/doctor"
	"mergegate/forge"
	"mergegate/forge/gitea"
	"mergegate/forge/github"
	"mergegate/internal/demo"
	"mergegate/internal/git"
)

type demoCommand struct {
	Serve bool   `help:"Stay up afterwards, until Ctrl-C, with addresses to click."`
	Forge string `enum:"localhub,gitea" default:"localhub" help:"The forge to play on: localhub, a small GitHub in this program, or a real gitea, which is built the first time."`
}

// Run is called by kong.
func (c demoCommand) Run(ctx context.Context, out io.Writer) error {
	if _, err := git.Version(ctx); err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{Out: out, Colour: colour(out), Forge: c.Forge, Stay: c.Serve, Mergegate: onStage})
}

// colour says whether out shows colours to a person who wants them.
func colour(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// onStage is what an operator does, without a file: configure, set up, serve.
func onStage(ctx context.Context, p demo.Place) error {
	cfg := config.Default()
	cfg.Listen, cfg.ExternalURL, cfg.DataDir = p.Listen, "http://"+p.Listen, p.DataDir
	cfg.Poll = config.Poll{Active: 5 * time.Second, Idle: 15 * time.Second} // a lost webhook costs a visitor no more
	conf := config.Forge{
		Name: "demo", Type: p.Type, URL: p.URL, TokenFile: p.TokenFile, AppID: p.AppID, PrivateKeyFile: p.KeyFile,
		WebhookSecretFile: p.SecretFile, Repos: []string{p.Repo},
	}
	cfg.Forges = []config.Forge{conf}
	f, err := asStaged(conf)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(p.Log, nil))
	d := &doctor.Doctor{Config: &cfg, Forges: map[string]doctor.Forge{conf.Name: f}}
	if !d.Setup(ctx, doctor.Options{}, func(f doctor.Finding) { log.Info("setup", "did", f.String()) }) {
		return errors.New("the repository could not be set up")
	}
	return serve(ctx, &cfg, map[string]forge.Forge{conf.Name: f}, log)
}

// asStaged is a forge that may be written to as fast as mergegate can: it is a
// visitor who waits.
func asStaged(conf config.Forge) (doctor.Forge, error) {
	if conf.Type == "github" {
		return github.New(github.Config{Name: conf.Name, URL: conf.URL, AppID: int64(conf.AppID), Key: conf.PrivateKey, Pause: time.Millisecond})
	}
	return gitea.New(gitea.Config{Name: conf.Name, URL: conf.URL, Token: conf.Token})
}
