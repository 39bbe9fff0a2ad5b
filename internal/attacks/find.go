package main

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// test is one top-level test; Package is its folder, like "gate/retest".
type test struct{ Package, Name string }

// rows are the numbers in a test's name: TestAttack37And38Signature shows 37 and 38.
func (t test) rows() []int {
	m := attackName.FindStringSubmatch(t.Name)
	if m == nil {
		return nil
	}
	var rows []int
	for _, n := range strings.Split(m[1], "And") {
		if i, err := strconv.Atoi(n); err == nil {
			rows = append(rows, i)
		}
	}
	return rows
}

var (
	attackName = regexp.MustCompile(`^TestAttack(\d+(?:And\d+)*)`)
	attackFunc = regexp.MustCompile(`(?m)^func (TestAttack\d\w*)\(`)
)

// find looks for the tests in the source, in the order of packages and names.
func find(root fs.FS) ([]test, error) {
	var tests []test
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir(), !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		for _, m := range attackFunc.FindAllSubmatch(text, -1) {
			tests = append(tests, test{Package: path.Dir(name), Name: string(m[1])})
		}
		return err
	})
	slices.SortFunc(tests, func(a, b test) int {
		return strings.Compare(a.Package+" "+a.Name, b.Package+" "+b.Name)
	})
	return tests, err
}

// row is one line of the table in docs/attacks.md.
type row struct {
	Number int
	Attack string
	Reason string // why it has no test
	Named  []string
}

var (
	tableRow  = regexp.MustCompile(`^\| (\d+) \| (.*?) \| (.*) \|$`)
	tableTest = regexp.MustCompile("`(TestAttack\\w+)`")
)

const crossed = "crossed out: "

// parse reads the table.
func parse(document string) ([]row, error) {
	var rows []row
	for line := range strings.Lines(document) {
		m := tableRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("row %q of the table: %w", m[1], err)
		}
		r := row{Number: n, Attack: m[2]}
		if reason, ok := strings.CutPrefix(m[3], crossed); ok {
			r.Reason = reason
		}
		for _, t := range tableTest.FindAllStringSubmatch(m[3], -1) {
			r.Named = append(r.Named, t[1])
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no row of a table was found")
	}
	return rows, nil
}

// render puts the tests that there are into the document. A row without tests
// keeps its reason; without a reason it says so.
func render(document string, tests []test) string {
	var b strings.Builder
	for line := range strings.Lines(document) {
		m := tableRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			b.WriteString(line)
			continue
		}
		n, _ := strconv.Atoi(m[1]) // digits
		shown := m[3]
		if of := covering(tests, n); len(of) > 0 {
			var names []string
			for _, t := range of {
				names = append(names, fmt.Sprintf("`%s` (%s)", t.Name, t.Package))
			}
			shown = strings.Join(names, ", ")
		} else if !strings.HasPrefix(shown, crossed) {
			shown = "open"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m[1], m[2], shown)
	}
	return b.String()
}

func covering(tests []test, row int) []test {
	var out []test
	for _, t := range tests {
		if slices.Contains(t.rows(), row) {
			out = append(out, t)
		}
	}
	return out
}
