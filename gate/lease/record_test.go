package lease

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Errorf("%q is not JSON: %v", a, err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Errorf("%q is not JSON: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

func TestCommentForPeople(t *testing.T) {
	r := newRecord(config("bot`1"), "N", Note{PR: 12}, nil)
	r.Since = time.Date(2026, 1, 2, 14, 5, 0, 0, time.UTC)
	body, err := r.comment(config("").Key)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(body, "\n")
	want := "`bot'1` holds the merge queue of `main` for pull request 12 since 2026-01-02 14:05:00 UTC. If you know that it is dead, delete this comment to free the queue.\n"
	if text != want {
		t.Errorf("the comment says\n%s want\n%s", text, want)
	}
}

func TestOnlyTheExactRecordIsValid(t *testing.T) {
	key := config("").Key
	r := newRecord(config("a"), "N", Note{PR: 12, Data: []byte(`{"x":"--> hmac=00 --"}`)}, nil)
	body, err := r.comment(key)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(body, "\n")
	for _, same := range []string{body, line, strings.ReplaceAll(body, "\n", "\r\n"), line + "\nother words"} {
		if got, ok := parse(key, same); !ok || got.PR != 12 {
			t.Errorf("not read: %q", same)
		}
	}
	for _, other := range []string{
		"", "x" + body, " " + body, "> " + body, strings.TrimSuffix(line, closing), line + " ",
		strings.Replace(body, `"pr":12`, `"pr":13`, 1), strings.Replace(body, "v1", "v2", 1),
		strings.ReplaceAll(body, `-\u002d`, "--"), strings.Replace(line, macSep, macSep+"00", 1),
		opening + "{}" + macSep + closing, opening + "{}" + closing,
	} {
		if _, ok := parse(key, other); ok {
			t.Errorf("read as valid: %q", other)
		}
	}
	if _, ok := parse([]byte("another key, also long"), body); ok {
		t.Error("read with another key")
	}
}

func TestTooMuchWork(t *testing.T) {
	r := newRecord(config("a"), "N", Note{Data: []byte(`"` + strings.Repeat("x", maxText) + `"`)}, nil)
	if _, err := r.comment(config("").Key); err == nil || !strings.Contains(err.Error(), "save less") {
		t.Errorf("a comment longer than forges take: %v", err)
	}
}

// Whatever is written is one HTML comment that ends where it should, and reads
// back the same.
func FuzzWrite(f *testing.F) {
	f.Add("bot", "main", "work")
	f.Add("--><script>", "a---b", "\\--\\u002d hmac=00 -->\n\u2028")
	f.Fuzz(func(t *testing.T, holder, base, work string) {
		key := config("").Key
		data, err := json.Marshal(work)
		if err != nil {
			t.Skip("not text")
		}
		c := config(holder)
		c.Base = base
		r := newRecord(c, "N", Note{PR: 1, Data: data}, nil)
		line, err := r.line(key)
		if err != nil {
			t.Skip("too long")
		}
		inner := strings.TrimSuffix(strings.TrimPrefix(line, "<!--"), "-->")
		if strings.Contains(inner, "--") || strings.ContainsAny(inner, "<>\n") {
			t.Errorf("not one HTML comment: %q", line)
		}
		got, ok := parse(key, line)
		if !ok || got.Holder != strings.ToValidUTF8(holder, "\uFFFD") && !strings.ContainsRune(got.Holder, '\uFFFD') || !sameJSON(t, got.Data, data) {
			t.Errorf("wrote %+v, read %+v", r, got)
		}
	})
}

// Nothing but the original is ever believed.
func FuzzParse(f *testing.F) {
	key := config("").Key
	r := newRecord(config("a"), "N", Note{PR: 12}, nil)
	r.Since = time.Date(2026, 1, 2, 14, 5, 0, 0, time.UTC)
	line, err := r.line(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(line + "\n" + line)
	f.Add(opening + "{}" + macSep + strings.Repeat("0", 64) + closing)
	f.Fuzz(func(t *testing.T, text string) {
		first, _, _ := strings.Cut(text, "\n")
		if _, ok := parse(key, text); ok && !strings.EqualFold(strings.TrimSuffix(first, "\r"), line) {
			t.Errorf("believed %q", text)
		}
	})
}
