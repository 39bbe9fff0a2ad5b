package bot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
)

// A forge that lands by rebase makes new commits. Any number of them is right when
// they begin at the tested base; one of somebody else's among them is not.
func TestRebasedOnto(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) gate.SHA {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.org",
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %q: %v", args, err)
		}
		return gate.SHA(strings.TrimSpace(string(out)))
	}
	commit := func(name string, parents ...gate.SHA) gate.SHA {
		t.Helper()
		args := []string{"commit-tree", "-m", name}
		for _, p := range parents {
			args = append(args, "-p", string(p))
		}
		return git(append(args, "4b825dc642cb6eb9a060e54bf8d69288fbee4904")...) // the empty tree
	}
	git("init", "-q", "-b", "main", ".")
	git("write-tree")
	base := commit("base")
	tested := commit("two", commit("one", base))
	landed := commit("two again", commit("one again", base))
	after := commit("two once more", commit("one once more", commit("somebody else's", base)))
	elsewhere := commit("two elsewhere", commit("one elsewhere", commit("another root")))
	merging := commit("merge", commit("one side", base), commit("other side", base))
	for name, c := range map[string]gate.SHA{"tested": tested, "landed": landed, "after": after, "elsewhere": elsewhere, "merging": merging} {
		git("update-ref", "refs/heads/"+name, string(c))
	}
	mirror, err := catchup.Open(t.Context(), filepath.Join(t.TempDir(), "m.git"), catchup.Remote{URL: dir}, catchup.Person{Name: "bot", Email: "bot@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"tested", "landed", "after", "elsewhere", "merging"} {
		if err := mirror.Fetch(t.Context(), "refs/heads/"+b); err != nil {
			t.Fatal(err)
		}
	}
	w := &worker{mirror: mirror}
	for _, c := range []struct {
		name              string
		candidate, landed gate.SHA
		want              bool
	}{
		{"two commits, made anew", tested, landed, true},
		{"somebody pushed before them", tested, after, false},
		{"not on base at all", tested, elsewhere, false},
		{"a merge, flattened", merging, landed, true},
	} {
		got, err := w.rebasedOnto(t.Context(), gate.Inspect{Candidate: c.candidate, Base: base}, c.landed)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// Only what was tested is green: not an alarm, not a commit that was left behind.
func TestStatusOfLanded(t *testing.T) {
	w := &worker{b: &Bot{cfg: &config.Config{}}}
	landed := gate.SHA(strings.Repeat("a", 40))
	for _, c := range []struct {
		line gate.Line
		want forge.StatusState
		text string
	}{
		{gate.Line{State: gate.Landed, Landed: landed}, forge.StatusSuccess, "Landed as aaaaaaa"},
		{gate.Line{State: gate.Landed, Landed: landed, Alarm: true, Why: []string{"ALARM: not what was tested"}}, forge.StatusFailure, "ALARM: not what was tested"},
		{gate.Line{State: gate.Landed, Landed: landed, Left: landed, Why: []string{"Landed as aaaaaaa", "but one was late"}}, forge.StatusFailure, "Landed as aaaaaaa, but one was late"},
		{gate.Line{State: gate.Dropped, Why: []string{"the PR was closed"}}, forge.StatusFailure, "Dropped: the PR was closed"},
		{gate.Line{State: gate.Waiting, Why: []string{"1 more approval"}}, forge.StatusPending, "Waiting: 1 more approval"},
	} {
		if got := w.status(c.line); got.State != c.want || got.Text != c.text {
			t.Errorf("%+v is shown as %s %q, want %s %q", c.line, got.State, got.Text, c.want, c.text)
		}
	}
}
