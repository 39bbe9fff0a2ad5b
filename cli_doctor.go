package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"mergegate/bot/doctor"
	"mergegate/gate/retest"
)

type checkCommand struct {
	withConfig
	JSON bool `name:"json" help:"Print one JSON object instead of lines."`
}

// Run is called by kong.
func (c checkCommand) Run(ctx context.Context, out io.Writer) error {
	d, err := c.doctor(ctx)
	if err != nil {
		return err
	}
	out = c.known.Writer(out)
	findings, fine := []doctor.Finding{{Level: doctor.OK, Subject: "config", What: c.Config + " is valid"}}, false
	if c.JSON {
		fine = d.Check(ctx, func(f doctor.Finding) { findings = append(findings, f) })
		err = json.NewEncoder(out).Encode(map[string]any{"ok": fine, "findings": findings})
	} else {
		fmt.Fprintln(out, findings[0])
		fine = d.Check(ctx, lines(out))
	}
	if err == nil && !fine {
		err = errFailed
	}
	return err
}

type setupCommand struct {
	withConfig
	DryRun  bool `help:"Only say what would be done."`
	Secrets bool `help:"Also write the webhook secret into existing webhooks of ours, after it was changed."`
}

// Run is called by kong.
func (c setupCommand) Run(ctx context.Context, out io.Writer) error {
	d, err := c.doctor(ctx)
	if err != nil {
		return err
	}
	out = c.known.Writer(out)
	if !d.Setup(ctx, doctor.Options{DryRun: c.DryRun, Secrets: c.Secrets}, lines(out)) {
		return errFailed
	}
	return nil
}

func lines(out io.Writer) func(doctor.Finding) {
	return func(f doctor.Finding) { fmt.Fprintln(out, f) }
}

// doctor prepares a doctor for the configuration. It tries the sandbox in a
// temporary folder, so that nothing in data_dir changes.
func (w withConfig) doctor(ctx context.Context) (*doctor.Doctor, error) {
	cfg, forges, err := w.load()
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "mergegate-check-")
	if err != nil {
		return nil, fmt.Errorf("try the sandbox: %w", err)
	}
	defer os.RemoveAll(tmp)
	runner, err := retest.New(ctx, tmp, cfg.Sandbox.ReadOnly, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("try the sandbox: %w", err)
	}
	return &doctor.Doctor{Config: cfg, Forges: forges, Sandbox: runner.Sandbox()}, nil
}
