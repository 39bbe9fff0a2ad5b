package catchup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mergegate/gate"
)

func TestAttack69ConflictKinds(t *testing.T) {
	sub := func(digit string) string { return "sub:" + strings.Repeat(digit, 40) }
	for _, tt := range []struct {
		name           string
		root, main, pr files
		want           []File
	}{
		{"content", files{"f": "1\n"}, files{"f": "2\n"}, files{"f": "3\n"}, []File{{Path: "f", Kind: Content}}},
		{"add/add", files{}, files{"f": "2\n"}, files{"f": "3\n"}, []File{{Path: "f", Kind: AddAdd}}},
		{"modify/delete", files{"f": "1\n"}, files{"f": "2\n"}, files{"f": ""}, []File{{Path: "f", Kind: ModifyDelete}}},
		{"delete/modify", files{"f": "1\n"}, files{"f": ""}, files{"f": "2\n"}, []File{{Path: "f", Kind: ModifyDelete}}},
		{"binary", files{"f": "\x001"}, files{"f": "\x002"}, files{"f": "\x003"}, []File{{Path: "f", Kind: Binary}}},
		{"mode", files{}, files{"f": "2\n"}, files{"f": "link:g"}, []File{{Path: "f", Kind: Mode}}},
		{"submodule", files{"s": sub("1")}, files{"s": sub("2")}, files{"s": sub("3")}, []File{{Path: "s", Kind: Submodule}}},
		{"directory/file", files{}, files{"d/x": "x\n"}, files{"d": "file\n"}, []File{{Path: "d", Kind: DirectoryFile}}},
		{
			"rename/rename", files{"old": lines("o", 20)},
			files{"old": "", "ours": lines("o", 20)}, files{"old": "", "theirs": lines("o", 20)},
			[]File{{Path: "old", Kind: Rename, Other: "ours"}},
		},
		{
			"rename/delete", files{"old": lines("o", 20)},
			files{"old": ""}, files{"old": "", "new": lines("o", 20)},
			[]File{{Path: "new", Kind: Rename, Other: "old"}},
		},
		{
			"several, and names that need care",
			files{"a b": "1\n", "\\tab\\tand`<!--": "1\n", "z": "1\n", "fine": "1\n"},
			files{"a b": "2\n", "\\tab\\tand`<!--": "2\n", "z": "", "fine": "2\n"},
			files{"a b": "3\n", "\\tab\\tand`<!--": "3\n", "z": "3\n"},
			[]File{{Path: "\tab\tand`<!--", Kind: Content}, {Path: "a b", Kind: Content}, {Path: "z", Kind: ModifyDelete}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			start := files{"keep": "k\n"}.with(tt.root)
			root := w.commit("main", "root", start)
			tip := w.commit("main", "main's way (#12)", start.with(tt.main), root)
			head := w.commit("pr", "the change", start.with(tt.pr), root)
			w.fetch("main", "pr")
			for _, method := range []gate.Method{gate.Rebase, gate.Merge} {
				res := w.build(Request{Base: tip, Head: head, Method: method})
				c := res.Conflict
				if c == nil || res.Candidate != "" {
					t.Fatalf("%s: %+v", method, res)
				}
				if c.Base != tip || c.Head != head || c.At != head || c.Subject != "the change" || c.Method != method {
					t.Errorf("%s: %+v", method, c)
				}
				for i := range tt.want {
					tt.want[i].ByCommit, tt.want[i].BySubject, tt.want[i].ByPR = tip, "main's way (#12)", 12
				}
				if !slices.Equal(c.Files, tt.want) {
					t.Errorf("%s: files\n%+v\nwant\n%+v", method, c.Files, tt.want)
				}
			}
			if w.m.suspect.Load() {
				t.Error("a conflict made the mirror suspect")
			}
		})
	}
}

// The report names the commit of the change that does not apply, and the pull
// request, not the commit inside it, that touched the file last.
func TestConflictNamesBothSides(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "1\n", "b": "1\n", "c": "1\n"}
	root := w.commit("main", "root", f)
	fine := w.commit("pr", "fine", f.with(files{"new": "n\n"}), root)
	at := w.commit("pr", "does not apply\n\nbody", f.with(files{"new": "n\n", "a": "mine\n", "b": "mine\n", "c": "mine\n"}), fine)
	head := w.commit("pr", "on top", f.with(files{"new": "n2\n", "a": "mine\n", "b": "mine\n", "c": "mine\n"}), at)

	side := w.commit("side", "inside a pull request", f.with(files{"a": "side\n"}), root)
	merge := w.commit("main", "Merge pull request 'Better a' (#41) from side into main", f.with(files{"a": "side\n"}), root, side)
	m2 := w.commit("main", "direct push", f.with(files{"a": "side\n", "b": "2\n"}), merge)
	m3 := w.commit("main", "Rework c\n\nReviewed-on: https://forge.example/o/r/pulls/77", f.with(files{"a": "side\n", "b": "2\n", "c": "2\n"}), m2)
	tip := w.commit("main", "unrelated (#99)", f.with(files{"a": "side\n", "b": "2\n", "c": "2\n", "d": "d\n"}), m3)
	w.fetch("main", "pr")
	c := w.build(Request{Base: tip, Head: head}).Conflict
	if c == nil || c.At != at || c.Subject != "does not apply" || c.Head != head {
		t.Fatalf("%+v", c)
	}
	want := []File{
		{"a", Content, "", merge, "Merge pull request 'Better a' (#41) from side into main", 41},
		{"b", Content, "", m2, "direct push", 0},
		{"c", Content, "", m3, "Rework c", 77},
	}
	if !slices.Equal(c.Files, want) {
		t.Errorf("files\n%+v\nwant\n%+v", c.Files, want)
	}
}

func TestPullRequestNumber(t *testing.T) {
	for message, want := range map[string]int{
		"Merge pull request #12 from me/x":               12,
		"Merge pull request 'A (b)' (#13) from x into y": 13,
		"Fix it (#14)":                                     14,
		"Revert \"Fix it (#14)\" (#15)":                    15,
		"Fix\n\nReviewed-on: http://h:3000/o/r/pulls/16\n": 16,
		"Fix #17":                    0,
		"":                           0,
		"(#99999999999999999999999)": 0,
	} {
		if got := pullRequest(message); got != want {
			t.Errorf("pullRequest(%q) = %d, want %d", message, got, want)
		}
	}
}

// The commands do what they say, in a shell, with names chosen by an enemy.
func TestCommandsWork(t *testing.T) {
	for _, branch := range []string{"feature/x", "--upload-pack=touch${IFS}pwned", "a;touch${IFS}pwned;'$(touch${IFS}pwned)\"`x`", "ümlaut"} {
		for _, method := range []gate.Method{gate.Rebase, gate.Merge} {
			w := newWorld(t)
			f := files{"f": "1\n"}
			root := w.commit("main", "root", f)
			head := w.commit("tmp", "change", f.with(files{"f": "3\n"}), root)
			w.git("update-ref", "refs/heads/"+branch, string(head))
			tip := w.commit("main", "tip", f.with(files{"f": "2\n"}), root)
			w.fetch("main", "tmp")
			c := w.build(Request{Base: tip, Head: head, Method: method}).Conflict
			commands := c.Commands("main", branch, w.remote.Path)

			clone := filepath.Join(t.TempDir(), "clone")
			script := "set -x; git clone -q " + quote(w.remote.Path) + " " + quote(clone) + " || exit 1\ncd " + quote(clone) + "\n"
			for _, line := range commands {
				if strings.HasPrefix(line, "#") {
					line = "echo mended > f; git add f"
				}
				script += line + "\n"
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_EDITOR=true",
				"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%q, %s: %v\n%s", branch, method, err, out)
			}
			if got := w.git("show", "refs/heads/"+branch+":f"); got != "mended" {
				t.Errorf("%q, %s: f = %q\n%s", branch, method, got, out)
			}
			if _, err := w.remote.Run(t.Context(), "", "merge-base", "--is-ancestor", string(tip), "refs/heads/"+branch); err != nil {
				t.Errorf("%q, %s: the branch does not contain main\n%s", branch, method, out)
			}
			found, _ := filepath.Glob(filepath.Join(clone, "pwned*"))
			if len(found) > 0 {
				t.Errorf("%q ran a command", branch)
			}
		}
	}
}

func FuzzParseMerge(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add(id + "\x00100644 " + id + " 1\tf\x00100644 " + id + " 2\tf\x00\x001\x00f\x00CONFLICT (contents)\x00text\n\x00")
	f.Add(id + "\x00\x003\x00a\x00b\x00c\x00CONFLICT (rename/rename)\x00text\x00")
	f.Add(id + "\x00")
	f.Fuzz(func(t *testing.T, out string) {
		m, err := parseMerge(out)
		if err != nil {
			return
		}
		if !m.tree.Valid() {
			t.Errorf("tree %q", m.tree)
		}
		for _, file := range m.files() {
			if file.Kind == "" {
				t.Errorf("%q has no kind", file.Path)
			}
		}
	})
}
