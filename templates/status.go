package templates

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mergegate/gate"
)

// MaxStatus is how many characters a status line may have; forges cut or refuse
// longer ones.
const MaxStatus = 140

// Status is the one line that says where a request is and what it waits for, as
// plain text of at most MaxStatus characters, not escaped for Markdown or HTML.
// The time a test has taken so far is left out when now is zero: a line that is
// not renewed every minute would be wrong.
func Status(l gate.Line, now time.Time) string {
	switch {
	case l.Frozen != "" && (l.State == gate.Queued || l.State == gate.CatchingUp || l.State == gate.Landing):
		return oneLine("Frozen: " + l.Frozen)
	case l.State == gate.Waiting:
		return waiting(l.Why)
	case l.State == gate.Queued:
		return fmt.Sprintf("Queued, %s of %d on %s", ordinal(l.Position), l.Length, short(l.Base))
	case l.State == gate.CatchingUp:
		return oneLine("Catching up with " + short(l.Base) + " " + l.Tip.Short())
	case l.State == gate.Testing:
		return underTest(l, now)
	case l.State == gate.Landing:
		return "Landing"
	case l.State == gate.Landed && l.Landed != "" && !l.Alarm && l.Left == "":
		return oneLine("Landed as " + l.Landed.Short())
	case l.State == gate.Landed || l.State == gate.Dropped:
		return ended(l.State, l.Why)
	}
	return "Not asked for"
}

// waiting lists what a request waits for. Items that do not fit are left out
// whole, and counted.
func waiting(items []string) string {
	if len(items) == 0 {
		return "Waiting"
	}
	return fit("Waiting: ", items)
}

// underTest says what is tested on what, and for how long of the time allowed.
func underTest(l gate.Line, now time.Time) string {
	s := fmt.Sprintf("Testing %s on %s %s", l.Candidate.Short(), short(l.Base), l.Tip.Short())
	if !now.IsZero() {
		s += ", " + took(now.Sub(l.Since))
		if l.Timeout > 0 {
			s += " of " + took(l.Timeout)
		}
	}
	return oneLine(s)
}

// ended says why a request ended. A reason that begins with a capital is a
// line of its own ("Retest failed: exit 1"), another one is put behind the state.
func ended(state gate.State, why []string) string {
	name := capital(string(state))
	if len(why) == 0 {
		return name
	}
	if r, _ := utf8.DecodeRuneInString(why[0]); unicode.IsUpper(r) {
		return fit("", why)
	}
	return fit(name+": ", why)
}

// fit joins items with commas behind prefix, leaving out from the end what does
// not fit, with its count. A first item that alone is too long is cut.
func fit(prefix string, items []string) string {
	for n := len(items); n > 0; n-- {
		s := prefix + strings.Join(items[:n], ", ")
		if n < len(items) {
			s += fmt.Sprintf(", and %d more", len(items)-n)
		}
		if s = spaces(s); utf8.RuneCountInString(s) <= MaxStatus {
			return s
		}
	}
	more := ""
	if len(items) > 1 {
		more = fmt.Sprintf(", and %d more", len(items)-1)
	}
	return clip(spaces(prefix+items[0]), MaxStatus-len(more)) + more
}

func oneLine(s string) string { return clip(spaces(s), MaxStatus) }

// spaces cleans s and makes all white space single spaces.
func spaces(s string) string { return strings.Join(strings.Fields(Clean(s)), " ") }

// short keeps a branch name from taking the whole line.
func short(branch string) string { return clip(spaces(branch), 60) }

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// ordinal is 1st, 2nd, 3rd, 4th, 11th, 21st.
func ordinal(n int) string {
	suffix := "th"
	if n/10%10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// took is a duration as people say it, in its two largest units: 45s, 3m, 1h 5m,
// 2d 3h. Seconds are left out from a minute on.
func took(d time.Duration) string {
	d = max(0, d)
	s, m, h := int(d.Seconds()), int(d.Minutes()), int(d.Hours())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case m < 60:
		return fmt.Sprintf("%dm", m)
	case h < 24:
		return strings.TrimSuffix(fmt.Sprintf("%dh %dm", h, m%60), " 0m")
	}
	return strings.TrimSuffix(fmt.Sprintf("%dd %dh", h/24, h%24), " 0h")
}

// count is "1 file", "3 files".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
