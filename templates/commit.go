package templates

import (
	"fmt"
	"regexp"
	"strings"

	"mergegate/gate"
)

// Words of a PR in the message of a commit that mergegate makes would act with
// mergegate's rights: close issues, call people, keep CI from running. The words of
// the author's own commits are part of what was approved and stay as they are.

const (
	maxCommitTitle = 120 // characters of the PR's title in a commit's
	maxSubjects    = 50
)

// MergeCommit is the message of the commit that merges a PR.
func MergeCommit(pr int, title string, base gate.SHA) (subject, body string) {
	return fmt.Sprintf("Merge pull request #%d: %s", pr, Inert(clip(title, maxCommitTitle))),
		fmt.Sprintf("Tested on %s before it was merged.", sha(base))
}

// SquashCommit is the message of the commit that a PR becomes. subjects are those of
// its commits, oldest first.
func SquashCommit(pr int, title string, subjects []string, base gate.SHA) (subject, body string) {
	var b strings.Builder
	for i, s := range subjects {
		if i == maxSubjects {
			fmt.Fprintf(&b, "* and %s\n", count(len(subjects)-i, "more commit"))
			break
		}
		fmt.Fprintf(&b, "* %s\n", Inert(clip(s, maxCommitTitle)))
	}
	fmt.Fprintf(&b, "\nTested on %s before it was merged.", sha(base))
	return fmt.Sprintf("%s (#%d)", Inert(clip(title, maxCommitTitle)), pr), strings.TrimSpace(b.String())
}

// skips matches the words that tell a CI to leave a commit alone.
var skips = regexp.MustCompile(`(?i)(\[)((?:skip|ci|no|actions)[ -])|(\*\*)(\*no_ci)|(skip)(-checks:)`)

// Inert makes s one line of a commit's message that is read as s and does nothing:
// it mentions nobody, refers to nothing, closes nothing, and is no word to a CI. In
// the first line, or after a bullet, it is no trailer either. Unlike Plain it is no Markdown and has no entities.
func Inert(s string) string {
	s = strings.Join(strings.Fields(Clean(s)), " ")
	for range 2 { // matches may touch
		s = effective.ReplaceAllString(s, "$1$3$5$7$9"+zeroWidth+"$2$4$6$8${10}")
	}
	return skips.ReplaceAllString(s, "$1$3$5"+zeroWidth+"$2$4$6")
}
