package localhub

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"mergegate/gate"
)

// App is a GitHub App with everything its owner is given.
type App struct {
	ID            int64
	Slug          string
	BotID         int64  // the id of the account it acts as, Slug + "[bot]"
	Key           []byte // PEM, PKCS #1
	WebhookSecret string
}

func pemKey(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// CreateApp makes an App that may do what a merge queue needs. hookURL "" makes
// its webhook inactive.
func (h *Hub) CreateApp(by, name, hookURL string) (App, error) {
	var made App
	err := h.as(by, func(c *caller) error {
		a, err := h.newApp(c.account, name, h.URL, hookURL, demanded(), demandedEvents())
		if err == nil {
			made = a.App
		}
		return err
	})
	return made, err
}

// SetPermission changes what an App may do: read, write, or "" for nothing.
func (h *Hub) SetPermission(id int64, scope, level string) error {
	return h.withApp(id, func(a *app) {
		a.permissions[scope] = level
		if level == "" {
			delete(a.permissions, scope)
		}
	})
}

// SetHookURL points the App's webhook elsewhere; "" switches it off.
func (h *Hub) SetHookURL(id int64, url string) error {
	return h.withApp(id, func(a *app) { a.hook.url, a.hook.active = url, url != "" })
}

func (h *Hub) withApp(id int64, f func(*app)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.apps[id]
	if a == nil {
		return fmt.Errorf("there is no App %d", id)
	}
	f(a)
	return nil
}

// InstallApp installs the App on repositories of one owner and gives the
// installation's id. Again for the same owner adds repositories.
func (h *Hub) InstallApp(id int64, repos ...string) (installed int64, err error) {
	if len(repos) == 0 {
		return 0, fmt.Errorf("name a repository to install the App on")
	}
	err = h.as(owner(repos[0]), func(c *caller) error {
		a := h.apps[id]
		if a == nil {
			return fmt.Errorf("there is no App %d", id)
		}
		var all []*repo
		for _, full := range repos {
			r := h.find(full)
			if r == nil || r.owner != c.account {
				return fmt.Errorf("%s is no repository of %s", full, c.account.login)
			}
			all = append(all, r)
		}
		installed = h.install(a, c.account, all, c).id
		return nil
	})
	return installed, err
}

// atInstallation runs f for an installation, as the account it belongs to.
func (h *Hub) atInstallation(id int64, f func(*installation, *caller) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.installations[id]
	if i == nil {
		return fmt.Errorf("there is no installation %d", id)
	}
	return f(i, &caller{account: i.account})
}

// RemoveFromApp takes repositories out of an installation.
func (h *Hub) RemoveFromApp(id int64, repos ...string) error {
	return h.atInstallation(id, func(i *installation, c *caller) error {
		var gone []*repo
		for _, full := range repos {
			if r := h.find(full); slices.Contains(i.repos, r) {
				gone = append(gone, r)
			}
		}
		i.repos = slices.DeleteFunc(i.repos, func(r *repo) bool { return slices.Contains(gone, r) })
		i.updated = now()
		h.emitRepositories("removed", i, gone, c)
		return nil
	})
}

// Suspend suspends an installation, or lifts the suspension.
func (h *Hub) Suspend(id int64, suspended bool) error {
	return h.atInstallation(id, func(i *installation, c *caller) error {
		h.suspend(i, suspended, c)
		return nil
	})
}

// Uninstall removes an installation and its tokens.
func (h *Hub) Uninstall(id int64) error {
	return h.atInstallation(id, func(i *installation, c *caller) error {
		delete(h.installations, i.id)
		for token, t := range h.tokens {
			if t.inst == i {
				delete(h.tokens, token)
			}
		}
		h.emitInstallation("deleted", i, c)
		return nil
	})
}

// ExpireTokens makes every installation token invalid, as time does.
func (h *Hub) ExpireTokens() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.tokens {
		if c.inst != nil {
			c.expires = time.Now()
		}
	}
}

// CheckRun makes a check run by the App named ci, which is created and installed
// when it is not there. conclusion "" leaves the run in progress. A run of that
// name which has no conclusion yet is completed; otherwise a new one is made.
func (h *Hub) CheckRun(full string, id gate.SHA, ci, name, conclusion string) (int64, error) {
	var run int64
	err := h.in(full, owner(full), func(r *repo, c *caller) error {
		a, err := h.ci(r, ci, c)
		if err != nil {
			return err
		}
		if h.commit(r, id) == nil {
			return fmt.Errorf("there is no commit %s in %s", id, full)
		}
		by := &caller{account: a.bot, app: a}
		one := h.openRun(r, a, id, name)
		if one == nil {
			one = h.newRun(r, a, id, name)
			one.status = "in_progress"
			h.emitRun("created", r, one, by, nil)
		}
		if conclusion != "" {
			one.change(runFields{Conclusion: &conclusion})
			h.runDone(r, one, by)
		}
		run = one.id
		return nil
	})
	return run, err
}

// openRun is the App's unfinished run of that name.
func (h *Hub) openRun(r *repo, a *app, id gate.SHA, name string) *run {
	for _, c := range r.runsOf(id) {
		if c.suite.app == a && c.name == name && c.status != "completed" {
			return c
		}
	}
	return nil
}

// ci is the App of that name, at work in the repository.
func (h *Hub) ci(r *repo, name string, c *caller) (*app, error) {
	for _, a := range h.apps {
		if a.name == name {
			return a, nil
		}
	}
	a, err := h.newApp(c.account, name, h.URL, "", map[string]string{"metadata": "read", "checks": "write"}, []string{})
	if err != nil {
		return nil, err
	}
	h.install(a, r.owner, []*repo{r}, c)
	return a, nil
}

// Press presses a button of a check run.
func (h *Hub) Press(full string, run int64, by, identifier string) error {
	return h.in(full, by, func(r *repo, c *caller) error {
		one := r.runs[run]
		if one == nil {
			return fmt.Errorf("there is no check run %d in %s", run, full)
		}
		for _, b := range one.buttons() {
			if b.Identifier == identifier {
				h.emitRun("requested_action", r, one, c, obj{"requested_action": obj{"identifier": identifier}})
				return nil
			}
		}
		return fmt.Errorf("check run %d has no button %q", run, identifier)
	})
}

// Rerun presses "Re-run" of a check run.
func (h *Hub) Rerun(full string, run int64, by string) error {
	return h.in(full, by, func(r *repo, c *caller) error {
		one := r.runs[run]
		if one == nil {
			return fmt.Errorf("there is no check run %d in %s", run, full)
		}
		h.emitRun("rerequested", r, one, c, nil)
		return nil
	})
}

// Redeliver sends a delivery again, as the button in the App's settings does.
func (h *Hub) Redeliver(delivery int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var hooks []*hook
	for _, a := range h.apps {
		hooks = append(hooks, a.hook)
	}
	for _, r := range h.repos {
		hooks = append(hooks, r.hooks...)
	}
	for _, k := range hooks {
		for _, d := range k.deliveries {
			if d.id == delivery {
				h.redeliver(d)
				return nil
			}
		}
	}
	return fmt.Errorf("there is no delivery %d", delivery)
}
