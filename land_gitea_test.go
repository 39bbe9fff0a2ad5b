package main

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLandOnGitea lands a branch of a repository on a real Gitea, over HTTP with a
// token, without any part of the bot.
func TestLandOnGitea(t *testing.T) {
	s := newScene(t, "write")
	s.api(http.MethodPost, "/repos/"+s.repo+"/contents/part", map[string]any{
		"content": "cGFydAo=", "message": "add a part", "new_branch": "fix", "branch": "main",
	}, nil)
	s.api(http.MethodPost, "/repos/"+s.repo+"/contents/other", map[string]any{
		"content": "b3RoZXIK", "message": "main goes on", "branch": "main",
	}, nil)
	land := func(test string) (string, string, error) {
		cmd := exec.Command("mergegate", "land", "--repo", s.server.URL+"/"+s.repo+".git", "--branch", "fix", "--onto", "main",
			"--token-file", "token", "--dir", "cache", "--", "test", "-e", test)
		cmd.Dir = s.dir
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		return string(out), stderr.String(), err
	}
	if out, said, err := land("missing"); !strings.HasPrefix(out, "red: exit 1") {
		t.Errorf("a red test: %v\n%s\n%s", err, out, said)
	}
	if out, said, err := land("part"); err != nil || !strings.HasPrefix(out, "landed: main is at ") {
		t.Errorf("a green test: %v\n%s\n%s", err, out, said)
	}
	if out, said, err := land("part"); !strings.HasPrefix(out, "up to date: ") {
		t.Errorf("once more: %v\n%s\n%s", err, out, said)
	}
	var log []struct {
		Commit struct{ Message string }
	}
	s.api(http.MethodGet, "/repos/"+s.repo+"/commits?sha=main", nil, &log)
	if len(log) != 3 || !strings.HasPrefix(log[0].Commit.Message, "add a part") || !strings.HasPrefix(log[1].Commit.Message, "main goes on") {
		t.Errorf("main has %+v", log)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "cache", "*", "*.lease")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
