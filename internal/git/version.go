package git

import (
	"context"
	"fmt"
	"strings"
)

// oldest is the first version that merges without a checkout and has the mends
// of CVE-2024-32002, -32004, -32020, -32021 and -32465.
var oldest = release{2, 39, 4}

// mended is, for the minor versions that came out without those mends, the first
// that has them. From 2.46 on, all have.
var mended = map[int]int{40: 2, 41: 1, 42: 2, 43: 4, 44: 1, 45: 1}

type release struct{ major, minor, patch int }

func (r release) before(o release) bool {
	if r.major != o.major {
		return r.major < o.major
	}
	if r.minor != o.minor {
		return r.minor < o.minor
	}
	return r.patch < o.patch
}

func (r release) String() string { return fmt.Sprintf("%d.%d.%d", r.major, r.minor, r.patch) }

// Version is the version of the installed git. Older than 2.39.4 is an error that
// says what to install.
func Version(ctx context.Context) (string, error) {
	out, err := Dir{Path: "/nonexistent"}.Run(ctx, "", "version")
	if err != nil {
		return "", fmt.Errorf("ask git for its version (is git installed and in PATH?): %w", err)
	}
	v := strings.TrimSpace(strings.TrimPrefix(out, "git version "))
	r, err := parseVersion(v)
	if err != nil {
		return v, err
	}
	if r.before(oldest) {
		return v, fmt.Errorf("git is %s, which is too old to handle what strangers push: install %s or newer", v, oldest)
	}
	return v, nil
}

// Advice is a warning about a version that Version accepts; "" for none.
// Distributions mend old versions without a new number, so this is no refusal.
func Advice(version string) string {
	r, err := parseVersion(version)
	if err != nil || r.major != 2 {
		return ""
	}
	if first, ok := mended[r.minor]; ok && r.patch < first {
		return fmt.Sprintf("git %s has known holes (CVE-2024-32002 and others) unless your distribution has mended them: install %s or newer",
			version, release{2, r.minor, first})
	}
	return ""
}

func parseVersion(v string) (release, error) {
	var r release
	if n, _ := fmt.Sscanf(v, "%d.%d.%d", &r.major, &r.minor, &r.patch); n < 2 {
		return r, fmt.Errorf("git calls its version %q, which is not a number", v)
	}
	return r, nil
}
