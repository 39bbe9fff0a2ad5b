package demo

import "context"

// The marks that mergegate promises to leave on the forge.
const (
	statusContext = "mergegate"
	queueMarker   = "<!-- mergegate:queue -->"
	leaseMarker   = "<!-- mergegate:lease -->"
	requestLabel  = "merge"
)

// The people of the story, and their repository.
const (
	mia      = "mia" // maintains the repository
	ada      = "ada" // writes the changes
	repoName = mia + "/greetings"
)

// world is a forge as people see it, with the repository of the story in it.
type world interface {
	cloneURL() (url, auth string) // auth is an Authorization header, or ""
	// hire gives mergegate an account on the forge, puts the secrets into files
	// in dir, and says where mergegate finds all this. It is called once.
	hire(ctx context.Context, dir string) (Place, error)

	// propose opens ada's pull request and gives its number and head.
	propose(ctx context.Context, c change) (number int, head string, err error)
	approve(ctx context.Context, pr int) error // mia's review
	request(ctx context.Context, pr int) error // mia's label, which puts it into the queue
	invite(pr int) []string                    // where a visitor puts the label on, for people

	// pulls are the pull requests, by number.
	pulls(ctx context.Context) ([]pull, error)
	// statuses are all that mergegate ever said on a commit, oldest first.
	statuses(ctx context.Context, commit string) ([]status, error)
	// comments are the texts that mergegate wrote on a pull request or an issue.
	comments(ctx context.Context, number int) ([]string, error)
	// leases counts the lease comments in the queue issue.
	leases(ctx context.Context) (int, error)

	stop() // ends the forge
}
