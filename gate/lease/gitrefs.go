package lease

import (
	"context"
	"fmt"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Mirror is a bare mirror of one remote, as catchup keeps it.
type Mirror interface {
	RemoteRefs(ctx context.Context, refs ...string) (map[string]gate.SHA, error)
	PushRef(ctx context.Context, ref string, from, to gate.SHA) error
	Fetch(ctx context.Context, refs ...string) error // stores a ref under its own name
	Ref(ctx context.Context, ref string) (gate.SHA, error)
	Dir() git.Dir
}

// GitRefs makes a mirror the place of the lease.
func GitRefs(m Mirror) Refs { return gitRefs{m} }

type gitRefs struct{ Mirror }

func (g gitRefs) Write(ctx context.Context, text string) (gate.SHA, error) {
	dir := g.Dir()
	tree, err := dir.Run(ctx, "", "hash-object", "-t", "tree", "-w", "--stdin") // the empty one
	if err != nil {
		return "", fmt.Errorf("write the lease commit: %w", err)
	}
	by := fmt.Sprintf("mergegate <mergegate@localhost> %d +0000", time.Now().Unix())
	commit := fmt.Sprintf("tree %sauthor %s\ncommitter %s\n\n%s", tree, by, by, text)
	id, err := dir.Run(ctx, commit, "hash-object", "-t", "commit", "-w", "--stdin")
	if err != nil {
		return "", fmt.Errorf("write the lease commit: %w", err)
	}
	return gate.SHA(strings.TrimSpace(id)), nil
}

func (g gitRefs) Read(ctx context.Context, ref string) (gate.SHA, string, error) {
	if err := g.Fetch(ctx, ref); err != nil {
		return "", "", err
	}
	id, err := g.Ref(ctx, ref)
	if err != nil {
		return "", "", err
	}
	// Anybody who may push can put something else there: that has no text.
	kind, err := g.Dir().Run(ctx, "", "cat-file", "-t", string(id))
	if err != nil || kind != "commit\n" {
		return id, "", err
	}
	commit, err := g.Dir().Run(ctx, "", "cat-file", "commit", string(id))
	_, text, _ := strings.Cut(commit, "\n\n")
	return id, text, err
}
