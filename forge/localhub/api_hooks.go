package localhub

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func hookRoutes() map[string]handler {
	return map[string]handler{
		"GET /hooks":                 func(q *request) (int, any, error) { return ok(list(q.repo.hooks, q.hookView)) },
		"GET /hooks/{id}":            forHook(func(q *request, k *hook) (int, any, error) { return ok(q.hookView(k)) }),
		"GET /hooks/{id}/deliveries": forHook(func(q *request, k *hook) (int, any, error) { return q.deliveries(k) }),
	}
}

func hookWriteRoutes() map[string]handler {
	return map[string]handler{
		"POST /hooks":       createHook,
		"PATCH /hooks/{id}": forHook(editHook),
		"DELETE /hooks/{id}": forHook(func(q *request, k *hook) (int, any, error) {
			q.repo.hooks = slices.DeleteFunc(q.repo.hooks, func(o *hook) bool { return o == k })
			return done(nil)
		}),
		"POST /hooks/{id}/pings": forHook(func(q *request, k *hook) (int, any, error) {
			q.ping(k, q.caller)
			return done(nil)
		}),
		"POST /hooks/{id}/deliveries/{delivery}/attempts": forHook(func(q *request, k *hook) (int, any, error) { return q.attempt(k) }),
	}
}

func forHook(f func(*request, *hook) (int, any, error)) handler {
	return func(q *request) (int, any, error) {
		for _, k := range q.repo.hooks {
			if k.id == q.number("id") {
				return f(q, k)
			}
		}
		return no(notFound())
	}
}

// configView is webhook-config; the secret is never shown.
func (k *hook) configView() obj {
	o := obj{"url": k.url, "content_type": "json", "insecure_ssl": "0"}
	if k.secret != "" {
		o["secret"] = "********"
	}
	return o
}

// hookView is hook.
func (h *Hub) hookView(k *hook) obj {
	at := fmt.Sprintf("%s/hooks/%d", h.repoURL(k.repo), k.id)
	last := obj{"code": nil, "status": "unused", "message": nil}
	if n := len(k.deliveries); n > 0 {
		d := k.deliveries[n-1]
		last = obj{"code": d.code, "status": "active", "message": d.status}
	}
	return obj{"type": "Repository", "id": k.id, "name": "web", "active": k.active, "events": k.events, "config": k.configView(),
		"created_at": stamp(k.created), "updated_at": stamp(k.created), "url": at, "test_url": at + "/test", "ping_url": at + "/pings",
		"deliveries_url": at + "/deliveries", "last_response": last}
}

// hookFields is what a webhook is made or changed with.
type hookFields struct {
	Active *bool
	Events []string
	Config struct {
		URL    string
		Secret *string
	}
}

func createHook(q *request) (int, any, error) {
	var in hookFields
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if u, err := url.Parse(in.Config.URL); err != nil || u.Host == "" {
		return no(invalid("Hook", "url", "missing_field"))
	}
	if len(in.Events) == 0 {
		in.Events = []string{"push"}
	}
	for _, k := range q.repo.hooks {
		if k.url == in.Config.URL && slices.Equal(slices.Sorted(slices.Values(k.events)), slices.Sorted(slices.Values(in.Events))) {
			return no(custom("Hook", "Hook already exists on this repository"))
		}
	}
	k := &hook{id: q.id(), repo: q.repo, url: in.Config.URL, active: in.Active == nil || *in.Active, events: in.Events, created: now()}
	if in.Config.Secret != nil {
		k.secret = *in.Config.Secret
	}
	q.repo.hooks = append(q.repo.hooks, k)
	q.ping(k, q.caller)
	return created(q.hookView(k))
}

func editHook(q *request, k *hook) (int, any, error) {
	var in hookFields
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if in.Active != nil {
		k.active = *in.Active
	}
	if in.Events != nil {
		k.events = in.Events
	}
	k.url = cmp.Or(in.Config.URL, k.url)
	if in.Config.Secret != nil {
		k.secret = *in.Config.Secret
	}
	return ok(q.hookView(k))
}

// ping is the first delivery of a webhook.
func (h *Hub) ping(k *hook, c *caller) {
	if !k.active {
		return
	}
	payload := obj{"zen": "Keep it logically awesome.", "hook_id": k.id}
	view := obj{"type": "App", "id": k.id, "name": "web", "active": k.active, "events": k.events, "config": k.configView(),
		"created_at": stamp(k.created), "updated_at": stamp(k.created)}
	if k.app == nil {
		view = h.hookView(k)
	} else {
		view["app_id"] = k.app.ID
	}
	payload["hook"] = view
	h.send("ping", "", k.repo, c, payload, map[*hook]*installation{k: nil})
}

// deliveries lists a hook's deliveries, newest first, by GitHub's cursor.
func (q *request) deliveries(k *hook) (int, any, error) {
	all := list(k.deliveries, deliveryView)
	slices.Reverse(all)
	v := q.http.URL.Query()
	if cursor := v.Get("cursor"); cursor != "" {
		at := slices.IndexFunc(all, func(o obj) bool { return fmt.Sprint(o["id"]) == cursor })
		if at < 0 {
			return no(refused(http.StatusBadRequest, "Invalid cursor"))
		}
		all = all[at:]
	}
	size := 30
	if _, err := fmt.Sscan(v.Get("per_page"), &size); err != nil || size < 1 || size > 100 {
		size = 30
	}
	if len(all) > size {
		v.Set("cursor", fmt.Sprint(all[size]["id"]))
		q.header.Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, q.API, strings.TrimSuffix(q.http.URL.EscapedPath(), "/"), v.Encode()))
		all = all[:size]
	}
	return http.StatusOK, plain(all), nil
}

// plain is a list that is not cut into numbered pages.
type plain []obj

// find gives the delivery of the path.
func (q *request) delivery(k *hook) (*delivery, error) {
	for _, d := range k.deliveries {
		if d.id == q.number("delivery") {
			return d, nil
		}
	}
	return nil, notFound()
}

func (q *request) attempt(k *hook) (int, any, error) {
	d, err := q.delivery(k)
	if err != nil {
		return no(err)
	}
	q.redeliver(d)
	return http.StatusAccepted, obj{}, nil
}

// deliveryView is hook-delivery-item.
func deliveryView(d *delivery) obj {
	status := d.status
	if d.code == 0 && status == "" {
		status = "pending"
	}
	id := func(n int64) any {
		if n == 0 {
			return nil
		}
		return n
	}
	return obj{"id": d.id, "guid": d.guid, "delivered_at": stamp(d.at), "redelivery": d.redelivery, "duration": d.took.Seconds(),
		"status": status, "status_code": d.code, "event": d.event, "action": orNull(d.action), "installation_id": id(d.inst),
		"repository_id": id(d.repo), "throttled_at": nil}
}

// wholeDelivery is hook-delivery.
func wholeDelivery(d *delivery) obj {
	flat := func(h http.Header) obj {
		o := obj{}
		for k := range h {
			o[k] = h.Get(k)
		}
		return o
	}
	return with(deliveryView(d), obj{"url": d.hook.url,
		"request":  obj{"headers": flat(d.header), "payload": json.RawMessage(d.payload)},
		"response": obj{"headers": flat(d.answer), "payload": d.response}})
}
