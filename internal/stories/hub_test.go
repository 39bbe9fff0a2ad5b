package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mergegate/forge/localhub"
	"mergegate/gate"
	"mergegate/internal/ghspec"
)

// judge holds all that is said over REST, and every webhook, to GitHub's own
// description.
var judge = sync.OnceValues(ghspec.New)

// hubStage is a repository on a local GitHub of its own, because mergegate keeps
// a second between two writes to one installation.
type hubStage struct {
	testing.TB
	hub          *localhub.Hub
	name         string       // owner/name
	owner, bot   person       // the bot's token is "" when mergegate is an App
	app          localhub.App // zero with a token
	installation int64
}

func newHub(t testing.TB, asApp bool) (*hubStage, people) {
	t.Helper()
	h := &hubStage{TB: t, name: "alice/widgets"}
	j, err := judge()
	h.must(err)
	h.hub, err = localhub.Start(t.Context(), localhub.Options{Dir: t.TempDir(), RateLimit: 1 << 20, Wrap: j.Handler,
		Emitted: func(event, action string, body []byte) { j.Webhook(event, action, body) }})
	h.must(err)
	t.Cleanup(h.hub.Stop)
	account := func(login string) person {
		u, err := h.hub.AddUser(login)
		h.must(err)
		return person{u.Login, u.Token}
	}
	all := people{alice: account("alice"), bob: account("bob"), carol: account("carol"), mallory: account("mallory")}
	h.owner = all.alice
	h.must(h.hub.AddRepo(h.name))
	h.role(all.bob, gate.RoleWrite)
	h.role(all.carol, gate.RoleWrite)
	h.must(h.hub.CreateLabel(h.name, "merge", "00aabb"))
	if asApp {
		h.app, err = h.hub.CreateApp(h.owner.name, "Queue", "")
		h.must(err)
		all.bot.name = h.app.Slug + "[bot]"
		h.installation, err = h.hub.InstallApp(h.app.ID, h.name)
		h.must(err)
	} else {
		all.bot = account("bot")
		h.role(all.bot, gate.RoleWrite)
	}
	h.bot = all.bot
	return h, all
}

func (h *hubStage) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *hubStage) url() string  { return h.hub.URL }
func (h *hubStage) api() string  { return h.hub.API }
func (h *hubStage) repo() string { return h.name }

func (h *hubStage) cloneURL(as person, repo string) string {
	return strings.Replace(h.hub.CloneURL(repo), "://", "://"+as.name+":"+as.token+"@", 1)
}

const hubSecret = "a-webhook-secret-of-the-stories"

func (h *hubStage) hire(dir, url string) string {
	h.Helper()
	write := func(name string, data []byte) { h.must(os.WriteFile(filepath.Join(dir, name), data, 0o600)) }
	url += strings.TrimPrefix(h.hub.API, h.hub.URL)
	if h.app.ID == 0 {
		write("token", []byte(h.bot.token))
		write("secret", []byte(hubSecret))
		return fmt.Sprintf("type: github, url: %q, token_file: token, webhook_secret_file: secret", url)
	}
	write("key.pem", h.app.Key)
	write("secret", []byte(h.app.WebhookSecret))
	return fmt.Sprintf("type: github, url: %q, app_id: %d, private_key_file: key.pem, webhook_secret_file: secret", url, h.app.ID)
}

// hear is an App's one address, or with a token one more webhook of the repository.
func (h *hubStage) hear(bot *replica) {
	h.Helper()
	if h.app.ID != 0 {
		h.must(h.hub.SetHookURL(h.app.ID, bot.url+"/webhook/work"))
		return
	}
	body, err := json.Marshal(map[string]any{"name": "web", "active": true,
		"events": []string{"pull_request", "pull_request_review", "issue_comment", "push", "status", "check_run"},
		"config": map[string]string{"url": bot.url + "/webhook/work", "content_type": "json", "secret": hubSecret}})
	h.must(err)
	req, err := http.NewRequest("POST", h.hub.API+"/repos/"+h.name+"/hooks", bytes.NewReader(body))
	h.must(err)
	req.Header.Set("Authorization", "Bearer "+h.owner.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	h.must(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		h.Fatalf("make a webhook: %s", resp.Status)
	}
}

func (h *hubStage) troubles() map[string]trouble {
	return map[string]trouble{
		"permission missing": {"write access", // the refusal itself is shown only until the next look
			func(*world) { h.must(h.hub.SetPermission(h.app.ID, "issues", "read")) },
			func(*world) { h.must(h.hub.SetPermission(h.app.ID, "issues", "write")) }},
		"credentials refused": {"suspended",
			func(*world) { h.must(h.hub.Suspend(h.installation, true)) },
			func(*world) { h.must(h.hub.Suspend(h.installation, false)) }},
		"repository out of reach": {"not installed",
			func(*world) { h.must(h.hub.RemoveFromApp(h.installation, h.name)) },
			func(*world) {
				_, err := h.hub.InstallApp(h.app.ID, h.name)
				h.must(err)
			}},
	}
}

func (h *hubStage) propose(by person, head, base, title string) int {
	h.Helper()
	n, err := h.hub.OpenPR(h.name, by.name, head, base, title)
	h.must(err)
	return n
}

func (h *hubStage) fork(by person) string {
	h.Helper()
	name, err := h.hub.Fork(h.name, by.name)
	h.must(err)
	return name
}

// keepToMyself is nothing here: mergegate never pushes to a fork on GitHub.
func (h *hubStage) keepToMyself(person, int) {}

func (h *hubStage) label(by person, pr int) {
	h.Helper()
	h.must(h.hub.Label(h.name, pr, by.name, "merge"))
}

func (h *hubStage) unlabel(by person, pr int) {
	h.Helper()
	h.must(h.hub.Unlabel(h.name, pr, by.name, "merge"))
}

func (h *hubStage) comment(by person, pr int, text string) int64 {
	h.Helper()
	id, err := h.hub.Comment(h.name, pr, by.name, text)
	h.must(err)
	return id
}

func (h *hubStage) edit(by person, comment int64, text string) {
	h.Helper()
	h.must(h.hub.EditComment(h.name, comment, by.name, text))
}

func (h *hubStage) erase(by person, comment int64) {
	h.Helper()
	h.must(h.hub.DeleteComment(h.name, comment, by.name))
}

func (h *hubStage) review(by person, pr int, s gate.ReviewState) {
	h.Helper()
	h.must(h.hub.Review(h.name, pr, by.name, s))
}

func (h *hubStage) dismiss(by, reviewer person, pr int) {
	h.Helper()
	h.must(h.hub.Dismiss(h.name, pr, by.name, reviewer.name))
}

func (h *hubStage) close(by person, pr int) {
	h.Helper()
	h.must(h.hub.Close(h.name, pr, by.name))
}

func (h *hubStage) draft(by person, pr int) {
	h.Helper()
	h.must(h.hub.Draft(h.name, pr, by.name, true))
}

func (h *hubStage) retarget(by person, pr int, base string) {
	h.Helper()
	h.must(h.hub.Retarget(h.name, pr, by.name, base))
}

func (h *hubStage) ci(sha, context, state string) {
	h.Helper()
	h.must(h.hub.Status(h.name, gate.SHA(sha), h.owner.name, context, state, ""))
}

func (h *hubStage) role(who person, r gate.Role) {
	h.Helper()
	if h.app.ID != 0 && who == h.bot {
		return // an App has permissions instead
	}
	h.must(h.hub.Collaborate(h.name, who.name, r))
}

// onlyMethod leaves the merge button one method, and closes the way past it: main
// moves by pull request only, which needs an approval.
func (h *hubStage) onlyMethod(m gate.Method) {
	h.Helper()
	h.must(h.hub.SetMergeMethods(h.name, m))
	_, err := h.hub.AddRuleset(h.name, localhub.Ruleset{Name: "by pull request", Branch: "main", Protection: localhub.Protection{Approvals: 1}})
	h.must(err)
}

func (h *hubStage) forbid(m gate.Method) {
	h.Helper()
	var others []gate.Method
	for _, o := range []gate.Method{gate.Merge, gate.Squash, gate.Rebase} {
		if o != m {
			others = append(others, o)
		}
	}
	h.must(h.hub.SetMergeMethods(h.name, others...))
}

func (h *hubStage) protect(approvals int, checks ...string) {
	h.Helper()
	h.must(h.hub.Protect(h.name, "main", &localhub.Protection{Approvals: approvals, Checks: checks, Strict: true, EnforceAdmins: true}))
}

func (h *hubStage) rename(name string) {
	h.Helper()
	h.must(h.hub.Rename(h.name, name))
	h.name = h.owner.name + "/" + name
}

func (h *hubStage) acknowledged(comment int64) bool {
	h.Helper()
	var c struct {
		Reactions struct {
			Eyes int `json:"eyes"`
		} `json:"reactions"`
	}
	h.must(read(h.owner, fmt.Sprintf("%s/repos/%s/issues/comments/%d", h.hub.API, h.name, comment), &c))
	return c.Reactions.Eyes == 1
}

// pushed is always so: GitHub shows a push at once.
func (h *hubStage) pushed(int) bool { return true }

// checkRun is mergegate's check run on a commit, "conclusion: title", and its id.
func (h *hubStage) checkRun(sha string) (says string, id int64) {
	h.Helper()
	var runs struct {
		CheckRuns []struct {
			ID               int64
			Name, Conclusion string
			Output           struct{ Title string }
		} `json:"check_runs"`
	}
	h.must(read(h.owner, fmt.Sprintf("%s/repos/%s/commits/%s/check-runs", h.hub.API, h.name, sha), &runs))
	for _, r := range runs.CheckRuns {
		if r.Name == "Merge queue" {
			return r.Conclusion + ": " + r.Output.Title, r.ID
		}
	}
	return "", 0
}

func (w *world) onGitHub() bool {
	_, ok := w.stage.(*hubStage)
	return ok
}
