package localhub

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// manifest is an App that was made by the manifest flow and is waiting to be
// fetched with its code, once, within an hour.
type manifest struct {
	app     *app
	expires time.Time
}

// wish is a manifest as the form brings it.
type wish struct {
	Name, URL, Description string
	Redirect               string `json:"redirect_url"`
	Hook                   struct {
		URL    string
		Active *bool
	} `json:"hook_attributes"`
	Permissions map[string]string `json:"default_permissions"`
	Events      []string          `json:"default_events"`
}

// makeFromManifest makes the App and gives where the browser goes next.
func (h *Hub) makeFromManifest(owner, text, name, state string) (string, error) {
	var w wish
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return "", refused(http.StatusUnprocessableEntity, "The manifest is not valid JSON.")
	}
	back, err := url.Parse(w.Redirect)
	if err != nil || back.Host == "" || w.URL == "" {
		return "", refused(http.StatusUnprocessableEntity, "The manifest needs url and redirect_url.")
	}
	if name != "" {
		w.Name = name
	}
	hookURL := w.Hook.URL
	if w.Hook.Active != nil && !*w.Hook.Active {
		hookURL = ""
	}
	if w.Permissions == nil {
		w.Permissions = map[string]string{}
	}
	if w.Events == nil {
		w.Events = []string{}
	}
	code := make([]byte, 20)
	_, _ = rand.Read(code) // never fails
	err = h.as(owner, func(c *caller) error {
		a, err := h.newApp(c.account, w.Name, w.URL, hookURL, w.Permissions, w.Events)
		if err != nil {
			return err
		}
		a.description = w.Description
		h.manifests[hex.EncodeToString(code)] = manifest{a, time.Now().Add(time.Hour)}
		return nil
	})
	q := back.Query()
	q.Set("code", hex.EncodeToString(code))
	if state != "" {
		q.Set("state", state)
	}
	back.RawQuery = q.Encode()
	return back.String(), err
}

// convert hands out an App's secrets for its code.
func convert(q *request) (int, any, error) {
	code := q.path("code")
	m, found := q.manifests[code]
	delete(q.manifests, code)
	if !found || time.Now().After(m.expires) {
		return no(notFound())
	}
	secret := make([]byte, 20)
	_, _ = rand.Read(secret) // never fails
	return created(with(q.appView(m.app), obj{"client_secret": hex.EncodeToString(secret),
		"webhook_secret": m.app.WebhookSecret, "pem": string(m.app.Key)}))
}
