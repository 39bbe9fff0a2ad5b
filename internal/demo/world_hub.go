package demo

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"mergegate/forge/localhub"
	"mergegate/gate"
)

// hubWorld is a local GitHub. mergegate is an App there. People act as on its
// pages; what became of it is read through its API.
type hubWorld struct {
	reader
	hub *localhub.Hub
}

// newHub starts a local GitHub with its repositories in dir, and makes the people
// and the repository.
func newHub(ctx context.Context, dir string, by Watch) (*hubWorld, error) {
	// The timeline looks often, and a visitor may stay for days.
	hub, err := localhub.Start(context.WithoutCancel(ctx), localhub.Options{Dir: dir, RateLimit: math.MaxInt, Wrap: by.Wrap, Emitted: by.Emitted})
	if err != nil {
		return nil, err
	}
	w := &hubWorld{reader: reader{api: hub.API + "/repos/" + repoName, many: "per_page=100"}, hub: hub}
	if err := w.furnish(); err != nil {
		hub.Stop()
		return nil, fmt.Errorf("prepare the repository: %w", err)
	}
	return w, nil
}

func (w *hubWorld) furnish() error {
	for _, name := range []string{mia, ada} {
		u, err := w.hub.AddUser(name)
		if err != nil {
			return fmt.Errorf("create the account %s: %w", name, err)
		}
		w.auth = "Bearer " + u.Token // anybody's will do: the hub does not show itself to strangers
	}
	if err := w.hub.AddRepoWith(repoName, start()); err != nil {
		return err
	}
	return w.hub.Collaborate(repoName, ada, gate.RoleWrite)
}

func (w *hubWorld) propose(_ context.Context, c change) (number int, head string, err error) {
	tip, err := w.hub.Commit(repoName, ada, c.branch, c.title, c.files)
	if err != nil {
		return 0, "", err
	}
	number, err = w.hub.OpenPR(repoName, ada, c.branch, "main", c.title)
	return number, string(tip), err
}

func (w *hubWorld) approve(_ context.Context, pr int) error {
	return w.hub.Review(repoName, pr, mia, gate.Approved)
}

func (w *hubWorld) request(_ context.Context, pr int) error {
	return w.hub.Label(repoName, pr, mia, requestLabel)
}

// hire makes mergegate's App and installs it on the repository. Its webhook leads
// nowhere until mergegate sets it up.
func (w *hubWorld) hire(_ context.Context, dir string) (Place, error) {
	app, err := w.hub.CreateApp(mia, "mergegate", "")
	if err == nil {
		_, err = w.hub.InstallApp(app.ID, repoName)
	}
	if err != nil {
		return Place{}, fmt.Errorf("make mergegate's App: %w", err)
	}
	w.bot = app.BotID
	p := Place{
		Type: "github", URL: w.hub.API, Repo: repoName, AppID: int(app.ID),
		KeyFile: filepath.Join(dir, "app.pem"), SecretFile: filepath.Join(dir, "webhook.secret"),
	}
	if err := os.WriteFile(p.KeyFile, app.Key, 0o600); err != nil {
		return Place{}, err
	}
	return p, os.WriteFile(p.SecretFile, []byte(app.WebhookSecret), 0o600)
}

func (w *hubWorld) cloneURL() (url, auth string) { return w.hub.CloneURL(repoName), w.auth }

func (w *hubWorld) invite(pr int) []string {
	return []string{
		fmt.Sprintf("    pull request     %s/%s/pull/%d  (no sign-in: choose who you are)", w.hub.URL, repoName, pr),
		fmt.Sprintf("    all of them      %s/%s", w.hub.URL, repoName),
	}
}

func (w *hubWorld) stop() { w.hub.Stop() }
