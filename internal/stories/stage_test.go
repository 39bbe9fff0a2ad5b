package stories

import (
	"os"
	"strings"
	"testing"

	"mergegate/gate"
)

// stage is a forge with one repository and its people: what a story needs that is
// not the same on every forge. Its methods fail the story when they are refused.
type stage interface {
	// url is where git and the API are, without a slash at the end; api is the base
	// of the REST API, and repo the repository below it, owner/name.
	url() string
	api() string
	repo() string
	cloneURL(as person, repo string) string

	// hire puts what mergegate signs in with into dir, and gives the configuration
	// of the forge at this address (a proxy's), without name and repos.
	hire(dir, url string) string
	// hear sends webhooks to a replica from now on.
	hear(bot *replica)
	// troubles are ways in which mergegate can be kept from its work.
	troubles() map[string]trouble

	// What people do.
	propose(by person, head, base, title string) int
	fork(by person) (repo string)
	keepToMyself(by person, pr int) // maintainers may not push to the fork's branch
	label(by person, pr int)
	unlabel(by person, pr int)
	comment(by person, pr int, text string) int64
	edit(by person, comment int64, text string)
	erase(by person, comment int64)
	review(by person, pr int, s gate.ReviewState)
	dismiss(by, reviewer person, pr int)
	close(by person, pr int)
	draft(by person, pr int)
	retarget(by person, pr int, base string)
	ci(sha, context, state string)

	// What the owner sets.
	role(who person, r gate.Role)
	onlyMethod(m gate.Method) // allows no other; in particular no fast-forward
	forbid(m gate.Method)
	protect(approvals int, checks ...string)
	rename(name string)

	// What can be seen.
	acknowledged(comment int64) bool // by mergegate's reaction
	pushed(pr int) bool              // that the PR's branch was pushed to since it was opened
}

// person has an account on the forge.
type person struct{ name, token string }

// trouble keeps mergegate from its work until it ends.
type trouble struct {
	says       string // on mergegate's page
	begin, end func(w *world)
}

// differs notes that what follows is not the same on every forge, and where that
// is written: a row of the table of differences in docs/design.md.
func differs(t testing.TB, row string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## The same on both forges, and what is not")
	table, _, _ = strings.Cut(table, "\n## ")
	if !strings.Contains(table, "\n| "+row+" |") {
		t.Fatalf("docs/design.md has no difference %q", row)
	}
}
