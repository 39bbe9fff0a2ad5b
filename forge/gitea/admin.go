package gitea

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Version implements forge.Admin.
func (f *Forge) Version(ctx context.Context) (string, error) {
	v, err := get(ctx, f, "read the forge's version", func(c *sdk.Client) (string, *sdk.Response, error) {
		return c.ServerVersion()
	})
	if err != nil {
		return "", err
	}
	if own, _, ok := strings.Cut(v, "+gitea-"); ok {
		return "Forgejo " + own, nil
	}
	return "Gitea " + v, nil
}

// HookEvents implements forge.Admin. Gitea's pull_request is a group: it brings
// labels, comments, reviews and pushes to PRs along.
func (f *Forge) HookEvents() []string { return []string{"pull_request", "push", "status"} }

// Webhooks implements forge.Admin. Only webhooks that speak Gitea's own format
// are listed. Their events are as Gitea tells them, with groups written out.
func (f *Forge) Webhooks(ctx context.Context, r gate.Repo) ([]forge.Webhook, error) {
	all, err := pages(ctx, f, "list the webhooks of "+r.String(), func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.Hook, *sdk.Response, error) {
		return c.ListRepoHooks(r.Owner, r.Name, sdk.ListHooksOptions{ListOptions: page})
	})
	if err != nil {
		return nil, err
	}
	var out []forge.Webhook
	for _, h := range all {
		if h.Type == "gitea" || h.Type == "forgejo" {
			out = append(out, forge.Webhook{ID: h.ID, URL: h.Config["url"], Events: h.Events, Active: h.Active})
		}
	}
	return out, nil
}

// CreateWebhook implements forge.Admin. Gitea accepts events that it does not
// know and makes a webhook that never fires; that is an error here.
func (f *Forge) CreateWebhook(ctx context.Context, r gate.Repo, url string, secret []byte) error {
	op := "create a webhook in " + r.String()
	h, err := get(ctx, f, op, func(c *sdk.Client) (*sdk.Hook, *sdk.Response, error) {
		return c.CreateRepoHook(r.Owner, r.Name, sdk.CreateHookOption{
			Type:   sdk.HookTypeGitea,
			Active: true,
			Events: f.HookEvents(),
			Config: map[string]string{"url": url, "content_type": "json", "secret": string(secret)},
		})
	})
	if err != nil {
		return err
	}
	if len(h.Events) < len(f.HookEvents()) {
		return fmt.Errorf("%s: the forge knows only %v of the events %v; set them by hand", op, h.Events, f.HookEvents())
	}
	return nil
}

// UpdateWebhook implements forge.Admin. Gitea cannot change the secret of a
// webhook, so a new one is made before the old one goes, and the id changes.
// ErrNotFound when there is no webhook of that id.
func (f *Forge) UpdateWebhook(ctx context.Context, r gate.Repo, id int64, url string, secret []byte) error {
	op := fmt.Sprintf("replace the webhook %d of %s", id, r)
	if _, err := get(ctx, f, op, func(c *sdk.Client) (*sdk.Hook, *sdk.Response, error) {
		return c.GetRepoHook(r.Owner, r.Name, id)
	}); err != nil {
		return err
	}
	if err := f.CreateWebhook(ctx, r, url, secret); err != nil {
		return err
	}
	return do(ctx, f, op, func(c *sdk.Client) (*sdk.Response, error) {
		return c.DeleteRepoHook(r.Owner, r.Name, id)
	})
}

// Labels implements forge.Admin. It counts the repository's labels and, when the
// owner is an organization that the token may read, the organization's.
func (f *Forge) Labels(ctx context.Context, r gate.Repo, name string) (int, error) {
	own, err := pages(ctx, f, "list the labels of "+r.String(), func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.Label, *sdk.Response, error) {
		return c.ListRepoLabels(r.Owner, r.Name, sdk.ListLabelsOptions{ListOptions: page})
	})
	if err != nil {
		return 0, err
	}
	shared, err := pages(ctx, f, "list the labels of "+r.Owner, func(c *sdk.Client, page sdk.ListOptions) ([]*sdk.Label, *sdk.Response, error) {
		return c.ListOrgLabels(r.Owner, sdk.ListOrgLabelsOptions{ListOptions: page})
	})
	if err != nil && !errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrDenied) {
		return 0, err
	}
	n := 0
	for _, l := range append(own, shared...) {
		if l.Name == name {
			n++
		}
	}
	return n, nil
}

// CreateLabel implements forge.Admin. Names are not unique: look with Labels
// first. The color is six hex digits.
func (f *Forge) CreateLabel(ctx context.Context, r gate.Repo, name, color, description string) error {
	return do(ctx, f, fmt.Sprintf("create the label %q in %s", name, r), func(c *sdk.Client) (*sdk.Response, error) {
		_, resp, err := c.CreateLabel(r.Owner, r.Name, sdk.CreateLabelOption{Name: name, Color: color, Description: description})
		return resp, err
	})
}

// AllowFastForward implements forge.Admin.
func (f *Forge) AllowFastForward(ctx context.Context, r gate.Repo) error {
	yes := true
	return do(ctx, f, "allow fast-forward merges in "+r.String(), func(c *sdk.Client) (*sdk.Response, error) {
		_, resp, err := c.EditRepo(r.Owner, r.Name, sdk.EditRepoOption{AllowFastForwardOnlyMerge: &yes})
		return resp, err
	})
}
