package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"mergegate/bot/audit"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
)

type auditCommand struct {
	withConfig
	Repo  string `required:"" placeholder:"OWNER/NAME" help:"The repository; FORGE/OWNER/NAME where several forges are configured."`
	Range string `required:"" placeholder:"A..B" help:"What came to the branch B after A. B is a branch, also one with ~N, or a full commit id; A the same, or anything that git finds in B's history."`
	JSON  bool   `name:"json" help:"Print one JSON object instead of lines."`
}

// Help is printed by --help.
func (auditCommand) Help() string {
	return `Holds each move of the branch against its evidence: the record in the pull
request's comment (the bot's account, HMAC), the commit status by the bot's
account, and git. What went around the gate is named. Ends with 1 when something
is not proven. Reads only; docs/operate.md says what it can prove and what not.

    mergegate audit --config config.yaml --repo acme/widgets --range main~20..main`
}

// Run is called by kong.
func (c auditCommand) Run(ctx context.Context, out io.Writer) error {
	cfg, forges, err := c.load()
	if err != nil {
		return err
	}
	old, now, ok := strings.Cut(c.Range, "..")
	if !ok || old == "" || now == "" || strings.HasPrefix(now, ".") || strings.HasPrefix(old, "-") || strings.HasPrefix(now, "-") {
		return usageError{fmt.Errorf("--range %q is not of the form A..B", c.Range)}
	}
	parts := strings.Split(c.Repo, "/")
	if len(parts) == 2 && len(cfg.Forges) == 1 {
		parts = append([]string{cfg.Forges[0].Name}, parts...)
	}
	if len(parts) != 3 || forges[parts[0]] == nil {
		return usageError{fmt.Errorf("--repo %q: give OWNER/NAME, or FORGE/OWNER/NAME with a forge of %s", c.Repo, c.Config)}
	}
	a := &audit.Audit{Forge: forges[parts[0]], Repo: gate.Repo{Forge: parts[0], Owner: parts[1], Name: parts[2]}}
	for _, f := range cfg.Forges {
		if f.Name == parts[0] {
			if a.Keys, err = f.Keys(); err != nil {
				return usageError{err}
			}
		}
	}
	tmp, err := os.MkdirTemp("", "mergegate-audit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if a.Mirror, err = auditMirror(ctx, a, filepath.Join(tmp, "mirror")); err != nil {
		return err
	}
	to, err := auditCommit(ctx, a.Mirror, now)
	if err != nil {
		return err
	}
	from, err := auditCommit(ctx, a.Mirror, old)
	if err != nil {
		return err
	}
	found, err := a.Range(ctx, from, to)
	if err != nil {
		return fmt.Errorf("audit %s: %w", a.Repo, err)
	}
	return c.report(out, a.Repo, from, to, found)
}

func (c auditCommand) report(out io.Writer, repo gate.Repo, from, to gate.SHA, found []audit.Landing) error {
	proven := 0
	for _, l := range found {
		if l.Proven {
			proven++
		}
		if !c.JSON {
			fmt.Fprintln(out, l)
		}
	}
	if c.JSON {
		err := json.NewEncoder(out).Encode(map[string]any{
			"repo": repo.String(), "from": from, "to": to, "proven": proven, "unproven": len(found) - proven, "moves": found,
		})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "%s..%s of %s: %d proven, %d not\n", from.Short(), to.Short(), repo, proven, len(found)-proven)
	}
	if proven < len(found) {
		return errFailed
	}
	return nil
}

// auditMirror is a mirror of its own: the bot's may be in use.
func auditMirror(ctx context.Context, a *audit.Audit, dir string) (*catchup.Mirror, error) {
	info, err := a.Forge.Repository(ctx, a.Repo)
	if errors.Is(err, forge.ErrNotFound) {
		return nil, usageError{fmt.Errorf("--repo %s: %w", a.Repo, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("read the repository %s: %w", a.Repo, err)
	}
	remote := catchup.Remote{URL: info.CloneURL, Auth: func(ctx context.Context) (string, error) { return a.Forge.GitAuth(ctx, a.Repo) }}
	return catchup.Open(ctx, dir, remote, catchup.Person{Name: "mergegate", Email: "mergegate@localhost"})
}

// auditCommit finds what one end of a range means.
func auditCommit(ctx context.Context, m *catchup.Mirror, name string) (gate.SHA, error) {
	if id := gate.SHA(name); id.Valid() {
		if err := m.FetchCommit(ctx, id); err != nil {
			return "", usageError{fmt.Errorf("--range: %w", err)}
		}
		return id, nil
	}
	resolve := func() (gate.SHA, error) {
		out, err := m.Dir().Run(ctx, "", "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
		return gate.SHA(strings.TrimSpace(out)), err
	}
	if id, err := resolve(); err == nil && id.Valid() {
		return id, nil
	}
	branch, _, _ := strings.Cut(name, "~")
	branch, _, _ = strings.Cut(branch, "^")
	if err := m.Fetch(ctx, "refs/heads/"+branch); err != nil && !errors.Is(err, catchup.ErrNoRef) {
		return "", fmt.Errorf("fetch %q: %w", branch, err)
	}
	id, err := resolve()
	if err != nil || !id.Valid() {
		return "", usageError{fmt.Errorf("--range: %q is no branch, and no commit that can be reached from one named here", name)}
	}
	return id, nil
}
