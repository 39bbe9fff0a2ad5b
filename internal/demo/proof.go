package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"mergegate/internal/git"
)

// clone is a bare clone of the repository, fetched as anybody could, in which
// the test can be run on any commit.
type clone struct {
	git git.Dir
	url string
	dir string // for work trees, one for each commit
}

func newClone(ctx context.Context, dir string, w world) (*clone, error) {
	url, auth := w.cloneURL()
	d, err := git.Dir{Path: filepath.Join(dir, "clone.git")}.Remote(url, auth)
	if err != nil {
		return nil, err
	}
	_, err = d.Run(ctx, "", "init", "--quiet", "--bare")
	return &clone{git: d, url: url, dir: dir}, err
}

func (c *clone) fetch(ctx context.Context) error {
	_, err := c.git.Run(ctx, "", "fetch", "--quiet", "--end-of-options", c.url, "+refs/heads/*:refs/heads/*", "+refs/pull/*/head:refs/pull/*/head")
	return err
}

// commit is a commit of main.
type commit struct {
	sha, tree, parent, title string
	green                    bool
}

// history is main, oldest first, along first parents.
func (c *clone) history(ctx context.Context) (all []commit, err error) {
	out, err := c.git.Run(ctx, "", "log", "--first-parent", "--reverse", "--format=%H%x09%T%x09%P%x09%s", "refs/heads/main", "--")
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		parent, _, _ := strings.Cut(f[2], " ")
		all = append(all, commit{sha: f[0], tree: f[1], parent: parent, title: f[3]})
	}
	return all, err
}

// test checks a commit out and runs the repository's test in it, without
// mergegate.
func (c *clone) test(ctx context.Context, sha string) (green bool, err error) {
	d := c.git
	d.WorkTree = filepath.Join(c.dir, sha)
	d.Env = []string{"GIT_INDEX_FILE=" + d.WorkTree + ".index"}
	if err := os.MkdirAll(d.WorkTree, 0o700); err != nil {
		return false, err
	}
	if _, err := d.Run(ctx, "", "read-tree", "--reset", "-u", sha); err != nil {
		return false, err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", testCommand)
	cmd.Dir = d.WorkTree
	err = cmd.Run()
	if _, red := errors.AsType[*exec.ExitError](err); red && ctx.Err() == nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("run the test on %s: %w", short(sha), err)
	}
	return true, nil
}
