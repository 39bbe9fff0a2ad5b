package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"mergegate/internal/giteatest"
)

// giteaWorld is a real Gitea. People act through its API.
type giteaWorld struct {
	reader
	gitea    *giteatest.Server
	mia, ada giteatest.User
	mergebot giteatest.User
}

// newGitea builds Gitea if need be, starts it in dir, and makes the people and
// the repository. log is told of a build.
func newGitea(ctx context.Context, dir string, log io.Writer) (*giteaWorld, error) {
	g, err := giteatest.Start(ctx, giteatest.Options{Dir: dir, Log: log})
	if err != nil {
		return nil, err
	}
	w := &giteaWorld{reader: reader{many: "limit=50", api: g.URL + "/api/v1/repos/" + repoName}, gitea: g}
	if err := w.furnish(ctx); err != nil {
		g.Stop()
		return nil, fmt.Errorf("prepare the repository: %w", err)
	}
	w.bot = w.mergebot.ID
	return w, nil
}

func (w *giteaWorld) furnish(ctx context.Context) error {
	for name, u := range map[string]*giteatest.User{mia: &w.mia, ada: &w.ada, "mergebot": &w.mergebot} {
		var err error
		if *u, err = w.gitea.CreateUser(ctx, name); err != nil {
			return fmt.Errorf("create the account %s: %w", name, err)
		}
	}
	if err := w.do(ctx, w.mia, "/user/repos", map[string]any{"name": filepath.Base(repoName), "default_branch": "main"}, nil); err != nil {
		return err
	}
	if _, err := w.commit(ctx, w.mia, "main", "Greet the world", start()); err != nil {
		return err
	}
	for user, permission := range map[string]string{w.ada.Name: "write", w.mergebot.Name: "admin"} {
		if err := w.gitea.AddCollaborator(ctx, repoName, user, permission); err != nil {
			return err
		}
	}
	return nil
}

// do posts to Gitea as somebody.
func (w *giteaWorld) do(ctx context.Context, as giteatest.User, path string, in, out any) error {
	return w.gitea.API(ctx, as.Token, http.MethodPost, path, in, out)
}

// commit writes files on a branch, which begins at main unless it is there
// already, and gives the new commit.
func (w *giteaWorld) commit(ctx context.Context, as giteatest.User, branch, message string, files map[string]string) (string, error) {
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
	err := w.do(ctx, as, "/repos/"+repoName+"/contents", map[string]any{
		"branch": "main", "new_branch": branch, "message": message, "files": all,
	}, &out)
	return out.Commit.SHA, err
}

func (w *giteaWorld) propose(ctx context.Context, c change) (number int, head string, err error) {
	head, err = w.commit(ctx, w.ada, c.branch, c.title, c.files)
	if err != nil {
		return 0, "", err
	}
	var pr pull
	err = w.do(ctx, w.ada, "/repos/"+repoName+"/pulls", map[string]string{"head": c.branch, "base": "main", "title": c.title}, &pr)
	return pr.Number, head, err
}

func (w *giteaWorld) approve(ctx context.Context, pr int) error {
	return w.do(ctx, w.mia, fmt.Sprintf("/repos/%s/pulls/%d/reviews", repoName, pr), map[string]string{"event": "APPROVED"}, nil)
}

func (w *giteaWorld) request(ctx context.Context, pr int) error {
	return w.do(ctx, w.mia, fmt.Sprintf("/repos/%s/issues/%d/labels", repoName, pr), map[string]any{"labels": []string{requestLabel}}, nil)
}

// hire makes a token of few scopes for mergegate's account, which administers the
// repository.
func (w *giteaWorld) hire(ctx context.Context, dir string) (Place, error) {
	token, err := w.gitea.Token(ctx, w.mergebot, "write:repository", "write:issue", "read:user")
	if err != nil {
		return Place{}, fmt.Errorf("make mergegate's token: %w", err)
	}
	p := Place{Type: "gitea", URL: w.gitea.URL, Repo: repoName, TokenFile: filepath.Join(dir, "token"), SecretFile: filepath.Join(dir, "webhook.secret")}
	if err := os.WriteFile(p.TokenFile, []byte(token), 0o600); err != nil {
		return Place{}, err
	}
	return p, os.WriteFile(p.SecretFile, []byte(rand.Text()), 0o600)
}

func (w *giteaWorld) cloneURL() (url, auth string) { return w.gitea.URL + "/" + repoName + ".git", "" }

func (w *giteaWorld) invite(pr int) []string {
	return []string{
		fmt.Sprintf("    log in           %s/user/login  as %s, password %s", w.gitea.URL, w.mia.Name, w.mia.Password),
		fmt.Sprintf("    pull request     %s/%s/pulls/%d", w.gitea.URL, repoName, pr),
		fmt.Sprintf("    all of them      %s/%s/pulls?state=all", w.gitea.URL, repoName),
	}
}

func (w *giteaWorld) stop() { w.gitea.Stop() }
