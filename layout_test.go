package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestImportsPointOneWay keeps main → bot → forge → gate. Each rule says why,
// because whoever breaks it should argue with the reason, not with the test.
func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, "mergegate/")
		for _, imp := range p.Imports {
			to, own := strings.CutPrefix(imp, "mergegate/")
			if why := forbidden(from, to, own); why != "" {
				t.Errorf("%s imports %s: %s", from, imp, why)
			}
		}
	}
}

// forbidden says why a package must not import another; "" when it may. Names
// are without "mergegate/" for our own packages.
func forbidden(from, to string, own bool) string {
	outside := !own && strings.Contains(strings.Split(to, "/")[0], ".")
	tests := under(from, "forge/forgetest") || under(from, "internal/giteatest")
	stage := from == "internal/demo" && own && to == "forge/localhub"
	switch {
	case stage: // a place to play on, like giteatest; the demo speaks to it as people do
	case from == "gate" && (own || outside || to == "net/http" || to == "os" || to == "os/exec"):
		return "gate decides and does nothing else; with only the standard library and no I/O it can be tabled, fuzzed and replayed"
	case under(from, "gate") && own && (under(to, "forge") || under(to, "bot")):
		return "gate and its children must not know that forges or the bot exist; hand them plain values"
	case under(from, "forge") && own && under(to, "bot"):
		return "a forge turns answers into gate's types; what they mean is for the bot to say"
	case own && under(to, "forge") && to != "forge" && from != "mergegate" && !under(from, to) && !tests:
		return "only main knows which forges exist; speak to forge.Forge"
	case under(from, "internal") && own && (under(to, "bot") || under(to, "forge")):
		return "internal holds machinery that others build on"
	case under(from, "templates") && own && (under(to, "bot") || under(to, "forge")):
		return "templates render plain values, so that a text can be tested without a bot"
	}
	return ""
}

// under says whether a package is the given one or below it.
func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

func TestForbiddenImports(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		own, may bool
	}{
		{"gate", "strings", false, true},
		{"gate", "net/http", false, false},
		{"gate", "github.com/google/go-cmp/cmp", false, false},
		{"gate", "forge", true, false},
		{"gate/lease", "gate", true, true},
		{"gate/lease", "forge", true, false},
		{"gate/catchup", "bot/config", true, false},
		{"forge/gitea", "forge", true, true},
		{"forge/gitea", "bot", true, false},
		{"bot", "forge", true, true},
		{"bot", "forge/gitea", true, false},
		{"bot/doctor", "forge/gitea", true, false},
		{"mergegate", "forge/gitea", true, true},
		{"templates", "bot", true, false},
		{"internal/demo", "forge/localhub", true, true},
		{"internal/demo", "forge/github", true, false},
		{"internal/git", "forge/localhub", true, false},
	} {
		if why := forbidden(tc.from, tc.to, tc.own); (why == "") != tc.may {
			t.Errorf("%s → %s: %q", tc.from, tc.to, why)
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// packages lists the module's packages with what they import, without tests.
func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
