package gitea

import (
	"cmp"
	"fmt"
	"net/http"
	"testing"

	"mergegate/gate"
)

// In an organization the list of those who may be assigned has people who only read,
// or only label. So a bot that is no administrator there does not know who may write;
// one that is, does.
func TestRoleInOrganization(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org := w.srv.Unique("org")
	as := func(method, path string, in, out any) {
		t.Helper()
		check(t, w.srv.API(ctx, w.owner.Token, method, path, in, out))
	}
	as(http.MethodPost, "/orgs", map[string]any{"username": org}, nil)
	as(http.MethodPost, "/orgs/"+org+"/repos", map[string]any{"name": "widgets", "auto_init": true, "default_branch": "main"}, nil)
	r := gate.Repo{Forge: "work", Owner: org, Name: "widgets"}
	var writers int64 // the first team
	team := func(name string, units map[string]string) gate.User {
		t.Helper()
		var team struct{ ID int64 }
		as(http.MethodPost, "/orgs/"+org+"/teams", map[string]any{"name": name, "permission": "read", "units_map": units, "includes_all_repositories": true}, &team)
		writers = cmp.Or(writers, team.ID)
		u := w.create(t, name)
		as(http.MethodPut, fmt.Sprintf("/teams/%d/members/", team.ID)+u.Name, nil, nil)
		return gate.User{ID: u.ID, Login: u.Name}
	}
	writer := team("writers", map[string]string{"repo.code": "write", "repo.pulls": "write", "repo.issues": "write"})
	reader := team("readers", map[string]string{"repo.code": "read", "repo.pulls": "read", "repo.issues": "read"})
	labeller := team("labellers", map[string]string{"repo.code": "read", "repo.pulls": "write", "repo.issues": "write"})
	stranger := w.Person(t, r, gate.RoleRead)

	const yes, no, hidden = gate.RoleWrite, gate.RoleRead, gate.RoleUnknown
	own := gate.User{ID: w.owner.ID, Login: w.owner.Name}
	for _, tt := range []struct {
		bot    string
		become func()
		want   map[gate.User]gate.Role
	}{
		{"who writes", func() { check(t, w.srv.AddCollaborator(ctx, r.String(), w.bot.Name, "write")) },
			map[gate.User]gate.Role{own: hidden, writer: hidden, reader: hidden, labeller: hidden, stranger: no}},
		{"who administers", func() { check(t, w.srv.AddCollaborator(ctx, r.String(), w.bot.Name, "admin")) },
			map[gate.User]gate.Role{own: gate.RoleAdmin, writer: hidden, reader: hidden, labeller: hidden, stranger: hidden}},
		{"who administers, and is in the team", func() { as(http.MethodPut, fmt.Sprintf("/teams/%d/members/%s", writers, w.bot.Name), nil, nil) },
			map[gate.User]gate.Role{own: gate.RoleAdmin, writer: yes, reader: no, labeller: no, stranger: no}},
		{"in the team alone", func() { as(http.MethodDelete, "/repos/"+r.String()+"/collaborators/"+w.bot.Name, nil, nil) },
			map[gate.User]gate.Role{own: hidden, writer: yes, reader: hidden, labeller: hidden, stranger: no}},
	} {
		tt.become()
		for who, want := range tt.want {
			if got, err := w.forge.Role(ctx, r, who); err != nil || got != want {
				t.Errorf("a bot %s is told that %s has the role %v, %v; want %v", tt.bot, who.Login, got, err, want)
			}
		}
	}
}
