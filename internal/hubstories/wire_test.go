package hubstories

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
	"sync/atomic"

	"mergegate/internal/ghspec"
)

// meddler is called for each REST request; true means that it has answered.
type meddler func(rw http.ResponseWriter, r *http.Request, forward func()) bool

// wire stands between everybody and the REST API. A story can do things to a
// request there.
type wire struct{ meddle atomic.Pointer[meddler] }

func (w *wire) wrap(j *ghspec.Judge) func(http.Handler) http.Handler {
	return func(api http.Handler) http.Handler {
		judged := j.Handler(api)
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if m := w.meddle.Load(); m != nil && (*m)(rw, r, func() { judged.ServeHTTP(&deaf{http.Header{}}, r) }) {
				return
			}
			judged.ServeHTTP(rw, r)
		})
	}
}

func (w *wire) on(m meddler) { w.meddle.Store(&m) }

// deaf takes an answer that is not passed on.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(p []byte) (int, error) { return len(p), nil }
func (d *deaf) WriteHeader(int)             {}

// landing says whether a request would move main.
func landing(r *http.Request) bool {
	return r.Method == "PATCH" && strings.HasSuffix(r.URL.Path, "/git/refs/heads/main") ||
		r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/merge")
}

// beforeLanding does something once, when mergegate asks GitHub to move main and
// before GitHub does.
func (w *world) beforeLanding(something func()) {
	var done atomic.Bool
	w.on(func(_ http.ResponseWriter, r *http.Request, _ func()) bool {
		if landing(r) && done.CompareAndSwap(false, true) {
			something()
		}
		return false
	})
}

type named struct {
	Name string `json:"name"`
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

// get reads the repository as alice; path is below it.
func (w *world) get(out any, path string, args ...any) {
	w.Helper()
	url := w.hub.API + "/repos/" + repo + fmt.Sprintf(path, args...)
	req, err := http.NewRequest("GET", url, nil)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+w.tokens[alice])
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		w.Fatalf("GET %s: %s", url, resp.Status)
	}
	w.must(json.NewDecoder(resp.Body).Decode(out))
}

func (w *world) pr(n int) (pr pullRequest) {
	w.Helper()
	w.get(&pr, "/pulls/%d", n)
	return pr
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
		if c.User.Login == w.bot {
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
		Statuses []struct{ Context, State, Description string }
	}
	w.get(&combined, "/commits/%s/status?per_page=100", sha)
	for _, s := range combined.Statuses {
		if s.Context == "mergegate" {
			return s.State + ": " + s.Description
		}
	}
	return ""
}

// checkRun is mergegate's check run on a commit: "conclusion: title".
func (w *world) checkRun(sha string) string {
	w.Helper()
	var runs struct {
		CheckRuns []struct {
			Name, Conclusion string
			Output           struct{ Title string }
		} `json:"check_runs"`
	}
	w.get(&runs, "/commits/%s/check-runs", sha)
	for _, r := range runs.CheckRuns {
		if r.Name == "Merge queue" {
			return r.Conclusion + ": " + r.Output.Title
		}
	}
	return ""
}

// reacted says whether mergegate reacted to a comment.
func (w *world) reacted(comment int64) bool {
	w.Helper()
	var c struct {
		Reactions struct {
			Eyes int `json:"eyes"`
		} `json:"reactions"`
	}
	w.get(&c, "/issues/comments/%d", comment)
	return c.Reactions.Eyes == 1
}

// leases are the bot's lease comments in the queue issue.
func (w *world) leases() (out []comment) {
	w.Helper()
	var issues []struct {
		Number int    `json:"number"`
		Body   string `json:"body"`
	}
	w.get(&issues, "/issues?state=open")
	for _, i := range issues {
		if !strings.Contains(i.Body, "<!-- mergegate:queue -->") {
			continue
		}
		for _, c := range w.comments(i.Number) {
			if c.User.Login == w.bot && strings.Contains(c.Body, "<!-- mergegate:lease") {
				out = append(out, c)
			}
		}
	}
	return out
}
