package templates_test

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"mergegate/internal/hostile"
	"mergegate/templates"
)

// live is what forges act on in text that was already rendered.
var live = regexp.MustCompile(`(?i)[@#:][^\s@#:\x{200b}]|!\d|\bgh-\d|\bwww\.|\[\[`)

func parser() goldmark.Markdown { return goldmark.New(goldmark.WithExtensions(extension.GFM)) }

// checkPlain puts Plain(s) wherever we put it and reads it back.
func checkPlain(t *testing.T, s string) {
	t.Helper()
	plain := templates.Plain(s)
	want := strings.Join(strings.Fields(templates.Clean(s)), " ")
	if strings.ContainsAny(plain, "\n\r") || !utf8.ValidString(plain) {
		t.Errorf("Plain(%q) = %q is not one line of text", s, plain)
	}
	if plain == "" {
		return
	}
	for _, place := range []string{"%", "x %", "**%**", "- %", "> %", "# %", "| a | b |\n|---|---|\n| % | c |\n", "a\n%\nb", "[%](<http://ours.example>)"} {
		source := []byte(strings.ReplaceAll(place, "%", plain))
		var got []string
		err := ast.Walk(parser().Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			switch n := n.(type) {
			case *ast.Text:
				if entering {
					got = append(got, html.UnescapeString(string(n.Segment.Value(source))))
					if n.SoftLineBreak() || n.NextSibling() == nil {
						got = append(got, "\n")
					}
				}
			case *ast.Document, *ast.Paragraph, *ast.TextBlock:
			default:
				if entering && !strings.Contains(allowed(place), n.Kind().String()) {
					t.Errorf("Plain(%q) in %q makes a %s", s, place, n.Kind())
				}
			}
			return ast.WalkContinue, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.Join(got, "")
		if found := live.FindString(shown); found != "" {
			t.Errorf("Plain(%q) in %q shows %q, which a forge acts on", s, place, found)
		}
		if read := strings.ReplaceAll(shown, "\u200b", ""); !strings.Contains(read, want) {
			t.Errorf("Plain(%q) in %q reads %q", s, place, read)
		}
	}
}

// allowed names the nodes that the place itself makes.
func allowed(place string) string {
	switch {
	case strings.HasPrefix(place, "**"):
		return "Emphasis"
	case strings.HasPrefix(place, "- "):
		return "List ListItem"
	case strings.HasPrefix(place, "> "):
		return "Blockquote"
	case strings.HasPrefix(place, "# "):
		return "Heading"
	case strings.HasPrefix(place, "| "):
		return "Table TableHeader TableRow TableCell"
	case strings.HasPrefix(place, "["):
		return "Link"
	}
	return ""
}

func checkFence(t *testing.T, s string) {
	t.Helper()
	source := []byte("before\n" + templates.Fence(s) + "\nafter\n")
	doc := parser().Parser().Parse(text.NewReader(source))
	block, ok := doc.FirstChild().NextSibling().(*ast.FencedCodeBlock)
	if !ok || doc.ChildCount() != 3 {
		t.Fatalf("Fence(%q) is not one code block: %q", s, source)
	}
	got := string(block.Lines().Value(source))
	if want := strings.Trim(templates.Clean(s), "\n") + "\n"; strings.ReplaceAll(got, "\u200b", "") != want {
		t.Errorf("Fence(%q) reads %q, want %q", s, got, want)
	}
	if strings.Contains(string(source), "<!--") {
		t.Errorf("Fence(%q) has a marker in the raw text", s)
	}
}

func TestPlainAndFence(t *testing.T) {
	for _, s := range hostile.Words() {
		checkPlain(t, s)
		checkFence(t, s)
	}
}

func TestPlainReadsWell(t *testing.T) {
	for s, want := range map[string]string{
		"Add a cache":       "Add a cache",
		"gate: fix the lot": "gate: fix the lot",
		"/merge":            "&#47;merge",
		"fix #12":           "fix &#35;&#8203;12",
		"ask @org/team":     "ask &#64;&#8203;org/team",
		"a_b*c _d_ __e":     "a_b&#42;c &#95;d&#95; &#95;&#95;e",
		"1 more approval":   "1 more approval",
		"1. one":            "&#49;. one",
	} {
		if got := templates.Plain(s); got != want {
			t.Errorf("Plain(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestCleanShowsThatSomethingWasThere(t *testing.T) {
	for s, want := range map[string]string{
		"a\x1b[1;31mb\x1b[0mc":             "abc",
		"\x1b]0;title\x07x\x1b]0;t\x1b\\y": "xy",
		"\u009b31mred":                     "red",
		"10%\r50%\r\n100%":                 "10%\n50%\n100%",
		"a\u202eb\u2066c\x00\x07":          "a\ufffdb\ufffdc\ufffd\ufffd",
		"می\u200cخواهم 👩\u200d👧":           "می\u200cخواهم 👩\u200d👧",
		"a\xffb":                           "a\ufffdb",
		"a\ufffe\uffff\ufdd0\U0001ffffb":   "a\ufffd\ufffd\ufffd\ufffdb",
		"tab\tstays":                       "tab\tstays",
	} {
		if got := templates.Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range hostile.Words() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkPlain(t, s) })
}

func FuzzFence(f *testing.F) {
	for _, s := range hostile.Words() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkFence(t, s) })
}

// 8 KiB of beginnings took 21 s on a busy machine; the time grew with the square.
func TestCleanOfStringsThatNeverEnd(t *testing.T) {
	for _, begin := range []string{"\x1b]", "\x1bP", "\x1b["} {
		if got := templates.Clean(strings.Repeat(begin, 1<<17) + "end\x1b]0;title\x07."); !strings.HasSuffix(got, "nd.") {
			t.Errorf("%q: %d bytes, ends with %q", begin, len(got), got[max(0, len(got)-20):])
		}
	}
}
