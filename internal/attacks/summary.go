package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// summary writes a line for each row and test, and the counts. It is false when a
// test failed or did not run, when a row is open or the document names a test that
// is not there, and, if strict, when anything was skipped.
func summary(w io.Writer, rows []row, tests []test, out map[test]outcome, strict bool) bool {
	fmt.Fprintf(w, "\n== attacks (docs/attacks.md)\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var open []string
	for _, r := range rows {
		of := covering(tests, r.Number)
		switch {
		case len(of) == 0 && r.Reason == "":
			open = append(open, fmt.Sprint(r.Number))
		case len(of) == 0:
			fmt.Fprintf(table, "%d\tcrossed out\t%s\n", r.Number, r.Reason)
		}
		for _, t := range of {
			fmt.Fprintf(table, "%d\t%s\t%s (%s)\n", r.Number, verdict(out, t), t.Name, t.Package)
		}
	}
	table.Flush()
	ran, failed, missing, skips := count(tests, out)
	for _, s := range skips {
		fmt.Fprintf(w, "skipped: %s\n", s)
	}
	for _, t := range missing {
		fmt.Fprintf(w, "did not run: %s (%s)\n", t.Name, t.Package)
	}
	unknown := unknown(rows, tests)
	for _, u := range unknown {
		fmt.Fprintln(w, u)
	}
	if len(open) > 0 {
		fmt.Fprintf(w, "rows with neither a test nor a reason: %s\n", strings.Join(open, " "))
	}
	fmt.Fprintf(w, "attacks: %d tests ran, %d failed, %d skipped", ran, failed, len(skips))
	if len(missing) > 0 {
		fmt.Fprintf(w, ", %d did not run", len(missing))
	}
	fmt.Fprintf(w, "; %d rows, %d open\n", len(rows), len(open))
	return failed+len(missing)+len(open)+len(unknown) == 0 && (!strict || len(skips) == 0)
}

func verdict(out map[test]outcome, t test) string {
	o, ran := out[t]
	switch {
	case !ran:
		return "did not run"
	case !o.Passed:
		return "FAIL"
	case len(o.Skipped) > 0:
		return "skipped"
	}
	return "pass"
}

// count counts top-level tests; one that was skipped, itself or a part of it, is in
// skips too.
func count(tests []test, out map[test]outcome) (ran, failed int, missing []test, skips []string) {
	for _, t := range tests {
		o, ok := out[t]
		if !ok {
			missing = append(missing, t)
			continue
		}
		ran++
		if !o.Passed {
			failed++
		}
		skips = append(skips, o.Skipped...)
	}
	return ran, failed, missing, skips
}

// unknown are names in the document that no test has, and tests whose number the
// document does not know.
func unknown(rows []row, tests []test) []string {
	var wrong []string
	for _, r := range rows {
		for _, name := range r.Named {
			if !slices.ContainsFunc(tests, func(t test) bool { return t.Name == name }) {
				wrong = append(wrong, fmt.Sprintf("row %d names %s, which is not there: run go run ./internal/attacks -write", r.Number, name))
			}
		}
	}
	for _, t := range tests {
		for _, n := range t.rows() {
			if !slices.ContainsFunc(rows, func(r row) bool { return r.Number == n }) {
				wrong = append(wrong, fmt.Sprintf("%s (%s): the table has no row %d", t.Name, t.Package, n))
			}
		}
	}
	return wrong
}
