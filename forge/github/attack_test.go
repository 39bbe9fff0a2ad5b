package github

import (
	"regexp"
	"strings"
	"testing"

	"mergegate/forge"
	"mergegate/forge/forgetest"
	"mergegate/internal/hostile"
)

// The lease may stand behind more comments than a page holds: 100 on GitHub.
func TestAttack06LeaseBehindManyComments(t *testing.T) {
	forgetest.ManyComments(t, newWorld(t, true), 120)
}

// A check run's summary is Markdown; what it quotes is text in it.
func TestAttack89CheckRunsQuoteTextAsText(t *testing.T) {
	acts := regexp.MustCompile("[@#][A-Za-z0-9]|<|!\\[|https?:/|www\\.|^/|\n/|```")
	for _, word := range hostile.Words() {
		for _, state := range []forge.StatusState{forge.StatusPending, forge.StatusSuccess, forge.StatusFailure} {
			said := next(forge.Status{State: state, Text: word})
			quoted, ours, _ := strings.Cut(said, ".\n\n")
			if strings.Contains(quoted, "\n") || strings.Contains(ours, "\n\n") {
				t.Errorf("%q makes paragraphs: %q", word, said)
			}
			text := regexp.MustCompile(`&#\d+;`).ReplaceAllString(quoted, "§")
			if found := acts.FindString(text); found != "" {
				t.Errorf("%q acts in a check run: %q in %q", word, found, quoted)
			}
		}
	}
}
