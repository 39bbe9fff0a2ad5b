package ghspec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCallable(t *testing.T) {
	dir := t.TempDir()
	source := `package x
func a() { s.api.Issues.CreateComment(ctx) }
func b() { ask(http.MethodPut, "/pulls/%d/merge", 7); log("nothing here") }
func c() { raw(http.MethodGet, fmt.Sprintf("repos/%s/activity?per_page=%d", name, 100)); s.Apps.Get(ctx, "") }
`
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(source)
	j := newJudge(t)
	got, err := j.Callable(dir)
	if want := []string{"apps/get-authenticated", "issues/create-comment", "pulls/merge", "repos/list-activities"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	write(source + `func d() { ask(http.MethodGet, "/weather/%s") }`)
	if _, err := j.Callable(dir); err == nil || !strings.Contains(err.Error(), "/weather/1") {
		t.Errorf("an operation that GitHub does not have: %v", err)
	}
	if _, err := j.Callable(t.TempDir()); err == nil {
		t.Error("nothing to read is taken for nothing called")
	}
}
