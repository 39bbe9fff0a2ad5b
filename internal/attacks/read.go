package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
)

const module = "mergegate"

// outcome is what became of a test. Skipped names what was skipped, the test itself
// or a part of it, and why.
type outcome struct {
	Passed  bool
	Skipped []string
}

// event is one line of go test -json (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// read follows a run of go test -json. It writes to w what go test would have
// written without -json: a line for each package, and everything that a failed
// test said. It is false when anything failed.
func read(r io.Reader, w io.Writer) (map[test]outcome, bool, error) {
	reading := reading{w: w, said: map[test][]string{}, skips: map[test][]string{}, out: map[test]outcome{}, good: true}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(w, "%s", line) // of go itself
			} else {
				reading.take(e)
			}
		}
		if err == io.EOF {
			return reading.out, reading.good, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the results: %w", err)
		}
	}
}

// reading is what is known in the middle of a run. Tests in it may be parts of tests.
type reading struct {
	w     io.Writer
	said  map[test][]string
	skips map[test][]string // by top-level test
	out   map[test]outcome
	good  bool
}

func (r *reading) take(e event) {
	t := test{Package: path.Clean(strings.TrimPrefix(strings.TrimPrefix(e.Package, module), "/")), Name: e.Test} // "." is the module's own
	top := test{Package: t.Package, Name: strings.SplitN(t.Name, "/", 2)[0]}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "build-fail":
		r.good = false
	case "output":
		if progress(e.Output) {
			return
		}
		if t.Name != "" {
			r.said[top] = append(r.said[top], e.Output)
			if t.Name != top.Name {
				r.said[t] = append(r.said[t], e.Output)
			}
		} else if e.Output != "PASS\n" {
			fmt.Fprint(r.w, e.Output)
		}
	case "skip":
		if t.Name != "" {
			r.skips[top] = append(r.skips[top], t.Name+": "+reason(r.said[t]))
			r.end(t, top, true)
		}
	case "pass":
		r.end(t, top, true)
	case "fail":
		r.good = false
		if t.Name == top.Name { // parts are in what the whole said
			fmt.Fprint(r.w, strings.Join(r.said[t], ""))
		}
		r.end(t, top, false)
	}
}

// progress says whether a line is one of go test -v, of which -json makes use.
func progress(line string) bool {
	for _, p := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return strings.HasPrefix(strings.TrimLeft(line, " "), "--- PASS: ")
}

// end notes the end of a test or of a part of one, and forgets what it said.
func (r *reading) end(t, top test, passed bool) {
	if t.Name != "" && t == top {
		r.out[t] = outcome{Passed: passed, Skipped: r.skips[t]}
	}
	delete(r.said, t)
}

// reason is what a skipped test said of it: the last line that is not go's own.
func reason(said []string) string {
	why := "it did not say why"
	for _, s := range said {
		s = strings.TrimSpace(s)
		if s == "" || strings.HasPrefix(s, "=== ") || strings.HasPrefix(s, "--- ") {
			continue
		}
		if _, after, ok := strings.Cut(s, ".go:"); ok { // place: reason
			if _, text, ok := strings.Cut(after, ": "); ok {
				s = text
			}
		}
		why = s
	}
	return why
}
