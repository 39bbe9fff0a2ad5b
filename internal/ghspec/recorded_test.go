package ghspec

import (
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded is one exchange with the real GitHub, as @octokit/fixtures keeps it.
type recorded struct {
	Method, Path string
	Body         json.RawMessage
	Status       int
	Response     json.RawMessage
	RawHeaders   []string
}

// recordings reads all scenarios, by name.
func recordings(t *testing.T) map[string][]recorded {
	t.Helper()
	files, err := filepath.Glob("testdata/fixtures/*.json.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	all := map[string][]recorded{}
	for _, file := range files {
		var scenario []recorded
		unpack(t, file, &scenario)
		all[strings.TrimSuffix(filepath.Base(file), ".json.gz")] = scenario
	}
	return all
}

func unpack(t *testing.T, file string, into any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// wire is a body as it was on the wire: nock keeps an empty one as "".
func wire(raw json.RawMessage) []byte {
	if string(raw) == `""` {
		return nil
	}
	return raw
}

// The real GitHub passes. What it did not say in 2022 and has to say now is
// known; anything else would be the judge's mistake.
func TestRecordedPasses(t *testing.T) {
	j := newJudge(t)
	newer := []string{`"has_discussions" is missing`, `"type" is missing`}
	clean := 0
	for name, scenario := range recordings(t) {
		for _, r := range scenario {
			req := httptest.NewRequestWithContext(t.Context(), strings.ToUpper(r.Method), "https://api.github.com"+r.Path, nil)
			req.Header.Set("Content-Type", "application/json")
			if route, _ := j.find(req); route == nil {
				continue // making and deleting repositories, listing all refs
			}
			_, asked, answered := j.exchange(req, wire(r.Body), r.Status, r.header(), wire(r.Response))
			wrong := append(asked, answered...)
			if len(wrong) == 0 {
				clean++
			}
			for _, err := range wrong {
				if !slices.ContainsFunc(newer, func(s string) bool { return strings.HasSuffix(err.Error(), s) }) {
					t.Errorf("%s: %s %s → %d: %v", name, r.Method, r.Path, r.Status, err)
				}
			}
		}
	}
	t.Logf("%d exchanges with the real GitHub pass", clean)
	if clean < 40 {
		t.Error("too few to mean anything")
	}
}

// header is the recorded answer's.
func (r recorded) header() http.Header {
	h := http.Header{}
	for pair := range slices.Chunk(r.RawHeaders, 2) {
		h.Add(pair[0], pair[1])
	}
	return h
}
