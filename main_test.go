package main

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mergegate/gate/retest"
	"mergegate/internal/giteatest"
)

// withGitea stops the Gitea that tests shared when all have run.
type withGitea struct{ m *testing.M }

func (w withGitea) Run() int { return giteatest.Main(w.m) }

func TestMain(m *testing.M) {
	retest.Child()
	testscript.Main(withGitea{m}, map[string]func(){"mergegate": main, "strangers": strangers})
}

// TestScripts runs the stories in testdata/script with the real command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit1": func(ts *testscript.TestScript, _ bool, args []string) { exits(ts, 1, args) },
			"exitn": func(ts *testscript.TestScript, _ bool, args []string) {
				code, err := strconv.Atoi(args[0])
				ts.Check(err)
				exits(ts, code, args[1:])
			},
			"exit2": func(ts *testscript.TestScript, _ bool, args []string) { exits(ts, 2, args) },
		},
	})
}

// exits runs a command that must end with the given exit code.
func exits(ts *testscript.TestScript, want int, args []string) {
	err := ts.Exec(args[0], args[1:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != want {
		ts.Fatalf("%v ended with %v, want exit status %d", args, err, want)
	}
}
