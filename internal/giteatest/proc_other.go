//go:build !linux

package giteatest

import (
	"errors"
	"os/exec"
	"syscall"
)

func lock(string) (func(), error) {
	return nil, errors.New("the throwaway Gitea runs on Linux only")
}

func contain(*exec.Cmd) {}

func signal(cmd *exec.Cmd, s syscall.Signal) { _ = cmd.Process.Signal(s) }
