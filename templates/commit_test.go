package templates_test

import (
	"regexp"
	"strings"
	"testing"

	"mergegate/internal/hostile"
	"mergegate/templates"
)

// acts is what forges, CI and git act on in the message of a commit.
var acts = regexp.MustCompile(`(?im)[@#:][^\s@#:\x{200b}]|!\d|\bgh-\d|\bwww\.|\[(?:skip|no) ci|\[ci[ -]skip|\*\*\*no_ci|skip-checks:`)

// trailer is what git may read as a trailer, after the first line.
var trailer = regexp.MustCompile(`(?im)^[a-z0-9-]+\s*:`)

func TestAttack90CommitMessagesDoNothing(t *testing.T) {
	for _, word := range hostile.Words() {
		mergeSubject, mergeBody := templates.MergeCommit(7, word, candidate)
		squashSubject, squashBody := templates.SquashCommit(7, word, []string{word, word}, candidate)
		if found := trailer.FindString(mergeBody + "\n" + squashBody); found != "" {
			t.Errorf("%q makes the trailer %q", word, found)
		}
		for _, line := range []string{mergeSubject, squashSubject} {
			if strings.ContainsAny(line, "\n\r\x1b\x00") {
				t.Errorf("%q makes a subject of several lines: %q", word, line)
			}
		}
		for _, message := range []string{mergeSubject + "\n\n" + mergeBody, squashSubject + "\n\n" + squashBody} {
			if found := acts.FindString(strings.Replace(message, "#7", "", 1)); found != "" {
				t.Errorf("%q makes a message with %q:\n%s", word, found, message)
			}
			if strings.Contains(message, "(#99)") {
				t.Errorf("%q names another PR: %q", word, message)
			}
		}
	}
	if found := acts.FindString("fixes #1"); found == "" {
		t.Error("the test would not see a reference")
	}
}

func TestCommitMessagesReadWell(t *testing.T) {
	subject, body := templates.SquashCommit(7, "Add a cache", []string{"cache: add it", "cache: use it"}, candidate)
	if subject != "Add a cache (#7)" || body != "* cache: add it\n* cache: use it\n\nTested on "+candidate.Short()+" before it was merged." {
		t.Errorf("squash:\n%s\n\n%s", subject, body)
	}
	subject, body = templates.MergeCommit(7, "cache: add", candidate)
	if subject != "Merge pull request #7: cache: add" || body == "" {
		t.Errorf("merge:\n%s\n\n%s", subject, body)
	}
	_, body = templates.SquashCommit(7, "x", make([]string, 60), candidate)
	if lines := strings.Split(body, "\n"); len(lines) != 53 || lines[50] != "* and 10 more commits" {
		t.Errorf("60 commits:\n%s", body)
	}
}
