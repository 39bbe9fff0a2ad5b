package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const table = `# Attacks

| # | Attack | Tests |
|---|---|---|
| 1 | two at once | open |
| 7 | a crash | open |
| 37 | unsigned | ` + "`TestAttack37Old` (bot)" + ` |
| 107 | a bad middle | crossed out: needs trains |
`

var source = fstest.MapFS{
	"bot/a_test.go":           {Data: []byte("package bot\n\nfunc TestAttack37And01Signature(t *testing.T) {}\nfunc TestOther(t *testing.T) {}\n")},
	"gate/x/b_test.go":        {Data: []byte("package x\n\nfunc TestAttack07Crash(t *testing.T) {}\n")},
	"gate/testdata/c_test.go": {Data: []byte("func TestAttack99No(t *testing.T) {}\n")},
	"bot/a.go":                {Data: []byte("func TestAttack98No(t *testing.T) {}\n")},
}

func parsed(t *testing.T, text string) ([]row, []test) {
	t.Helper()
	rows, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := find(source)
	if err != nil {
		t.Fatal(err)
	}
	return rows, tests
}

func TestTheTestsAreFoundBySourceAndNumber(t *testing.T) {
	_, tests := parsed(t, table)
	want := []test{{"bot", "TestAttack37And01Signature"}, {"gate/x", "TestAttack07Crash"}}
	if diff := cmp.Diff(want, tests); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{37, 1}, want[0].rows()); diff != "" {
		t.Error(diff)
	}
}

func TestTheDocumentIsRenewedAndKeepsItsReasons(t *testing.T) {
	_, tests := parsed(t, table)
	got := render(table, tests)
	for _, line := range []string{
		"| 1 | two at once | `TestAttack37And01Signature` (bot) |\n",
		"| 7 | a crash | `TestAttack07Crash` (gate/x) |\n",
		"| 107 | a bad middle | crossed out: needs trains |\n",
		"# Attacks\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("missing %q in\n%s", line, got)
		}
	}
	if again := render(got, tests); again != got {
		t.Error("renewing twice changes it again")
	}
}

const stream = `{"Action":"run","Package":"mergegate/bot","Test":"TestAttack37And01Signature"}
{"Action":"output","Package":"mergegate/bot","Test":"TestAttack37And01Signature","Output":"=== RUN   TestAttack37And01Signature\n"}
{"Action":"output","Package":"mergegate/bot","Test":"TestAttack37And01Signature/b","Output":"    a_test.go:9: no bwrap here\n"}
{"Action":"output","Package":"mergegate/bot","Test":"TestAttack37And01Signature/b","Output":"    --- SKIP: TestAttack37And01Signature/b (0.00s)\n"}
{"Action":"skip","Package":"mergegate/bot","Test":"TestAttack37And01Signature/b"}
{"Action":"pass","Package":"mergegate/bot","Test":"TestAttack37And01Signature"}
{"Action":"output","Package":"mergegate/bot","Output":"PASS\n"}
{"Action":"output","Package":"mergegate/bot","Output":"ok  \tmergegate/bot\t0.1s\n"}
{"Action":"pass","Package":"mergegate/bot"}
{"Action":"pass","Package":"mergegate","Test":"TestAttack02Root"}
{"Action":"output","Package":"mergegate/gate/x","Test":"TestAttack07Crash/a","Output":"    --- PASS: TestAttack07Crash/a (0.00s)\n"}
{"Action":"output","Package":"mergegate/gate/x","Test":"TestAttack07Crash","Output":"=== CONT  TestAttack07Crash\n"}
{"Action":"output","Package":"mergegate/gate/x","Test":"TestAttack07Crash","Output":"    b_test.go:4: it came back\n"}
{"Action":"fail","Package":"mergegate/gate/x","Test":"TestAttack07Crash"}
{"Action":"output","Package":"mergegate/gate/x","Output":"FAIL\tmergegate/gate/x\t0.1s\n"}
{"Action":"fail","Package":"mergegate/gate/x"}
`

func TestARunIsReadAndShownAsGoTestDoes(t *testing.T) {
	var shown strings.Builder
	out, good, err := read(strings.NewReader(stream), &shown)
	if err != nil || good {
		t.Errorf("good %v, err %v; want a failed run", good, err)
	}
	if want := "ok  \tmergegate/bot\t0.1s\n    b_test.go:4: it came back\nFAIL\tmergegate/gate/x\t0.1s\n"; shown.String() != want {
		t.Errorf("shown:\n%swant:\n%s", shown.String(), want)
	}
	want := map[test]outcome{
		{"bot", "TestAttack37And01Signature"}: {Passed: true, Skipped: []string{"TestAttack37And01Signature/b: no bwrap here"}},
		{"gate/x", "TestAttack07Crash"}:       {},
		{".", "TestAttack02Root"}:             {Passed: true},
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	_, tests := parsed(t, table)
	pass := map[test]outcome{tests[0]: {Passed: true}, tests[1]: {Passed: true}}
	cases := []struct {
		name   string
		table  string
		out    map[test]outcome
		strict bool
		good   bool
		says   string
	}{
		{"a name that is no test", table, pass, true, false, "row 37 names TestAttack37Old, which is not there"},
		{"all is well", render(table, tests), pass, true, true, "attacks: 2 tests ran, 0 failed, 0 skipped; 4 rows, 0 open"},
		{"an open row", render(table, tests) + "| 8 | a pause | open |\n", pass, false, false, "rows with neither a test nor a reason: 8"},
		{"a row that is not there", strings.Replace(render(table, tests), "| 7 |", "| 9 |", 1), pass, false, false, "TestAttack07Crash (gate/x): the table has no row 7"},
		{"a skipped test", render(table, tests), map[test]outcome{tests[0]: {Passed: true, Skipped: []string{"it: no bwrap"}}, tests[1]: {Passed: true}}, false, true, "skipped: it: no bwrap"},
		{"a skipped test when none may be", render(table, tests), map[test]outcome{tests[0]: {Passed: true, Skipped: []string{"it: no bwrap"}}, tests[1]: {Passed: true}}, true, false, "2 tests ran, 0 failed, 1 skipped"},
		{"a failed test", render(table, tests), map[test]outcome{tests[0]: {}, tests[1]: {Passed: true}}, false, false, "2 tests ran, 1 failed"},
		{"a test that did not run", render(table, tests), map[test]outcome{tests[1]: {Passed: true}}, false, false, "did not run: TestAttack37And01Signature (bot)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rows, err := parse(c.table)
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			if good := summary(&said, rows, tests, c.out, c.strict); good != c.good {
				t.Errorf("good = %v, want %v", good, c.good)
			}
			if !strings.Contains(said.String(), c.says) {
				t.Errorf("missing %q in\n%s", c.says, said.String())
			}
		})
	}
}
