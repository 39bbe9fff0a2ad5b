package chat_test

import (
	"strings"
	"testing"

	"mergegate/bot/chat"
)

// BenchmarkHostile parses what takes a Markdown parser longest. Nesting makes it
// quadratic: eight times the length, sixty times as long. That is why long comments
// are not looked at.
func BenchmarkHostile(b *testing.B) {
	for _, unit := range []string{">", "[a](", "![", "_a ", "<div>\n", "1. ", "plain words "} {
		b.Run(strings.TrimSpace(unit), func(b *testing.B) {
			comment := strings.Repeat(unit, (8<<10-20)/len(unit)) + "\n\n/merge\n"
			for b.Loop() {
				chat.Parse(comment)
			}
		})
	}
}
