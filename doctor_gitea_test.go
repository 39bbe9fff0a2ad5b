package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/internal/giteatest"
)

// scene is a repository on a real Gitea, and a bot that is configured for it.
type scene struct {
	t      *testing.T
	server *giteatest.Server
	owner  giteatest.User
	bot    giteatest.User
	repo   string // owner/name
	dir    string
}

// newScene lets the bot into the repository with the given permission; "" leaves
// it a stranger.
func newScene(t *testing.T, permission string) *scene {
	t.Helper()
	s := &scene{t: t, server: giteatest.Shared(t), dir: t.TempDir()}
	var err error
	if s.owner, err = s.server.CreateUser(t.Context(), s.server.Unique("owner")); err != nil {
		t.Fatal(err)
	}
	if s.bot, err = s.server.CreateUser(t.Context(), s.server.Unique("bot")); err != nil {
		t.Fatal(err)
	}
	if err := s.server.CreateRepo(t.Context(), s.owner, "widgets"); err != nil {
		t.Fatal(err)
	}
	s.repo = s.owner.Name + "/widgets"
	if permission != "" {
		if err := s.server.AddCollaborator(t.Context(), s.repo, s.bot.Name, permission); err != nil {
			t.Fatal(err)
		}
	}
	// A new repository of Gitea 1.26.0 allows it; many that people have do not.
	s.api(http.MethodPatch, "/repos/"+s.repo, map[string]any{"allow_fast_forward_only_merge": false}, nil)
	s.write("webhook.secret", "0123456789abcdef0123456789abcdef")
	s.write("config.yaml", fmt.Sprintf(`data_dir: ./data
forges:
  - {name: work, type: gitea, url: %q, token_file: token, webhook_secret_file: webhook.secret, repos: [%s]}
defaults: {retest: {command: "true"}}
`, s.server.URL, s.repo))
	s.token("write:repository", "write:issue", "read:user")
	return s
}

func (s *scene) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// token gives the bot a token of these scopes.
func (s *scene) token(scopes ...string) {
	s.t.Helper()
	token, err := s.server.Token(s.t.Context(), s.bot, scopes...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("token", token)
}

// run runs a command, which must end with the given code and print each of the
// given texts. Neither secret may be in what it prints.
func (s *scene) run(code int, args string, wants ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	got := run(s.t.Context(), append(strings.Fields(args), "--config", filepath.Join(s.dir, "config.yaml")), &out, &out)
	if got != code {
		s.t.Errorf("%s ended with %d, want %d:\n%s", args, got, code, out.String())
	}
	for _, want := range wants {
		if !strings.Contains(out.String(), want) {
			s.t.Errorf("%s printed:\n%s\nwant, in it:\n%s", args, out.String(), want)
		}
	}
	for _, name := range []string{"token", "webhook.secret"} {
		if secret, err := os.ReadFile(filepath.Join(s.dir, name)); err == nil && len(secret) > 0 && strings.Contains(out.String(), string(secret)) {
			s.t.Errorf("%s printed a secret", args)
		}
	}
	return out.String()
}

func (s *scene) api(method, path string, in, out any) {
	s.t.Helper()
	if err := s.server.API(s.t.Context(), s.owner.Token, method, path, in, out); err != nil {
		s.t.Fatal(err)
	}
}

func TestSetupMakesCheckPassOnGitea(t *testing.T) {
	s := newScene(t, "admin")
	s.run(1, "check",
		"ok    work: Gitea 1.26.0 at "+s.server.URL,
		"warn  work: Gitea 1.26.0 keeps an approval that was given for another base branch",
		"ok    work: the token is "+s.bot.Name+"'s",
		`fail  work `+s.repo+`: the label "merge" does not exist — run mergegate setup`,
		"warn  work "+s.repo+": no webhook to http://127.0.0.1:8080/webhook/work",
		"main: not protected",
		"run mergegate setup to allow fast-forward-only",
	)

	plan := s.run(0, "setup --dry-run", "plan  work "+s.repo+`: create the label "merge"`)
	if again := s.run(0, "setup --dry-run"); again != plan {
		t.Errorf("a dry run changed something:\n%s", again)
	}
	s.run(0, "setup",
		"done  work "+s.repo+": create the webhook to http://127.0.0.1:8080/webhook/work",
		"done  work "+s.repo+`: create the label "merge"`,
		"done  work "+s.repo+": create the queue issue",
		"done  work "+s.repo+": allow fast-forward-only",
	)
	if again := s.run(0, "setup"); strings.Contains(again, "done") {
		t.Errorf("the second run found something to do:\n%s", again)
	}
	s.api(http.MethodPost, "/repos/"+s.repo+"/branch_protections", map[string]any{
		"rule_name": "main", "enable_push": false, "enable_status_check": true, "status_check_contexts": []string{"mergegate"},
	}, nil)
	out := s.run(0, "check",
		"ok    work "+s.repo+`: label "merge"`,
		"ok    work "+s.repo+": webhook to",
		"ok    work "+s.repo+": queue issue #1",
		"ok    work "+s.repo+" main: lands by fast-forward",
		"ok    work "+s.repo+` main: protected, and requires the status check "mergegate"`,
	)
	if strings.Contains(out, "fail") {
		t.Errorf("something still fails:\n%s", out)
	}
}

func TestSetupLeavesWebhooksOfOthersAloneOnGitea(t *testing.T) {
	s := newScene(t, "admin")
	hook := map[string]any{"type": "gitea", "active": false, "events": []string{"push"}, "config": map[string]string{"url": "http://127.0.0.1:1/other", "content_type": "json"}}
	s.api(http.MethodPost, "/repos/"+s.repo+"/hooks", hook, nil)
	s.run(0, "setup")
	s.run(0, "setup --secrets", "done  work "+s.repo+": update the webhook")
	var hooks []struct {
		Active bool
		Events []string
		Config map[string]string
	}
	s.api(http.MethodGet, "/repos/"+s.repo+"/hooks", nil, &hooks)
	byURL := map[string]bool{}
	for _, h := range hooks {
		byURL[h.Config["url"]] = h.Active
	}
	if active, there := byURL["http://127.0.0.1:1/other"]; len(hooks) != 2 || !there || active || !byURL["http://127.0.0.1:8080/webhook/work"] {
		t.Errorf("webhooks: %+v", hooks)
	}
}

func TestWriterIsToldWhatNeedsAnAdministratorOnGitea(t *testing.T) {
	s := newScene(t, "write")
	s.run(0, "setup",
		"add a JSON webhook to http://127.0.0.1:8080/webhook/work for pull_request, push, status",
		"done  work "+s.repo+`: create the label "merge"`,
		"warn  work "+s.repo+": allow fast-forward-only: "+s.bot.Name+" may not — ask an administrator",
	)
	s.run(0, "check", "warn  work "+s.repo+": "+s.bot.Name+" cannot see webhooks without being an administrator; it works without")
}

func TestCheckNamesTheMendOnGitea(t *testing.T) {
	t.Run("stranger", func(t *testing.T) {
		s := newScene(t, "")
		s.run(1, "check", "fail  work "+s.repo+": "+s.bot.Name+" has only the role read — give it write permission")
	})
	t.Run("hidden repository", func(t *testing.T) {
		s := newScene(t, "")
		s.api(http.MethodPatch, "/repos/"+s.repo, map[string]any{"private": true}, nil)
		s.run(1, "check", "fail  work "+s.repo+": not there, or hidden from "+s.bot.Name+" — check the name, and add "+s.bot.Name+" as a collaborator")
	})
	t.Run("token without read:user", func(t *testing.T) {
		s := newScene(t, "write")
		s.token("write:repository", "write:issue")
		s.run(1, "check", "fail  work: the token does not work: ", "make a new token for the bot's account with the scopes write:repository, write:issue and read:user")
	})
	t.Run("token without issues", func(t *testing.T) {
		s := newScene(t, "write")
		s.token("write:repository", "read:user")
		s.run(1, "check", "give the token the scope write:issue")
	})
	t.Run("token without repositories", func(t *testing.T) {
		s := newScene(t, "write")
		s.token("write:issue", "read:user")
		s.run(1, "check", "fail  work "+s.repo+": ", "make a token with the scopes write:repository")
	})
	t.Run("revoked token", func(t *testing.T) {
		s := newScene(t, "write")
		s.write("token", strings.Repeat("0", 40))
		s.run(1, "check", "fail  work: "+s.server.URL+" cannot be used: ", "the forge does not accept the token")
	})
	t.Run("issues off", func(t *testing.T) {
		s := newScene(t, "write")
		s.api(http.MethodPatch, "/repos/"+s.repo, map[string]any{"has_issues": false}, nil)
		s.run(1, "check", "fail  work "+s.repo+": issues are switched off, but the queue lives in one")
	})
	t.Run("not on the merge whitelist", func(t *testing.T) {
		s := newScene(t, "write")
		s.api(http.MethodPost, "/repos/"+s.repo+"/branch_protections", map[string]any{
			"rule_name": "main", "enable_merge_whitelist": true, "merge_whitelist_usernames": []string{s.owner.Name},
		}, nil)
		s.run(1, "check", " main: "+s.bot.Name+" may not merge into it")
	})
	t.Run("policy with a mistake", func(t *testing.T) {
		s := newScene(t, "write")
		s.api(http.MethodPost, "/repos/"+s.repo+"/contents/.mergegate.yaml", map[string]any{
			"content": "cmV0c2V0OiB7fQo=", "message": "policy", "branch": "main", // retset: {}
		}, nil)
		s.run(1, "check", "fail  work "+s.repo+" main: .mergegate.yaml:1: retset: unknown key. Did you mean retest?")
	})
}
