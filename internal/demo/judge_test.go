package demo

import (
	"fmt"
	"strings"
	"testing"
)

// told is what is known after the story went as it must.
func told() (fates []fate, main []commit) {
	main = []commit{{sha: "base000", tree: "tree000", title: "Greet the world", green: true}}
	for i, c := range story() {
		f := fate{change: c, number: i + 1, opened: fmt.Sprintf("opened%d", i+1), alone: true, now: true, comments: []string{strings.Join(c.says, "\n")}}
		f.head = f.opened
		if c.caughtUp {
			f.head = fmt.Sprintf("caught%d", i+1)
		}
		switch c.end {
		case landed:
			tip := main[len(main)-1]
			tree := fmt.Sprintf("tree00%d", i+1)
			f.landedAs, f.status = f.head, "Landed as "+f.head
			f.comments[0] += fmt.Sprintf("\n| %s | %s | main %s | fast-forward | 2s |", f.head, tree, tip.sha)
			main = append(main, commit{sha: f.head, tree: tree, parent: tip.sha, title: c.title, green: true})
		case red:
			f.now, f.status = false, "Retest failed: exit 1"
		case conflict:
			f.status = "Conflict with main in 1 file"
		}
		fates = append(fates, f)
	}
	return fates, main
}

// Each way in which the story can go wrong is noticed, and nothing else is.
func TestJudge(t *testing.T) {
	if fates, main := told(); len(judge(fates, main, 0)) != 0 {
		t.Fatalf("the right outcome is judged wrong: %q", judge(fates, main, 0))
	}
	for _, tc := range []struct {
		name  string
		wrong func(fates []fate, main []commit)
		want  string
	}{
		{"not landed", func(f []fate, _ []commit) { f[0].landedAs = "" }, `#1 must be: landed; it is: still waiting ("Landed as opened1")`},
		{"red one landed", func(f []fate, _ []commit) { f[2].landedAs = "x" }, "#3 must be: dropped, its test failed; it is: landed"},
		{"red one is still asked for", func(f []fate, _ []commit) { f[2].requested = true }, "#3 must be: dropped, its test failed; it is: still waiting"},
		{"conflict called red", func(f []fate, _ []commit) { f[3].status = "Retest failed: exit 1" }, "#4 must be: dropped, it conflicts with main; it is: dropped, its test failed"},
		{"not green alone", func(f []fate, _ []commit) { f[2].alone = false }, "#3 must be green alone"},
		{"not red together", func(f []fate, _ []commit) { f[2].now = true }, "#3 must be red on top of what landed before it"},
		{"rewritten without need", func(f []fate, m []commit) { f[3].head = "other" }, "#4: its branch was rebased: true; it must be: false"},
		{"no comment", func(f []fate, _ []commit) { f[3].comments = nil }, "#4 must have one comment by mergegate; it has 0"},
		{"two comments", func(f []fate, _ []commit) { f[1].comments = append(f[1].comments, "again") }, "#2 must have one comment by mergegate; it has 2"},
		{"no log", func(f []fate, _ []commit) { f[2].comments[0] = "Retest failed, not found" }, `the comment on #3 must say "cmd/moon.sh is broken"`},
		{"no files", func(f []fate, _ []commit) { f[3].comments[0] = "Conflict with main" }, `the comment on #4 must say "| lib.sh | content |"`},
		{"main red", func(_ []fate, m []commit) { m[2].green = false }, "it is red at caught2 (Rename greet to hello)"},
		{"landed as another commit", func(f []fate, m []commit) { f[4].landedAs = "other" }, `the tested head of #5, which landed as "other"`},
		{"another parent", func(_ []fate, m []commit) { m[2].parent = "other" }, "the first parent of caught2 must be opened1; it is other"},
		{"another tree than tested", func(_ []fate, m []commit) { m[3].tree = "other" }, "the comment on #5 must say that this was tested: | caught5 | other | main caught2 |"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fates, main := told()
			tc.wrong(fates, main)
			if got := strings.Join(judge(fates, main, 0), "\n"); !strings.Contains(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
	fates, main := told()
	if got := judge(fates, main, 1); len(got) != 1 || !strings.Contains(got[0], "no lease may be left") {
		t.Errorf("a lease was left: %q", got)
	}
	if got := judge(fates, main[:3], 0); len(got) != 1 || !strings.Contains(got[0], "main must have 4 commits; it has 3") {
		t.Errorf("a commit is missing: %q", got)
	}
}
