package templates_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mergegate/gate"
	"mergegate/internal/hostile"
	"mergegate/templates"
)

// tags lists the elements of a page with their attributes, and its text. The
// pages are written so that an XML decoder with HTML's rules can read them.
func tags(t *testing.T, page []byte) (elements []string, shown string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var text strings.Builder
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, text.String()
		}
		if err != nil {
			t.Fatalf("not well formed: %v\n%s", err, page)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e := tok.Name.Local
			for _, a := range tok.Attr {
				if e += " " + a.Name.Local; a.Name.Local != "id" && a.Name.Local != "href" && a.Name.Local != "datetime" && a.Name.Local != "class" {
					e += "=" + a.Value
				}
				if a.Name.Local == "href" && !regexp.MustCompile(`^($|/|#|https?://)`).MatchString(a.Value) {
					t.Errorf("a link to %q", a.Value)
				}
			}
			elements = append(elements, e)
			if slices.Contains([]string{"td", "th", "dt", "dd", "br", "li", "p"}, tok.Name.Local) {
				text.WriteByte(' ')
			}
		case xml.CharData:
			text.Write(tok)
		case xml.Comment:
			t.Errorf("a comment %q", tok)
		}
	}
}

// render writes every page with s in every field that it could reach; links are
// kept unless s is to be there too.
func render(t *testing.T, s string, state gate.State, links bool) map[string][]byte {
	t.Helper()
	keep := map[string]bool{"State": true, "Text": true}
	if !links {
		for _, name := range []string{"Href", "URL", "LogHref", "PRHref", "RawHref", "QueueHref"} {
			keep[name] = true
		}
	}
	out := map[string][]byte{}
	page := func(name string, v any, write func(io.Writer) error) {
		t.Helper()
		fill(reflect.ValueOf(v).Elem(), s, keep)
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		out[name] = b.Bytes()
	}
	var o templates.OverviewView
	page("overview", &o, func(w io.Writer) error { return templates.Overview(w, o) })
	var base templates.BaseView
	page("base", &base, func(w io.Writer) error {
		for i := range base.Rows {
			base.Rows[i].State, base.Outcomes[i].State = state, state
		}
		return templates.Base(w, base)
	})
	var pr templates.PRPageView
	page("pr", &pr, func(w io.Writer) error {
		pr.State = state
		return templates.PRPage(w, pr)
	})
	var log templates.LogView
	page("log", &log, func(w io.Writer) error {
		log.Text = []byte(strings.ReplaceAll(s, "\n", " ")) // as many lines for every s
		return templates.Log(w, log)
	})
	page("missing", &templates.Frame{}, func(w io.Writer) error { return templates.NotFound(w, templates.Frame{}, s) })
	return out
}

// Whatever is put into a view changes words, never the elements of the page.
func TestAttack92And51HostileTextInPages(t *testing.T) {
	for _, state := range states() {
		harmless := render(t, "word", state, false)
		for _, s := range hostile.Words() {
			if strings.TrimSpace(templates.Clean(s)) == "" || strings.ContainsAny(s, "\r\u2028") {
				continue // nothing to show, or more lines of a log
			}
			for name, page := range render(t, s, state, false) {
				want, _ := tags(t, harmless[name])
				got, shown := tags(t, page)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s page with %q: -harmless +hostile\n%s", name, s, diff)
				}
				if strings.ContainsAny(shown, "\x00\x1b\u202e\u2066") {
					t.Errorf("%s page with %q shows control characters", name, s)
				}
				if read := strings.Join(strings.Fields(templates.Clean(s)), " "); name == "missing" && !strings.Contains(shown, read) {
					t.Errorf("%s page with %q does not show it: %q", name, s, shown)
				}
			}
		}
	}
}

func TestAttack92PagesLinkNowhereElse(t *testing.T) {
	for _, s := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "/ok", "https://ok.example/\"><script>"} {
		for _, page := range render(t, s, gate.Testing, true) {
			tags(t, page) // checks every link
		}
	}
}

// The pages work under default-src 'none'; style-src 'self'.
func TestPagesNeedNothingButTheStyleSheet(t *testing.T) {
	for name, page := range render(t, "word", gate.Testing, false) {
		elements, _ := tags(t, page)
		for _, e := range elements {
			el, _, _ := strings.Cut(e, " ")
			if slices.Contains([]string{"script", "style", "img", "iframe", "object", "embed", "form", "base", "svg"}, el) || strings.Contains(e, " style") || strings.Contains(e, " on") {
				t.Errorf("%s page has <%s>", name, e)
			}
		}
		if !bytes.Contains(page, []byte(`<link rel="stylesheet" href="/style.css">`)) {
			t.Errorf("%s page does not link the style sheet", name)
		}
	}
	if css := string(templates.StyleCSS()); strings.Contains(css, "url(") || strings.Contains(css, "@import") || !strings.Contains(css, "prefers-color-scheme: dark") {
		t.Error("the style sheet loads something, or knows no dark mode")
	}
}

// A page is told by its language, one heading, one main part, and tables with a
// caption whose heads say what they head.
func TestPagesAreAccessible(t *testing.T) {
	for name, page := range render(t, "word", gate.Testing, false) {
		elements, _ := tags(t, page)
		n := map[string]int{}
		for _, e := range elements {
			el, attrs, _ := strings.Cut(e, " ")
			n[el]++
			if el == "th" && !strings.Contains(attrs, "scope=") {
				t.Errorf("%s page: a th without scope", name)
			}
		}
		if !slices.Contains(elements, "html lang=en") || n["h1"] != 1 || n["main"] != 1 || n["title"] != 1 || n["table"] != n["caption"] {
			t.Errorf("%s page: %v", name, n)
		}
	}
}

func baseView() templates.BaseView {
	row := func(n int, state gate.State) templates.Row {
		return templates.Row{Line: gate.Line{PR: n, Title: "Add a cache", Author: "ann", By: "bob", State: state, Base: "main", Since: noon(), Tip: tip, Length: 2}, Href: "/p/x", LogHref: "/log/x"}
	}
	first, second, ended := row(7, gate.Testing), row(8, gate.Queued), row(5, gate.Dropped)
	first.Position, first.Candidate, first.Timeout = 1, candidate, 30*time.Minute
	second.Position = 2
	ended.Why = []string{"Retest failed: exit 1"}
	return templates.BaseView{
		Frame: templates.Frame{Now: noon().Add(3 * time.Minute), Version: "1.0"},
		Forge: "work", Repo: "acme/widgets", Base: "main", Holder: "bot-1",
		Rows: []templates.Row{first, second}, Outcomes: slices.Repeat([]templates.Row{ended}, 30),
	}
}

func words(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	_, shown := tags(t, b.Bytes())
	return strings.Join(strings.Fields(shown), " ")
}

func TestBasePage(t *testing.T) {
	v := baseView()
	v.Trouble = &templates.Trouble{Error: "read branch main: the forge answered 502", Since: noon(), Next: noon().Add(5 * time.Minute)}
	got := words(t, func(w io.Writer) error { return templates.Base(w, v) })
	for _, want := range []string{
		"acme/widgets main", "worked on by bot-1",
		"Trouble since 2026-01-02 12:00 UTC: read branch main: the forge answered 502 Next try: 2026-01-02 12:05 UTC.",
		"1 #7 Add a cache by ann, asked for by bob Testing Testing 9f8e7d6 on main 1a2b3c4, 3m of 30m 2026-01-02 12:00 UTC 3m ago the test of 9f8e7d6 on 1a2b3c4 · log of #7",
		"2 #8 Add a cache by ann, asked for by bob Queued",
		"The last 20 outcomes", "Dropped Retest failed: exit 1",
		"As of 2026-01-02 12:03 UTC · mergegate 1.0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "Retest failed"); n != 20 {
		t.Errorf("%d outcomes, want 20", n)
	}
	empty := words(t, func(w io.Writer) error { return templates.Base(w, templates.BaseView{}) })
	if !strings.Contains(empty, "Nobody is in the queue.") || !strings.Contains(empty, "Nothing has ended lately.") {
		t.Errorf("the empty page says %q", empty)
	}
}

func TestOverviewPage(t *testing.T) {
	head := baseView().Rows[0].Line
	v := templates.OverviewView{Frame: templates.Frame{Now: noon().Add(3 * time.Minute)}, Queues: []templates.QueueSummary{
		{Forge: "work", Repo: "acme/widgets", Base: "main", Length: 2, Head: &head, Holder: "bot-1"},
		{Forge: "work", Repo: "acme/gears", Base: "main", Frozen: &gate.Freeze{By: "ann", At: noon(), Reason: "release"},
			Trouble: &templates.Trouble{Error: "forge down", Next: noon().Add(5 * time.Minute)}},
	}}
	got := words(t, func(w io.Writer) error { return templates.Overview(w, v) })
	for _, want := range []string{
		"2 queues", "acme/widgets main work 2 #7 Testing 9f8e7d6 on main 1a2b3c4, 3m of 30m 3m ago bot-1 none",
		"acme/gears main work 0 empty nobody Frozen: release Trouble: forge down next try in 2m",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q:\n%s", want, got)
		}
	}
	v.Sandbox = "landlock; open: <b>"
	if got := words(t, func(w io.Writer) error { return templates.Overview(w, v) }); !strings.Contains(got, "Retest commands run in: landlock; open: <b>") {
		t.Errorf("the sandbox is not on the page: %s", got)
	}
	if got := words(t, func(w io.Writer) error { return templates.Overview(w, templates.OverviewView{}) }); !strings.Contains(got, "No queue yet.") {
		t.Errorf("the empty page says %q", got)
	}
}

func TestLogPage(t *testing.T) {
	show := func(v templates.LogView) string {
		return words(t, func(w io.Writer) error { return templates.Log(w, v) })
	}
	got := show(templates.LogView{Title: "acme/widgets #7", RawHref: "/log/x?raw=1", Running: true, Cut: 4096, Text: []byte("\x1b[32mok\x1b[0m 1\n<b>two</b>\r\n")})
	for _, want := range []string{"still running", "4096 bytes between its beginning and its end are missing", "1ok 1 2<b>two</b>", "Download as it is"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q:\n%s", want, got)
		}
	}
	if got := show(templates.LogView{}); !strings.Contains(got, "The test wrote nothing.") || strings.Contains(got, "missing") || strings.Contains(got, "running") {
		t.Errorf("the page of an empty log says %q", got)
	}
	var long strings.Builder
	for i := range 12_000 {
		fmt.Fprintf(&long, "text %d\n", i+1)
	}
	got = show(templates.LogView{Text: []byte(long.String())})
	for _, want := range []string{"2500text 2500 7000 lines left out here.", "9501text 9501", "12000text 12000"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page of a long log does not say %q", want)
		}
	}
}

func TestPRPage(t *testing.T) {
	c := conflict(2)
	v := templates.PRPageView{Frame: templates.Frame{Now: noon().Add(time.Hour)}, Row: baseView().Outcomes[0], Forge: "work", Repo: "acme/widgets", Conflict: &c,
		Events: []gate.Happened{{At: noon(), What: "asked for by bob (label)"}}}
	got := words(t, func(w io.Writer) error { return templates.PRPage(w, v) })
	for _, want := range []string{
		"Add a cache #5", "Dropped Retest failed: exit 1", "Asked for by bob", "2026-01-02 12:00 UTC 1h ago",
		"pkg/file_1.go content probably #12 1a2b3c4 pkg: rename", "old.go other name: new.go rename", "git rebase 'origin/main'",
		"2026-01-02 12:00 UTC asked for by bob (label)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q:\n%s", want, got)
		}
	}
	v.Conflict, v.State, v.Why = nil, gate.Landed, nil
	v.Row.Landed, v.Landed = candidate, gate.LandedAs{Commit: candidate, Tree: tree, Base: tip, Method: gate.Squash}
	got = words(t, func(w io.Writer) error { return templates.PRPage(w, v) })
	if want := fmt.Sprintf("%s with tree %s, tested on %s, by squash", candidate, tree, tip); !strings.Contains(got, want) || !strings.Contains(got, "Landed as 9f8e7d6") {
		t.Errorf("the page of a landed PR does not say %q:\n%s", want, got)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestPagesReturnTheWritersError(t *testing.T) {
	if err := templates.Overview(brokenPipe{}, templates.OverviewView{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
