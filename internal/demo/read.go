package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// reader reads the repository through the forge's API, as anybody could. For what
// is read here Gitea answers as GitHub does, but for the name of one field. Lists
// are read as one page: the story fills none.
type reader struct {
	api  string // URL of the repository in the API
	auth string // Authorization header; "" where nobody needs one
	bot  int64  // id of mergegate's account; 0 before there is one
	many string // query that asks for a long page
}

func (r *reader) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.api+path, nil)
	if err != nil {
		return err
	}
	if r.auth != "" {
		req.Header.Set("Authorization", r.auth)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("read %s: the forge answered %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// pull is what the forge says of a pull request.
type pull struct {
	Number   int        `json:"number"`
	MergedAt *time.Time `json:"merged_at"`
	Commit   string     `json:"merge_commit_sha"` // means something only when it is merged
	Head     struct {
		SHA string `json:"sha"`
	} `json:"head"`
	Labels []struct {
		Name string `json:"name"`
	} `json:"labels"`
}

func (p pull) merged() bool { return p.MergedAt != nil }

func (p pull) requested() bool {
	for _, l := range p.Labels {
		if l.Name == requestLabel {
			return true
		}
	}
	return false
}

// pulls implements world.
func (r *reader) pulls(ctx context.Context) (all []pull, err error) {
	err = r.get(ctx, "/pulls?state=all", &all)
	slices.SortFunc(all, func(a, b pull) int { return cmp.Compare(a.Number, b.Number) })
	return all, err
}

// status is one of mergegate's lines on a commit.
type status struct {
	ID      int64     `json:"id"`
	At      time.Time `json:"created_at"`
	Context string    `json:"context"`
	GitHub  string    `json:"state"`
	Gitea   string    `json:"status"`
	Text    string    `json:"description"`
}

func (s status) state() string { return cmp.Or(s.GitHub, s.Gitea) }

func (s status) final() bool { return s.state() == "success" || s.state() == "failure" }

// statuses implements world.
func (r *reader) statuses(ctx context.Context, commit string) (all []status, err error) {
	err = r.get(ctx, "/commits/"+commit+"/statuses?"+r.many, &all)
	all = slices.DeleteFunc(all, func(s status) bool { return s.Context != statusContext })
	slices.SortFunc(all, func(a, b status) int { return cmp.Compare(a.ID, b.ID) })
	return all, err
}

// comments implements world.
func (r *reader) comments(ctx context.Context, number int) (texts []string, err error) {
	var all []struct {
		Body string `json:"body"`
		User struct {
			ID int64 `json:"id"`
		} `json:"user"`
	}
	err = r.get(ctx, fmt.Sprintf("/issues/%d/comments", number), &all)
	for _, c := range all {
		if c.User.ID == r.bot {
			texts = append(texts, c.Body)
		}
	}
	return texts, err
}

// leases implements world.
func (r *reader) leases(ctx context.Context) (int, error) {
	var issues []struct { // pull requests too
		Number int    `json:"number"`
		Body   string `json:"body"`
	}
	if err := r.get(ctx, "/issues?state=all", &issues); err != nil {
		return 0, err
	}
	n := 0
	for _, i := range issues {
		if !strings.Contains(i.Body, queueMarker) {
			continue
		}
		texts, err := r.comments(ctx, i.Number)
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
