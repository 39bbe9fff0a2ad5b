package gate_test

import (
	"strings"
	"testing"
)

// Where no sandbox works, nothing from a fork or from somebody who may not
// write is run, approved or not.
func TestAttack85NoSandboxNoStrangers(t *testing.T) {
	for _, stranger := range []string{"fork 1", "role ann read"} {
		asked := "> open 1 a m0\n> " + stranger + "\n> methods merge\n> approve 1 bob\n> label 1 bob\n> run\n"
		if told := tell(t, "> policy sandbox=none\n"+asked); strings.Contains(told, "retest ") || !strings.Contains(told, "the operator to give retests a sandbox") {
			t.Errorf("%s, without a sandbox:\n%s", stranger, told)
		}
		if told := tell(t, asked); !strings.Contains(told, "retest ") {
			t.Errorf("%s, with a sandbox:\n%s", stranger, told)
		}
	}
}
