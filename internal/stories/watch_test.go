package stories

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// What a story sees from outside.

// read asks the API as somebody.
func read(as person, url string, out any) error {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+as.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// get reads the repository as alice; path is below it.
func (w *world) get(out any, path string, args ...any) {
	w.Helper()
	w.must(read(w.alice, w.api()+"/repos/"+w.repo()+fmt.Sprintf(path, args...), out))
}

// pullRequest is what the API says of a PR.
type pullRequest struct {
	State  string `json:"state"`
	Merged bool   `json:"merged"`
	Commit string `json:"merge_commit_sha"`
	Head   struct {
		SHA string `json:"sha"`
	} `json:"head"`
	Labels []named `json:"labels"`
}

type named struct {
	Name string `json:"name"`
}

func (w *world) pr(n int) (pr pullRequest) {
	w.Helper()
	w.get(&pr, "/pulls/%d", n)
	return pr
}

func (p pullRequest) labelled() bool {
	return slices.ContainsFunc(p.Labels, func(l named) bool { return l.Name == "merge" })
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
	} `json:"user"`
}

func (w *world) comments(n int) (all []comment) {
	w.Helper()
	w.get(&all, "/issues/%d/comments?per_page=100", n)
	return all
}

// sticky is the text of mergegate's one comment, "" if there is none yet. More
// than one fails the story.
func (w *world) sticky(n int) string {
	w.Helper()
	var out []string
	for _, c := range w.comments(n) {
		if c.User.Login == w.bot.name {
			out = append(out, c.Body)
		}
	}
	if len(out) > 1 {
		w.Fatalf("#%d has %d comments by mergegate:\n%s", n, len(out), strings.Join(out, "\n-----\n"))
	}
	return html.UnescapeString(strings.Join(out, "")) // as people read it
}

// status is mergegate's commit status on a commit: "state: text".
func (w *world) status(sha string) string {
	w.Helper()
	var combined struct {
		Statuses []struct{ Context, State, Status, Description string }
	}
	w.get(&combined, "/commits/%s/status?per_page=100", sha)
	for _, s := range combined.Statuses {
		if s.Context == "mergegate" {
			return s.Status + s.State + ": " + s.Description // Gitea's word, or GitHub's
		}
	}
	return ""
}

// laterThan waits for a later second than that of a moment: the forges' times have
// whole seconds, and what happened in the same second has no order.
func (w *world) laterThan(moment time.Time) {
	w.Helper()
	w.until("the next second", func() bool { return time.Now().Unix() > moment.Unix() })
}

// until polls a condition. what completes the sentence "waiting for …".
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.Fatalf("gave up waiting for %s\n#1 says: %s\n%s", what, w.sticky(1), w.logs())
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// landed waits until the PR is merged and its outcome is told.
func (w *world) landed(n int) pullRequest {
	w.Helper()
	w.until(fmt.Sprintf("#%d to land and be told so", n), func() bool {
		return w.pr(n).Merged && strings.Contains(w.sticky(n), "Landed as")
	})
	pr := w.pr(n)
	w.until("the status to say so", func() bool { return strings.HasPrefix(w.status(pr.Head.SHA), "success: Landed as") })
	return pr
}

// dropped waits until the PR was dropped for a reason that contains why.
func (w *world) dropped(n int, why string) {
	w.Helper()
	w.until(fmt.Sprintf("#%d to be dropped because of %q", n, why), func() bool {
		return strings.Contains(w.sticky(n), why) && !w.pr(n).labelled() && strings.Contains(w.sticky(n), "sk again")
	})
	if pr := w.pr(n); pr.Merged {
		w.Fatalf("#%d was merged", n)
	} else if s := w.status(pr.Head.SHA); pr.State == "open" && s != "" && !strings.HasPrefix(s, "failure: ") {
		w.Fatalf("the last status of #%d is %q", n, s)
	}
}

// says waits until the sticky comment contains a text.
func (w *world) says(n int, text string) {
	w.Helper()
	w.until(fmt.Sprintf("#%d to say %q", n, text), func() bool { return strings.Contains(w.sticky(n), text) })
}

// mainIsGreen runs the test on every commit of main, and checks that main was
// never rewound: the first commit is still there.
func (w *world) mainIsGreen() []string {
	w.Helper()
	w.in("fetch", "-q", "origin")
	commits := strings.Fields(w.in("rev-list", "--reverse", "--first-parent", "origin/main"))
	for _, c := range commits {
		dir := w.TempDir()
		cmd := exec.Command("sh", "-c", "git -C "+w.clone+" archive "+c+" | tar -x -C "+dir+" && cd "+dir+" && "+green)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Errorf("main is red at %s: %v %s", c, err, out)
		}
	}
	return commits
}

// has says whether main has the file.
func (w *world) has(file string) bool {
	w.Helper()
	w.in("fetch", "-q", "origin")
	return w.in("ls-tree", "--name-only", "origin/main", file) != ""
}
