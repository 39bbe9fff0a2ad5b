package github

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/gate"
)

// TestHistory: a push is told from the label and the comments by GitHub's own
// time, and within one second by the order of the timeline. A commit's own date
// never counts: whoever pushes chooses it.
func TestHistory(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
	label := func(second int, name string) string {
		return fmt.Sprintf(`{"event":"labeled","created_at":%q,"actor":{"id":5,"login":"ann"},"label":{"name":%q}}`, at(second).Format(time.RFC3339), name)
	}
	comment := func(second, id int) string {
		return fmt.Sprintf(`{"event":"commented","id":%d,"created_at":%q}`, id, at(second).Format(time.RFC3339))
	}
	const commit, forced = `{"event":"committed","sha":"1111111111111111111111111111111111111111"}`, `{"event":"head_ref_force_pushed"}`
	for _, tt := range []struct {
		name     string
		events   []string
		pushed   int // second; -1 for unknown
		labelled int // second; -1 for never
		since    bool
		outdated string
	}{
		{"labelled last", []string{commit, comment(1, 1), label(2, "merge")}, 0, 2, false, "[]"},
		{"pushed last", []string{commit, comment(1, 1), label(2, "merge"), commit}, 3, 2, true, "[1]"},
		{"pushed with an old date", []string{commit, commit, comment(1, 1), label(2, "merge")}, 3, 2, true, "[1]"},
		{"pushed with a date to come", []string{comment(1, 1), label(2, "merge"), commit}, 0, 2, false, "[]"},
		{"all in one second", []string{commit, comment(1, 1), label(1, "merge"), forced, comment(1, 2)}, 1, 1, true, "[1]"},
		{"labelled again", []string{commit, label(1, "merge"), commit, label(4, "Merge")}, 3, 4, false, "[]"},
		{"another label", []string{commit, label(1, "wip")}, 0, -1, false, "[]"},
		{"hidden, in order", []string{commit, comment(1, 1), label(2, "merge"), commit, comment(4, 2)}, -1, 2, true, "[1]"},
		{"hidden, no push", []string{commit, comment(1, 1), label(2, "merge")}, -1, 2, false, "[]"},
	} {
		var events []*sdk.Timeline
		for _, e := range tt.events {
			event := new(sdk.Timeline)
			check(t, json.Unmarshal([]byte(e), event))
			events = append(events, event)
		}
		var pushed time.Time
		if tt.pushed >= 0 {
			pushed = at(tt.pushed)
		}
		got := history(events, "merge", pushed)
		by, when := gate.User{}, time.Time{}
		if tt.labelled >= 0 {
			by, when = gate.User{ID: 5, Login: "ann"}, at(tt.labelled)
		}
		if got.LabelledBy != by || !got.LabelledAt.Equal(when) || got.PushedSince != tt.since || fmt.Sprint(got.Outdated) != tt.outdated {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// TestPushed reads the time of the head's push, of a fork too, and does without
// where it is hidden.
func TestPushed(t *testing.T) {
	const noon, later = "2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z"
	fork := pullJSON(map[string]any{"head": map[string]any{"ref": "a&b", "sha": headSHA, "repo": map[string]any{"id": 2, "full_name": "eve/widgets"}}})
	gone := pullJSON(map[string]any{"head": map[string]any{"ref": "feature", "sha": headSHA, "repo": nil}})
	activity := func(a, b string) reply {
		return reply{200, fmt.Sprintf(`[{"after":%q,"timestamp":%q},{"after":%q,"timestamp":%q},{"after":%q,"timestamp":"2026-11-23T14:00:00Z"}]`, headSHA, a, headSHA, b, otherSHA)}
	}
	for _, tt := range []struct {
		name, pull, where string
		answer            reply
		want              string
		fails             bool
	}{
		{"its own", pullJSON(nil), "acme/widgets", activity(noon, later), later, false},
		{"in any order", pullJSON(nil), "acme/widgets", activity(later, noon), later, false},
		{"a fork's", fork, "eve/widgets", activity(noon, noon), noon, false},
		{"hidden", fork, "eve/widgets", reply{404, "{}"}, "", false},
		{"forbidden", fork, "eve/widgets", reply{403, "{}"}, "", false},
		{"gone", gone, "nobody/nothing", reply{200, "[]"}, "", false},
		{"broken", pullJSON(nil), "acme/widgets", reply{400, "{}"}, "", true},
	} {
		s := newScript(t, map[string][]reply{"GET " + pullPath: {{200, tt.pull}}, "GET /repos/" + tt.where + "/activity": {tt.answer}})
		f := s.forge(t)
		p, err := f.pull(t.Context(), widgets, 12)
		check(t, err)
		got, err := f.pushed(t.Context(), widgets, "look", p)
		want, _ := time.Parse(time.RFC3339, tt.want)
		if (err != nil) != tt.fails || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}
