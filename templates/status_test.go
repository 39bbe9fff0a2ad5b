package templates_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mergegate/gate"
	"mergegate/templates"
)

const (
	tip       = gate.SHA("1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b")
	candidate = gate.SHA("9f8e7d6c5b4a9f8e7d6c5b4a9f8e7d6c5b4a9f8e")
	tree      = gate.SHA("0123456789012345678901234567890123456789")
)

func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

func TestStatus(t *testing.T) {
	queued := func(n int) gate.Line { return gate.Line{State: gate.Queued, Position: n, Length: 112, Base: "main"} }
	testing := gate.Line{State: gate.Testing, Candidate: candidate, Base: "main", Tip: tip, Since: noon().Add(-200 * time.Second), Timeout: 30 * time.Minute}
	tests := []struct {
		line gate.Line
		want string
	}{
		{gate.Line{}, "Not asked for"},
		{queued(1), "Queued, 1st of 112 on main"},
		{queued(2), "Queued, 2nd of 112 on main"},
		{queued(3), "Queued, 3rd of 112 on main"},
		{queued(4), "Queued, 4th of 112 on main"},
		{queued(11), "Queued, 11th of 112 on main"},
		{queued(12), "Queued, 12th of 112 on main"},
		{queued(21), "Queued, 21st of 112 on main"},
		{queued(112), "Queued, 112th of 112 on main"},
		{gate.Line{State: gate.Waiting, Why: []string{"1 more approval"}}, "Waiting: 1 more approval"},
		{gate.Line{State: gate.Waiting}, "Waiting"},
		{gate.Line{State: gate.CatchingUp, Base: "main", Tip: tip}, "Catching up with main 1a2b3c4"},
		{testing, "Testing 9f8e7d6 on main 1a2b3c4, 3m of 30m"},
		{gate.Line{State: gate.Landing}, "Landing"},
		{gate.Line{State: gate.Landed, Landed: candidate}, "Landed as 9f8e7d6"},
		{gate.Line{State: gate.Landed, Why: []string{"Merged by somebody else, as 9f8e7d6"}}, "Merged by somebody else, as 9f8e7d6"},
		{gate.Line{State: gate.Dropped, Why: []string{"Conflict with main in 3 files"}}, "Conflict with main in 3 files"},
		{gate.Line{State: gate.Dropped, Why: []string{"Retest failed: exit 1"}}, "Retest failed: exit 1"},
		{gate.Line{State: gate.Dropped, Why: []string{`Cannot reach the CI check "build": never started`}}, `Cannot reach the CI check "build": never started`},
		{gate.Line{State: gate.Dropped, Why: []string{"the PR was closed"}}, "Dropped: the PR was closed"},
		{gate.Line{State: gate.Dropped}, "Dropped"},
		{gate.Line{State: gate.Queued, Frozen: "CI is down"}, "Frozen: CI is down"},
		{gate.Line{State: gate.Landing, Frozen: "CI is down"}, "Frozen: CI is down"},
		{gate.Line{State: gate.CatchingUp, Frozen: "CI is down"}, "Frozen: CI is down"},
		{gate.Line{State: gate.Waiting, Frozen: "CI is down", Why: []string{"1 more approval"}}, "Waiting: 1 more approval"},
		{gate.Line{State: gate.Queued, Frozen: "a\nb\x1b[31m red \u202e"}, "Frozen: a b red \ufffd"},
	}
	for _, tt := range tests {
		if got := templates.Status(tt.line, noon()); got != tt.want {
			t.Errorf("Status(%+v)\n got %q\nwant %q", tt.line, got, tt.want)
		}
	}
	if got, want := templates.Status(testing, time.Time{}), "Testing 9f8e7d6 on main 1a2b3c4"; got != want {
		t.Errorf("without a clock: %q, want %q", got, want)
	}
}

func TestStatusSaysHowLong(t *testing.T) {
	for elapsed, want := range map[time.Duration]string{
		-time.Minute: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", time.Hour: "1h",
		65*time.Minute + 30*time.Second: "1h 5m", 48 * time.Hour: "2d", 51*time.Hour + time.Minute: "2d 3h",
	} {
		line := gate.Line{State: gate.Testing, Candidate: candidate, Base: "main", Tip: tip, Since: noon().Add(-elapsed)}
		if got := templates.Status(line, noon()); !strings.HasSuffix(got, ", "+want) {
			t.Errorf("after %v: %q, want %q", elapsed, got, want)
		}
	}
}

// A status that does not fit leaves out whole items and counts them.
func TestStatusFits(t *testing.T) {
	item := "a maintainer to allow the merge method squash in the settings"
	for _, tt := range []struct {
		why  []string
		want string
	}{
		{[]string{item, item, item}, "Waiting: " + item + ", and 2 more"},
		{[]string{item, "1 more approval"}, "Waiting: " + item + ", 1 more approval"},
		{[]string{strings.Repeat("é", 200), "b"}, "Waiting: " + strings.Repeat("é", 118) + "…, and 1 more"},
	} {
		got := templates.Status(gate.Line{State: gate.Waiting, Why: tt.why}, noon())
		if got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
		if n := utf8.RuneCountInString(got); n > templates.MaxStatus {
			t.Errorf("%d characters: %q", n, got)
		}
	}
	long := strings.Repeat("ü", 500)
	for _, s := range []gate.State{"", gate.Waiting, gate.Queued, gate.CatchingUp, gate.Testing, gate.Landing, gate.Landed, gate.Dropped} {
		for _, frozen := range []string{"", long} {
			line := gate.Line{State: s, Base: long, Why: []string{long, long}, Frozen: frozen, Candidate: gate.SHA(long), Tip: gate.SHA(long), Position: 99999, Length: 99999, Timeout: 9999 * time.Hour}
			if got := templates.Status(line, noon()); utf8.RuneCountInString(got) > templates.MaxStatus || !utf8.ValidString(got) {
				t.Errorf("%s: %d characters: %q", s, utf8.RuneCountInString(got), got)
			}
		}
	}
}
