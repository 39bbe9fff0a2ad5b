package templates_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"mergegate/gate"
	"mergegate/internal/hostile"
	"mergegate/templates"
)

// The page of a log is made of the same elements whatever the log says, and shows
// nothing that a terminal or a browser acts on.
func FuzzLog(f *testing.F) {
	for _, s := range hostile.Words() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		page := func(text []byte) []byte {
			var b bytes.Buffer
			if err := templates.Log(&b, templates.LogView{Title: "x", RawHref: "/log/x?raw", Text: text}); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		lines := 0
		if text := strings.TrimRight(templates.Clean(string(log)), "\n"); text != "" {
			lines = 1 + strings.Count(text, "\n")
		}
		got, shown := tags(t, page(log))
		want, _ := tags(t, page([]byte(strings.TrimSuffix(strings.Repeat("x\n", lines), "\n"))))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q changes the elements:\n%s", log, diff)
		}
		if !utf8.ValidString(shown) || strings.ContainsAny(shown, "\x00\x07\x1b\x7f\u009b\u202e\u2066\u2028") {
			t.Errorf("%q shows control characters", log)
		}
	})
}

func FuzzInert(f *testing.F) {
	for _, s := range hostile.Words() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := templates.Inert(s)
		if found := acts.FindString(got); found != "" {
			t.Errorf("Inert(%q) = %q acts: %q", s, got, found)
		}
		if strings.ContainsAny(got, "\n\r\x00\x1b") || !utf8.ValidString(got) {
			t.Errorf("Inert(%q) = %q is not one line of text", s, got)
		}
		want := strings.Join(strings.Fields(templates.Clean(s)), " ")
		if strings.ReplaceAll(got, "\u200b", "") != strings.ReplaceAll(want, "\u200b", "") {
			t.Errorf("Inert(%q) = %q reads otherwise", s, got)
		}
	})
}

func FuzzStatus(f *testing.F) {
	for _, s := range hostile.Words() {
		f.Add(s, s, 0)
	}
	f.Fuzz(func(t *testing.T, why, base string, state int) {
		all := states()
		l := gate.Line{PR: 1, Base: base, State: all[(state%len(all)+len(all))%len(all)], Why: []string{why, base}, Frozen: why}
		got := templates.Status(l, templates.PRView{}.NoTime())
		if n := utf8.RuneCountInString(got); n > 140 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00\x1b\x7f\u202e") {
			t.Errorf("%q and %q on %s make %q, of %d characters", why, base, l.State, got, n)
		}
	})
}
