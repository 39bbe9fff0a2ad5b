package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
)

// check gives the lines of a check that are not ok, and whether it passed.
func check(t *testing.T, d *Doctor) (all, bad []string, fine bool) {
	t.Helper()
	fine = d.Check(t.Context(), func(f Finding) {
		all = append(all, f.String())
		if f.Level != OK {
			bad = append(bad, f.String())
		}
	})
	return all, bad, fine
}

func TestHealthyIsAllOK(t *testing.T) {
	d, f := healthy(t)
	all, bad, fine := check(t, d)
	if len(bad) > 0 || !fine {
		t.Errorf("fine %v, not ok:\n%s", fine, strings.Join(bad, "\n"))
	}
	for _, want := range []string{"machine: git ", "work: Gitea 1.27.3", "work acme/widgets: queue issue #1", "work acme/widgets main: lands by fast-forward"} {
		if !slices.ContainsFunc(all, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("nothing about %q in:\n%s", want, strings.Join(all, "\n"))
		}
	}
	if len(f.writes) > 0 {
		t.Errorf("check changed the forge: %v", f.writes)
	}
	if _, err := os.Stat(d.Config.DataDir); err == nil {
		t.Error("check made data_dir")
	}
}

func TestAttack114OldForge(t *testing.T) {
	const want = "keeps an approval that was given for another base branch (CVE-2026-58439)"
	for version, old := range map[string]bool{
		"Gitea 1.22.6": true, "Gitea 1.26.0": true, "Gitea 1.27.0": false, "Gitea 1.28.0+dev-5-g1": false, "Gitea 2.0.0": false,
		"Forgejo 11.0.1": false, "Gitea b5757a6": false, "GitHub": false,
	} {
		d, f := healthy(t)
		f.version = version
		_, bad, fine := check(t, d)
		if !fine || old != (len(bad) == 1 && strings.Contains(bad[0], want)) || !old && len(bad) > 0 {
			t.Errorf("%s: fine %v, not ok:\n%s", version, fine, strings.Join(bad, "\n"))
		}
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(d *Doctor, f *fake)
		want  string
		warn  bool // the check still passes
	}{
		"down":              {func(_ *Doctor, f *fake) { f.down = errDown }, "fail  work: http://127.0.0.1:3000 cannot be used: dial tcp: connection refused — check url and token", false},
		"token":             {func(_ *Doctor, f *fake) { f.badUser = forge.ErrDenied }, "fail  work: the token does not work: denied — make a new token for the bot's account with the scopes write:repository, write:issue and read:user", false},
		"unreadable secret": {func(d *Doctor, _ *fake) { remove(d.Config.Forges[0].TokenFile) }, "fail  work: token of forge work: the file ", false},
		"empty secret":      {func(d *Doctor, _ *fake) { fill(d.Config.Forges[0].WebhookSecretFile, "\n", 0o600) }, "is empty. Put the secret there", false},
		"short secret":      {func(d *Doctor, _ *fake) { fill(d.Config.Forges[0].WebhookSecretFile, "short", 0o600) }, "warn  work: the webhook secret is shorter than 16 characters — make one with: openssl", true},
		"open secret":       {func(d *Doctor, _ *fake) { fill(d.Config.Forges[0].TokenFile, "t", 0o644) }, "can be read or changed by every user of this machine (mode 0644) — chmod 600 ", false},
		"shared secret":     {func(d *Doctor, _ *fake) { fill(d.Config.Forges[0].TokenFile, "t", 0o640) }, "can be read or changed by its group (mode 0640) — chmod 600 ", true},
		"previous secret": {func(d *Doctor, _ *fake) {
			d.Config.Forges[0].WebhookSecretPreviousFile = d.Config.Forges[0].TokenFile
		}, "signed with 1 previous webhook secrets is still believed — empty ", true},
		"data_dir is a file": {func(d *Doctor, _ *fake) {
			d.Config.DataDir = d.Config.Forges[0].TokenFile
		}, "cannot be written: it is not a folder — make ", false},
		"pages hidden":    {func(d *Doctor, _ *fake) { d.Config.ExternalURL = "https://merge.example.org" }, "pages.auth is none and external_url is elsewhere", true},
		"pages, no token": {func(d *Doctor, _ *fake) { d.Config.Pages = config.Pages{Auth: config.PagesToken, TokenFile: "none"} }, "fail  machine: token of the pages: the file none", false},
		"elsewhere":       {func(d *Doctor, _ *fake) { d.Config.Forges[0].URL = "https://git.example.org" }, "external_url http://127.0.0.1:8080 means this machine, but https://git.example.org is elsewhere — set external_url", true},
		"unencrypted":     {func(d *Doctor, _ *fake) { d.Config.Forges[0].URL = "http://git.example.org" }, "the token travels unencrypted — use https", true},
		"no sandbox":      {func(d *Doctor, _ *fake) { d.Sandbox = sandbox{weak: true} }, "the retest command runs without a sandbox: it sees the bot's files, its token among them — install bubblewrap", true},
		"unsafe":          {func(d *Doctor, _ *fake) { d.Sandbox, d.Config.Sandbox.Unsafe = sandbox{weak: true}, true }, "warn  machine: sandbox.unsafe is on: changes by strangers are run as well — set sandbox.unsafe: false", true},
		"not there":       {func(d *Doctor, _ *fake) { d.Config.Forges[0].Repos = []string{"acme/gadgets"} }, "fail  work acme/gadgets: not there, or hidden from bot — check the name, and add bot as a collaborator", false},
		"nothing matches": {func(d *Doctor, _ *fake) { d.Config.Forges[0].Repos = []string{"zoo/*"} }, "warn  work: zoo/* is no repository that bot can write to", true},
		"archived":        {func(_ *Doctor, f *fake) { f.info.Archived = true }, "it is archived, so nothing can land", false},
		"reader":          {func(_ *Doctor, f *fake) { f.info.Role = gate.RoleRead }, "bot has only the role read — give it write permission", false},
		"writer":          {func(_ *Doctor, f *fake) { f.info.Role = gate.RoleWrite }, "bot cannot see webhooks without being an administrator; it works without, but waits up to 15s (5m0s while idle) for news — run mergegate setup with an administrator's token, or add a JSON webhook to http://127.0.0.1:8080/webhook/work for pull_request, push", true},
		"no issues":       {func(_ *Doctor, f *fake) { f.info.HasIssues = false }, "issues are switched off, but the queue lives in one — switch issues on", false},
		"no label":        {func(_ *Doctor, f *fake) { f.labels = nil }, `the label "merge" does not exist — run mergegate setup`, false},
		"two labels":      {func(_ *Doctor, f *fake) { f.labels["merge"] = 2 }, `2 labels are called "merge" — delete all but one`, false},
		"no webhook":      {func(_ *Doctor, f *fake) { f.hooks[0].URL = "https://other.example.org/webhook/work" }, "no webhook to http://127.0.0.1:8080/webhook/work; it works without", true},
		"webhook off":     {func(_ *Doctor, f *fake) { f.hooks[0].Active = false }, "the webhook is switched off", true},
		"webhook deaf":    {func(_ *Doctor, f *fake) { f.hooks[0].Events = []string{"push"} }, "the webhook does not tell about pull_request", true},
		"two webhooks":    {func(_ *Doctor, f *fake) { f.hooks = append(f.hooks, f.hooks[0]) }, "2 webhooks deliver to", true},
		"no fast-forward": {func(_ *Doctor, f *fake) { f.info.Methods = []gate.Method{gate.Merge, gate.Rebase} }, "lands by rebase; if somebody else pushes in that very moment the forge combines untested, and the queue freezes — run mergegate setup", true},
		"only squash": {func(d *Doctor, f *fake) {
			f.info.Methods, d.Config.Defaults.Land.Method = []gate.Method{gate.Squash}, gate.Merge
		}, "land.method merge with catch_up rebase fits none of the allowed ways to merge (squash)", false},
		"behind refused": {func(d *Doctor, f *fake) {
			d.Config.Defaults.CatchUp, f.branch.BlockOutdated = gate.CatchUpCandidate, true
		}, "catch_up candidate lands heads that are behind, but the branch refuses them", false},
		"unprotected":     {func(_ *Doctor, f *fake) { f.branch = forge.Branch{CanMerge: true} }, `not protected: everybody who can write can push past the queue — protect it: no direct pushes, and require the status check "mergegate"`, true},
		"past the queue":  {func(_ *Doctor, f *fake) { f.branch.RequiredChecks = []string{"ci/*"} }, `people can merge past the queue — require the status check "mergegate"`, true},
		"may not merge":   {func(_ *Doctor, f *fake) { f.branch.CanMerge, f.branch.Opaque = false, true }, "fail  work acme/widgets main: bot may not merge into it (parts of the protection are hidden from bot) — add bot", false},
		"dismisses":       {func(_ *Doctor, f *fake) { f.branch.DismissStale, f.branch.RequiredApprovals = true, 1 }, "dismisses approvals when both changed the same file", true},
		"no retest":       {func(_ *Doctor, f *fake) { f.info.CloneURL = repository(t, "") }, "no retest is configured, so nothing can pass — set retest.command or retest.checks in .mergegate.yaml", false},
		"network":         {func(_ *Doctor, f *fake) { f.info.CloneURL = repository(t, "retest: {command: x, network: true}") }, "the retest command may use the network", true},
		"dry run":         {func(_ *Doctor, f *fake) { f.info.CloneURL = repository(t, policyText+"dry_run: true") }, "dry_run is on: nothing is pushed, nothing lands", true},
		"bad policy":      {func(_ *Doctor, f *fake) { f.info.CloneURL = repository(t, "retset: {}") }, "fail  work acme/widgets main: .mergegate.yaml:1: retset: unknown key. Did you mean retest?", false},
		"no branch":       {func(_ *Doctor, f *fake) { f.info.CloneURL = repository(t, policyText+"branches: [main, stable]") }, `fail  work acme/widgets stable: there is no branch "stable" — set branches`, false},
		"git is shut out": {func(_ *Doctor, f *fake) { f.info.CloneURL += "/none" }, "git cannot fetch it: ", false},
	} {
		t.Run(name, func(t *testing.T) {
			d, f := healthy(t)
			tc.spoil(d, f)
			_, bad, fine := check(t, d)
			if !slices.ContainsFunc(bad, func(l string) bool { return strings.Contains(l, tc.want) }) {
				t.Errorf("got:\n%s\nwant, in it:\n%s", strings.Join(bad, "\n"), tc.want)
			}
			if fine != tc.warn {
				t.Errorf("the check passed: %v, want %v:\n%s", fine, tc.warn, strings.Join(bad, "\n"))
			}
			if len(f.writes) > 0 {
				t.Errorf("check changed the forge: %v", f.writes)
			}
		})
	}
}

func remove(path string) { _ = os.Remove(path) }

func fill(path, text string, mode os.FileMode) {
	_ = os.WriteFile(path, []byte(text), mode)
	_ = os.Chmod(path, mode)
}

func TestDisabledBranchIsLeftAlone(t *testing.T) {
	d, f := healthy(t)
	f.info.CloneURL = repository(t, "enabled: false")
	f.branch = forge.Branch{}
	all, _, fine := check(t, d)
	if !fine || !strings.Contains(strings.Join(all, "\n"), "ok    work acme/widgets main: enabled is false") {
		t.Errorf("fine %v:\n%s", fine, strings.Join(all, "\n"))
	}
}

func TestCheckExplainsTheForgesRules(t *testing.T) {
	d, f := healthy(t)
	f.branch.RequiredApprovals, f.branch.BlockOutdated, f.info.Methods = 2, true, []gate.Method{gate.Merge}
	all, bad, fine := check(t, d)
	if !fine || len(bad) > 0 {
		t.Errorf("fine %v, not ok: %v", fine, bad)
	}
	for _, want := range []string{"lands by merge, and the forge refuses heads that are behind", "the forge asks for 2 approvals, the policy for 1: requests wait for 2"} {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("nothing about %q in:\n%s", want, strings.Join(all, "\n"))
		}
	}
}

func TestPatternOfBranches(t *testing.T) {
	for pattern, want := range map[string]string{
		"*":         "ok    work acme/widgets main: lands by fast-forward",
		"release/*": "ok    work acme/widgets release/*: retest runs a command",
	} {
		d, f := healthy(t)
		f.info.CloneURL = repository(t, policyText+"branches: ['"+pattern+"']")
		all, _, fine := check(t, d)
		if !fine || !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%s: fine %v:\n%s", pattern, fine, strings.Join(all, "\n"))
		}
		f.bare()
		if _, fine := setUp(t, d, Options{}); !fine || f.labels["merge"] != 1 {
			t.Errorf("%s: setup made %v", pattern, f.writes)
		}
	}
}

// setUp gives the lines of a setup that are not ok, and whether it succeeded.
func setUp(t *testing.T, d *Doctor, o Options) (bad []string, fine bool) {
	t.Helper()
	fine = d.Setup(t.Context(), o, func(f Finding) {
		if f.Level != OK {
			bad = append(bad, f.String())
		}
	})
	return bad, fine
}

// bare takes away everything that setup makes.
func (f *fake) bare() {
	f.hooks = []forge.Webhook{{ID: 1, URL: "https://ci.example.org/hook", Events: []string{"push"}, Active: true}}
	f.labels, f.issues, f.info.Methods = map[string]int{}, nil, []gate.Method{gate.Merge}
}

func TestSetupMakesWhatIsMissingOnce(t *testing.T) {
	d, f := healthy(t)
	f.bare()
	foreign := f.hooks[0]
	made := []string{"create webhook", "create label merge", "create issue Merge queue", "allow fast-forward"}

	plan, fine := setUp(t, d, Options{DryRun: true})
	if !fine || len(plan) != len(made) || len(f.writes) > 0 {
		t.Errorf("dry run: fine %v, wrote %v, said:\n%s", fine, f.writes, strings.Join(plan, "\n"))
	}
	if _, fine = setUp(t, d, Options{}); !fine {
		t.Error("setup failed")
	}
	if diff := cmp.Diff(made, f.writes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(foreign, f.hooks[0]); diff != "" {
		t.Errorf("the webhook of somebody else was changed:\n%s", diff)
	}
	if _, bad, fine := check(t, d); !fine {
		t.Errorf("check still fails:\n%s", strings.Join(bad, "\n"))
	}
	f.writes = nil
	if again, fine := setUp(t, d, Options{}); !fine || len(again) > 0 || len(f.writes) > 0 {
		t.Errorf("the second run: fine %v, wrote %v, said:\n%s", fine, f.writes, strings.Join(again, "\n"))
	}
}

func TestSetupMendsOurWebhook(t *testing.T) {
	d, f := healthy(t)
	f.hooks[0].Active = false
	if said, fine := setUp(t, d, Options{}); !fine || len(said) != 1 || !f.hooks[0].Active {
		t.Errorf("fine %v, said %v, webhook %+v", fine, said, f.hooks[0])
	}
	fill(d.Config.Forges[0].WebhookSecretFile, "a new and longer secret", 0o600)
	if _, fine := setUp(t, d, Options{Secrets: true}); !fine || f.secret != "a new and longer secret" {
		t.Errorf("fine %v, the webhook's secret is %q", fine, f.secret)
	}
}

func TestSetupAsWriterSaysWhoCan(t *testing.T) {
	d, f := healthy(t)
	f.bare()
	f.info.Role = gate.RoleWrite
	said, fine := setUp(t, d, Options{})
	all := strings.Join(said, "\n")
	if !fine { // it works without: polling, and a weaker way to merge
		t.Errorf("failed:\n%s", all)
	}
	for _, want := range []string{"add a JSON webhook to http://127.0.0.1:8080/webhook/work", "allow fast-forward-only: bot may not — ask an administrator"} {
		if !strings.Contains(all, want) {
			t.Errorf("got:\n%s\nwant, in it: %s", all, want)
		}
	}
	if diff := cmp.Diff([]string{"create label merge", "create issue Merge queue"}, f.writes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSetupLeavesDisabledAlone(t *testing.T) {
	d, f := healthy(t)
	f.bare()
	f.info.CloneURL = repository(t, "enabled: false")
	if _, fine := setUp(t, d, Options{}); !fine || len(f.writes) > 0 {
		t.Errorf("fine %v, wrote %v", fine, f.writes)
	}
}

func TestUnusableForgeIsSaid(t *testing.T) {
	d, f := healthy(t)
	f.down = errDown
	said, fine := setUp(t, d, Options{})
	if fine || len(said) != 1 || !strings.Contains(said[0], "cannot be used") {
		t.Errorf("fine %v, said %v", fine, said)
	}
	d.Config.Forges[0].TokenFile = filepath.Join(t.TempDir(), "none")
	said, fine = setUp(t, d, Options{})
	if fine || len(said) != 1 || !strings.Contains(said[0], "token of forge work") {
		t.Errorf("fine %v, said %v", fine, said)
	}
}

// A GitHub App has a key and no token.
func TestAppNeedsNoToken(t *testing.T) {
	d, _ := healthy(t)
	conf := &d.Config.Forges[0]
	conf.AppID, conf.TokenFile, conf.PrivateKeyFile = 1, "", filepath.Join(t.TempDir(), "app.pem")
	fill(conf.PrivateKeyFile, "key", 0o600)
	if _, bad, fine := check(t, d); !fine || len(bad) > 0 {
		t.Errorf("check: %v, %v", fine, bad)
	}
	if bad, fine := setUp(t, d, Options{}); !fine || len(bad) > 0 {
		t.Errorf("setup: %v, %v", fine, bad)
	}
	fill(conf.PrivateKeyFile, "key", 0o644)
	if _, bad, _ := check(t, d); len(bad) != 1 || !strings.Contains(bad[0], "chmod 600 "+conf.PrivateKeyFile) {
		t.Errorf("an open key: %v", bad)
	}
	remove(conf.PrivateKeyFile)
	if bad, fine := setUp(t, d, Options{}); fine || len(bad) != 1 || !strings.Contains(bad[0], "private key of forge work") {
		t.Errorf("without the key: %v, %v", fine, bad)
	}
}

// An App has permissions and installations, not scopes and collaborators, and what
// check says to do can be done in an App's settings.
func TestAppWords(t *testing.T) {
	app := func(t *testing.T) (*Doctor, *fake) {
		d, f := healthy(t)
		conf := &d.Config.Forges[0]
		conf.Type, conf.AppID, conf.TokenFile, conf.PrivateKeyFile = "github", 7, "", filepath.Join(t.TempDir(), "app.pem")
		fill(conf.PrivateKeyFile, "key", 0o600)
		return d, f
	}
	d, _ := app(t)
	all, bad, fine := check(t, d)
	for _, want := range []string{"ok    work: the App acts as bot", "ok    work acme/widgets: the App is installed, with all permissions it needs"} {
		if !slices.Contains(all, want) || !fine || len(bad) > 0 {
			t.Errorf("fine %v, bad %v, want %q in\n%s", fine, bad, want, strings.Join(all, "\n"))
		}
	}
	for name, tc := range map[string]struct {
		spoil func(d *Doctor, f *fake)
		want  string
		warn  bool // the check still passes
	}{
		"key":           {func(_ *Doctor, f *fake) { f.badUser = errDown }, "fail  work: the App 7 does not work: dial tcp: connection refused — check app_id, private_key_file and this machine's clock, and that the App is installed somewhere", false},
		"not installed": {func(d *Doctor, _ *fake) { d.Config.Forges[0].Repos = []string{"acme/gone"} }, "fail  work acme/gone: not there, or hidden from bot — check the name, and install the App there", false},
		"permission": {func(_ *Doctor, f *fake) {
			f.info.Role, f.info.Lacks = gate.RoleRead, []string{"Issues: write", "Checks: write"}
		},
			"fail  work acme/widgets: the App's installation lacks Issues: write, Checks: write — give the App these permissions on its settings page, then let each account", false},
		"less":         {func(_ *Doctor, f *fake) { f.info.Lacks = []string{"Checks: write"} }, "warn  work acme/widgets: the App is installed, but lacks Checks: write: it works, with less — give the App these permissions", true},
		"may not push": {func(_ *Doctor, f *fake) { f.branch.CanMerge = false }, "bot may not merge into it — add the App to those who may push in the branch's protection", false},
		"by merge":     {func(_ *Doctor, f *fake) { f.branch.Forbidden = []gate.Method{gate.FastForward} }, "main: lands by merge; if somebody else pushes in that very moment the forge combines untested, and the queue freezes — let the App bypass the rule", true},
		"events":       {func(_ *Doctor, f *fake) { f.hooks[0].Events = nil }, "the webhook does not tell about pull_request, push; it works without, but waits up to 15s (5m0s while idle) for news — tick them on the App's settings page", true},
		"own queue":    {func(_ *Doctor, f *fake) { f.branch.Refused = "GitHub's own merge queue is on for main" }, "fail  work acme/widgets main: nothing can land: GitHub's own merge queue is on for main — switch it off, or leave main out of branches in .mergegate.yaml", false},
	} {
		t.Run(name, func(t *testing.T) {
			d, f := app(t)
			tc.spoil(d, f)
			_, bad, fine := check(t, d)
			text := strings.Join(bad, "\n")
			if !strings.Contains(text, tc.want) || fine != tc.warn {
				t.Errorf("fine %v, got:\n%s\nwant, in it:\n%s", fine, text, tc.want)
			}
			for _, word := range []string{"collaborator", "scope", "token"} {
				if strings.Contains(text, word) {
					t.Errorf("an App has no %s:\n%s", word, text)
				}
			}
		})
	}
}
