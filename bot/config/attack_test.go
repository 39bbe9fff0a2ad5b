package config

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/gate"
)

var badNames = []string{".", "..", "../..", "a/b", "/etc", "%2e%2e", "a\x00b", "a b", "", "ü", "a\nb", strings.Repeat("a", 300)}

// Names that would leave the data directory are refused in the file, and left
// out when a forge lists them.
func TestAttack52NamesThatAreNoRepositories(t *testing.T) {
	for _, bad := range badNames {
		for _, r := range []gate.Repo{{Owner: "acme", Name: bad}, {Owner: bad, Name: "widgets"}} {
			f := Forge{Name: "work", Repos: []string{"acme/*"}}
			got, err := f.Expand(t.Context(), func(context.Context, string) ([]gate.Repo, error) {
				return []gate.Repo{r, {Owner: "acme", Name: "good"}}, nil
			})
			if err == nil || len(got) != 1 || got[0].Name != "good" {
				t.Errorf("the forge lists %q: %v, %v; want only the good one, and an error", r, got, err)
			}
		}
	}
	for _, bad := range []string{"../..", "./x", "acme/..", "acme/.", "../*", "a/b/c", "/x", "x/", "acme/%2e%2e", "acme/" + strings.Repeat("a", 300)} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		text := "forges:\n- {name: work, type: gitea, url: http://x, token_file: t, webhook_secret_file: s, repos: [\"" + bad + "\"]}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "repos[0]") {
			t.Errorf("repos: [%q]: %v", bad, err)
		}
	}
}

// Forges know one repository under all spellings of its name, and so do we: it
// gets one worker and one directory.
func TestAttack53OneRepositoryInTwoSpellings(t *testing.T) {
	f := Forge{Name: "work", Repos: []string{"acme/Widgets", "acme/*"}}
	got, err := f.Expand(t.Context(), func(context.Context, string) ([]gate.Repo, error) {
		return []gate.Repo{{Owner: "acme", Name: "widgets"}, {Owner: "ACME", Name: "WIDGETS"}, {Owner: "acme", Name: "other"}}, nil
	})
	if err != nil || len(got) != 2 || got[0].Name != "Widgets" || got[1].Name != "other" {
		t.Errorf("%v, %v; want Widgets and other", got, err)
	}
}
