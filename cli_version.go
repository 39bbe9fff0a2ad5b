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
	installed, err := git.Version(ctx)
	if err != nil {
		installed = err.Error()
	}
	if c.JSON {
		return json.NewEncoder(out).Encode(map[string]string{"version": version(), "commit": commit(), "go": runtime.Version(), "git": installed})
	}
	_, err = fmt.Fprintf(out, "mergegate %s\ncommit %s\n%s\ngit %s\n", version(), commit(), runtime.Version(), installed)
	return err
}

// version is the module version this program was built from; "(devel)" when
// the toolchain did not know one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// commit is the git commit this program was built from.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
