package lease

import (
	"slices"

	"mergegate/gate"
)

// Bases names the base branches that have a lease among the comments, live or
// left behind, sorted, each once. A replica that starts looks for them: behind a
// lease that a dead holder left there may be work that shows nowhere else, such
// as a change that landed and was not told.
func Bases(keys [][]byte, repo gate.Repo, all []Comment) []string {
	var out []string
	for _, c := range all {
		if r, ok := parseAny(keys, c.Body); ok && c.Mine && r.Repo == repoName(repo) {
			out = append(out, r.Base)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Ref is the ref that NewRef keeps the lease of a base in.
func Ref(base string) string { return "refs/mergegate/lease/" + base }
