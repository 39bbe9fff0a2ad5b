package config

import "strings"

// nearest is the candidate that a misspelt word most likely meant, or "" when
// none is within two edits (one for words of up to three letters).
func nearest(word string, candidates []string) string {
	best, least := "", 3
	if len(word) <= 3 {
		least = 2
	}
	if len(word) > 64 {
		return ""
	}
	for _, c := range candidates {
		if n := distance(strings.ToLower(word), c); n < least {
			best, least = c, n
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes, by Wagner and Fischer's table
// (Journal of the ACM 21, 1974), one row at a time.
func distance(a, b string) int {
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
