package bot

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"mergegate/forge"
)

// Whatever is delivered, the answer is one of a few, no repository appears that is
// not configured, and nothing happens that was not signed.
func FuzzDelivery(f *testing.F) {
	f.Add([]byte(news(forge.Event{Repo: widgets, PR: 1, Comment: 2, Text: "/merge"})), true)
	f.Add([]byte(`{"Repo":{"Owner":"evil"},"x":[[[{"a":"\"]]]"}]]]}`), true)
	f.Add([]byte(`[`), true)
	f.Add([]byte(`{}`), false)
	f.Fuzz(func(t *testing.T, body []byte, signed bool) {
		b, w := testBot(t, nil)
		signature := ""
		if signed {
			signature = sign(body, hookSecret)
		}
		code := deliver(b, "/webhook/work", bytes.NewReader(body), signature).Code
		switch {
		case !signed && (code != http.StatusUnauthorized || w.touched()),
			signed && code != http.StatusAccepted && code != http.StatusBadRequest && code != http.StatusRequestEntityTooLarge,
			code != http.StatusAccepted && w.touched(), len(b.workers) != 1:
			t.Errorf("%q, signed %v: answered %d, touched %v", body, signed, code, w.touched())
		}
		if want, ok := depth(body); ok && nesting(body) != want {
			t.Errorf("%q is nested %d deep, not %d", body, want, nesting(body))
		}
	})
}

// depth is how deep a JSON text goes as a parser sees it; false for no JSON.
func depth(text []byte) (int, bool) {
	if !json.Valid(text) {
		return 0, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	at, deepest := 0, 0
	for {
		tok, err := d.Token()
		if err != nil {
			return deepest, at == 0
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			at++
			deepest = max(deepest, at)
		case json.Delim('}'), json.Delim(']'):
			at--
		}
	}
}
