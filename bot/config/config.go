// Package config reads the operator's file and a repository's policy file.
//
// Both are strict: an unknown key, a wrong type or a value that cannot work is
// an error that names file, line and key, and says what to do. A file that is
// accepted means what its author thinks it means: nothing is ignored, nothing
// is guessed, and what is not built yet is refused rather than pretended.
//
// Secrets are never part of a Config. It holds the place where each one lives
// (a file or an environment variable) and reads it again at every use, so that
// a rotated token works without a restart.
//
// The package never writes, and never speaks to a forge.
package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/redact"
)

// The values of pages.auth.
const (
	PagesNone  = "none"
	PagesToken = "token"
	PagesProxy = "proxy"
)

// maxFile is the size limit of both files.
const maxFile = 1 << 20

// Config is the operator's file with every default filled in. Paths in it are
// absolute, or relative to the working directory; URLs have no trailing slash.
type Config struct {
	Listen      string      `yaml:"listen"`
	ExternalURL string      `yaml:"external_url"`
	DataDir     string      `yaml:"data_dir"`
	Log         Log         `yaml:"log"`
	Pages       Pages       `yaml:"pages"`
	Forges      []Forge     `yaml:"forges"`
	Defaults    gate.Policy // key "defaults"; see policy.go
	Lease       Lease       `yaml:"lease"`
	Poll        Poll        `yaml:"poll"`
	Sandbox     Sandbox     `yaml:"sandbox"`
}

// Log says what is logged (debug, info, warn, error) and how (text, json).
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Pages says who may read the pages of repositories that are not public, the JSON
// view and the metrics. Auth is "none" (whoever sits at this machine), "token" (who
// knows it) or "proxy" (whom the proxy names).
type Pages struct {
	Auth      string      `yaml:"auth"`
	TokenFile string      `yaml:"token_file"`
	TokenEnv  string      `yaml:"token_env"`
	Header    string      `yaml:"header"`  // the proxy puts the reader's name in it
	Proxies   []string    `yaml:"proxies"` // networks that the proxy speaks from
	Known     *redact.Set `yaml:"-"`       // learns what is read; may be nil
}

// Lease is how replicas share the work. Store is "comment" or "ref".
type Lease struct {
	Store  string        `yaml:"store"`
	TTL    time.Duration `yaml:"ttl"`
	Renew  time.Duration `yaml:"renew"`
	Settle time.Duration `yaml:"settle"`
}

// Poll is how often mergegate looks without being called: while something is
// queued, and while nothing is.
type Poll struct {
	Active time.Duration `yaml:"active"`
	Idle   time.Duration `yaml:"idle"`
}

// Sandbox is what only the operator may say about where retest commands run.
type Sandbox struct {
	Unsafe   bool     `yaml:"unsafe"`    // also run strangers' changes where there is no sandbox
	ReadOnly []string `yaml:"read_only"` // more folders that a test may read, absolute
}

// Default is a configuration with every default and no forges.
func Default() Config {
	return Config{
		Listen:      "127.0.0.1:8080",
		ExternalURL: "http://127.0.0.1:8080",
		DataDir:     "./data",
		Log:         Log{Level: "info", Format: "text"},
		Pages:       Pages{Auth: PagesNone, Header: "X-Forwarded-User", Proxies: []string{"127.0.0.1/32", "::1/128"}},
		Defaults:    defaultPolicy(),
		Lease:       Lease{Store: "comment", TTL: 2 * time.Minute, Renew: 30 * time.Second, Settle: time.Second},
		Poll:        Poll{Active: 15 * time.Second, Idle: 5 * time.Minute},
		Sandbox:     Sandbox{ReadOnly: []string{}},
	}
}

// Load reads the operator's file. Relative paths in it are relative to its own
// folder. Secrets are not read. What is wrong with the file comes as one or
// more *Error, joined, in the order of their lines.
func Load(path string) (*Config, error) {
	data, err := readLimited(path)
	if err != nil {
		return nil, &Error{File: path, Problem: reason(err), Mend: "Give the path of your configuration with --config; config.example.yaml shows every key"}
	}
	file := struct {
		Config
		Defaults rawPolicy `yaml:"defaults"`
	}{Config: Default()}
	file.Defaults = fromPolicy(file.Config.Defaults)
	doc, err := decode(path, data, &file)
	if err != nil {
		return nil, err
	}
	cfg := &file.Config
	cfg.Defaults = file.Defaults.policy()
	for i, f := range cfg.Forges {
		if f.Type == "github" && f.URL == "" {
			cfg.Forges[i].URL = "https://api.github.com"
		}
	}
	doc.checkConfig(cfg)
	doc.checkPolicy("defaults.", cfg.Defaults)
	if err := doc.err(); err != nil {
		return nil, err
	}
	cfg.resolve(filepath.Dir(path))
	return cfg, nil
}

// resolve makes paths relative to the file's folder, and URLs uniform.
func (c *Config) resolve(folder string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
	abs(&c.DataDir)
	abs(&c.Pages.TokenFile)
	c.ExternalURL = strings.TrimRight(c.ExternalURL, "/")
	for i := range c.Forges {
		f := &c.Forges[i]
		abs(&f.TokenFile)
		abs(&f.WebhookSecretFile)
		abs(&f.WebhookSecretPreviousFile)
		abs(&f.PrivateKeyFile)
		f.URL = strings.TrimRight(f.URL, "/")
	}
}

// WebhookURL is the address that the forge delivers to.
func (c *Config) WebhookURL(f Forge) string { return c.ExternalURL + "/webhook/" + f.Name }

// Remember makes every secret that is read from now on known to the set.
func (c *Config) Remember(known *redact.Set) {
	c.Pages.Known = known
	for i := range c.Forges {
		c.Forges[i].Known = known
	}
}

// CheckSecrets reads every secret once. A service calls it before it starts,
// so that a missing one is found by a person and not by the first delivery.
func (c *Config) CheckSecrets() error {
	var errs []error
	for _, f := range c.Forges {
		_, webhook := f.WebhookSecrets()
		errs = append(errs, f.CheckAccount(), webhook)
	}
	if c.Pages.Auth == PagesToken {
		_, err := c.Pages.Token()
		errs = append(errs, err)
	}
	for _, l := range c.LooseFiles() {
		if l.Everybody {
			errs = append(errs, errors.New(l.String()))
		}
	}
	return errors.Join(errs...)
}

// Forge is one forge: where it is, which repositories, and where its secrets
// are. Type is "gitea", "forgejo" or "github".
type Forge struct {
	Name              string `yaml:"name"`
	Type              string `yaml:"type"`
	URL               string `yaml:"url"`
	TokenFile         string `yaml:"token_file"`
	TokenEnv          string `yaml:"token_env"`
	WebhookSecretFile string `yaml:"webhook_secret_file"`
	WebhookSecretEnv  string `yaml:"webhook_secret_env"`
	// WebhookSecretPreviousFile has secrets of before, one a line. What was signed
	// or sealed with one of them is still believed.
	WebhookSecretPreviousFile string      `yaml:"webhook_secret_previous_file"`
	AppID                     int         `yaml:"app_id"`           // github: with a private key, instead of a token
	PrivateKeyFile            string      `yaml:"private_key_file"` // PEM
	Repos                     []string    `yaml:"repos"`
	Known                     *redact.Set `yaml:"-"` // learns what is read; may be nil
}

// Has says whether the configuration names the repository, itself or by its
// owner. The forge's name in r is not looked at.
func (f Forge) Has(r gate.Repo) bool {
	for _, p := range f.Repos {
		owner, name, _ := strings.Cut(p, "/")
		if strings.EqualFold(owner, r.Owner) && (name == "*" || strings.EqualFold(name, r.Name)) {
			return true
		}
	}
	return false
}

// Expand lists the repositories that the configuration means, each once, in
// its order. list gives all repositories of an owner and is asked once for
// each "owner/*". Repositories that are named are always in the result; the
// error joins what list could not tell.
func (f Forge) Expand(ctx context.Context, list func(ctx context.Context, owner string) ([]gate.Repo, error)) ([]gate.Repo, error) {
	var (
		all  []gate.Repo
		errs []error
		seen = map[string]bool{}
	)
	add := func(r gate.Repo) {
		r.Forge = f.Name
		if key := strings.ToLower(r.String()); !seen[key] {
			seen[key] = true
			all = append(all, r)
		}
	}
	for _, p := range f.Repos {
		owner, name, _ := strings.Cut(p, "/")
		if name != "*" {
			add(gate.Repo{Owner: owner, Name: name})
			continue
		}
		repos, err := list(ctx, owner)
		if err != nil {
			errs = append(errs, fmt.Errorf("list the repositories of %s: %w", owner, err))
		}
		for _, r := range repos {
			if !namesRepo(r.Owner, r.Name) {
				errs = append(errs, fmt.Errorf("the forge lists a repository %q of %q, which cannot be one; it is left out", r.Name, r.Owner))
				continue
			}
			add(r)
		}
	}
	return all, errors.Join(errs...)
}

// readLimited reads a file of at most maxFile bytes.
func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("is larger than 1 MiB")
	}
	return data, err
}

// reason is what went wrong with a file, without its path.
func reason(err error) string {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
