// Package redact knows the secrets of this process and takes them out of what it
// writes. It is the second net: nothing is meant to write a secret anywhere, and
// what does is a bug that should not cost the token.
//
// A secret is looked for as it is, in base64 (both alphabets, at any place in a
// longer text, so also as the password of basic authentication), URL-encoded, and
// as JSON and Go quote it. A key of several lines is looked for line by line.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Mark stands where a secret was.
const Mark = "[secret]"

// shortest is the length below which a form is not looked for: it would be found
// in ordinary words.
const shortest = 6

// Set is a set of secrets; the zero value is empty, a nil one stays so. Methods
// may be called concurrently.
type Set struct {
	mu    sync.RWMutex
	known []string // in the order in which they came
	forms [][]byte // longest first
}

// most is how many secrets are remembered: an App has a new token every hour.
const most = 64

// Add makes a secret known. Secrets that were replaced stay known, the latest 64
// of them.
func (s *Set) Add(secret string) {
	if s == nil || len(secret) < shortest {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.known, secret) {
		return
	}
	s.known = append(s.known, secret)
	s.known = s.known[max(0, len(s.known)-most):]
	s.forms = nil
	for _, k := range s.known {
		for _, f := range Forms(k) {
			s.forms = append(s.forms, []byte(f))
		}
	}
	slices.SortStableFunc(s.forms, func(a, b []byte) int { return len(b) - len(a) })
}

// Bytes is text without secrets. It is text itself when there is none in it.
func (s *Set) Bytes(text []byte) []byte {
	if s == nil {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.forms {
		if bytes.Contains(text, f) {
			text = bytes.ReplaceAll(text, f, []byte(Mark))
		}
	}
	return text
}

// String is text without secrets.
func (s *Set) String(text string) string { return string(s.Bytes([]byte(text))) }

// Writer writes to w without secrets. A secret that is spread over two writes is
// not seen; slog's handlers and fmt write a line at once.
func (s *Set) Writer(w io.Writer) io.Writer { return writer{s, w} }

type writer struct {
	set *Set
	to  io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	if _, err := w.to.Write(w.set.Bytes(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Forms are the texts by which a secret could appear, each at least six bytes
// long, each once.
func Forms(secret string) []string {
	var forms []string
	add := func(f string) {
		if len(f) >= shortest && !slices.Contains(forms, f) {
			forms = append(forms, f)
		}
	}
	for part := range strings.SplitSeq(secret, "\n") { // a PEM file is recognised by any of its lines
		part = strings.TrimSpace(part)
		if strings.HasPrefix(part, "-----") {
			continue
		}
		add(part)
		add(url.QueryEscape(part))
		add(url.PathEscape(part))
		if quoted, err := json.Marshal(part); err == nil {
			add(string(quoted[1 : len(quoted)-1]))
		}
		quoted := strconv.Quote(part)
		add(quoted[1 : len(quoted)-1])
		quoted = strconv.Quote(quoted) // %q in the message of a log line
		add(quoted[3 : len(quoted)-3])
		for _, f := range base64Forms(part) {
			add(f)
			add(url.QueryEscape(f))
		}
	}
	return forms
}

// base64Forms are what a base64 text with the secret somewhere in it must
// contain: one for each of the three ways in which it can begin within a group,
// in both alphabets, without the characters that depend on its neighbours.
func base64Forms(secret string) (forms []string) {
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			text := enc.EncodeToString([]byte(strings.Repeat("\x00", offset) + secret))
			from := (offset*8 + 5) / 6
			to := (offset + len(secret)) * 8 / 6
			if from < to {
				forms = append(forms, text[from:to])
			}
		}
	}
	return forms
}
