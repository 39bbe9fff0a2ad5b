package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mergegate/gate"
	"mergegate/internal/giteatest"
)

// giteaStage is a repository on a real Gitea, which stories share.
type giteaStage struct {
	testing.TB
	server   *giteatest.Server
	accounts map[string]giteatest.User // by name
	owner    giteatest.User
	bot      giteatest.User
	name     string // owner/name
}

func newGitea(t testing.TB, server *giteatest.Server) (*giteaStage, people) {
	t.Helper()
	g := &giteaStage{TB: t, server: server, accounts: map[string]giteatest.User{}}
	account := func(name string) person {
		u, err := g.server.CreateUser(t.Context(), g.server.Unique(name))
		g.must(err)
		g.accounts[u.Name] = u
		return person{u.Name, u.Token}
	}
	all := people{alice: account("alice"), bob: account("bob"), carol: account("carol"), mallory: account("mallory"), bot: account("bot")}
	g.owner, g.bot = g.accounts[all.alice.name], g.accounts[all.bot.name]
	g.must(g.server.CreateRepo(t.Context(), g.owner, "widgets"))
	g.name = g.owner.Name + "/widgets"
	for _, p := range []person{all.bob, all.carol, all.bot} {
		g.role(p, gate.RoleWrite)
	}
	g.role(all.mallory, gate.RoleRead)
	g.at("POST", "/labels", map[string]string{"name": "merge", "color": "#00aabb"}, nil)
	g.settings(map[string]any{"allow_fast_forward_only_merge": true})
	return g, all
}

func (g *giteaStage) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// call asks the API as somebody; path is below the repository.
func (g *giteaStage) call(as person, method, path string, in, out any) {
	g.Helper()
	g.must(g.server.API(context.Background(), as.token, method, "/repos/"+g.name+path, in, out))
}

// at is call as the owner.
func (g *giteaStage) at(method, path string, in, out any) {
	g.Helper()
	g.call(person{token: g.owner.Token}, method, path, in, out)
}

func (g *giteaStage) settings(to map[string]any) {
	g.Helper()
	g.at("PATCH", "", to, nil)
}

func (g *giteaStage) url() string  { return g.server.URL }
func (g *giteaStage) api() string  { return g.server.URL + "/api/v1" }
func (g *giteaStage) repo() string { return g.name }

func (g *giteaStage) cloneURL(as person, repo string) string {
	return g.server.CloneURL(g.accounts[as.name], repo)
}

func (g *giteaStage) hire(dir, url string) string {
	g.Helper()
	g.must(os.WriteFile(filepath.Join(dir, "token"), []byte(g.bot.Token), 0o600))
	g.must(os.WriteFile(filepath.Join(dir, "secret"), []byte(giteaSecret), 0o600))
	return fmt.Sprintf("type: gitea, url: %q, token_file: token, webhook_secret_file: secret", url)
}

const giteaSecret = "a-webhook-secret-of-the-stories"

func (g *giteaStage) hear(bot *replica) {
	g.Helper()
	g.at("POST", "/hooks", map[string]any{
		"type": "gitea", "active": true, "events": []string{"pull_request", "push", "status"},
		"config": map[string]string{"url": bot.url + "/webhook/work", "content_type": "json", "secret": giteaSecret},
	}, nil)
}

func (g *giteaStage) troubles() map[string]trouble {
	hired := func(w *world) { w.replicas[0].file("token", g.bot.Token) }
	return map[string]trouble{
		"permission missing": {"403", func(w *world) {
			token, err := g.server.Token(w.Context(), g.bot, "read:user")
			w.must(err)
			w.replicas[0].file("token", token)
		}, hired},
		"credentials refused": {"401", func(w *world) {
			w.replicas[0].file("token", "0000000000000000000000000000000000000000")
		}, hired},
		"repository out of reach": {"write access",
			func(w *world) { g.role(w.bot, gate.RoleRead) },
			func(w *world) { g.role(w.bot, gate.RoleWrite) }},
	}
}

func (g *giteaStage) propose(by person, head, base, title string) int {
	g.Helper()
	var pr struct {
		Number int `json:"number"`
	}
	g.call(by, "POST", "/pulls", map[string]string{"head": head, "base": base, "title": title}, &pr)
	return pr.Number
}

func (g *giteaStage) fork(by person) string {
	g.Helper()
	g.call(by, "POST", "/forks", map[string]string{}, nil)
	return by.name + "/widgets"
}

func (g *giteaStage) keepToMyself(by person, pr int) {
	g.Helper()
	g.call(by, "PATCH", fmt.Sprintf("/pulls/%d", pr), map[string]bool{"allow_maintainer_edit": false}, nil)
}

func (g *giteaStage) label(by person, pr int) {
	g.Helper()
	g.call(by, "POST", fmt.Sprintf("/issues/%d/labels", pr), map[string]any{"labels": []string{"merge"}}, nil)
}

func (g *giteaStage) unlabel(by person, pr int) {
	g.Helper()
	var labels []struct {
		ID int64 `json:"id"`
	}
	path := fmt.Sprintf("/issues/%d/labels", pr)
	g.call(by, "GET", path, nil, &labels)
	for _, l := range labels {
		g.call(by, "DELETE", fmt.Sprintf("%s/%d", path, l.ID), nil, nil)
	}
}

func (g *giteaStage) comment(by person, pr int, text string) int64 {
	g.Helper()
	var c struct {
		ID int64 `json:"id"`
	}
	g.call(by, "POST", fmt.Sprintf("/issues/%d/comments", pr), map[string]string{"body": text}, &c)
	return c.ID
}

func (g *giteaStage) edit(by person, comment int64, text string) {
	g.Helper()
	g.call(by, "PATCH", fmt.Sprintf("/issues/comments/%d", comment), map[string]string{"body": text}, nil)
}

func (g *giteaStage) erase(by person, comment int64) {
	g.Helper()
	g.call(by, "DELETE", fmt.Sprintf("/issues/comments/%d", comment), nil, nil)
}

func (g *giteaStage) review(by person, pr int, s gate.ReviewState) {
	g.Helper()
	event := map[gate.ReviewState]string{gate.Approved: "APPROVED", gate.ChangesRequested: "REQUEST_CHANGES"}[s]
	g.call(by, "POST", fmt.Sprintf("/pulls/%d/reviews", pr), map[string]string{"event": event, "body": "I looked"}, nil)
}

func (g *giteaStage) dismiss(by, reviewer person, pr int) {
	g.Helper()
	path := fmt.Sprintf("/pulls/%d/reviews", pr)
	var all []struct {
		ID   int64 `json:"id"`
		User struct {
			Login string `json:"login"`
		} `json:"user"`
	}
	g.call(by, "GET", path, nil, &all)
	for _, r := range all {
		if r.User.Login == reviewer.name {
			g.call(by, "POST", fmt.Sprintf("%s/%d/dismissals", path, r.ID), map[string]string{"message": "no"}, nil)
		}
	}
}

func (g *giteaStage) close(by person, pr int) {
	g.Helper()
	g.call(by, "PATCH", fmt.Sprintf("/pulls/%d", pr), map[string]string{"state": "closed"}, nil)
}

func (g *giteaStage) draft(by person, pr int) {
	g.Helper()
	g.call(by, "PATCH", fmt.Sprintf("/pulls/%d", pr), map[string]string{"title": "WIP: left"}, nil)
}

func (g *giteaStage) retarget(by person, pr int, base string) {
	g.Helper()
	g.call(by, "PATCH", fmt.Sprintf("/pulls/%d", pr), map[string]string{"base": base}, nil)
}

func (g *giteaStage) ci(sha, context, state string) {
	g.Helper()
	g.at("POST", "/statuses/"+sha, map[string]string{"context": context, "state": state}, nil)
}

func (g *giteaStage) role(who person, r gate.Role) {
	g.Helper()
	g.must(g.server.AddCollaborator(context.Background(), g.name, who.name, r.String()))
}

func (g *giteaStage) onlyMethod(m gate.Method) {
	g.Helper()
	style := map[gate.Method]string{gate.FastForward: "fast-forward-only", gate.Merge: "merge", gate.Squash: "squash", gate.Rebase: "rebase"}[m]
	g.settings(map[string]any{
		"allow_fast_forward_only_merge": m == gate.FastForward, "allow_merge_commits": m == gate.Merge, "allow_squash_merge": m == gate.Squash,
		"allow_rebase": m == gate.Rebase, "allow_rebase_explicit": false, "default_merge_style": style,
	})
}

func (g *giteaStage) forbid(m gate.Method) {
	g.Helper()
	g.settings(map[string]any{map[gate.Method]string{gate.Merge: "allow_merge_commits", gate.Squash: "allow_squash_merge", gate.Rebase: "allow_rebase"}[m]: false})
}

func (g *giteaStage) protect(approvals int, checks ...string) {
	g.Helper()
	g.at("POST", "/branch_protections", map[string]any{
		"branch_name": "main", "rule_name": "main", "enable_push": false, "required_approvals": approvals,
		"dismiss_stale_approvals": true, "enable_status_check": len(checks) > 0, "status_check_contexts": checks,
	}, nil)
}

func (g *giteaStage) rename(name string) {
	g.Helper()
	g.settings(map[string]any{"name": name})
	g.name = g.owner.Name + "/" + name
}

func (g *giteaStage) acknowledged(comment int64) bool {
	g.Helper()
	type reaction struct {
		Content string `json:"content"`
		User    struct {
			Login string `json:"login"`
		} `json:"user"`
	}
	var all []reaction
	g.at("GET", fmt.Sprintf("/issues/comments/%d/reactions", comment), nil, &all)
	return slices.ContainsFunc(all, func(r reaction) bool { return r.User.Login == g.bot.Name && r.Content == "eyes" })
}

// pushed looks into the timeline, where Gitea notes a push a second or two after
// it happened.
func (g *giteaStage) pushed(pr int) bool {
	g.Helper()
	type event struct {
		Type string `json:"type"`
	}
	var events []event
	g.at("GET", fmt.Sprintf("/issues/%d/timeline", pr), nil, &events)
	return slices.ContainsFunc(events, func(e event) bool { return e.Type == "pull_push" })
}
