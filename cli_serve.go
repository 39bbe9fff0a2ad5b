package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"mergegate/bot"
	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate/retest"
	"mergegate/internal/git"
	"mergegate/internal/web"
)

// keepLogs is how long retest logs stay.
const keepLogs = 14 * 24 * time.Hour

// serveCommand is the bot.
type serveCommand struct {
	withConfig
}

// Run serves until ctx ends, which is a success.
func (c serveCommand) Run(ctx context.Context, stdout io.Writer) error {
	cfg, forges, err := c.load()
	if err != nil {
		return err
	}
	if err := cfg.CheckSecrets(); err != nil {
		return usageError{err}
	}
	log, err := logger(cfg.Log, c.known.Writer(stdout))
	if err != nil {
		return err
	}
	for _, l := range cfg.LooseFiles() {
		log.Warn(l.String())
	}
	installed, err := git.Version(ctx)
	if err != nil {
		return err
	}
	if advice := git.Advice(installed); advice != "" {
		log.Warn(advice)
	}
	of := map[string]forge.Forge{}
	for name, f := range forges {
		of[name] = f
	}
	return serve(ctx, cfg, of, log)
}

// serve runs the bot and its web server until ctx ends.
func serve(ctx context.Context, cfg *config.Config, forges map[string]forge.Forge, log *slog.Logger) error {
	runner, err := retest.New(ctx, filepath.Join(cfg.DataDir, "retest"), cfg.Sandbox.ReadOnly, log)
	if err != nil {
		return fmt.Errorf("start the retest runner: %w", err)
	}
	defer runner.Close()
	if runner.Sandbox().Weak() {
		log.Warn("retests run without a sandbox", "sandbox", runner.Sandbox().String())
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	b := bot.New(cfg, forges, bot.Catchup, runner, runner, holder(), chance, runtime.NumCPU(), log)
	server := web.Server(b.Handler(version()), web.MaxConnections, log)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve pages and webhooks: %w", err))
		}
	}()
	go sweep(ctx, runner)
	log.Info("serving", "listen", listener.Addr().String(), "holder", holder(), "sandbox", runner.Sandbox().String())
	err = b.Run(ctx)
	down, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	err = errors.Join(err, server.Shutdown(down))
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	log.Info("stopped")
	return err
}

// chance gives a random number that nobody can guess.
func chance() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return binary.LittleEndian.Uint64(b[:])
}

// sweep deletes old logs and what dead processes left behind.
func sweep(ctx context.Context, runner *retest.Runner) {
	for t := time.NewTicker(time.Hour); ; {
		runner.Sweep(keepLogs)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// holder names this replica to people: host and process.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
