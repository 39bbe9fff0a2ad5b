package chat_test

import (
	"strings"
	"testing"

	"mergegate/bot/chat"
)

// BenchmarkHostile parses what takes a Markdown parser longest, once as far as it is
// looked at and once beyond.
func BenchmarkHostile(b *testing.B) {
	for _, unit := range []string{
		">", strings.Repeat(">", 16) + "a\n", strings.Repeat("1. ", 16) + "a\n\n", strings.Repeat("- ", 16) + "a\n",
		"[a](", "[a](" + strings.Repeat("b", 28), "![" + strings.Repeat("b", 30), "[" + strings.Repeat("`", 31), "![", "_a ", "*a **b ", "`", "<a ", "&", "<div>\n", "1. ", "plain words ",
	} {
		b.Run(strings.TrimSpace(unit[:min(len(unit), 12)]), func(b *testing.B) {
			comment := strings.Repeat(unit, (8<<10-20)/len(unit)) + "\n\n/merge\n"
			for b.Loop() {
				chat.Parse(comment)
			}
		})
	}
}
