package near

import "testing"

func TestWord(t *testing.T) {
	words := []string{"timeout", "start_timeout", "env"}
	for word, want := range map[string]string{"timout": "timeout", "Timeout": "timeout", "timeuot": "timeout", "environment": "", "ev": "env", "x": "", "": ""} {
		if got := Word(word, words); got != want {
			t.Errorf("Word(%q) is %q, want %q", word, got, want)
		}
	}
}
