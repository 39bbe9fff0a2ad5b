// Attacks runs the tests of docs/attacks.md and says what they showed: a line for
// each row and test, how many ran, failed and were skipped, and which rows have
// neither a test nor a reason to have none.
//
//	go run ./internal/attacks                          runs only those tests
//	go test -json ./... | go run ./internal/attacks -from -   reads a whole run, and shows it as go test does
//	go run ./internal/attacks -write                   renews the tests named in docs/attacks.md
//
// It ends with 1 when a test failed or a row is open; with -strict also when
// anything was skipped.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
)

const document = "docs/attacks.md"

func main() {
	from := flag.String("from", "", "read the output of go test -json from this file, - for standard input, instead of running tests")
	strict := flag.Bool("strict", false, "a skipped test is a failure")
	write := flag.Bool("write", false, "renew the tests named in "+document)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	good, err := run(ctx, *from, *strict, *write)
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
		os.Exit(1)
	}
	if !good {
		os.Exit(1)
	}
}

// run is false when a test failed or a row is open.
func run(ctx context.Context, from string, strict, write bool) (bool, error) {
	text, err := os.ReadFile(document)
	if err != nil {
		return false, fmt.Errorf("read the table: %w. Run it in the folder of go.mod", err)
	}
	rows, err := parse(string(text))
	if err != nil {
		return false, err
	}
	tests, err := find(os.DirFS("."))
	if err != nil {
		return false, fmt.Errorf("look for tests: %w", err)
	}
	if write {
		return true, os.WriteFile(document, []byte(render(string(text), tests)), 0o644)
	}
	out, good, err := results(ctx, from, tests)
	if err != nil {
		return false, err
	}
	return summary(os.Stdout, rows, tests, out, strict) && good, nil
}

// results runs the tests, or reads what another run of them wrote.
func results(ctx context.Context, from string, tests []test) (map[test]outcome, bool, error) {
	switch from {
	case "":
		return play(ctx, tests)
	case "-":
		return read(os.Stdin, os.Stdout)
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	return read(f, os.Stdout)
}

// play runs go test for the packages that have such tests.
func play(ctx context.Context, tests []test) (map[test]outcome, bool, error) {
	args := []string{"test", "-json", "-timeout", "30m", "-run", "^TestAttack[0-9]"}
	seen := map[string]bool{}
	for _, t := range tests {
		if !seen[t.Package] {
			seen[t.Package] = true
			args = append(args, "./"+t.Package)
		}
	}
	if len(seen) == 0 {
		return map[test]outcome{}, true, nil
	}
	slices.Sort(args[6:])
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, false, err
	}
	if err := cmd.Start(); err != nil {
		return nil, false, fmt.Errorf("start go test: %w", err)
	}
	out, good, err := read(pipe, os.Stdout)
	_, drained := io.Copy(io.Discard, pipe)
	if waited := cmd.Wait(); err == nil && drained == nil && waited != nil {
		good = false // go test has said why
	}
	return out, good, err
}
