package stories

import (
	"fmt"
	"strings"
	"testing"

	"mergegate/gate"
)

// The title of a stranger's PR goes into the commit that mergegate makes. There it
// closes no issue that mergegate could close and its author could not, here one of
// another repository. The same words in a commit of the owner's, last, show that the
// test would see it. (Issues of the same repository Gitea closes by itself when a PR
// that names them is merged, whoever wrote and whoever merged it.)
func TestAttack90TitlesOfStrangersCloseNothing(t *testing.T) {
	t.Parallel()
	for _, method := range []gate.Method{gate.Merge, gate.Squash} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "gitea", true)
			g, ok := w.stage.(*giteaStage)
			if !ok {
				t.Fatalf("the stage is a %T", w.stage)
			}
			g.onlyMethod(method)
			var issue, control struct {
				Number int    `json:"number"`
				State  string `json:"state"`
			}
			g.must(g.server.CreateRepo(t.Context(), g.owner, "other"))
			other := g.owner.Name + "/other"
			g.must(g.server.AddCollaborator(t.Context(), other, w.bot.name, "write"))
			elsewhere := func(method, path string, in, out any) {
				t.Helper()
				g.must(g.server.API(t.Context(), g.owner.Token, method, "/repos/"+other+path, in, out))
			}
			elsewhere("POST", "/issues", map[string]string{"title": "stays open"}, &issue)
			elsewhere("POST", "/issues", map[string]string{"title": "is closed in the end"}, &control)
			w.start()
			pr := w.forked("left", false)
			title := fmt.Sprintf("fixes %s#%d, resolves %s/%s/issues/%d for @%s", other, issue.Number, w.url(), other, issue.Number, w.alice.name)
			g.call(w.mallory, "PATCH", fmt.Sprintf("/pulls/%d", pr), map[string]string{"title": title, "body": title}, nil)
			w.label(w.bob, pr)
			w.landed(pr)
			w.in("fetch", "-q", "origin")
			message := w.in("log", "-1", "--format=%B", "origin/main")
			if !strings.Contains(message, fmt.Sprintf("#%d", pr)) || !strings.Contains(message, "resolves") {
				t.Errorf("the commit does not name its PR and title:\n%s", message)
			}
			if strings.Contains(message, fmt.Sprintf("%s#%d", other, issue.Number)) || strings.Contains(message, "@"+w.alice.name) {
				t.Errorf("the title acts in the commit:\n%s", message)
			}
			w.in("switch", "-q", "-C", "last", "origin/main")
			w.in("commit", "-q", "--allow-empty", "-m", fmt.Sprintf("fixes %s#%d", other, control.Number))
			w.in("push", "-q", w.cloneURL(w.alice, w.repo()), "HEAD:main")
			w.until("the issue that is closed on purpose is closed", func() bool {
				elsewhere("GET", fmt.Sprintf("/issues/%d", control.Number), nil, &control)
				return control.State == "closed"
			})
			elsewhere("GET", fmt.Sprintf("/issues/%d", issue.Number), nil, &issue)
			if issue.State != "open" {
				t.Errorf("the title closed the issue; the commit says:\n%s", message)
			}
		})
	}
}
