package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// Version implements forge.Admin. It costs one call as ourselves.
func (f *Forge) Version(ctx context.Context) (string, error) {
	c, path := f.app, "app"
	if c == nil {
		var err error
		if c, err = f.connect(ctx, "", ""); err != nil {
			return "", err
		}
		path = "user"
	}
	_, resp, err := raw[struct{}](ctx, c.api, http.MethodGet, path, nil)
	if err != nil {
		return "", f.failure("read the forge's version", c, err)
	}
	if v := resp.Header.Get("X-GitHub-Enterprise-Version"); v != "" {
		return "GitHub Enterprise Server " + v, nil
	}
	return "GitHub", nil
}

// HookEvents implements forge.Admin. What happens to the App's installations
// comes without being asked for.
func (f *Forge) HookEvents() []string {
	return []string{"check_run", "issue_comment", "pull_request", "pull_request_review", "push", "status"}
}

// Webhooks implements forge.Admin. An App has one webhook for all repositories;
// its events can be changed only in the App's settings.
func (f *Forge) Webhooks(ctx context.Context, r gate.Repo) ([]forge.Webhook, error) {
	op := "list the webhooks of " + r.String()
	if f.app != nil {
		hook, _, err := f.app.api.Apps.GetHookConfig(ctx)
		if err != nil {
			return nil, f.failure(op, f.app, err)
		}
		app, _, err := f.app.api.Apps.Get(ctx, "")
		if err != nil {
			return nil, f.failure(op, f.app, err)
		}
		if hook.GetURL() == "" {
			return nil, nil
		}
		return []forge.Webhook{{URL: hook.GetURL(), Events: app.Events, Active: true}}, nil
	}
	all, err := pages(ctx, f, r, op, (*sdk.Hook).GetID, func(s site, page sdk.ListOptions) ([]*sdk.Hook, *sdk.Response, error) {
		return s.api.Repositories.ListHooks(ctx, s.owner, s.name, &page)
	})
	if err != nil {
		return nil, hidden(err)
	}
	var out []forge.Webhook
	for _, h := range all {
		out = append(out, forge.Webhook{ID: h.GetID(), URL: h.GetConfig().GetURL(), Events: h.Events, Active: h.GetActive()})
	}
	return out, nil
}

// hidden: to those who are not administrators GitHub says "not found".
func hidden(err error) error {
	var r *forge.Refusal
	if errors.As(err, &r) && r.Kind == forge.ErrNotFound {
		r.Kind = forge.ErrDenied
	}
	return err
}

func hookConfig(url string, secret []byte) *sdk.HookConfig {
	return &sdk.HookConfig{URL: &url, ContentType: new("json"), Secret: new(string(secret))}
}

// CreateWebhook implements forge.Admin. For an App it sets the App's own.
func (f *Forge) CreateWebhook(ctx context.Context, r gate.Repo, url string, secret []byte) error {
	if f.app != nil {
		return f.setAppHook(ctx, url, secret)
	}
	return hidden(do(ctx, f, r, "create a webhook in "+r.String(), func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Repositories.CreateHook(ctx, s.owner, s.name, &sdk.Hook{
			Name: new("web"), Active: new(true), Events: f.HookEvents(), Config: hookConfig(url, secret)})
		return resp, err
	}))
}

func (f *Forge) setAppHook(ctx context.Context, url string, secret []byte) error {
	if _, _, err := f.app.api.Apps.UpdateHookConfig(ctx, hookConfig(url, secret)); err != nil {
		return f.failure("set the App's webhook", f.app, err)
	}
	return nil
}

// UpdateWebhook implements forge.Admin.
func (f *Forge) UpdateWebhook(ctx context.Context, r gate.Repo, id int64, url string, secret []byte) error {
	if f.app != nil {
		return f.setAppHook(ctx, url, secret)
	}
	return do(ctx, f, r, fmt.Sprintf("set the webhook %d of %s", id, r), func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Repositories.EditHook(ctx, s.owner, s.name, id, &sdk.Hook{
			Active: new(true), Events: f.HookEvents(), Config: hookConfig(url, secret)})
		return resp, err
	})
}

// Labels implements forge.Admin. Names are unique, without regard to case.
func (f *Forge) Labels(ctx context.Context, r gate.Repo, name string) (int, error) {
	_, err := ask[sdk.Label](ctx, f, r, fmt.Sprintf("look for the label %q in %s", name, r), http.MethodGet, nil, "/labels/%s", url.PathEscape(name))
	if errors.Is(err, forge.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// CreateLabel implements forge.Admin. The color is six hex digits.
func (f *Forge) CreateLabel(ctx context.Context, r gate.Repo, name, color, description string) error {
	return do(ctx, f, r, fmt.Sprintf("create the label %q in %s", name, r), func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Issues.CreateLabel(ctx, s.owner, s.name, &sdk.Label{Name: &name, Color: &color, Description: &description})
		return resp, err
	})
}

// AllowFastForward implements forge.Admin. There is nothing to switch on: a ref
// may always be moved forward by who may write, unless the branch's rules forbid
// it.
func (f *Forge) AllowFastForward(context.Context, gate.Repo) error { return nil }

// Redeliver asks GitHub for the deliveries since a time that never reached us,
// and says how many. GitHub itself never tries twice, and forgets after three
// days. With a token there is nothing to ask: use an App, or rely on polling.
//
// The caller must already be listening. It may be repeated: a delivery that got
// through meanwhile is not asked for again.
func (f *Forge) Redeliver(ctx context.Context, since time.Time) (int, error) {
	if f.app == nil {
		return 0, nil
	}
	const op = "look for deliveries that were missed"
	type attempts struct {
		newest int64
		fine   bool
	}
	seen := make(map[string]*attempts)
	for page := (sdk.ListCursorOptions{PerPage: pageSize}); ; {
		all, resp, err := f.app.api.Apps.ListHookDeliveries(ctx, &page)
		if err != nil {
			return 0, f.failure(op, f.app, err)
		}
		old := len(all) == 0
		for _, d := range all { // newest first
			old = old || d.GetDeliveredAt().Before(since)
			a := seen[d.GetGUID()]
			if a == nil {
				a = &attempts{newest: d.GetID()}
				seen[d.GetGUID()] = a
			}
			a.fine = a.fine || d.GetStatusCode()/100 == 2 || d.GetDeliveredAt().Before(since)
		}
		if page.Cursor = resp.Cursor; old || page.Cursor == "" {
			break
		}
	}
	n := 0
	for guid, a := range seen {
		if a.fine {
			continue
		}
		_, _, err := f.app.api.Apps.RedeliverHookDelivery(ctx, a.newest)
		var accepted *sdk.AcceptedError // go-github's word for 202
		if err != nil && !errors.As(err, &accepted) {
			return n, f.failure("ask for the delivery "+guid+" again", f.app, err)
		}
		n++
	}
	return n, nil
}
