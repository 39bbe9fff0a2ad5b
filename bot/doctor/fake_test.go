package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/internal/git"
	"mergegate/templates"
)

// fake is a forge with one repository, acme/widgets, kept in memory. Methods
// that doctor has no business calling panic.
type fake struct {
	forge.Forge
	version string
	info    forge.Repository
	branch  forge.Branch
	hooks   []forge.Webhook
	secret  string // of the webhook last written
	labels  map[string]int
	issues  []forge.Issue
	down    error // answer to everything
	badUser error
	writes  []string
}

// sandbox is strong unless told otherwise.
type sandbox struct{ weak bool }

func (s sandbox) Weak() bool { return s.weak }

func (s sandbox) String() string { return "of the test" }

var errDown = errors.New("dial tcp: connection refused")

func (f *fake) Version(context.Context) (string, error) { return f.version, f.down }

func (f *fake) Me(context.Context) (gate.User, error) {
	return gate.User{ID: 7, Login: "bot"}, f.badUser
}

func (f *fake) Repos(context.Context, string) ([]gate.Repo, error) { return nil, nil }

func (f *fake) Repository(_ context.Context, r gate.Repo) (forge.Repository, error) {
	if r.Name != "widgets" {
		return forge.Repository{}, &forge.Refusal{Kind: forge.ErrNotFound, Op: "read " + r.String(), Status: 404}
	}
	return f.info, nil
}

func (f *fake) Branch(_ context.Context, _ gate.Repo, name string) (forge.Branch, error) {
	if name != "main" {
		return forge.Branch{}, forge.ErrNotFound
	}
	return f.branch, nil
}

func (f *fake) GitAuth(context.Context, gate.Repo) (string, error) { return "", nil }

func (f *fake) admin() error {
	if f.info.Role < gate.RoleAdmin {
		return &forge.Refusal{Kind: forge.ErrDenied, Op: "webhooks", Status: 403}
	}
	return nil
}

func (f *fake) Webhooks(context.Context, gate.Repo) ([]forge.Webhook, error) {
	return slices.Clone(f.hooks), f.admin()
}

func (f *fake) HookEvents() []string { return []string{"pull_request", "push"} }

func (f *fake) CreateWebhook(_ context.Context, _ gate.Repo, url string, secret []byte) error {
	if err := f.admin(); err != nil {
		return err
	}
	f.writes, f.secret = append(f.writes, "create webhook"), string(secret)
	f.hooks = append(f.hooks, forge.Webhook{ID: int64(len(f.hooks) + 1), URL: url, Events: f.HookEvents(), Active: true})
	return nil
}

func (f *fake) UpdateWebhook(_ context.Context, _ gate.Repo, id int64, url string, secret []byte) error {
	f.writes, f.secret = append(f.writes, "update webhook"), string(secret)
	i := slices.IndexFunc(f.hooks, func(h forge.Webhook) bool { return h.ID == id })
	f.hooks[i] = forge.Webhook{ID: id, URL: url, Events: f.HookEvents(), Active: true}
	return nil
}

func (f *fake) Labels(_ context.Context, _ gate.Repo, name string) (int, error) {
	return f.labels[name], nil
}

func (f *fake) CreateLabel(_ context.Context, _ gate.Repo, name, _, _ string) error {
	f.writes = append(f.writes, "create label "+name)
	f.labels[name]++
	return nil
}

func (f *fake) FindIssues(_ context.Context, _ gate.Repo, by gate.User, marker string) ([]forge.Issue, error) {
	return slices.DeleteFunc(slices.Clone(f.issues), func(i forge.Issue) bool { return i.By != by || !strings.Contains(i.Body, marker) }), nil
}

func (f *fake) CreateIssue(_ context.Context, _ gate.Repo, title, body string) (forge.Issue, error) {
	f.writes = append(f.writes, "create issue "+title)
	i := forge.Issue{Number: len(f.issues) + 1, By: gate.User{ID: 7, Login: "bot"}, Title: title, Body: body, Open: true}
	f.issues = append(f.issues, i)
	return i, nil
}

func (f *fake) AllowFastForward(context.Context, gate.Repo) error {
	if err := f.admin(); err != nil {
		return err
	}
	f.writes = append(f.writes, "allow fast-forward")
	f.info.Methods = append(f.info.Methods, gate.FastForward)
	return nil
}

const policyText = "retest: {command: make test}\n"

// healthy is a doctor and a forge with nothing wrong: check says ok throughout.
func healthy(t *testing.T) (*Doctor, *fake) {
	t.Helper()
	dir := t.TempDir()
	secret := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := config.Default()
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Forges = []config.Forge{{
		Name: "work", Type: "gitea", URL: "http://127.0.0.1:3000", Repos: []string{"acme/widgets"},
		TokenFile: secret("token", "t0ken"), WebhookSecretFile: secret("hook", "0123456789abcdef"),
	}}
	f := &fake{
		version: "Gitea 1.27.3",
		info: forge.Repository{
			DefaultBranch: "main", HasIssues: true, Role: gate.RoleAdmin, CloneURL: repository(t, policyText),
			Methods: []gate.Method{gate.FastForward, gate.Merge},
		},
		branch: forge.Branch{Protected: true, CanMerge: true, RequiredChecks: []string{"mergegate"}},
		labels: map[string]int{"merge": 1},
		hooks:  []forge.Webhook{{ID: 1, URL: cfg.WebhookURL(cfg.Forges[0]), Events: []string{"push", "pull_request", "extra"}, Active: true}},
		issues: []forge.Issue{{Number: 1, By: gate.User{ID: 7, Login: "bot"}, Body: templates.QueueMarker}},
	}
	return &Doctor{Config: &cfg, Forges: map[string]Forge{"work": f}, Sandbox: sandbox{}}, f
}

// repository makes a bare repository whose branch main has the given policy
// file, or none for "".
func repository(t *testing.T, policy string) string {
	t.Helper()
	dir := git.Dir{Path: t.TempDir()}
	run := func(stdin string, args ...string) string {
		out, err := dir.Run(t.Context(), stdin, args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	run("", "init", "--quiet", "--bare")
	files := ""
	if policy != "" {
		files = "100644 blob " + run(policy, "hash-object", "-w", "--stdin") + "\t" + config.PolicyFile + "\n"
	}
	tree := run(files, "mktree")
	commit := run("tree "+tree+"\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n\nfirst\n", "hash-object", "-w", "-t", "commit", "--stdin")
	run("", "update-ref", "refs/heads/main", commit)
	return dir.Path
}
