package templates

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// zeroWidth breaks a mention or a reference without being seen. Inside text it is
// written as an entity, so that somebody who edits the comment sees it.
const (
	zeroWidth       = "\u200b"
	zeroWidthEntity = "&#8203;"
)

// effective matches what forges find in text after it was rendered, so that
// escaping does not help: mentions and mail addresses (@), references (#1, !1,
// GH-1), :emoji: and schemes (https:), www. addresses and [[wiki links]]. The
// break goes between the two groups.
var effective = regexp.MustCompile(`(?i)([@#:])([^\s@#:\x{200b}])|(!)(\d)|(\bgh)(-\d)|(\bwww)(\.)|(\[)(\[)`)

// Plain makes s inline text of a Markdown comment that is read as s and does
// nothing: no markup, HTML, mention, reference, link, marker or command, wherever in
// a comment it is put, also at the start of a line and in a table. Line breaks and
// other white space become single spaces; see Clean for the rest.
//
// The result is longer than s, at most eight times in characters. Forges read
// entities the same way everywhere, backslashes not in tables and formulas, so
// entities it is.
func Plain(s string) string {
	s = strings.Join(strings.Fields(Clean(s)), " ")
	for range 2 { // matches may touch: @#1
		s = effective.ReplaceAllString(s, "$1$3$5$7$9"+zeroWidth+"$2$4$6$8${10}")
	}
	list := listItem.MatchString(s)
	var b strings.Builder
	var before rune
	for i, r := range s {
		after, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		switch {
		case r == '\u200b':
			b.WriteString(zeroWidthEntity)
		case r == '_' && wordy(before) && wordy(after): // means nothing inside a word
			b.WriteRune(r)
		case strings.ContainsRune("\\`*_{}[]<>&|~$^@#", r), i == 0 && (list || r < utf8.RuneSelf && !wordy(r)):
			fmt.Fprintf(&b, "&#%d;", r) // first: a list, a rule, a /command
		default:
			b.WriteRune(r)
		}
		before = r
	}
	return b.String()
}

var listItem = regexp.MustCompile(`^\d+[.)]`)

// wordy says whether r is part of a word for Markdown's emphasis.
func wordy(r rune) bool { return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

var backticks = regexp.MustCompile("`+")

// Fence makes s a code block of its own: cleaned, every line kept, and the fence
// longer than any run of backticks in it. What looks like the start of one of our
// hidden markers is broken, because markers are looked for in the raw text. The
// result ends without a line break and must stand on lines of its own.
func Fence(s string) string {
	s = strings.ReplaceAll(strings.Trim(Clean(s), "\n"), "<!--", "<!"+zeroWidth+"--")
	fence := "```"
	for _, run := range backticks.FindAllString(s, -1) {
		if len(run) >= len(fence) {
			fence = run + "`"
		}
	}
	return fence + "text\n" + s + "\n" + fence
}

// ansi matches terminal control sequences (ECMA-48): CSI, strings such as OSC up
// to their end, and two-character escapes. No string goes beyond the next escape: a
// text of nothing but beginnings would be looked through again from each of them.
var ansi = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]`)

// Clean makes s safe to show as text anywhere: valid UTF-8, line breaks as \n,
// terminal sequences taken out, and characters that control the terminal or the
// direction of the text, are not seen at all, or are no characters by Unicode's own
// word, replaced by U+FFFD, so that the reader sees that something was there. It does
// not escape.
func Clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && (r < ' ' || r > '~') }) {
		return s
	}
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n").Replace(ansi.ReplaceAllString(s, ""))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\u200c' || r == '\u200d': // joiners: Persian, Indic scripts and emoji need them
			return r
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Noncharacter_Code_Point):
			return '\ufffd'
		}
		return r
	}, s)
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n-1])) + "…"
	}
	return s
}

// destination makes address the target of a Markdown link, "" when it is not
// http or https.
func destination(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~:/?#=%+,;[]", c) >= 0:
			b.WriteByte(c)
		case c == '&':
			b.WriteString("&amp;")
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
