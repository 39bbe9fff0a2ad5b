package github

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// conn is a connection as one installation of the App, as the App itself, or
// with the token.
type conn struct {
	api          *sdk.Client
	token        func(context.Context) (string, error)
	installation int64     // 0 for the App itself and with a token
	role         gate.Role // what the installation may do
	lacks        []string  // permissions that it should have and has not
}

// errInstallation is what stands between us and everything of an installation.
// It is no word about a single thing, so it is none of forge's errors.
var errInstallation = errors.New("the App cannot act there")

// errNotInstalled is an errInstallation; only for a repository that was never
// seen does it mean "not found".
var errNotInstalled = fmt.Errorf("%w: it is not installed", errInstallation)

// asApp is the connection as the App itself.
func (f *Forge) asApp() *conn {
	sign := roundTrip(func(req *http.Request) (*http.Response, error) {
		apps, err := f.signer()
		if err != nil {
			return nil, drop(req, err)
		}
		return apps.RoundTrip(req)
	})
	return &conn{api: f.client(sign)}
}

// signer makes an AppsTransport; each user gets one of its own.
func (f *Forge) signer() (*ghinstallation.AppsTransport, error) {
	key, err := f.cfg.Key()
	if err != nil {
		return nil, fmt.Errorf("read the private key of the App: %w", err)
	}
	if _, err := jwt.ParseRSAPrivateKeyFromPEM(key); err != nil {
		return nil, errors.New("the private key of the App is no RSA key in PEM form; download a new one from its settings")
	}
	apps, err := ghinstallation.NewAppsTransportWithOptions(f.cfg.Transport, f.cfg.AppID, ghinstallation.WithSigner(presentKey{f.cfg.Key}))
	if err != nil {
		return nil, fmt.Errorf("use the private key of the App: %w", err)
	}
	apps.BaseURL = strings.TrimSuffix(f.api.String(), "/")
	return apps, nil
}

// presentKey signs with the key that is there at that moment: an installation's
// transport lives for as long as the process, its key need not.
type presentKey struct{ read func() ([]byte, error) }

// Sign implements ghinstallation.Signer.
func (k presentKey) Sign(claims jwt.Claims) (string, error) {
	data, err := k.read()
	if err != nil {
		return "", fmt.Errorf("read the private key of the App: %w", err)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(data)
	if err != nil {
		return "", errors.New("the private key of the App is no RSA key in PEM form")
	}
	return ghinstallation.NewRSASigner(jwt.SigningMethodRS256, key).Sign(claims)
}

// client makes a library client on top of a transport that knows who we are.
func (f *Forge) client(as http.RoundTripper) *sdk.Client {
	api := sdk.NewClient(&http.Client{Transport: newTraffic(as, f.cfg.Pause), CheckRedirect: stayHere})
	api.BaseURL = f.api
	api.UserAgent = "mergegate"
	return api
}

// withToken is the connection for a token that is asked for before each call.
func (f *Forge) withToken(token func(context.Context) (string, error)) *conn {
	send := roundTrip(func(req *http.Request) (*http.Response, error) {
		secret, err := token(req.Context())
		if err != nil {
			return nil, drop(req, err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		return f.cfg.Transport.RoundTrip(req)
	})
	return &conn{api: f.client(send), token: token}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// stayHere follows redirects on the same host and scheme, because the token goes
// with them. A redirect that would turn a write into a read is refused: its
// answer would look as if the write had happened.
func stayHere(req *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case req.URL.Host != from.URL.Host || req.URL.Scheme != from.URL.Scheme:
		return fmt.Errorf("redirected to %s://%s; set the forge's url to where its API lives", req.URL.Scheme, req.URL.Host)
	case req.Method != from.Method:
		return errors.New("redirected while writing: the repository was renamed or moved; its new name is read with the next poll")
	case len(via) > 5:
		return errors.New("redirected in a circle")
	}
	return nil
}

// connect finds the connection to a repository, and makes it on first use.
func (f *Forge) connect(ctx context.Context, owner, name string) (*conn, error) {
	key := ""
	if f.app != nil {
		key = strings.ToLower(owner)
	}
	f.mu.Lock()
	c := f.conns[key]
	f.mu.Unlock()
	if c != nil {
		return c, nil
	}
	if f.app == nil {
		return f.keep("", f.withToken(func(context.Context) (string, error) {
			token, err := f.cfg.Token()
			if err != nil {
				return "", fmt.Errorf("read the token of forge %s: %w", f.cfg.Name, err)
			}
			return token, nil
		})), nil
	}
	return f.find(ctx, owner, name)
}

// keep remembers a connection, unless there is one to the same installation.
func (f *Forge) keep(key string, c *conn) *conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.conns[key]; old != nil && old.same(c.installation, c.role, c.lacks) {
		return old
	}
	f.conns[key] = c
	return c
}

// forget drops a connection, so that the next call finds the installation anew.
func (f *Forge) forget(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, known := range f.conns {
		if known == c {
			delete(f.conns, key)
		}
	}
}

// find asks GitHub which installation of the App serves the repository.
func (f *Forge) find(ctx context.Context, owner, name string) (*conn, error) {
	in, _, err := f.app.api.Apps.FindRepositoryInstallation(ctx, owner, name)
	if err != nil {
		err = f.failure(fmt.Sprintf("find the App's installation for %s/%s", owner, name), f.app, err)
		if errors.Is(err, forge.ErrNotFound) {
			return nil, fmt.Errorf("%w on %s/%s, or there is no such repository; install it there", errNotInstalled, owner, name)
		}
		return nil, aboutApp(err)
	}
	return f.installed(in)
}

// aboutApp takes the meaning from an error that concerns the App alone.
func aboutApp(err error) error {
	var r *forge.Refusal
	if errors.As(err, &r) {
		return errors.New(r.Error())
	}
	return err
}

// installed is the connection as an installation.
func (f *Forge) installed(in *sdk.Installation) (*conn, error) {
	owner := in.GetAccount().GetLogin()
	key := strings.ToLower(owner)
	if in.SuspendedAt != nil {
		return nil, fmt.Errorf("%w: its installation on %s is suspended; its owner can lift that in the settings under Installed GitHub Apps", errInstallation, owner)
	}
	role, lacks := rights(in.Permissions)
	f.mu.Lock()
	old := f.conns[key]
	f.mu.Unlock()
	if old != nil && old.same(in.GetID(), role, lacks) {
		return old, nil
	}
	apps, err := f.signer()
	if err != nil {
		return nil, err
	}
	transport := ghinstallation.NewFromAppsTransport(apps, in.GetID())
	transport.InstallationTokenOptions = &sdk.InstallationTokenOptions{} // without, the body is "null"
	c := f.withToken(func(ctx context.Context) (string, error) {
		token, err := transport.Token(ctx)
		if err != nil {
			return "", tokenFailure(owner, err)
		}
		if f.cfg.Learn != nil {
			f.cfg.Learn(token)
		}
		return token, nil
	})
	c.installation, c.role, c.lacks = in.GetID(), role, lacks
	return f.keep(key, c), nil
}

// tokenFailure says why there is no token for an installation.
func tokenFailure(owner string, err error) error {
	var answer *ghinstallation.HTTPError
	if !errors.As(err, &answer) || answer.Response == nil {
		return fmt.Errorf("make a token for %s: %w", owner, err)
	}
	defer answer.Response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Response.Body, 1<<16)) // only looked at for a limit
	if overLimit(answer.Response, body) {
		until, named := reopens(answer.Response.Header)
		if !named {
			until = time.Now().Add(time.Minute)
		}
		return &forge.RateLimited{Until: until}
	}
	switch answer.Response.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: GitHub does not accept its key (401); check app_id, the private key, and this machine's clock", errInstallation)
	case http.StatusForbidden:
		return fmt.Errorf("%w: its installation on %s is suspended, or GitHub refuses it a token (403)", errInstallation, owner)
	case http.StatusNotFound:
		return fmt.Errorf("%w: it is no longer installed on %s (404)", errInstallation, owner)
	}
	return fmt.Errorf("make a token for %s: the forge answered %d", owner, answer.Response.StatusCode)
}

func (c *conn) same(installation int64, role gate.Role, lacks []string) bool {
	return c.installation == installation && c.role == role && slices.Equal(c.lacks, lacks)
}

// rights is what an installation's permissions amount to, and which of those that
// docs/github-app.md asks for are missing. Landing takes contents and pull requests;
// labels and the queue issue take issues. The last two can be done without.
func rights(p *sdk.InstallationPermissions) (gate.Role, []string) {
	writes := func(s string) bool { return s == "write" || s == "admin" }
	role, lacks := gate.RoleWrite, []string(nil)
	for _, need := range []struct {
		level, name string
	}{
		{p.GetContents(), "Contents"}, {p.GetPullRequests(), "Pull requests"}, {p.GetIssues(), "Issues"}, {p.GetStatuses(), "Commit statuses"},
	} {
		if !writes(need.level) {
			role, lacks = gate.RoleRead, append(lacks, need.name+": write")
		}
	}
	if role == gate.RoleWrite && writes(p.GetAdministration()) {
		role = gate.RoleAdmin
	}
	if !writes(p.GetChecks()) {
		lacks = append(lacks, "Checks: write")
	}
	if p.GetAdministration() == "" {
		lacks = append(lacks, "Administration: read")
	}
	return role, lacks
}

// installations lists where the App is installed.
func (f *Forge) installations(ctx context.Context) ([]*sdk.Installation, error) {
	all, err := sweeps(f, "list the App's installations", f.app, (*sdk.Installation).GetID,
		func(page sdk.ListOptions) ([]*sdk.Installation, *sdk.Response, error) {
			return f.app.api.Apps.ListInstallations(ctx, &page)
		})
	return all, aboutApp(err)
}

// identity is who we are.
type identity struct {
	user gate.User
	slug string // of the App; "" with a token
}

// whoami asks once: neither account nor App change under us.
func (f *Forge) whoami(ctx context.Context) (identity, error) {
	f.mu.Lock()
	self := f.self
	f.mu.Unlock()
	if self.user.ID != 0 {
		return self, nil
	}
	self, err := f.identify(ctx)
	if err != nil {
		return identity{}, fmt.Errorf("read the bot's own account: %w", err)
	}
	f.mu.Lock()
	f.self = self
	f.mu.Unlock()
	return self, nil
}

// identify finds the account that the App acts as. Its name follows from the App's;
// only its id must be asked for, which takes any installation.
func (f *Forge) identify(ctx context.Context) (identity, error) {
	var self identity
	var c *conn
	var err error
	login := "" // the token's owner
	if f.app == nil {
		c, err = f.connect(ctx, "", "")
	} else {
		var app *sdk.App
		if app, _, err = f.app.api.Apps.Get(ctx, ""); err != nil {
			return self, aboutApp(f.failure("read the App", f.app, err))
		}
		self.slug, login = app.GetSlug(), app.GetSlug()+"[bot]"
		c, err = f.anyInstallation(ctx)
	}
	if err != nil {
		return self, err
	}
	u, _, err := c.api.Users.Get(ctx, login)
	if err != nil {
		return self, aboutApp(f.failure("read the account", c, err))
	}
	self.user = user(u)
	return self, nil
}

func (f *Forge) anyInstallation(ctx context.Context) (*conn, error) {
	all, err := f.installations(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range all {
		if in.SuspendedAt == nil {
			return f.installed(in)
		}
	}
	return nil, fmt.Errorf("%w: it is installed nowhere; install it on the repositories it shall serve", errInstallation)
}

// GitAuth implements forge.Forge. GitHub takes a token as the password of the
// user x-access-token.
func (f *Forge) GitAuth(ctx context.Context, r gate.Repo) (string, error) {
	s, err := f.at(ctx, r)
	if err != nil {
		return "", err
	}
	token, err := s.token(ctx)
	if err != nil {
		return "", err
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token)), nil
}
