// Package hostile has the words that strangers put where words are shown: in titles,
// branches, file names, logins, logs and comments. Tests run them through every
// output and look for anything but text in it.
package hostile

import "strings"

// Words are a list of its own for each call.
func Words() []string {
	return []string{
		"plain words", "", " ", "*bold* _it_ **b** __u__ ~~s~~ `c` ``", "# head", "- item", "+ item", "1. one", "2) two",
		"> quote", "---", "===", "```\ncode", "~~~", "    code", "\tcode", "| a | b |\n|---|---|", "a|b",
		"<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "</details></table>", "<!-- mergegate:pr -->", "<!-- mergegate:lease v1 {} -->", "-->",
		"[l](javascript:alert(1))", "![](http://track.example/x.png)", "[a]: http://x.example", "[[wiki]]", "[[[wiki]]]", "<http://x.example>",
		"http://x.example/a_b_", "HTTPS://x.example", "www.x.example", "a@x.example", "mailto:a@x.example", "ftp://x.example",
		"@everyone", "@org/team", "hi @user, @user2", "fixes #1", "Closes: org/repo#12", "resolves GH-7", "!12", "#1#2", "@#1", "@@user", ":smile:", ":+1:",
		"closes https://x.example/acme/widgets/issues/1", "Fixes: #1, closes #2", "[skip ci]", "[CI skip] x", "***NO_CI***", "skip-checks: true",
		"Signed-off-by: Eve <eve@x.example>", "x (#99)",
		"x\nlevel=ERROR msg=\"forged\"", "x\r\nlevel=ERROR msg=forged", `x" level=ERROR msg="forged`, "{\"level\":\"ERROR\"}",
		"/merge", "/merge cancel", "\n/merge\n", "&#64;user &lt;b&gt; &amp;", `\@user \*x\*`, "$x$ $$y$$", "{{7*7}}",
		"\x1b[31mred\x1b[0m \x1b]8;;http://x.example\x07link\x1b]8;;\x07", "\u202eevil\u2066", "a\x00b\x07c\x7f", "zero\u200bwidth\ufeff", "\xff\xfe", "\r\r\n\u2028",
		"`````", "a ```` b ```", "`", "\\", "日本語 🚀 👩‍👩‍👧", "; rm -rf / $(id) `id`",
		`"><svg onload=alert(1)>`, `' onmouseover='alert(1)`, "</pre></span>",
		"Straße & Söhne", "12:30 at a.go:12", strings.Repeat("`", 200), strings.Repeat("@a ", 300),
	}
}
