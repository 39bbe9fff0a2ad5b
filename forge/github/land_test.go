package github

import (
	"fmt"
	"strings"
	"testing"

	"mergegate/forge"
	"mergegate/gate"
)

var (
	tipSHA   = gate.SHA(strings.Repeat("1", 40))
	headSHA  = gate.SHA(strings.Repeat("2", 40))
	otherSHA = gate.SHA(strings.Repeat("3", 40))
)

const (
	pullPath  = "/repos/acme/widgets/pulls/12"
	basePath  = "/repos/acme/widgets/git/ref/heads/main"
	movePath  = "PATCH /repos/acme/widgets/git/refs/heads/main"
	mergePath = "PUT " + pullPath + "/merge"
)

// pullJSON is PR #12 of feature onto main.
func pullJSON(change map[string]any) string {
	repo := map[string]any{"id": 1, "full_name": "acme/widgets"}
	p := map[string]any{"number": 12, "state": "open", "mergeable": true,
		"head": map[string]any{"ref": "feature", "sha": headSHA, "repo": repo},
		"base": map[string]any{"ref": "main", "sha": otherSHA, "repo": repo}}
	for k, v := range change {
		p[k] = v
	}
	return marshal(p)
}

func refJSON(c gate.SHA) string { return marshal(map[string]any{"object": map[string]any{"sha": c}}) }

func messageJSON(text string) string { return marshal(map[string]string{"message": text}) }

// TestLandAnswers gives each answer that a landing can meet.
func TestLandAnswers(t *testing.T) {
	open, closed := reply{200, pullJSON(nil)}, reply{200, pullJSON(map[string]any{"state": "closed"})}
	moved := map[string]any{"head": map[string]any{"ref": "feature", "sha": otherSHA, "repo": map[string]any{"id": 1}}}
	merged := reply{200, pullJSON(map[string]any{"state": "closed", "merged_at": "2026-11-23T12:00:00Z", "merge_commit_sha": headSHA})}
	at := func(c gate.SHA) reply { return reply{200, refJSON(c)} }
	no := func(status int, text string) []reply { return []reply{{status, messageJSON(text)}} }
	for _, tt := range []struct {
		name   string
		method gate.Method
		pull   []reply // successive reads of the PR
		base   []reply // of the branch
		answer []reply // to the write
		want   error
		text   string
		writes int
	}{
		{"merged", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(200, "Pull Request successfully merged"), nil, "", 1},
		{"moved forward", gate.FastForward, []reply{open, merged}, []reply{at(tipSHA)}, []reply{{200, refJSON(headSHA)}}, nil, "", 1},
		{"already merged", gate.Merge, []reply{merged}, nil, nil, forge.ErrMoved, "already merged", 0},
		{"closed", gate.Merge, []reply{closed}, nil, nil, forge.ErrDenied, "closed", 0},
		{"a draft", gate.Merge, []reply{{200, pullJSON(map[string]any{"draft": true})}}, nil, nil, forge.ErrDenied, "draft", 0},
		{"head moved", gate.FastForward, []reply{{200, pullJSON(moved)}}, nil, nil, forge.ErrMoved, "head is 3333333", 0},
		{"retargeted", gate.Merge, []reply{{200, pullJSON(map[string]any{"base": map[string]any{"ref": "next"}})}}, nil, nil, forge.ErrMoved, "base is next", 0},
		{"base moved", gate.Merge, []reply{open}, []reply{at(otherSHA)}, nil, forge.ErrMoved, "main is at 3333333", 0},
		{"no such PR", gate.Merge, nil, nil, nil, forge.ErrNotFound, "", 0},

		{"head moved during the call", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(409, "Head branch was modified. Review and try the merge again."), forge.ErrMoved, "Head branch was modified", 1},
		{"base moved during the call", gate.Merge, []reply{open}, []reply{at(tipSHA), at(otherSHA)}, no(405, "Base branch was modified. Review and try the merge again."), forge.ErrMoved, "Base branch was modified", 1},
		{"merged by somebody meanwhile", gate.Squash, []reply{open, merged}, []reply{at(tipSHA)}, no(405, "Pull Request is not mergeable"), forge.ErrMoved, "not mergeable", 1},
		{"mergeability not known yet", gate.Merge, []reply{open, {200, pullJSON(map[string]any{"mergeable": nil})}}, []reply{at(tipSHA)}, no(405, "Pull Request is not mergeable"), forge.ErrBusy, "not mergeable", 1},
		{"conflict", gate.Merge, []reply{open, {200, pullJSON(map[string]any{"mergeable": false})}}, []reply{at(tipSHA)}, no(405, "Pull Request is not mergeable"), forge.ErrDenied, "not mergeable", 1},
		{"approval missing", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(405, "At least 1 approving review is required by reviewers with write access."), forge.ErrDenied, "approving review", 1},
		{"method switched off", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(405, "Merge commits are not allowed on this repository."), forge.ErrDenied, "not allowed", 1},
		{"may not merge", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(403, "Resource not accessible by integration"), forge.ErrDenied, "not accessible", 1},
		{"not understood", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(422, "Validation Failed"), forge.ErrDenied, "Validation", 1},
		{"broken", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(502, ""), errUnknown, "502", 1},
		{"accepted, whatever that means", gate.Merge, []reply{open}, []reply{at(tipSHA)}, no(202, ""), errUnknown, "", 1},
		{"refused, then the forge is down", gate.Merge, []reply{open, {500, ""}}, []reply{at(tipSHA)}, no(405, "no"), errUnknown, "reading back", 1},

		{"not a fast-forward", gate.FastForward, []reply{open}, []reply{at(tipSHA), at(otherSHA)}, no(422, "Update is not a fast forward"), forge.ErrMoved, "fast forward", 1},
		{"a rule forbids it", gate.FastForward, []reply{open}, []reply{at(tipSHA)}, no(422, "Repository rule violations found; Changes must be made through a pull request."), forge.ErrDenied, "through a pull request", 1},
		{"may not push", gate.FastForward, []reply{open}, []reply{at(tipSHA)}, no(403, "Resource not accessible by integration"), forge.ErrDenied, "not accessible", 1},
		{"conflict of two writes", gate.FastForward, []reply{open}, []reply{at(tipSHA)}, no(409, "Conflict"), errUnknown, "409", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			write := mergePath
			if tt.method == gate.FastForward {
				write = movePath
			}
			s := newScript(t, map[string][]reply{"GET " + pullPath: tt.pull, "GET " + basePath: tt.base, write: tt.answer})
			err := s.forge(t).Land(t.Context(), widgets, forge.Landing{PR: 12, Base: "main", Tip: tipSHA, Head: headSHA, Method: tt.method})
			if kind(err) != tt.want || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("error %v; want %v with %q", err, tt.want, tt.text)
			}
			if err != nil && !strings.Contains(err.Error(), "#12 of acme/widgets") {
				t.Errorf("%q does not say what was asked", err)
			}
			if got := s.times(write); got != tt.writes {
				t.Errorf("asked %d times to land, want %d", got, tt.writes)
			}
		})
	}
}

// TestLandAsksForNoMore looks at the calls themselves: pinned, and never by force.
func TestLandAsksForNoMore(t *testing.T) {
	l := forge.Landing{PR: 12, Base: "main", Tip: tipSHA, Head: headSHA, Method: gate.Squash, Title: "T", Message: "M"}
	s := newScript(t, map[string][]reply{
		"GET " + pullPath: {{200, pullJSON(nil)}}, "GET " + basePath: {{200, refJSON(tipSHA)}},
		mergePath: {{200, "{}"}}, movePath: {{200, "{}"}},
		"PATCH /repos/acme/widgets/issues/12": {{200, "{}"}},
	})
	f := s.forge(t)
	check(t, f.Land(t.Context(), widgets, l))
	want := `{"commit_message":"M","commit_title":"T","merge_method":"squash","sha":"` + string(headSHA) + `"}` + "\n"
	if got := s.bodies[mergePath]; got != want {
		t.Errorf("merge asked %s, want %s", got, want)
	}
	l.Method = gate.FastForward
	check(t, f.Land(t.Context(), widgets, l))
	want = `{"force":false,"sha":"` + string(headSHA) + `"}` + "\n"
	if got := s.bodies[movePath]; got != want {
		t.Errorf("ref update asked %s, want %s", got, want)
	}
	if got := s.bodies["PATCH /repos/acme/widgets/issues/12"]; got != `{"state":"closed"}`+"\n" {
		t.Errorf("a PR that GitHub does not mark as merged: asked %q, want it closed", got)
	}
}

// TestLandDeletesBranch only where it is still what was landed; what goes wrong
// with it is no refusal of the landing.
func TestLandDeletesBranch(t *testing.T) {
	const branch, gone = "/repos/acme/widgets/git/ref/heads/feature", "DELETE /repos/acme/widgets/git/refs/heads/feature"
	fork := map[string]any{"head": map[string]any{"ref": "feature", "sha": headSHA, "repo": map[string]any{"id": 2, "full_name": "eve/widgets"}}}
	for _, tt := range []struct {
		name    string
		pull    string
		tip     reply
		answer  reply
		want    error
		deletes int
	}{
		{"there", pullJSON(nil), reply{200, refJSON(headSHA)}, reply{204, ""}, nil, 1},
		{"pushed to meanwhile", pullJSON(nil), reply{200, refJSON(otherSHA)}, reply{204, ""}, nil, 0},
		{"gone already", pullJSON(nil), reply{404, messageJSON("Not Found")}, reply{204, ""}, nil, 0},
		{"gone in that moment", pullJSON(nil), reply{200, refJSON(headSHA)}, reply{422, messageJSON("Reference does not exist")}, nil, 1},
		{"protected", pullJSON(nil), reply{200, refJSON(headSHA)}, reply{403, messageJSON("no")}, errUnknown, 1},
		{"a fork's", pullJSON(fork), reply{200, refJSON(headSHA)}, reply{204, ""}, nil, 0},
	} {
		s := newScript(t, map[string][]reply{"GET " + pullPath: {{200, tt.pull}}, "GET " + basePath: {{200, refJSON(tipSHA)}},
			mergePath: {{200, "{}"}}, "GET " + branch: {tt.tip}, gone: {tt.answer}})
		err := s.forge(t).Land(t.Context(), widgets, forge.Landing{PR: 12, Base: "main", Tip: tipSHA, Head: headSHA, Method: gate.Merge, DeleteBranch: true})
		if kind(err) != tt.want || s.times(gone) != tt.deletes {
			t.Errorf("%s: error %v, %d deletions; want %v, %d", tt.name, err, s.times(gone), tt.want, tt.deletes)
		}
	}
}
