package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestLandReadme runs the README's example of land, word for word.
func TestLandReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "<!-- land example: run by TestLandReadme -->\n")
	example, _, end := strings.Cut(rest, "<!-- end -->")
	if !ok || !end {
		t.Fatal("README.md has no example of land")
	}
	var script strings.Builder
	for line := range strings.Lines(example) {
		script.WriteString(strings.TrimPrefix(line, "    "))
	}
	cmd := exec.Command("sh", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_CACHE_HOME="+cmd.Dir+"/cache",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for what, want := range map[string]int{"landed: main is at": 8, "\ngreen ": 9, "\nred ": 0} {
		if got := strings.Count(string(out), what); got != want {
			t.Errorf("%q is said %d times, want %d\n%s", what, got, want, out)
		}
	}
}
