package lease

import (
	"context"
	"os"
	"strings"
	"testing"

	"mergegate/gate/catchup"
	"mergegate/internal/giteatest"
)

func TestMain(m *testing.M) { os.Exit(giteatest.Main(m)) }

// TestAttack21RefStolenOnGitea is the same on a real forge, over HTTP: Gitea takes
// refs outside refs/heads and compares them.
func TestAttack21RefStolenOnGitea(t *testing.T) {
	s := giteatest.Shared(t)
	owner, err := s.CreateUser(t.Context(), s.Unique("owner"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRepo(t.Context(), owner, "widgets"); err != nil {
		t.Fatal(err)
	}
	stealWithAnOldCommit(t, catchup.Remote{
		URL:  strings.TrimSuffix(s.URL, "/") + "/" + owner.Name + "/widgets.git",
		Auth: func(context.Context) (string, error) { return "token " + owner.Token, nil },
	})
}
