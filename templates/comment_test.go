package templates_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"mergegate/gate"
	"mergegate/internal/hostile"
	"mergegate/templates"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got (run with -update if it is right)\n%s", path, diff)
	}
}

func conflict(files int) templates.ConflictView {
	v := templates.ConflictView{
		Base: "main", At: candidate, Subject: "cache: keep the last answer",
		Commands: []string{"git fetch origin", "git switch 'feature/cache'", "git rebase 'origin/main'", "git push --force-with-lease"},
	}
	for i := range files {
		v.Files = append(v.Files, templates.ConflictFile{Path: fmt.Sprintf("pkg/file_%d.go", i+1), Kind: "content", ByCommit: tip, BySubject: "pkg: rename", ByPR: 12})
	}
	if files > 1 {
		v.Files[1] = templates.ConflictFile{Path: "old.go", Kind: "rename", Other: "new.go"}
	}
	return v
}

func prViews() map[string]templates.PRView {
	base := templates.PRView{
		Line:  gate.Line{PR: 7, Base: "main", Since: noon(), Length: 5, Tip: tip, Candidate: candidate, Timeout: 30 * time.Minute},
		Label: "merge", PageURL: "https://bot.example/p/work/acme/widgets/7", QueueURL: "https://forge.example/acme/widgets/issues/1",
		Record: "<!-- record -->",
	}
	with := func(state gate.State, change func(v *templates.PRView)) templates.PRView {
		v := base
		v.Line.State = state
		change(&v)
		return v
	}
	return map[string]templates.PRView{
		"waiting": with(gate.Waiting, func(v *templates.PRView) {
			v.Line.Why = []string{"1 more approval", "somebody to remove the label \"wip\""}
			v.Answer = "@ann unknown word \"cancle\"; did you mean /merge cancel?"
		}),
		"queued": with(gate.Queued, func(v *templates.PRView) { v.Line.Position = 2 }),
		"queued-frozen": with(gate.Queued, func(v *templates.PRView) {
			v.Line.Position, v.Line.Frozen, v.Answer = 2, "CI is down", "help"
		}),
		"catching-up": with(gate.CatchingUp, func(v *templates.PRView) { v.Line.Position = 1 }),
		"testing": with(gate.Testing, func(v *templates.PRView) {
			v.Line.Position, v.LogURL = 1, "https://bot.example/log/abc"
			v.ModeWhy = "it is in a fork that mergegate may not push to"
		}),
		"landing": with(gate.Landing, func(v *templates.PRView) { v.Line.Position = 1 }),
		"landed": with(gate.Landed, func(v *templates.PRView) {
			v.Line.Landed = candidate
			v.Landed = gate.LandedAs{Commit: candidate, Tree: tree, Base: tip, Method: gate.FastForward}
			v.Took = 12 * time.Minute
			v.ModeWhy = "never shown once landed"
			for i := range 12 {
				v.Events = append(v.Events, gate.Happened{At: noon().Add(time.Duration(i) * time.Minute), What: fmt.Sprintf("event %d", i)})
			}
		}),
		"landed-by-others": with(gate.Landed, func(v *templates.PRView) { v.Line.Why = []string{"Merged by somebody else, as 9f8e7d6"} }),
		"landed-left": with(gate.Landed, func(v *templates.PRView) {
			v.Line.Landed, v.Line.Left, v.Line.Open = candidate, tip, true
			v.Line.Why = []string{"Landed as 9f8e7d6", "but the commit 1a2b3c4 was pushed too late and is not in it"}
			v.Landed = gate.LandedAs{Commit: candidate, Tree: tree, Base: tip, Method: gate.FastForward}
		}),
		"landed-in-base": with(gate.Landed, func(v *templates.PRView) {
			v.Line.Open, v.Line.Why = true, []string{"Its whole change is already in main"}
		}),
		"landed-alarm": with(gate.Landed, func(v *templates.PRView) {
			v.Line.Landed, v.Line.Alarm = candidate, true
			v.Line.Why = []string{"ALARM: #7 landed as 9f8e7d6 with tree 1111111, but tree 0123456 on 1a2b3c4 was tested"}
		}),
		"dropped-red": with(gate.Dropped, func(v *templates.PRView) {
			v.Line.Why, v.LogURL = []string{"Retest failed: exit 1"}, "https://bot.example/log/abc"
			v.Tail = "--- FAIL: TestCache\n\x1b[31mFAIL\x1b[0m\n```\n/merge\n"
		}),
		"dropped-conflict": with(gate.Dropped, func(v *templates.PRView) {
			v.Line.Why, v.Conflict = []string{"Conflict with main in 3 files"}, templates.Conflict(conflict(3))
		}),
	}
}

func queueView() templates.QueueView {
	line := func(n int, s gate.State, position int) gate.Line {
		return gate.Line{PR: n, State: s, Position: position, Length: 2, Base: "main", Since: noon(), Tip: tip, Candidate: candidate}
	}
	waiting := line(9, gate.Waiting, 0)
	waiting.Why = []string{"1 more approval"}
	return templates.QueueView{
		Label: "merge", PageURL: "https://bot.example/", Record: "<!-- record -->",
		Queues: []templates.QueueTable{
			{Base: "main", Holder: "bot-1", Lines: []gate.Line{line(7, gate.Testing, 1), line(8, gate.Queued, 2), waiting, line(5, gate.Landed, 0)}},
			{Base: "release/1", Frozen: &gate.Freeze{By: "ann", At: noon(), Reason: "release in progress"}},
		},
	}
}

func TestGolden(t *testing.T) {
	for name, v := range prViews() {
		golden(t, "pr-"+name+".md", templates.PRComment(v))
	}
	golden(t, "conflict-25.md", templates.Conflict(conflict(25)))
	golden(t, "queue.md", templates.QueueIssue(queueView()))
	golden(t, "help.md", templates.Help("merge"))
}

// The marker comes first and the record last, whatever is between them.
func TestMarkerAndRecord(t *testing.T) {
	for name, v := range prViews() {
		got := templates.PRComment(v)
		if !strings.HasPrefix(got, templates.PRMarker+"\n") || !strings.HasSuffix(got, "\n\n<!-- record -->\n") || strings.Count(got, "<!--") != 2 {
			t.Errorf("%s: marker or record is not where it belongs:\n%s", name, got)
		}
	}
	if got := templates.QueueIssue(queueView()); !strings.HasPrefix(got, templates.QueueMarker+"\n") || !strings.HasSuffix(got, "\n\n<!-- record -->\n") {
		t.Errorf("queue: marker or record is not where it belongs:\n%s", got)
	}
}

// fill sets every string in v, however deep, to s and every time, number and id
// to something that is shown. Fields named in keep stay.
func fill(v reflect.Value, s string, keep map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), s, keep)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(noon()))
			return
		}
		for i := range v.NumField() {
			if !keep[v.Type().Field(i).Name] {
				fill(v.Field(i), s, keep)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(s))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), s, keep)
		}
	case reflect.String:
		v.SetString(s)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Bool:
		v.SetBool(true)
	}
}

func states() []gate.State {
	return []gate.State{gate.Waiting, gate.Queued, gate.CatchingUp, gate.Testing, gate.Landing, gate.Landed, gate.Dropped}
}

// ours is an address that a stranger has no say in.
const ours = "https://ours.example/"

// comments renders everything we post with s in every field that it could reach.
func comments(s string) map[string]string {
	out := map[string]string{}
	var c templates.ConflictView
	fill(reflect.ValueOf(&c).Elem(), s, nil)
	c.At = candidate
	for i := range c.Files {
		c.Files[i].ByCommit = candidate
	}
	for _, state := range states() {
		for _, sha := range []gate.SHA{candidate, gate.SHA(s)} {
			var v templates.PRView
			fill(reflect.ValueOf(&v).Elem(), s, map[string]bool{"Record": true, "Conflict": true})
			v.LogURL, v.PageURL, v.QueueURL = ours, ours, ours
			v.Line.State, v.Line.Candidate, v.Line.Landed, v.Landed.Commit = state, sha, sha, sha
			v.Conflict = templates.Conflict(c)
			out[string("pr "+state+" "+gate.State(sha.Short()))] = templates.PRComment(v)

			var q templates.QueueView
			fill(reflect.ValueOf(&q).Elem(), s, map[string]bool{"Record": true})
			q.PageURL = ours
			for i := range q.Queues {
				for j := range q.Queues[i].Lines {
					l := &q.Queues[i].Lines[j]
					l.State, l.Candidate = state, sha
				}
			}
			out[string("queue "+state+" "+gate.State(sha.Short()))] = templates.QueueIssue(q)
		}
	}
	out["help"] = templates.Help(s)
	return out
}

// shape is the structure of a Markdown text: its nodes and the raw HTML, without
// the words.
func shape(t *testing.T, markdown string) string {
	source := []byte(markdown)
	var b strings.Builder
	err := ast.Walk(parser().Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Text:
			return ast.WalkContinue, nil
		case *ast.Link:
			fmt.Fprintf(&b, "[link %s]", n.Destination)
		case *ast.RawHTML:
			fmt.Fprintf(&b, "[html %s]", n.Segments.Value(source))
		case *ast.HTMLBlock:
			fmt.Fprintf(&b, "[html %s]", n.Lines().Value(source))
		default:
			if entering {
				b.WriteString("<" + n.Kind().String())
			} else {
				b.WriteString(">")
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever is put into a view changes words, never the structure: no node, no
// link and no HTML is there that is not there with a harmless word.
func TestHostileTextChangesOnlyWords(t *testing.T) {
	harmless := comments("word")
	for _, s := range hostile.Words() {
		if strings.TrimSpace(templates.Clean(s)) == "" {
			continue // nothing to show: sections are left out
		}
		i := 0
		got := comments(s)
		for _, state := range states() {
			for _, sha := range []gate.SHA{candidate, "word"} {
				for _, kind := range []string{"pr ", "queue "} {
					name := kind + string(state) + " " + sha.Short()
					theirs := name
					if sha == "word" {
						theirs = kind + string(state) + " " + gate.SHA(s).Short()
					}
					if diff := cmp.Diff(shape(t, harmless[name]), shape(t, got[theirs])); diff != "" && i < 3 {
						i++
						t.Errorf("%s with %q: -harmless +hostile\n%s\n%s", name, s, diff, got[theirs])
					}
				}
			}
		}
		for name, comment := range got {
			if strings.Count(comment, "<!--") > 1 {
				t.Errorf("%s with %q has more than our marker:\n%s", name, s, comment)
			}
			if !utf8.ValidString(comment) || strings.ContainsAny(comment, "\x00\x1b\u202e\u2066") {
				t.Errorf("%s with %q has control characters", name, s)
			}
		}
	}
}

func TestOnlyWebAddressesBecomeLinks(t *testing.T) {
	for address, link := range map[string]string{
		"https://x.example/a?b=c&d=e":       "[Details](<https://x.example/a?b=c&amp;d=e>)",
		"https://x.example/a b)<c>`|_\n":    "",
		"https://x.example/a)b|c(d)@e*_*":   "[Details](<https://x.example/a%29b%7Cc%28d%29%40e%2A_%2A>)",
		"javascript:alert(1)":               "Details",
		"data:text/html,<script>x</script>": "Details",
		"//x.example":                       "Details",
	} {
		got := templates.PRComment(templates.PRView{PageURL: address})
		last := strings.Split(strings.TrimSpace(got), "\n")
		if want := link; want != "" && last[len(last)-1] != want {
			t.Errorf("%q: %q, want %q", address, last[len(last)-1], want)
		} else if want == "" && strings.Contains(got, "](") {
			t.Errorf("%q became a link: %q", address, got)
		}
	}
}

// The worst that can be put into a comment still leaves room for the record.
func TestCommentsStaySmall(t *testing.T) {
	for _, s := range []string{strings.Repeat("@#", 40_000), strings.Repeat("`", 80_000), strings.Repeat("@a\n", 20_000)} {
		c := templates.ConflictView{Base: "main", At: tip, Files: make([]templates.ConflictFile, 1000)}
		for i := range c.Files {
			c.Files[i] = templates.ConflictFile{Path: s, Kind: s, Other: s, ByCommit: tip, BySubject: s, ByPR: 1}
		}
		if got := len(templates.Conflict(c)); got > 20_000 {
			t.Errorf("a conflict report of %d bytes", got)
		}
		v := templates.PRView{Line: gate.Line{State: gate.Dropped, Why: []string{"Retest failed: exit 1"}}, Tail: s}
		if got := len(templates.PRComment(v)); got > 20_000 {
			t.Errorf("a comment of %d bytes", got)
		}
		q := templates.QueueView{Queues: []templates.QueueTable{{Base: "main", Lines: make([]gate.Line, 1000)}}}
		for i := range q.Queues[0].Lines {
			q.Queues[0].Lines[i] = gate.Line{PR: i, State: gate.Waiting, Why: []string{"1 more approval"}}
		}
		if got := templates.QueueIssue(q); strings.Count(got, "\n|") != 52 || !strings.Contains(got, "…and 950 more pull requests.") {
			t.Errorf("a table of %d lines:\n%s", strings.Count(got, "\n|"), got)
		}
	}
}

// Of a log only the end is shown, in whole lines.
func TestTailKeepsTheEnd(t *testing.T) {
	tail := func(line string) string {
		var log strings.Builder
		for i := range 100 {
			fmt.Fprintf(&log, "%s %d\n", line, i)
		}
		return templates.PRComment(templates.PRView{Line: gate.Line{State: gate.Dropped}, Tail: log.String()})
	}
	if got := tail("line"); !strings.Contains(got, "```text\nline 70\n") || !strings.Contains(got, "line 99\n```\n") {
		t.Errorf("want the lines 70 to 99:\n%s", got)
	}
	long := strings.Repeat("x", 300)
	if got := tail(long); !strings.Contains(got, "```text\n"+long+" 87\n") || !strings.Contains(got, long+" 99\n```\n") {
		t.Errorf("want the long lines 87 to 99:\n%s", got)
	}
}
