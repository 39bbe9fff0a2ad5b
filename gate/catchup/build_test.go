package catchup

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mergegate/gate"
)

func TestAttack70WhatTheAuthorWroteIsKept(t *testing.T) {
	w := newWorld(t)
	base := files{"a": lines("a", 9), "b": "b\n"}
	root := w.commit("main", "root", base)
	one := w.commit("pr", "  Odd subject  \n\n\nbody\n\n# not a comment", base.with(files{"c": "c\n"}), root)
	two := w.commit("pr", "", base.with(files{"c": "c\n", "b": ""}), one)
	w.clock += 1000
	tip := w.commit("main", "main moves", base.with(files{"a": lines("A", 9)}), root)
	w.fetch("main", "pr")

	res := w.build(Request{Base: tip, Head: two})
	if res.Conflict != nil || res.Noop || res.InBase || res.Commits != 2 || len(res.Emptied)+len(res.Flattened) != 0 || len(res.Patches) != 2 {
		t.Fatalf("result %+v", res)
	}
	if got := w.mirror("ls-tree", "-r", "--name-only", string(res.Candidate)); got != "a\nc\n" {
		t.Errorf("files of the candidate: %q", got)
	}
	if got := w.mirror("rev-parse", string(res.Candidate)+"^{tree}"); got != string(res.Tree)+"\n" {
		t.Errorf("tree %s, git says %s", res.Tree, got)
	}
	// The committer date is main's, which is the newer one.
	first := gate.SHA(strings.TrimSpace(w.mirror("rev-parse", string(res.Candidate)+"^")))
	_, got, _ := strings.Cut(w.raw(first), "\n")
	want := "parent " + string(tip) + `
author Ann Author <ann@example.org> 1700000120 +0200
committer Mergegate <mergegate@example.org> 1700001240 +0000

  Odd subject  


body

# not a comment`
	if got != want {
		t.Errorf("first commit:\n%s\nwant\n%s", got, want)
	}
	if !strings.HasSuffix(w.raw(res.Candidate), "\nparent "+string(first)+`
author Ann Author <ann@example.org> 1700000180 +0200
committer Mergegate <mergegate@example.org> 1700001240 +0000

`) {
		t.Errorf("second commit:\n%s", w.raw(res.Candidate))
	}

	again := w.build(Request{Base: tip, Head: two})
	if again.Candidate != res.Candidate {
		t.Errorf("built again: %s, first %s", again.Candidate, res.Candidate)
	}
	other, err := Open(t.Context(), filepath.Join(t.TempDir(), "m"), Remote{URL: w.remote.Path}, bot)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Fetch(t.Context(), "refs/heads/main", "refs/heads/pr"); err != nil {
		t.Fatal(err)
	}
	if r, err := other.Build(t.Context(), Request{Base: tip, Head: two}); err != nil || r.Candidate != res.Candidate {
		t.Errorf("on another replica: %s, %v; first %s", r.Candidate, err, res.Candidate)
	}
	if out := w.mirror("fsck", "--full", "--strict", "--no-dangling"); out != "" {
		t.Errorf("fsck: %s", out)
	}
	if same, err := w.m.SameChange(t.Context(), tip, two, tip, res.Candidate); err != nil || !same {
		t.Errorf("the rebase is the same change: %v, %v", same, err)
	}
}

func TestAttack70SignatureIsDroppedEncodingKept(t *testing.T) {
	w := newWorld(t)
	root := w.commit("main", "root", files{"a": "a\n"})
	pr := w.commit("pr", "x", files{"a": "a\n", "b": "b\n"}, root)
	tip := w.commit("main", "tip", files{"a": "A\n"}, root)
	raw := w.git("cat-file", "commit", string(pr))
	head, _, _ := strings.Cut(raw, "\n\n")
	raw = head + "\nencoding ISO-8859-1\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n parent 0000\n -----END PGP SIGNATURE-----\n\nGr\xfc\xdfe\n"
	out, err := w.remote.Run(t.Context(), raw, "hash-object", "-t", "commit", "-w", "--stdin")
	if err != nil {
		t.Fatal(err)
	}
	signed := gate.SHA(strings.TrimSpace(out))
	w.git("update-ref", "refs/heads/pr", string(signed))
	w.fetch("main", "pr")
	res := w.build(Request{Base: tip, Head: signed})
	got := w.raw(res.Candidate)
	if strings.Contains(got, "gpgsig") || !strings.HasSuffix(got, "\nencoding ISO-8859-1\n\nGr\xfc\xdfe\n") || res.Commits != 1 {
		t.Errorf("candidate %q", got)
	}
}

func TestNothingToDo(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "a\n"}
	root := w.commit("main", "root", f)
	head := w.commit("pr", "pr", f.with(files{"b": "b\n"}), root)
	w.fetch("main", "pr")
	tree := gate.SHA(strings.TrimSpace(w.mirror("rev-parse", string(head)+"^{tree}")))
	for _, method := range []gate.Method{"", gate.Rebase, gate.Merge, gate.Squash} {
		res := w.build(Request{Base: root, Head: head, Method: method})
		if !res.Noop || res.InBase || res.Candidate != head || res.Tree != tree || res.Commits != 1 {
			t.Errorf("%q, head contains base: %+v", method, res)
		}
		res = w.build(Request{Base: head, Head: root, Method: method})
		if res.Noop || !res.InBase || res.Candidate != head || res.Commits != 0 {
			t.Errorf("%q, base contains head: %+v", method, res)
		}
	}
}

func TestAttack70ChangeAlreadyInBase(t *testing.T) {
	w := newWorld(t)
	f := files{"a": lines("a", 9)}
	g := f.with(files{"b": "b\n"})
	root := w.commit("main", "root", f)
	head := w.commit("pr", "add b", g, root)
	tip := w.commit("main", "add b (#3)", g, root)
	w.fetch("main", "pr")
	for _, method := range []gate.Method{gate.Rebase, gate.Merge, gate.Squash} {
		res := w.build(Request{Base: tip, Head: head, Method: method})
		if !res.InBase || res.Candidate != tip || res.Commits != 0 || !slices.Equal(res.Emptied, []gate.SHA{head}) {
			t.Errorf("%s: %+v", method, res)
		}
	}
}

// Base took the change and then changed the same lines: nothing applies, but
// nothing is missing either. Git rebase leaves such a commit out, too.
func TestTwinInBaseIsLeftOut(t *testing.T) {
	w := newWorld(t)
	f := files{"a": lines("a", 9)}
	root := w.commit("main", "root", f)
	one := w.commit("pr", "change a", f.with(files{"a": lines("x", 9)}), root)
	two := w.commit("pr", "add c", f.with(files{"a": lines("x", 9), "c": "c\n"}), one)
	m1 := w.commit("main", "change a", f.with(files{"a": lines("x", 9)}), root)
	tip := w.commit("main", "change a more", f.with(files{"a": lines("y", 9)}), m1)
	w.fetch("main", "pr")
	res := w.build(Request{Base: tip, Head: two})
	if res.Conflict != nil || res.Commits != 1 || !slices.Equal(res.Emptied, []gate.SHA{one}) {
		t.Fatalf("%+v", res)
	}
	if got := w.mirror("show", string(res.Candidate)+":a"); got != lines("y", 9) {
		t.Errorf("a = %q", got)
	}
}

// Git rebase would silently leave the change out, because base once had it.
func TestRevertedChangeLandsAgain(t *testing.T) {
	w := newWorld(t)
	f := files{"a": lines("a", 9)}
	g := f.with(files{"a": lines("x", 9)})
	root := w.commit("main", "root", f)
	head := w.commit("pr", "change a", g, root)
	m1 := w.commit("main", "change a (#1)", g, root)
	tip := w.commit("main", "Revert change a", f, m1)
	w.fetch("main", "pr")
	res := w.build(Request{Base: tip, Head: head})
	if res.InBase || res.Commits != 1 {
		t.Errorf("%+v", res)
	}
}

func TestAttack70EmptyFromTheStartIsKept(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "a\n"}
	root := w.commit("main", "root", f)
	head := w.commit("pr", "trigger CI", f, root)
	tip := w.commit("main", "tip", f.with(files{"b": "b\n"}), root)
	w.fetch("main", "pr")
	if res := w.build(Request{Base: tip, Head: head}); res.InBase || res.Commits != 1 || res.Candidate == tip {
		t.Errorf("%+v", res)
	}
}

func TestAttack70MergeCommitsAreFlattened(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "a\n"}
	root := w.commit("main", "root", f)
	one := w.commit("pr", "one", f.with(files{"1": "1\n"}), root)
	m1 := w.commit("main", "m1", f.with(files{"m": "m\n"}), root)
	merge := w.commit("pr", "Merge main", f.with(files{"1": "1\n", "m": "m\n"}), one, m1)
	evil := w.commit("evil", "Merge main", f.with(files{"1": "1\n", "m": "m\n", "extra": "!\n"}), one, m1)
	two := w.commit("pr", "two", f.with(files{"1": "1\n", "2": "2\n", "m": "m\n"}), merge)
	tip := w.commit("main", "m2", f.with(files{"m": "m\n", "n": "n\n"}), m1)
	w.fetch("main", "pr", "evil")

	res := w.build(Request{Base: tip, Head: two})
	if res.Commits != 2 || len(res.Patches) != 2 || len(res.Flattened) != 0 {
		t.Errorf("clean merge: %+v", res)
	}
	if got := w.mirror("log", "--format=%s", string(tip)+".."+string(res.Candidate)); got != "two\none\n" {
		t.Errorf("commits %q", got)
	}
	res = w.build(Request{Base: tip, Head: evil})
	if !slices.Equal(res.Flattened, []gate.SHA{evil}) || len(res.Patches) != 2 {
		t.Errorf("merge with a change of its own: %+v", res)
	}
	// The dangerous direction: approved at one, then "only a merge" was pushed.
	if same, err := w.m.SameChange(t.Context(), root, one, m1, merge); err != nil || !same {
		t.Errorf("merging base in is the same change: %v, %v", same, err)
	}
	if same, err := w.m.SameChange(t.Context(), root, one, m1, evil); err != nil || same {
		t.Errorf("a merge that hides a change passes as the same: %v, %v", same, err)
	}
}

// A merge of base into a PR that changed a file which was there before: git must
// still know what the two sides have in common when it looks at the merge.
func TestPlainMergeIsNotFlattened(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "a\n", "m": "m\n"}
	root := w.commit("main", "root", f)
	one := w.commit("pr", "one", f.with(files{"a": "b\n"}), root)
	m1 := w.commit("main", "m1", f.with(files{"m": "n\n"}), root)
	merge := w.commit("pr", "Merge main", f.with(files{"a": "b\n", "m": "n\n"}), one, m1)
	tip := w.commit("main", "m2", f.with(files{"m": "o\n"}), m1)
	w.fetch("main", "pr")
	if res := w.build(Request{Base: tip, Head: merge}); len(res.Flattened) != 0 || len(res.Patches) != 1 || res.Commits != 1 {
		t.Errorf("%+v", res)
	}
}

func TestMergeAndSquash(t *testing.T) {
	w := newWorld(t)
	f := files{"a": "a\n"}
	root := w.commit("main", "root", f)
	one := w.commit("pr", "one", f.with(files{"1": "1\n"}), root)
	two := w.commit("pr", "two", f.with(files{"1": "1\n", "2": "2\n"}), one)
	tip := w.commit("main", "tip", f.with(files{"m": "m\n"}), root)
	w.fetch("main", "pr")

	m := w.build(Request{Base: tip, Head: two, Method: gate.Merge, Message: "Merge #7"})
	raw := w.raw(m.Candidate)
	if !strings.Contains(raw, "\nparent "+string(tip)+"\nparent "+string(two)+"\nauthor Mergegate <") || !strings.HasSuffix(raw, "\n\nMerge #7\n") || m.Commits != 3 {
		t.Errorf("merge %+v:\n%s", m, raw)
	}
	s := w.build(Request{Base: tip, Head: two, Method: gate.Squash, Message: "one and two", Author: Person{"Ann\n<evil>", "a@example.org"}})
	raw = w.raw(s.Candidate)
	if !strings.Contains(raw, "\nparent "+string(tip)+"\nauthor Annevil <a@example.org> 1700000240 +0000\ncommitter Mergegate ") || s.Commits != 1 {
		t.Errorf("squash %+v:\n%s", s, raw)
	}
	r := w.build(Request{Base: tip, Head: two})
	if m.Tree != s.Tree || r.Tree != s.Tree {
		t.Errorf("trees differ: merge %s, squash %s, rebase %s", m.Tree, s.Tree, r.Tree)
	}
	s = w.build(Request{Base: tip, Head: two, Method: gate.Squash})
	if !strings.Contains(w.raw(s.Candidate), "\nauthor Ann Author <ann@example.org> ") {
		t.Errorf("squash without author:\n%s", w.raw(s.Candidate))
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	root := w.commit("main", "root", files{"a": "a\n"})
	other := w.commit("other", "another root", files{"z": "z\n"})
	w.fetch("main", "other")
	_, err := w.m.Build(t.Context(), Request{Base: root, Head: other})
	if !errors.Is(err, ErrUnrelated) {
		t.Errorf("unrelated histories: %v", err)
	}
	if w.m.suspect.Load() {
		t.Error("a refusal made the mirror suspect")
	}
	gone := gate.SHA(strings.Repeat("1", 40))
	if _, err = w.m.Build(t.Context(), Request{Base: root, Head: gone}); !errors.Is(err, ErrMissing) {
		t.Errorf("missing head: %v", err)
	}
	for _, bad := range []gate.SHA{"", "main", "--all", "refs/heads/main"} {
		if _, err = w.m.Build(t.Context(), Request{Base: root, Head: bad}); err == nil || errors.Is(err, ErrMissing) {
			t.Errorf("head %q: %v", bad, err)
		}
	}
}

// A change that moved within its file, because base grew above it, is the same.
func TestSameChangeElsewhereInTheFile(t *testing.T) {
	w := newWorld(t)
	f := files{"a": lines("a", 30)}
	root := w.commit("main", "root", f)
	edit := func(s string) string { return strings.Replace(s, "a 20\n", "a twenty\n", 1) }
	head := w.commit("pr", "pr", files{"a": edit(f["a"])}, root)
	tip := w.commit("main", "tip", files{"a": lines("new", 5) + f["a"]}, root)
	w.fetch("main", "pr")
	candidate := w.build(Request{Base: tip, Head: head}).Candidate
	if same, err := w.m.SameChange(t.Context(), root, head, tip, candidate); err != nil || !same {
		t.Errorf("same = %v, %v", same, err)
	}
}

func TestSameChange(t *testing.T) {
	w := newWorld(t)
	f := files{"a": lines("a", 30), "bin": "\x00\x01"}
	root := w.commit("main", "root", f)
	edit := func(branch string, change files) gate.SHA { return w.commit(branch, branch, f.with(change), root) }
	long := strings.Repeat("x", 200<<10)
	heads := map[string]gate.SHA{
		"text":    edit("text", files{"a": strings.Replace(f["a"], "a 9\n", "a nine\n", 1)}),
		"indent":  edit("indent", files{"a": strings.Replace(f["a"], "a 9\n", "\ta nine\n", 1)}),
		"exec":    edit("exec", files{"a": "exec:" + f["a"]}),
		"bin":     edit("bin", files{"bin": "\x00\x02"}),
		"bin2":    edit("bin2", files{"bin": "\x00\x03"}),
		"name":    edit("name", files{"b": "b\n"}),
		"name2":   edit("name2", files{"c": "b\n"}),
		"longA":   edit("longA", files{"l": long + "A\n"}),
		"longB":   edit("longB", files{"l": long + "B\n"}),
		"trick":   edit("trick", files{"t": "x\n\x01" + string(root) + "\n"}),
		"nothing": edit("nothing", files{}),
	}
	w.fetch(slices.Collect(func(yield func(string) bool) {
		for name := range heads {
			if !yield(name) {
				return
			}
		}
	})...)
	seen := make(map[string]string)
	for name, head := range heads {
		list, err := w.m.changes(t.Context(), root, head)
		if err != nil || len(list) != 1 || list[0].id != head {
			t.Fatalf("%s: %+v, %v", name, list, err)
		}
		if twin, ok := seen[list[0].patch]; ok {
			t.Errorf("%s and %s have the same identity", name, twin)
		}
		seen[list[0].patch] = name
		if list[0].empty != (name == "nothing") {
			t.Errorf("%s: empty = %v", name, list[0].empty)
		}
	}
}
