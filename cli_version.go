package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"mergegate/internal/git"
)

type versionCommand struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

// Run is called by kong. A missing git is part of the answer, not an error.
func (c versionCommand) Run(ctx context.Context, out io.Writer) error {
	v := struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Go      string `json:"go"`
		Git     string `json:"git"`
	}{Version: version(), Commit: "unknown", Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	var err error
	if v.Git, err = git.Version(ctx); err != nil {
		v.Git = err.Error()
	}
	if c.JSON {
		return json.NewEncoder(out).Encode(v)
	}
	_, err = fmt.Fprintf(out, "mergegate %s\ncommit %s\n%s\ngit %s\n", v.Version, v.Commit, v.Go, v.Git)
	return err
}

// version is the version of this build, as the pages show it too.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
