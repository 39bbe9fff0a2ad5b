package chat_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mergegate/bot/chat"
	"mergegate/gate"
)

// show is a command as the tables below write it.
func show(c chat.Command) string {
	if c.Err != nil {
		return "mistake: " + c.Err.Error()
	}
	s := string(c.Verb)
	if c.Method != "" {
		s += " " + string(c.Method)
	}
	if c.Priority != nil {
		s += " " + c.Priority.String()
	}
	if c.Reason != "" {
		s += " " + c.Reason
	}
	return s
}

func parse(markdown string) []string {
	var got []string
	for _, c := range chat.Parse(markdown) {
		got = append(got, show(c))
	}
	return got
}

// The names are the rows of the acceptance list's "Command parsing".
func TestAttack36OnlyPlainLinesAreCommands(t *testing.T) {
	tests := []struct {
		name, comment string
		want          []string
	}{
		{"01 empty", "", nil},
		{"01 no trigger", "looks good", nil},
		{"01 merely starts like it", "/merged\n\n/mergefoo\n\n/merge-queue\n\n//merge", nil},
		{"01 trigger inside a line", "please /merge", nil},
		{"02 any case", "/MERGE Cancel", []string{"cancel"}},
		{"02 values in any case", "/merge METHOD=Squash Priority=HIGH", []string{"merge squash high"}},
		{"02 a colon makes it prose", "/merge: how does this work?", nil},
		{"03 up to three spaces", "   /merge", []string{"merge"}},
		{"03 four spaces are code", "    /merge", nil},
		{"03 a tab is code", "\t/merge", nil},
		{"04 longer name", "/mergegate cancel", nil},
		{"05 fence", "```\n/merge\n```", nil},
		{"05 tilde fence", "~~~sh\n/merge\n~~~", nil},
		{"05 fence never closed", "```\n/merge", nil},
		{"05 code span", "`/merge`", nil},
		{"05 code span over lines", "`a\n/merge\nb`", nil},
		{"05 link text", "[/merge](https://example.org)", nil},
		{"05 link text over lines", "[a\n/merge\nb](https://example.org)", nil},
		{"05 image alt", "![/merge](https://example.org)", nil},
		{"05 image alt over lines", "![a\n/merge\nb](https://example.org)", nil},
		{"05 heading", "# /merge", nil},
		{"05 underlined heading", "/merge\n===", nil},
		{"05 emphasis", "**/merge**\n\n*a\n/merge\nb*\n\n~~a\n/merge\nb~~", nil},
		{"05 escaped", `\/merge`, nil},
		{"05 list", "- /merge\n- b\n\n1. /merge", nil},
		{"05 list continued", "- a\n/merge", nil},
		{"05 table", "| /merge | b |\n|---|---|\n| c | d |", nil},
		{"05 table row", "| a |\n|---|\n/merge", nil},
		{"05 link definition", "[/merge]: https://example.org", nil},
		{"06 quote", "> /merge", nil},
		{"06 quote continued lazily", "> a\n/merge", nil},
		{"06 below a quote", "> /merge cancel\n\n/merge", []string{"merge"}},
		{"07 comment", "<!--\n/merge\n-->", nil},
		{"07 comment with a blank line", "<!--\n\n/merge\n\n-->", nil},
		{"07 comment in a paragraph", "a <!--\n/merge\n-->", nil},
		{"07 element", "<div>\n/merge\n</div>", nil},
		{"07 element around a paragraph", "<details>\n\n/merge\n\n</details>\n\n/merge cancel", []string{"cancel"}},
		{"07 element in a paragraph", "a <span>\n/merge\n</span>\n/merge cancel", []string{"cancel"}},
		{"07 element never closed", "<details>\n\n/merge", nil},
		{"07 stray end tag", "</div><details>\n\n/merge", nil},
		{"07 void elements stay open for nobody", "a<br>\n/merge", []string{"merge"}},
		{"07 commented-out element opens nothing", "<!-- <div> -->\n\n/merge", []string{"merge"}},
		{"08 several in order", "/merge method=squash\n/merge status\n\n/merge cancel", []string{"merge squash", "status", "cancel"}},
		{"09 text around", "Thanks!\n/merge\nSee you.", []string{"merge"}},
		{"10 prose", "/merge this when you can", []string{`mistake: unknown word "this"`}},
		{"11 unknown word", "/merge frobnicate", []string{`mistake: unknown word "frobnicate"`}},
		{"12 unknown option", "/merge methd=squash", []string{`mistake: unknown option "methd"; did you mean /merge method=squash?`}},
		{"12 unknown option, nothing near", "/merge color=red", []string{`mistake: unknown option "color"`}},
		{"12 unknown value", "/merge method=sqaush", []string{`mistake: "sqaush" is no method; it can be auto, fast-forward, merge, squash, rebase; did you mean /merge method=squash?`}},
		{"13 typo", "/merge cancle", []string{`mistake: unknown word "cancle"; did you mean /merge cancel?`}},
		{"13 two letters swapped", "/merge hlep", []string{`mistake: unknown word "hlep"; did you mean /merge help?`}},
		{"13 mostly wrong", "/merge hp", []string{`mistake: unknown word "hp"`}},
		{"13 full stop", "/merge cancel.", []string{`mistake: unknown word "cancel."; did you mean /merge cancel?`}},
		{"13 value without its key", "/merge urgent", []string{`mistake: unknown word "urgent"; did you mean /merge priority=urgent?`}},
		{"13 method without its key", "/merge squash", []string{`mistake: unknown word "squash"; did you mean /merge method=squash?`}},
		{"13 option without a value", "/merge method", []string{`mistake: "method" needs a value; did you mean /merge method=VALUE?`}},
		{"13 verb after an option", "/merge method=merge cancel", []string{`mistake: "cancel" goes alone, without options; did you mean /merge cancel?`}},
		{"13 verb with more", "/merge cancel it", []string{`mistake: "cancel" takes nothing after it, but there is "it"; did you mean /merge cancel?`}},
		{"14 quoted", `/merge method="squash" priority="low"`, []string{"merge squash low"}},
		{"14 quoted with space and at", `/merge method="a @b c"`, []string{`mistake: "a @b c" is no method; it can be auto, fast-forward, merge, squash, rebase`}},
		{"14 unclosed quote", `/merge method="squash`, []string{`mistake: the quote after "method=" is not closed`}},
		{"14 text after the quote", `/merge method="squash"x`, []string{`mistake: there is text right after the closing quote of "method"`}},
		{"14 empty value", "/merge method=", []string{`mistake: "method=" has no value; it can be auto, fast-forward, merge, squash, rebase`}},
		{"14 empty quotes", `/merge priority=""`, []string{`mistake: "priority=" has no value; it can be urgent, high, normal, low`}},
		{"14 duplicate", "/merge method=squash method=merge", []string{`mistake: "method" is given twice`}},
		{"14 duplicate of the same", "/merge priority=low priority=low", []string{`mistake: "priority" is given twice`}},
		{"15 negative priority", "/merge priority=-1", []string{`mistake: "-1" is no priority; it can be urgent, high, normal, low`}},
		{"15 huge priority", "/merge priority=4294967296", []string{`mistake: "4294967296" is no priority; it can be urgent, high, normal, low`}},
		{"16 unicode", "Füße 🚀 — ok\n/merge priority=high\n日本語", []string{"merge high"}},
		{"16 unicode reason", "/merge freeze Straße 🚧 gesperrt", []string{"freeze Straße 🚧 gesperrt"}},
		{"16 CRLF, trailing space, tabs", "hello\r\n/merge\tretry \t\r\n/merge  status\r\n", []string{"retry", "status"}},
		{"17 another bot on the same line", "/merge @other-bot queue", []string{`mistake: unknown word "@other-bot"`}},
		{"17 another bot on its own line", "/retest\n/merge\n@other-bot queue", []string{"merge"}},
		{"freeze", "/merge freeze  CI is down, see #12 ", []string{"freeze CI is down, see #12"}},
		{"freeze without a reason", "/merge freeze", []string{`mistake: "freeze" needs a reason; did you mean /merge freeze REASON?`}},
		{"freeze at length", "/merge freeze " + strings.Repeat("é", 201), []string{"mistake: the reason has more than 200 characters"}},
		{"unfreeze and help", "/merge unfreeze\n/merge help", []string{"unfreeze", "help"}},
		{"long word is cut", "/merge " + strings.Repeat("x", 100), []string{`mistake: unknown word "` + strings.Repeat("x", 39) + `…"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parse(tt.comment)); diff != "" {
				t.Errorf("Parse(%q): -want +got\n%s", tt.comment, diff)
			}
		})
	}
}

func TestEveryMethodAndPriorityIsAccepted(t *testing.T) {
	for _, m := range gate.Methods() {
		if got := chat.Parse("/merge method=" + string(m)); len(got) != 1 || got[0].Err != nil || got[0].Method != m {
			t.Errorf("method %s: %+v", m, got)
		}
	}
	for p := gate.Low; p <= gate.Urgent; p++ {
		if got := chat.Parse("/merge priority=" + p.String()); len(got) != 1 || got[0].Err != nil || *got[0].Priority != p {
			t.Errorf("priority %s: %+v", p, got)
		}
	}
}

func TestLineIsThatOfTheComment(t *testing.T) {
	got := chat.Parse("a\r\n\r\n  /merge\r\nü\r/merge cancel")
	if len(got) != 2 || got[0].Line != 3 || got[1].Line != 5 {
		t.Errorf("lines: %+v, want 3 and 5", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/merge", "> /merge\n\n/merge retry", "<details>\n\n/merge\n", "```\n/merge\n```\n/merge x=\"y", "| a |\n|--|\n/merge\n\n[a]: <b>\n/merge freeze \x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		last := 0
		for _, c := range chat.Parse(s) {
			if c.Line <= last {
				t.Errorf("line %d follows line %d", c.Line, last)
			}
			last = c.Line
			if c.Err == nil && c.Verb == "" {
				t.Errorf("a command without a verb: %+v", c)
			}
		}
		fence := strings.Repeat("`", 3+strings.Count(s, "`"))
		if got := chat.Parse(fence + "\n" + s + "\n" + fence); len(got) > 0 {
			t.Errorf("in a fence: %+v", got)
		}
		quoted := "> " + strings.NewReplacer("\r\n", "\n> ", "\r", "\n> ", "\n", "\n> ").Replace(s)
		if got := chat.Parse(quoted); len(got) > 0 {
			t.Errorf("in a quote: %+v", got)
		}
	})
}

func TestLongCommentsHaveNoCommands(t *testing.T) {
	for size, want := range map[int]int{8 << 10: 1, 8<<10 + 1: 0, 1 << 20: 0} {
		text := strings.Repeat("a ", size)[:size-len("\n\n/merge")] + "\n\n/merge"
		if got := chat.Parse(text); len(got) != want {
			t.Errorf("%d commands in a comment of %d bytes, want %d", len(got), size, want)
		}
	}
}

// Nobody writes like this but to keep the parser busy.
func TestCrowdedCommentsHaveNoCommands(t *testing.T) {
	for name, unit := range map[string]string{"quotes": ">", "spaced quotes": " > ", "points": "- ", "numbers": "1. ", "brackets": "["} {
		most := map[string]int{"brackets": 256}[name]
		if most == 0 {
			most = 16
		}
		for n, want := range map[int]int{most: 1, most + 1: 0, 2000: 0} {
			if got := chat.Parse("hello\n\n" + strings.Repeat(unit, n) + "a\n\n/merge\n"); len(got) != want {
				t.Errorf("%d %s: %d commands, want %d", n, name, len(got), want)
			}
		}
	}
}
