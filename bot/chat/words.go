package chat

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mergegate/gate"
	"mergegate/internal/near"
)

// verbs are the words that may follow /merge.
func verbs() []string {
	var names []string
	for _, v := range []gate.Verb{gate.DoCancel, gate.DoRetry, gate.DoStatus, gate.DoFreeze, gate.DoUnfreeze, gate.DoHelp} {
		names = append(names, string(v))
	}
	return names
}

func priorities() []string {
	var names []string
	for _, p := range []gate.Priority{gate.Urgent, gate.High, gate.Normal, gate.Low} {
		names = append(names, p.String())
	}
	return names
}

func methods() []string {
	var names []string
	for _, m := range gate.Methods() {
		names = append(names, string(m))
	}
	return names
}

// parseLine reads what follows /merge on its line.
func parseLine(rest string) Command {
	first, after := cut(rest)
	verb := gate.Verb(strings.ToLower(first))
	switch {
	case verb == gate.DoFreeze:
		return parseFreeze(after)
	case slices.Contains(verbs(), string(verb)):
		if after != "" {
			return mistake(after, "%q takes nothing after it, but there is %q", "/merge "+string(verb), string(verb), shorten(after))
		}
		return Command{Verb: verb}
	}
	return parseOptions(rest)
}

func parseFreeze(reason string) Command {
	switch {
	case reason == "":
		return mistake("", `"freeze" needs a reason`, "/merge freeze REASON")
	case utf8.RuneCountInString(reason) > MaxReason:
		return mistake("", "the reason has more than %d characters", "", MaxReason)
	}
	return Command{Verb: gate.DoFreeze, Reason: reason}
}

func parseOptions(rest string) Command {
	c := Command{Verb: gate.DoMerge}
	for rest != "" {
		key, value, isPair, after, err := nextOption(rest)
		switch {
		case err != nil:
			return Command{Err: err}
		case !isPair:
			return unknownWord(key)
		}
		rest = after
		switch strings.ToLower(key) {
		case "method":
			if c.Method != "" {
				return mistake(key, "%q is given twice", "", shorten(key))
			}
			if !slices.Contains(methods(), strings.ToLower(value)) {
				return badValue("method", value, methods())
			}
			c.Method = gate.Method(strings.ToLower(value))
		case "priority":
			if c.Priority != nil {
				return mistake(key, "%q is given twice", "", shorten(key))
			}
			p, ok := parsePriority(value)
			if !ok {
				return badValue("priority", value, priorities())
			}
			c.Priority = &p
		default:
			hint := near.Word(key, []string{"method", "priority"})
			if hint != "" {
				hint = "/merge " + hint + "=" + shorten(value)
			}
			return mistake(key, "unknown option %q", hint, shorten(key))
		}
	}
	return c
}

func parsePriority(name string) (gate.Priority, bool) {
	for p := gate.Low; p <= gate.Urgent; p++ {
		if p.String() == strings.ToLower(name) {
			return p, true
		}
	}
	return 0, false
}

// nextOption takes one word or key=value from the front of s. A value that begins
// with a double quote ends at the next one, which must end the word too.
func nextOption(s string) (key, value string, isPair bool, rest string, err *Mistake) {
	word, after := cut(s)
	key, value, isPair = strings.Cut(word, "=")
	if !isPair || !strings.HasPrefix(value, `"`) {
		return key, value, isPair, after, nil
	}
	quoted := s[len(key)+len(`="`):]
	value, rest, closed := strings.Cut(quoted, `"`)
	if !closed {
		return "", "", false, "", mistake(key, "the quote after %q is not closed", "", shorten(key)+"=").Err
	}
	if r, _ := utf8.DecodeRuneInString(rest); rest != "" && !unicode.IsSpace(r) {
		return "", "", false, "", mistake(key, "there is text right after the closing quote of %q", "", shorten(key)).Err
	}
	return key, value, true, strings.TrimSpace(rest), nil
}

func unknownWord(word string) Command {
	lower := strings.ToLower(word)
	switch {
	case slices.Contains(verbs(), lower):
		return mistake(word, "%q goes alone, without options", "/merge "+lower, shorten(word))
	case lower == "method" || lower == "priority":
		return mistake(word, "%q needs a value", "/merge "+lower+"=VALUE", shorten(word))
	case slices.Contains(methods(), lower):
		return mistake(word, "unknown word %q", "/merge method="+lower, shorten(word))
	case slices.Contains(priorities(), lower):
		return mistake(word, "unknown word %q", "/merge priority="+lower, shorten(word))
	}
	hint := near.Word(word, verbs())
	if hint != "" {
		hint = "/merge " + hint
	}
	return mistake(word, "unknown word %q", hint, shorten(word))
}

func badValue(key, value string, allowed []string) Command {
	text := fmt.Sprintf("%q is no %s; it can be %s", shorten(value), key, strings.Join(allowed, ", "))
	if value == "" {
		text = fmt.Sprintf("%q has no value; it can be %s", key+"=", strings.Join(allowed, ", "))
	}
	m := &Mistake{Word: shorten(value), Text: text}
	if hint := near.Word(value, allowed); hint != "" {
		m.Hint = "/merge " + key + "=" + hint
	}
	return Command{Err: m}
}

func mistake(word, format, hint string, args ...any) Command {
	return Command{Err: &Mistake{Word: shorten(word), Text: fmt.Sprintf(format, args...), Hint: hint}}
}

// cut splits s at its first run of white space.
func cut(s string) (first, after string) {
	i := strings.IndexFunc(s, unicode.IsSpace)
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// shorten keeps an answer to one short line whatever was typed.
func shorten(s string) string {
	const limit = 40
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}
