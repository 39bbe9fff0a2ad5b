package demo

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"mergegate/internal/giteatest"
)

// The marks that mergegate promises to leave on the forge.
const (
	statusContext = "mergegate"
	queueMarker   = "<!-- mergegate:queue -->"
	leaseMarker   = "<!-- mergegate:lease -->"
	requestLabel  = "merge"
)

// world is the forge as people see it: everything goes through Gitea's API.
type world struct {
	gitea *giteatest.Server
	mia   giteatest.User // maintains the repository
	ada   giteatest.User // writes the changes
	bot   giteatest.User // mergegate's account
	repo  string         // owner/name
}

// newWorld makes the people and the repository.
func newWorld(ctx context.Context, g *giteatest.Server) (*world, error) {
	w := &world{gitea: g}
	for name, u := range map[string]*giteatest.User{"mia": &w.mia, "ada": &w.ada, "mergebot": &w.bot} {
		var err error
		if *u, err = g.CreateUser(ctx, name); err != nil {
			return nil, fmt.Errorf("create the account %s: %w", name, err)
		}
	}
	if err := w.do(ctx, w.mia, "/user/repos", map[string]any{"name": "greetings", "default_branch": "main"}, nil); err != nil {
		return nil, err
	}
	w.repo = w.mia.Name + "/greetings"
	if _, err := w.commit(ctx, w.mia, "main", "Greet the world", start()); err != nil {
		return nil, err
	}
	for user, permission := range map[string]string{w.ada.Name: "write", w.bot.Name: "admin"} {
		if err := g.AddCollaborator(ctx, w.repo, user, permission); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// do posts to Gitea as somebody.
func (w *world) do(ctx context.Context, as giteatest.User, path string, in, out any) error {
	return w.gitea.API(ctx, as.Token, http.MethodPost, path, in, out)
}

// get reads from Gitea, below the repository, as anybody could.
func (w *world) get(ctx context.Context, path string, out any) error {
	return w.gitea.API(ctx, "", http.MethodGet, "/repos/"+w.repo+path, nil, out)
}

// commit writes files on a branch, which begins at main unless it is there
// already, and gives the new commit.
func (w *world) commit(ctx context.Context, as giteatest.User, branch, message string, files map[string]string) (string, error) {
	type file struct {
		Operation string `json:"operation"`
		Path      string `json:"path"`
		Content   []byte `json:"content"`
	}
	var all []file
	for path, text := range files {
		all = append(all, file{"upload", path, []byte(text)})
	}
	var out struct {
		Commit struct {
			SHA string `json:"sha"`
		} `json:"commit"`
	}
	err := w.do(ctx, as, "/repos/"+w.repo+"/contents", map[string]any{
		"branch": "main", "new_branch": branch, "message": message, "files": all,
	}, &out)
	return out.Commit.SHA, err
}

// propose opens ada's pull request and gives its number and head.
func (w *world) propose(ctx context.Context, c change) (number int, head string, err error) {
	head, err = w.commit(ctx, w.ada, c.branch, c.title, c.files)
	if err != nil {
		return 0, "", err
	}
	var pr pull
	err = w.do(ctx, w.ada, "/repos/"+w.repo+"/pulls", map[string]string{"head": c.branch, "base": "main", "title": c.title}, &pr)
	return pr.Number, head, err
}

// approve is mia's review.
func (w *world) approve(ctx context.Context, pr int) error {
	return w.do(ctx, w.mia, fmt.Sprintf("/repos/%s/pulls/%d/reviews", w.repo, pr), map[string]string{"event": "APPROVED"}, nil)
}

// request is mia's label, which puts a pull request into the queue.
func (w *world) request(ctx context.Context, pr int) error {
	return w.do(ctx, w.mia, fmt.Sprintf("/repos/%s/issues/%d/labels", w.repo, pr), map[string]any{"labels": []string{requestLabel}}, nil)
}

// pull is what the forge says of a pull request.
type pull struct {
	Number int    `json:"number"`
	Merged bool   `json:"merged"`
	Commit string `json:"merge_commit_sha"`
	Head   struct {
		SHA string `json:"sha"`
	} `json:"head"`
	Labels []struct {
		Name string `json:"name"`
	} `json:"labels"`
}

func (p pull) requested() bool {
	for _, l := range p.Labels {
		if l.Name == requestLabel {
			return true
		}
	}
	return false
}

// pulls are the pull requests, by number.
func (w *world) pulls(ctx context.Context) (all []pull, err error) {
	err = w.get(ctx, "/pulls?state=all&limit=50", &all)
	slices.SortFunc(all, func(a, b pull) int { return cmp.Compare(a.Number, b.Number) })
	return all, err
}

// status is one of mergegate's lines on a commit.
type status struct {
	ID      int64     `json:"id"`
	At      time.Time `json:"created_at"`
	Context string    `json:"context"`
	State   string    `json:"status"`
	Text    string    `json:"description"`
}

func (s status) final() bool { return s.State == "success" || s.State == "failure" }

// statuses are all that mergegate ever said on a commit, oldest first.
func (w *world) statuses(ctx context.Context, commit string) (all []status, err error) {
	err = w.get(ctx, "/commits/"+commit+"/statuses?limit=50", &all)
	all = slices.DeleteFunc(all, func(s status) bool { return s.Context != statusContext })
	slices.SortFunc(all, func(a, b status) int { return cmp.Compare(a.ID, b.ID) })
	return all, err
}

// comments are the texts that mergegate wrote on a pull request or an issue.
func (w *world) comments(ctx context.Context, number int) (texts []string, err error) {
	var all []struct {
		Body string `json:"body"`
		User struct {
			ID int64 `json:"id"`
		} `json:"user"`
	}
	err = w.get(ctx, fmt.Sprintf("/issues/%d/comments", number), &all)
	for _, c := range all {
		if c.User.ID == w.bot.ID {
			texts = append(texts, c.Body)
		}
	}
	return texts, err
}

// leases counts the lease comments in the queue issue.
func (w *world) leases(ctx context.Context) (int, error) {
	var issues []struct {
		Number int    `json:"number"`
		Body   string `json:"body"`
	}
	if err := w.get(ctx, "/issues?type=issues&state=all", &issues); err != nil {
		return 0, err
	}
	n := 0
	for _, i := range issues {
		if !strings.Contains(i.Body, queueMarker) {
			continue
		}
		texts, err := w.comments(ctx, i.Number)
		if err != nil {
			return 0, err
		}
		for _, text := range texts {
			if strings.Contains(text, leaseMarker) {
				n++
			}
		}
	}
	return n, nil
}
