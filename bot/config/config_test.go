package config

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mergegate/gate"
)

const oneForge = `forges:
  - name: work
    type: gitea
    url: http://127.0.0.1:3000/
    token_file: ./token
    webhook_secret_env: HOOK
    repos: ["acme/widgets"]
`

// write puts text in a file of its own and gives its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExampleShowsEveryDefault(t *testing.T) {
	got, err := Load("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got.Forges = nil
	want := Default()
	want.resolve("../..")
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("the example differs from the defaults (-default +example):\n%s", diff)
	}

	data, err := os.ReadFile("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range append(keys(reflect.TypeFor[Config]()), keys(reflect.TypeFor[rawPolicy]())...) {
		if !bytes.Contains(data, []byte(key)) {
			t.Errorf("the example does not mention %s", key)
		}
	}
}

// keys lists every key a type can be written with.
func keys(t reflect.Type) []string {
	var all []string
	switch t.Kind() {
	case reflect.Slice:
		return keys(t.Elem())
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if name := f.Tag.Get("yaml"); name != "" {
				all = append(append(all, name), keys(f.Type)...)
			}
		}
	}
	return all
}

func TestLoadResolvesPathsAndURLs(t *testing.T) {
	path := write(t, oneForge+"data_dir: cache\nexternal_url: https://gate.example.org/\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(path), "cache"); c.DataDir != want {
		t.Errorf("data_dir is %s, want %s", c.DataDir, want)
	}
	if want := filepath.Join(filepath.Dir(path), "token"); c.Forges[0].TokenFile != want {
		t.Errorf("token_file is %s, want %s", c.Forges[0].TokenFile, want)
	}
	if got, want := c.WebhookURL(c.Forges[0]), "https://gate.example.org/webhook/work"; got != want {
		t.Errorf("the webhook is at %s, want %s", got, want)
	}
	if got, want := c.Forges[0].URL, "http://127.0.0.1:3000"; got != want {
		t.Errorf("the forge is at %s, want %s", got, want)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":           {oneForge + "lissten: x", `:8: lissten: unknown key. Did you mean listen?`},
		"unknown inner key":     {oneForge + "defaults:\n  retest:\n    timeuot: 3m", `:10: defaults.retest.timeuot: unknown key. Did you mean timeout?`},
		"unknown far key":       {oneForge + "poll: {banana: 1s}", `:8: poll.banana: unknown key. Known here: active, idle.`},
		"secret in place":       {oneForge + "webhook_secret: hunter2", `:8: webhook_secret: unknown key`},
		"twice":                 {oneForge + "listen: a:1\nlisten: b:2", `:9: listen: the key appears twice`},
		"number for text":       {oneForge + "data_dir: 7", `:8: data_dir: expected text, found a number. Put the value in quotes.`},
		"text for list":         {oneForge + "defaults: {branches: main}", `defaults.branches: expected a list, found text. Write it like [one, two].`},
		"text for bool":         {oneForge + "defaults: {enabled: yes}", `defaults.enabled: expected true or false, found text`},
		"text for number":       {oneForge + "defaults: {retry: {attempts: '3'}}", `defaults.retry.attempts: expected a whole number, found text`},
		"nothing":               {oneForge + "defaults:\n  retest:\n", `:9: defaults.retest: expected keys and values, found nothing`},
		"duration":              {oneForge + "poll: {idle: 5}", `poll.idle: expected a duration, found a number. Write it with a unit, like 90s, 30m or 1h30m.`},
		"env number":            {oneForge + "defaults: {retest: {env: {N: 1}}}", `defaults.retest.env.N: expected text, found a number. Put the value in quotes.`},
		"syntax":                {oneForge + "listen: [a", `not valid YAML`},
		"two documents":         {oneForge + "---\nlisten: x", `:8: a second YAML document begins`},
		"anchor":                {oneForge + "log: &a {level: info}", `log: YAML anchors and aliases are not supported`},
		"alias":                 {oneForge + "lease: &a {ttl: 2m}\npoll: *a", `:9: poll: YAML anchors`},
		"merge key":             {oneForge + "log:\n  <<: {level: info}", `this kind of key is not supported`},
		"tag":                   {oneForge + "data_dir: !!str 7", `data_dir: YAML tags are not supported`},
		"pages by nobody":       {oneForge + "pages: {auth: toke}", `:8: pages.auth: "toke" is not known. Did you mean token?`},
		"pages without a token": {oneForge + "pages: {auth: token}", `pages.token_file: the secret has no place`},
		"a token for nothing":   {oneForge + "pages: {token_file: x}", `pages.auth: a token is given and not used. Set auth: token.`},
		"proxy from nowhere":    {oneForge + "pages: {auth: proxy, proxies: []}", `pages.proxies: nobody would be believed`},
		"proxy's network":       {oneForge + "pages: {auth: proxy, proxies: [10.0.0.1]}", `pages.proxies[0]: "10.0.0.1" is not a network`},
		"proxy's header":        {oneForge + "pages: {auth: proxy, header: 'X User'}", `pages.header: "X User" is not a name of a header`},
		"no forge":              {"listen: 127.0.0.1:1", `forges: no forge is configured`},
		"empty file":            {"", `forges: no forge is configured`},
		"a list":                {"- a\n", `:1: expected keys and values, found a list`},
		"level":                 {oneForge + "log: {level: warning}", `log.level: "warning" is not known. Use debug, info, warn or error.`},
		"near level":            {oneForge + "log: {level: infos}", `Did you mean info? Use debug`},
		"listen":                {oneForge + "listen: '8080'", `listen: "8080" is not host:port`},
		"renew":                 {oneForge + "lease: {ttl: 60s, renew: 30s}", `lease.renew: 30s is too long for a lease of 1m0s`},
		"settle":                {oneForge + "lease: {settle: -1s}", `lease.settle: -1s does not fit`},
		"store":                 {oneForge + "lease: {store: label}", `lease.store: "label" is not known. Use comment or ref.`},
		"read_only":             {oneForge + "sandbox: {read_only: [cache]}", `sandbox.read_only[0]: "cache" is no path of a folder below /. Give the whole path`},
		"read_only root":        {oneForge + "sandbox: {read_only: [/]}", `sandbox.read_only[0]: "/" is no path of a folder below /`},
		"poll":                  {oneForge + "poll: {idle: 1s}", `poll.idle: 1s is shorter than poll.active`},
		"slots":                 {oneForge + "defaults: {queue: {slots: 3}}", `defaults.queue.slots: trains are not built yet. Use 1.`},
		"batch":                 {oneForge + "defaults: {queue: {batch: 0}}", `defaults.queue.batch: batches are not built yet. Use 1.`},
		"attempts":              {oneForge + "defaults: {retry: {attempts: 0}}", `0 attempts can land nothing`},
		"method":                {oneForge + "defaults: {land: {method: sqash}}", `Did you mean squash?`},
		"catch-up":              {oneForge + "defaults: {catch_up: none}", `defaults.catch_up: "none" is not known. Use rebase, merge or candidate.`},
		"no label":              {oneForge + "defaults: {trigger: {label: ' '}}", `defaults.trigger.label: must not be empty`},
		"label blocks itself":   {oneForge + "defaults: {require: {block_labels: [Merge]}}", `"Merge" is the request label`},
		"approvals":             {oneForge + "defaults: {require: {approvals: -1}}", `must not be negative`},
		"branch pattern":        {oneForge + "defaults: {branches: ['release/[12]']}", `"release/[12]" is not a name of a branch`},
		"branch ref":            {oneForge + "defaults: {branches: [refs/heads/main]}", `is a full ref. Leave out refs/heads/.`},
		"own branch":            {oneForge + "defaults: {branches: [mergegate/main/1]}", `where mergegate puts its candidates`},
		"option as branch":      {oneForge + "defaults: {branches: ['--upload-pack=x']}", `is not a name of a branch`},
		"no branch":             {oneForge + "defaults: {branches: []}", `no branch is named`},
		"check creator":         {oneForge + "defaults: {retest: {check_creators: [ci-bot, 'ci-*']}}", `defaults.retest.check_creators[1]: "ci-*" is not a name`},
		"check creator without": {oneForge + "defaults: {retest: {check_creators: ['app:']}}", `defaults.retest.check_creators[0]: "app:" is not a name`},
		"check pattern":         {oneForge + "defaults: {retest: {checks: ['']}}", `defaults.retest.checks[0]: must not be empty`},
		"env name":              {oneForge + "defaults: {retest: {env: {A-B: x}}}", `defaults.retest.env.A-B: not a name of a variable`},
		"timeout":               {oneForge + "defaults: {retest: {timeout: 0s}}", `defaults.retest.timeout: 0s is too short. Use at least 1s.`},
		"app on gitea":          {strings.Replace(oneForge, "type: gitea", "type: gitea\n    app_id: 7\n    private_key_file: k", 1), `only GitHub has Apps. Use token_file.`},
		"app and token":         {strings.Replace(oneForge, "type: gitea", "type: github\n    app_id: 7\n    private_key_file: k", 1), `an App and a token are two accounts.`},
		"app without key":       {strings.Replace(strings.Replace(oneForge, "type: gitea", "type: github\n    app_id: 7", 1), "    token_file: ./token\n", "", 1), `one without the other.`},
		"type":                  {strings.Replace(oneForge, "type: gitea", "type: gittea", 1), `Did you mean gitea?`},
		"forge name":            {strings.Replace(oneForge, "name: work", "name: A/b", 1), `"A/b" cannot be part of a URL`},
		"forge without type":    {strings.Replace(oneForge, "    type: gitea\n", "", 1), `:2: forges[0].type: "" is not known`},
		"password in URL":       {strings.Replace(oneForge, "http://", "http://bot:hunter2@", 1), `forges[0].url: a URL must not contain a password`},
		"no scheme":             {strings.Replace(oneForge, "http://", "", 1), `forges[0].url: not an http or https URL`},
		"no secret":             {strings.Replace(oneForge, "    token_file: ./token\n", "", 1), `:2: forges[0].token_file: the secret has no place. Set one of token_file and token_env.`},
		"two places":            {strings.Replace(oneForge, "    token_file", "    token_env: T\n    token_file", 1), `:5: forges[0].token_env: the secret has two places`},
		"secret as place":       {strings.Replace(oneForge, "HOOK", "hunter2!", 1), `Give the name of an environment variable, not the secret itself`},
		"number as place":       {strings.Replace(oneForge, "./token", "20021002", 1), `forges[0].token_file: expected text, found a number`},
		"repo":                  {strings.Replace(oneForge, "acme/widgets", "widgets", 1), `forges[0].repos[0]: "widgets" is not a repository`},
		"repo twice":            {strings.Replace(oneForge, `["acme/widgets"]`, "[acme/widgets, Acme/Widgets]", 1), `"Acme/Widgets" appears twice`},
		"no repo":               {strings.Replace(oneForge, `["acme/widgets"]`, "[]", 1), `forges[0].repos: no repository is named`},
		"forge twice":           {oneForge + strings.TrimPrefix(oneForge, "forges:\n"), `:8: forges[1].name: the name "work" appears twice`},
		"several, by line":      {oneForge + "defaults: {catch_up: x}\nlisten: y", "use candidate.\nlisten"},
		"nested far too deeply": {strings.Repeat("[", 1<<19), `not valid YAML: exceeded max depth`},
		"too large":             {strings.Repeat("#", maxFile+1), `is larger than 1 MiB`},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, tc.text)
			_, err := Load(path)
			if err == nil {
				t.Fatalf("accepted:\n%s", tc.text)
			}
			if name == "several, by line" {
				lines := strings.Split(err.Error(), "\n")
				if len(lines) != 2 || !strings.Contains(lines[0], ":8: defaults.catch_up") || !strings.Contains(lines[1], ":9: listen") {
					t.Errorf("got:\n%v", err)
				}
				return
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got:\n%v\nwant, in it:\n%s", err, tc.want)
			}
			if !strings.HasPrefix(err.Error(), path+":") {
				t.Errorf("the file is not named: %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "20021002") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if err == nil || !strings.Contains(err.Error(), "no such file or directory. Give the path of your configuration") {
		t.Errorf("got: %v", err)
	}
}

func TestPolicyOverridesDefaults(t *testing.T) {
	defaults := Default().Defaults
	defaults.Retest.Env = map[string]string{"A": "1"}
	got, err := ParsePolicy([]byte("branches: [main, release/*]\nretest: {command: make test, timeout: 5m}\nrequire: {approvals: 2}\ncatch_up: candidate\n"), defaults)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults
	want.Branches = []string{"main", "release/*"}
	want.Retest.Command, want.Retest.Timeout = "make test", 5*time.Minute
	want.Require.Approvals = 2
	want.CatchUp = gate.CatchUpCandidate
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	got.Branches[0], got.Require.BlockLabels[0], got.Retest.Env["A"] = "x", "x", "x"
	if defaults.Branches[0] == "x" || defaults.Require.BlockLabels[0] == "x" || defaults.Retest.Env["A"] == "x" {
		t.Error("the policy shares memory with the defaults")
	}
}

func TestEmptyPolicyMeansDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n"} {
		got, err := ParsePolicy([]byte(text), Default().Defaults)
		if text == "---\n" {
			if err == nil {
				t.Errorf("%q: a document that is there but empty was accepted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(Default().Defaults, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
}

func TestPolicyMistakes(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"defaults: {enabled: true}", ".mergegate.yaml:1: defaults: unknown key"},
		{"land: {method: fastforward}", `.mergegate.yaml:1: land.method: "fastforward" is not known. Did you mean fast-forward?`},
		{"queue: {slots: 2}", ".mergegate.yaml:1: queue.slots: trains are not built yet"},
		{"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]", "unknown key"},
		{"branches: &a [x]\nretest: {checks: *a}", "YAML anchors and aliases are not supported"},
		{strings.Repeat("#", maxFile+1), "is larger than 1 MiB"},
	} {
		_, err := ParsePolicy([]byte(tc.text), Default().Defaults)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got: %v\nwant, in it: %s", err, tc.want)
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("not an *Error: %T", err)
		}
	}
}

func TestExpand(t *testing.T) {
	f := Forge{Name: "work", Repos: []string{"acme/*", "acme/Widgets", "zoo/x", "down/*"}}
	repos, err := f.Expand(t.Context(), func(_ context.Context, owner string) ([]gate.Repo, error) {
		if owner == "down" {
			return nil, errors.New("no answer")
		}
		return []gate.Repo{{Owner: "acme", Name: "widgets"}, {Owner: "acme", Name: "bolts"}}, nil
	})
	want := []gate.Repo{{Forge: "work", Owner: "acme", Name: "widgets"}, {Forge: "work", Owner: "acme", Name: "bolts"}, {Forge: "work", Owner: "zoo", Name: "x"}}
	if diff := cmp.Diff(want, repos); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err == nil || err.Error() != "list the repositories of down: no answer" {
		t.Errorf("error: %v", err)
	}
	for r, has := range map[string]bool{"acme/anything": true, "ZOO/X": true, "zoo/y": false} {
		owner, name, _ := strings.Cut(r, "/")
		if f.Has(gate.Repo{Owner: owner, Name: name}) != has {
			t.Errorf("Has(%s) is %v", r, !has)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("enabled: true\n"))
	f.Add([]byte("retest: {command: make, checks: [a], env: {A: b}}\n"))
	f.Add([]byte("? [a]\n: {b: *c}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("branches: !!seq [main]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data, Default().Defaults)
		if err != nil {
			if !strings.HasPrefix(err.Error(), PolicyFile+":") {
				t.Errorf("the file is not named: %v", err)
			}
			return
		}
		if p.Trigger.Label == "" || len(p.Branches) == 0 || p.Queue != (gate.QueuePolicy{Slots: 1, Batch: 1}) {
			t.Errorf("accepted a policy that cannot work: %+v", p)
		}
	})
}

// A configuration that loads has what serve relies on; one that does not says where.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(oneForge))
	f.Add([]byte("listen: [1]\npages: {auth: proxy, proxies: [x]}\n"))
	f.Add([]byte("forges:\n- {name: ../x, url: 'http://a:b@c', repos: ['../..']}\n"))
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if err != nil {
			if !strings.HasPrefix(err.Error(), path) {
				t.Errorf("the file is not named: %v", err)
			}
			return
		}
		for _, fg := range c.Forges {
			if strings.ContainsAny(fg.Name, "/.") || !strings.HasPrefix(fg.URL, "http") || len(fg.Repos) == 0 {
				t.Errorf("accepted: %+v", fg)
			}
		}
		if len(c.Forges) == 0 || c.Pages.Auth == PagesToken && c.Pages.TokenFile == "" && c.Pages.TokenEnv == "" {
			t.Errorf("accepted: %+v", c)
		}
	})
}
