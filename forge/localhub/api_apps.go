package localhub

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

func accountRoutes() map[string]handler {
	return map[string]handler{
		"GET /user": func(q *request) (int, any, error) {
			switch {
			case q.app != nil:
				return no(refused(http.StatusForbidden, "Resource not accessible by integration"))
			case q.account == nil:
				return no(refused(http.StatusUnauthorized, "Requires authentication"))
			}
			return ok(q.publicUser(q.account))
		},
		"GET /users/{user}": func(q *request) (int, any, error) {
			a := q.whois(q.path("user"))
			if a == nil {
				return no(notFound())
			}
			return ok(q.publicUser(a))
		},
		"GET /users/{user}/repos":                ownedRepos,
		"GET /orgs/{user}/repos":                 ownedRepos,
		"GET /user/repos":                        myRepos,
		"GET /users/{user}/installation":         ownerInstallation,
		"GET /orgs/{user}/installation":          ownerInstallation,
		"GET /orgs/{org}/members/{user}":         func(*request) (int, any, error) { return no(notFound()) },
		"GET /installation/repositories":         installationRepos,
		"DELETE /installation/token":             revoke,
		"GET /rate_limit":                        rateLimit,
		"GET /meta":                              func(*request) (int, any, error) { return ok(obj{"verifiable_password_authentication": false}) },
		"POST /app-manifests/{code}/conversions": convert,
	}
}

// ownedRepos lists the repositories that the caller sees, of one owner.
func ownedRepos(q *request) (int, any, error) {
	owner := q.whois(q.path("user"))
	if owner == nil {
		return no(notFound())
	}
	return ok(q.reposWhere(func(r *repo) bool { return r.owner == owner && q.sees(q.caller, r) }))
}

// myRepos are those that the caller owns or collaborates on.
func myRepos(q *request) (int, any, error) {
	if q.account == nil || q.app != nil {
		return no(refused(http.StatusForbidden, "Resource not accessible by integration"))
	}
	return ok(q.reposWhere(func(r *repo) bool { return r.owner == q.account || r.roles[q.account] != 0 }))
}

func (q *request) reposWhere(keep func(*repo) bool) []obj {
	all := slices.DeleteFunc(q.sorted(), func(r *repo) bool { return !keep(r) })
	return list(all, func(r *repo) obj { return with(q.repoView(r), obj{"permissions": q.permissions(r, q.caller)}) })
}

func installationRepos(q *request) (int, any, error) {
	if q.inst == nil {
		return no(refused(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation."))
	}
	all := q.reposWhere(func(r *repo) bool { return slices.Contains(q.inst.repos, r) })
	return ok(paged{obj{"repository_selection": "selected"}, "repositories", all})
}

func revoke(q *request) (int, any, error) {
	maps.DeleteFunc(q.tokens, func(_ string, c *caller) bool { return c == q.caller && c.inst != nil })
	return done(nil)
}

func rateLimit(q *request) (int, any, error) {
	limit, u := cmp.Or(q.opts.RateLimit, 5000), q.usage(q.caller)
	u.used = max(0, u.used-1) // asking is free
	core := obj{"limit": limit, "remaining": limit - u.used, "reset": u.reset.Unix(), "used": u.used}
	return ok(obj{"rate": core, "resources": obj{"core": core, "search": core}})
}

func appRoutes() map[string]handler {
	routes := map[string]handler{
		"GET /app": func(q *request) (int, any, error) {
			n := 0
			for _, i := range q.installations {
				if i.app == q.app {
					n++
				}
			}
			return ok(with(q.appView(q.app), obj{"installations_count": n}))
		},
		"GET /app/installations": func(q *request) (int, any, error) {
			return ok(list(q.installationsOf(q.app), func(i *installation) obj {
				o := q.installationView(i)
				// GitHub's description of this list wants an account to be an enterprise as well.
				o["account"] = with(q.user(i.account), obj{"name": i.account.login, "slug": i.account.login, "description": nil,
					"website_url": nil, "created_at": stamp(i.account.created), "updated_at": stamp(i.account.created)})
				return o
			}))
		},
		"GET /app/installations/{id}":                forInstallation(func(q *request, i *installation) (int, any, error) { return ok(q.installationView(i)) }),
		"POST /app/installations/{id}/access_tokens": forInstallation(accessToken),
		"PUT /app/installations/{id}/suspended": forInstallation(func(q *request, i *installation) (int, any, error) {
			q.suspend(i, true, q.caller)
			return done(nil)
		}),
		"DELETE /app/installations/{id}/suspended": forInstallation(func(q *request, i *installation) (int, any, error) {
			q.suspend(i, false, q.caller)
			return done(nil)
		}),
		"GET /app/hook/config":     func(q *request) (int, any, error) { return ok(q.app.hook.configView()) },
		"PATCH /app/hook/config":   editAppHook,
		"GET /app/hook/deliveries": func(q *request) (int, any, error) { return q.deliveries(q.app.hook) },
		"GET /app/hook/deliveries/{delivery}": func(q *request) (int, any, error) {
			d, err := q.delivery(q.app.hook)
			if err != nil {
				return no(err)
			}
			return ok(wholeDelivery(d))
		},
		"POST /app/hook/deliveries/{delivery}/attempts": func(q *request) (int, any, error) { return q.attempt(q.app.hook) },
	}
	for pattern, f := range routes {
		routes[pattern] = asApp(f)
	}
	routes["GET /repos/{owner}/{repo}/installation"] = asApp(repoInstallation)
	return routes
}

// asApp lets only an App's JWT through.
func asApp(f handler) handler {
	return func(q *request) (int, any, error) {
		if q.app == nil || q.inst != nil {
			return no(refused(http.StatusUnauthorized, "A JSON web token could not be decoded"))
		}
		return f(q)
	}
}

func forInstallation(f func(*request, *installation) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		i := q.installations[q.number("id")]
		if i == nil || i.app != q.app {
			return no(notFound())
		}
		return f(q, i)
	}
}

func (h *Hub) installationsOf(a *app) []*installation {
	var all []*installation
	for _, n := range slices.Sorted(maps.Keys(h.installations)) {
		if h.installations[n].app == a {
			all = append(all, h.installations[n])
		}
	}
	return all
}

func repoInstallation(q *request) (int, any, error) {
	r := q.find(q.path("owner") + "/" + q.path("repo"))
	for _, i := range q.installationsOf(q.app) {
		if r != nil && slices.Contains(i.repos, r) {
			return ok(q.installationView(i))
		}
	}
	return no(notFound())
}

func ownerInstallation(q *request) (int, any, error) {
	return asApp(func(q *request) (int, any, error) {
		for _, i := range q.installationsOf(q.app) {
			if equalFold(i.account.login, q.path("user")) {
				return ok(q.installationView(i))
			}
		}
		return no(notFound())
	})(q)
}

// accessToken makes an installation's token. Narrower tokens are not for this
// hub: asking for repositories or permissions changes nothing.
func accessToken(q *request, i *installation) (int, any, error) {
	if !i.suspended.IsZero() {
		return no(refused(http.StatusForbidden, "This installation has been suspended"))
	}
	token, expires := q.installationToken(i)
	return created(obj{"token": token, "expires_at": stamp(expires), "permissions": i.app.permissions, "repository_selection": "selected"})
}

func editAppHook(q *request) (int, any, error) {
	var in struct{ URL, Secret string }
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	k := q.app.hook
	k.url, k.secret = cmp.Or(in.URL, k.url), cmp.Or(in.Secret, k.secret)
	k.active = k.url != ""
	return ok(k.configView())
}

func (h *Hub) suspend(i *installation, suspended bool, c *caller) {
	if suspended == !i.suspended.IsZero() {
		return
	}
	i.suspended, i.by, i.updated = time.Time{}, nil, now()
	action := "unsuspend"
	if suspended {
		action, i.suspended, i.by = "suspend", now(), c.account
		if i.by == nil {
			i.by = i.app.owner
		}
	}
	h.emitInstallation(action, i, c)
}

// newApp makes an App and its bot.
func (h *Hub) newApp(owner *account, name, homepage, hookURL string, permissions map[string]string, events []string) (*app, error) {
	slug := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
	switch {
	case slug == "":
		return nil, invalid("Integration", "name", "missing_field")
	case h.whois(slug+"[bot]") != nil:
		return nil, invalid("Integration", "name", "already_exists")
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	id := h.id()
	bot := h.newAccount(slug+"[bot]", "Bot")
	a := &app{
		App:     App{ID: id, Slug: slug, BotID: bot.id, Key: pemKey(key), WebhookSecret: guid() + guid()},
		private: key, name: name, homepage: homepage, owner: owner, bot: bot, permissions: permissions, events: events, created: now(),
	}
	a.hook = &hook{id: h.id(), app: a, url: hookURL, secret: a.WebhookSecret, active: hookURL != "", events: events, created: now()}
	h.apps[id] = a
	return a, nil
}

func (h *Hub) newAccount(login, kind string) *account {
	a := &account{h.id(), login, kind, now()}
	h.accounts[strings.ToLower(login)] = a
	return a
}

// install puts an App to work on repositories, which have one owner.
func (h *Hub) install(a *app, owner *account, repos []*repo, c *caller) *installation {
	for _, i := range h.installationsOf(a) {
		if i.account == owner {
			fresh := slices.DeleteFunc(repos, func(r *repo) bool { return slices.Contains(i.repos, r) })
			i.repos, i.updated = append(i.repos, fresh...), now()
			if len(fresh) > 0 {
				h.emitRepositories("added", i, fresh, c)
			}
			return i
		}
	}
	i := &installation{id: h.id(), app: a, account: owner, repos: repos, created: now(), updated: now()}
	h.installations[i.id] = i
	h.emitInstallation("created", i, c)
	return i
}

// demanded are the permissions of Apps that people make here.
func demanded() map[string]string {
	return map[string]string{"metadata": "read", "contents": "write", "pull_requests": "write", "issues": "write", "checks": "write",
		"statuses": "write", "administration": "read", "repository_hooks": "read"}
}

func demandedEvents() []string {
	return []string{"pull_request", "pull_request_review", "issue_comment", "check_run", "check_suite", "status", "push"}
}
