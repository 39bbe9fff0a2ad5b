package retest

import (
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzTail(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", "10%\r50%\r", "\x1b[31mred\x1b]0;t\x07", "\x9b31m\xff", "\u202e\u2028", strings.Repeat("x", 1000), strings.Repeat("\n", 100)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		got := cleanTail(log)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		lines := strings.Split(got, "\n")
		if len(lines) > tailLines {
			t.Errorf("%d lines", len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > tailWidth+1 {
				t.Errorf("a line of %d characters", utf8.RuneCountInString(l))
			}
			if strings.ContainsFunc(l, func(r rune) bool { return r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) {
				t.Errorf("%q has control characters", l)
			}
		}
	})
}

// What is kept of an output is its head and its tail, and the count of the rest.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("hello"), 3)
	f.Add([]byte(strings.Repeat("0123456789", 100)), 200)
	f.Fuzz(func(t *testing.T, chunk []byte, times int) {
		o := &output{full: make(chan struct{})}
		o.file = discard(t)
		if len(chunk) == 0 {
			return
		}
		times = (times%300 + 300) % 300
		times = min(times, 5*keepHead/len(chunk)) // enough to leave something out
		for range times {
			if n, err := o.Write(chunk); n != len(chunk) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		all := strings.Repeat(string(chunk), times)
		got := string(o.bytes())
		if len(all) <= keepHead+keepTail {
			if got != all {
				t.Errorf("%d bytes became %d", len(all), len(got))
			}
			return
		}
		if !strings.HasPrefix(got, all[:keepHead]) || !strings.HasSuffix(got, all[len(all)-keepTail:]) || len(got) > keepHead+keepTail+100 {
			t.Errorf("of %d bytes %d are kept, and not head and tail", len(all), len(got))
		}
	})
}

// discard is a file that keeps nothing.
func discard(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
