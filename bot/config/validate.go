package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/near"
)

var (
	forgeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)
	repoName  = regexp.MustCompile(`^[A-Za-z0-9_.-]+/([A-Za-z0-9_.-]+|\*)$`)
	creator   = regexp.MustCompile(`^(app:)?[A-Za-z0-9][A-Za-z0-9._-]*(\[bot\])?$`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// checkConfig notes values that decode but cannot work.
func (d *document) checkConfig(c *Config) {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		d.wrong("listen", "Write it like 127.0.0.1:8080", "%q is not host:port", c.Listen)
	}
	d.checkURL("external_url", c.ExternalURL)
	if c.DataDir == "" {
		d.wrong("data_dir", "Name a folder that mergegate may write to", "must not be empty")
	}
	oneOf(d, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(d, "log.format", c.Log.Format, "text", "json")

	d.checkPages(c.Pages)

	oneOf(d, "lease.store", c.Lease.Store, "comment", "ref")
	d.atLeast("lease.ttl", c.Lease.TTL, 10*time.Second)
	d.atLeast("lease.renew", c.Lease.Renew, time.Second)
	if c.Lease.Renew > c.Lease.TTL/3 {
		d.wrong("lease.renew", "Renew at least three times within lease.ttl", "%v is too long for a lease of %v", c.Lease.Renew, c.Lease.TTL)
	}
	if c.Lease.Settle < 0 || c.Lease.Settle > c.Lease.TTL/3 {
		d.wrong("lease.settle", "Choose a time from 0s to a third of lease.ttl", "%v does not fit a lease of %v", c.Lease.Settle, c.Lease.TTL)
	}
	d.atLeast("poll.active", c.Poll.Active, time.Second)
	if c.Poll.Idle < c.Poll.Active {
		d.wrong("poll.idle", "Poll no more often while idle than while active", "%v is shorter than poll.active", c.Poll.Idle)
	}
	for i, dir := range c.Sandbox.ReadOnly {
		if key := fmt.Sprintf("sandbox.read_only[%d]", i); !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
			d.wrong(key, "Give the whole path of a folder, like /srv/go/pkg/mod", "%q is no path of a folder below /", dir)
		}
	}

	if len(c.Forges) == 0 {
		d.wrong("forges", "Add one with name, type, url, token_file, webhook_secret_file and repos", "no forge is configured")
	}
	seen := map[string]bool{}
	for i, f := range c.Forges {
		key := fmt.Sprintf("forges[%d]", i)
		if seen[f.Name] {
			d.wrong(key+".name", "Give each forge its own name; it is part of its URLs", "the name %q appears twice", f.Name)
		}
		seen[f.Name] = true
		d.checkForge(key, f)
	}
}

// headerName is what a field of an HTTP header may be called.
var headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

func (d *document) checkPages(p Pages) {
	oneOf(d, "pages.auth", p.Auth, PagesNone, PagesToken, PagesProxy)
	switch {
	case p.Auth == PagesToken:
		d.checkSecret("pages", "token", p.TokenFile, p.TokenEnv)
	case p.TokenFile != "" || p.TokenEnv != "":
		d.wrong("pages.auth", "Set auth: token", "a token is given and not used")
	}
	if !headerName.MatchString(p.Header) {
		d.wrong("pages.header", "Name the field in which the proxy puts the reader's name", "%q is not a name of a header", p.Header)
	}
	if p.Auth == PagesProxy && len(p.Proxies) == 0 {
		d.wrong("pages.proxies", "List the addresses of the proxy", "nobody would be believed")
	}
	for i, n := range p.Proxies {
		if _, err := netip.ParsePrefix(n); err != nil {
			d.wrong(fmt.Sprintf("pages.proxies[%d]", i), "Write it like 127.0.0.1/32 or 10.0.0.0/8", "%q is not a network", n)
		}
	}
}

func (d *document) checkForge(key string, f Forge) {
	for _, k := range []string{"name", "type", "url", "repos"} { // a missing one is reported on its forge's line
		if _, ok := d.lines[key+"."+k]; !ok {
			d.lines[key+"."+k] = d.lines[key]
		}
	}
	if !forgeName.MatchString(f.Name) {
		d.wrong(key+".name", "Use lower-case letters, digits and -, at most 31", "%q cannot be part of a URL", f.Name)
	}
	oneOf(d, key+".type", f.Type, "gitea", "forgejo", "github")
	d.checkURL(key+".url", f.URL)
	d.checkAccount(key, f)
	d.checkSecret(key, "webhook_secret", f.WebhookSecretFile, f.WebhookSecretEnv)
	if len(f.Repos) == 0 {
		d.wrong(key+".repos", "List owner/name, or owner/* for all of an owner's", "no repository is named")
	}
	for i, r := range f.Repos {
		at := fmt.Sprintf("%s.repos[%d]", key, i)
		if owner, name, _ := strings.Cut(r, "/"); name != "*" && !namesRepo(owner, name) || !namesRepo(owner, "x") {
			d.wrong(at, "Write owner/name, or owner/* for all of an owner's", "%q is not a repository", r)
		}
		if slices.ContainsFunc(f.Repos[:i], func(o string) bool { return strings.EqualFold(o, r) }) {
			d.wrong(at, "Keep one of them", "%q appears twice", r)
		}
	}
}

// namesRepo says whether both are what forges allow. They become paths on disk
// and parts of URLs, also when a forge's list names them.
func namesRepo(owner, name string) bool {
	for _, part := range []string{owner, name} {
		if part == "." || part == ".." || len(part) > 255 {
			return false
		}
	}
	return name != "*" && repoName.MatchString(owner+"/"+name)
}

// checkAccount wants a token, or on GitHub an App with its key.
func (d *document) checkAccount(key string, f Forge) {
	app := f.AppID != 0 || f.PrivateKeyFile != ""
	switch {
	case !app:
		d.checkSecret(key, "token", f.TokenFile, f.TokenEnv)
	case f.Type != "github":
		d.wrong(key+".app_id", "Use token_file", "only GitHub has Apps")
	case f.TokenFile != "" || f.TokenEnv != "":
		d.wrong(key+".app_id", "Keep app_id with private_key_file, or the token", "an App and a token are two accounts")
	case f.AppID <= 0 || f.PrivateKeyFile == "":
		d.lines[key+".app_id"] = d.lines[key]
		d.wrong(key+".app_id", "Set both app_id and private_key_file", "one without the other")
	}
}

// checkSecret wants exactly one place for a secret.
func (d *document) checkSecret(key, name, file, env string) {
	both := fmt.Sprintf("%s_file and %[1]s_env", name)
	switch {
	case file != "" && env != "":
		d.wrong(key+"."+name+"_env", "Keep one of "+both, "the secret has two places")
	case file == "" && env == "":
		d.lines[key+"."+name+"_file"] = d.lines[key]
		d.wrong(key+"."+name+"_file", "Set one of "+both, "the secret has no place")
	case env != "" && !envName.MatchString(env):
		d.wrong(key+"."+name+"_env", "Give the name of an environment variable, not the secret itself", "not a name of a variable")
	}
}

// checkPolicy notes what cannot work in a policy whose keys begin with prefix.
func (d *document) checkPolicy(prefix string, p gate.Policy) {
	if len(p.Branches) == 0 {
		d.wrong(prefix+"branches", "Name the branches to land on; use enabled: false to switch mergegate off", "no branch is named")
	}
	for i, b := range p.Branches {
		d.checkBranch(fmt.Sprintf("%sbranches[%d]", prefix, i), b)
	}
	if strings.TrimSpace(p.Trigger.Label) == "" {
		d.wrong(prefix+"trigger.label", "Name a label; requests live in it even when they are asked for by a command", "must not be empty")
	}
	for i, l := range p.Require.BlockLabels {
		if strings.EqualFold(l, p.Trigger.Label) {
			d.wrong(fmt.Sprintf("%srequire.block_labels[%d]", prefix, i), "Choose another label", "%q is the request label, so nothing could ever land", l)
		}
	}
	if p.Require.Approvals < 0 {
		d.wrong(prefix+"require.approvals", "Use 0 for no approval", "must not be negative")
	}
	oneOf(d, prefix+"catch_up", p.CatchUp, gate.CatchUpRebase, gate.CatchUpMerge, gate.CatchUpCandidate)
	oneOf(d, prefix+"land.method", p.Land.Method, gate.Methods()...)
	oneOf(d, prefix+"comments", p.Comments, gate.TalkAll, gate.TalkOutcomes, gate.TalkNone)
	d.atLeast(prefix+"retest.timeout", p.Retest.Timeout, time.Second)
	d.atLeast(prefix+"retest.start_timeout", p.Retest.StartTimeout, time.Second)
	for i, c := range p.Retest.Checks {
		if c == "" {
			d.wrong(fmt.Sprintf("%sretest.checks[%d]", prefix, i), `Write a context like "build", or "ci/*"`, "must not be empty")
		}
	}
	for i, c := range p.Retest.Creators {
		if !creator.MatchString(c) {
			d.wrong(fmt.Sprintf("%sretest.check_creators[%d]", prefix, i), `Write a login like "ci-bot", or an App like "app:github-actions"; no patterns`, "%q is not a name", c)
		}
	}
	for name := range p.Retest.Env {
		if !envName.MatchString(name) {
			d.wrong(prefix+"retest.env."+name, "Use letters, digits and _", "not a name of a variable")
		}
	}
	if p.Queue.Slots != 1 {
		d.wrong(prefix+"queue.slots", "Use 1", "trains are not built yet")
	}
	if p.Queue.Batch != 1 {
		d.wrong(prefix+"queue.batch", "Use 1", "batches are not built yet")
	}
	if p.Attempts < 1 {
		d.wrong(prefix+"retry.attempts", "Use at least 1", "%d attempts can land nothing", p.Attempts)
	}
}

// checkBranch wants a branch name or a pattern of gate.Match. The rules are
// those of git check-ref-format that people run into.
func (d *document) checkBranch(key, name string) {
	switch {
	case name == "", strings.ContainsAny(name, " ~^:[\\\x7f"), strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }),
		strings.Contains(name, ".."), strings.HasPrefix(name, "-"), strings.HasPrefix(name, "/"), strings.HasSuffix(name, "/"), strings.HasSuffix(name, ".lock"):
		d.wrong(key, "Write it as git does, like main; * and ? match anything", "%q is not a name of a branch", name)
	case strings.HasPrefix(name, "refs/"):
		d.wrong(key, "Leave out refs/heads/", "%q is a full ref", name)
	case strings.HasPrefix(name, "mergegate/"):
		d.wrong(key, "Name a branch of yours", "%q is where mergegate puts its candidates", name)
	}
}

func (d *document) checkURL(key, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		d.wrong(key, "Write it like https://git.example.org", "not an http or https URL")
	case u.User != nil:
		d.wrong(key, "Put the token in a file and name it in token_file", "a URL must not contain a password")
	case u.RawQuery != "" || u.Fragment != "":
		d.wrong(key, "Leave out everything from ? or # on", "must be a plain address")
	}
}

func (d *document) atLeast(key string, t, least time.Duration) {
	if t < least {
		d.wrong(key, fmt.Sprintf("Use at least %v", least), "%v is too short", t)
	}
}

// oneOf wants one of a few words.
func oneOf[T ~string](d *document, key string, got T, allowed ...T) {
	if slices.Contains(allowed, got) {
		return
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	mend := "Use " + strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	if hint := near.Word(string(got), words); hint != "" {
		mend = "Did you mean " + hint + "? " + mend
	}
	d.wrong(key, mend, "%q is not known", got)
}
