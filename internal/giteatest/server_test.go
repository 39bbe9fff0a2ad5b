package giteatest

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestServerAnswersAndSurvivesAPowerCut(t *testing.T) {
	Shared(t) // skips where Gitea cannot be built
	ctx := t.Context()
	s, err := Start(ctx, Options{Dir: t.TempDir(), Queue: "level"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	alice, err := s.CreateUser(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRepo(ctx, alice, "widgets"); err != nil {
		t.Fatal(err)
	}
	var version struct{ Version string }
	if err := s.API(ctx, "", http.MethodGet, "/version", nil, &version); err != nil || version.Version != Version {
		t.Errorf("version %q, %v; want %q", version.Version, err, Version)
	}

	s.Kill()
	if s.answers(ctx) {
		t.Fatal("a killed server still answers")
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	var repo struct {
		FullName string `json:"full_name"`
	}
	if err := s.API(ctx, alice.Token, http.MethodGet, "/repos/alice/widgets", nil, &repo); err != nil || repo.FullName != "alice/widgets" {
		t.Errorf("after the restart: repository %q, %v", repo.FullName, err)
	}
}

func TestTokenScopesAndFailures(t *testing.T) {
	s, ctx := Shared(t), t.Context()
	u, err := s.CreateUser(ctx, s.Unique("bob"))
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := s.Token(ctx, u, "write:issue")
	if err != nil {
		t.Fatal(err)
	}
	err = s.API(ctx, narrow, http.MethodGet, "/user", nil, nil)
	var f *Failure
	if !errors.As(err, &f) || f.Status != http.StatusForbidden || !strings.Contains(err.Error(), "GET /user") {
		t.Errorf("a narrow token reading the user: %v; want 403 and the call", err)
	}
	if err := s.API(ctx, u.Token, http.MethodGet, "/user", nil, nil); err != nil {
		t.Errorf("a full token reading the user: %v", err)
	}
}
