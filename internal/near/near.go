// Package near guesses what somebody meant who misspelt a word. It is for hints
// only: nothing is ever done because of a guess.
package near

import "strings"

// Word is the name within two edits of word, if at least half of the word is
// right; "" when there is none. Case does not matter; names are in lower case.
func Word(word string, names []string) string {
	word = strings.ToLower(word)
	best, name := 3, ""
	for _, n := range names {
		if d := distance(word, n); d < best && 2*d <= len(word) {
			best, name = d, n
		}
	}
	return name
}

// distance is the Levenshtein distance in bytes, by the table of Wagner and
// Fischer (Journal of the ACM 21, 1974), one row at a time. Words too different
// in length to matter are not measured.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
