// Package ghspec is the judge of everything we say about GitHub without having
// GitHub: it holds our client and our local GitHub to the description that
// GitHub publishes of itself.
//
// A Judge stands on both sides of the wire, as an http.RoundTripper around what
// the adapter sends and as an http.Handler around what the local GitHub answers,
// and looks at every exchange:
//
//   - the operation exists; path, query and body are what the schema allows, and
//     name nothing that the schema does not know;
//   - the status is documented for the operation, or is one that GitHub may give
//     to any request (301, 304, 401, 403, 404, 429, 5xx), in its common form;
//   - the answer's body is what the schema of that status allows and names
//     nothing unknown, at any depth;
//   - what the schema cannot say: which status goes with which message, and what
//     must be there together (rules.go, each with its source).
//
// Payloads of webhooks are held to their schemas in the same way. Anything wrong
// is a violation, which a test fails on at its end; nothing is ever changed on
// the way through.
//
// What it cannot see: the order of events, side effects, and whether an optional
// field that is missing would be there on the real GitHub. The recorded traffic
// in testdata is for that.
//
// The description is description.json.gz; README.md says where it comes from.
package ghspec

import (
	"bytes"
	"compress/gzip"
	_ "embed" // description.json.gz
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed description.json.gz
var packed []byte

// Judge validates exchanges and webhooks and remembers what it saw. It is safe
// for concurrent use. Its methods may be given the same thing twice; it then
// counts twice.
type Judge struct {
	doc    *openapi3.T
	routes []route

	mu         sync.Mutex
	exchanges  int
	webhooks   int
	operations map[string]int
	violations []string
}

// New loads GitHub's description, which takes a third of a second: one Judge is
// enough for all tests of a package.
func New() (*Judge, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack GitHub's description: %w", err)
	}
	doc, err := openapi3.NewLoader().LoadFromIoReader(z)
	if err != nil {
		return nil, fmt.Errorf("load GitHub's description: %w", err)
	}
	return &Judge{doc: doc, routes: routes(doc), operations: map[string]int{}}, nil
}

// Report is what a Judge saw.
type Report struct {
	Exchanges  int
	Webhooks   int
	Operations []string // GitHub's names of the operations seen, sorted: "pulls/merge"
	Violations []string // one line each, in the order they were found
}

// Report says what was seen so far.
func (j *Judge) Report() Report {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Report{
		Exchanges:  j.exchanges,
		Webhooks:   j.webhooks,
		Operations: slices.Sorted(maps.Keys(j.operations)),
		Violations: slices.Clone(j.violations),
	}
}

func (r Report) String() string {
	s := fmt.Sprintf("%d exchanges, %d operations, %d webhooks, %d violations", r.Exchanges, len(r.Operations), r.Webhooks, len(r.Violations))
	for _, v := range r.Violations {
		s += "\n" + v
	}
	return s
}

// Print prints the report of a package's tests, and appends its first line to the
// file that the environment names in GHSPEC_REPORTS, because go test shows nothing
// of a package that passes.
func (r Report) Print(pkg string) error {
	said := fmt.Sprintf("%s: judged by GitHub's description: %s\n", pkg, r)
	fmt.Print(said)
	name := os.Getenv("GHSPEC_REPORTS")
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(said, "\n")
	_, err = fmt.Fprintln(file, first)
	return errors.Join(err, file.Close())
}

// Webhook says what is wrong with a payload, or nil. Event is the value of
// X-GitHub-Event; action is the payload's own, "" for events without. A
// violation is also remembered.
func (j *Judge) Webhook(event, action string, body []byte) error {
	err := j.webhook(event, action, body)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.webhooks++
	if err != nil {
		err = fmt.Errorf("webhook %s: %w", strings.TrimSuffix(event+"."+action, "."), err)
		j.violations = append(j.violations, err.Error())
	}
	return err
}

func (j *Judge) webhook(event, action string, body []byte) error {
	name := "webhook-" + strings.ReplaceAll(strings.Trim(event+"-"+action, "-"), "_", "-")
	schema := j.doc.Components.Schemas[name]
	if schema == nil {
		return fmt.Errorf("GitHub's description has no %s", name)
	}
	var payload any
	if err := json.Unmarshal(body, &payload); err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	if said := text(payload, "action"); said != action {
		return fmt.Errorf("the payload's action is %q", said)
	}
	if err := schema.Value.VisitJSON(payload); err != nil {
		return short(err)
	}
	return unknownKeys("payload", payload, schema.Value)
}

// remember counts an exchange and notes what is wrong with it.
func (j *Judge) remember(side, operation string, req *http.Request, status int, errs []error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.exchanges++
	if operation != "" {
		j.operations[operation]++
	}
	for _, err := range errs {
		j.violations = append(j.violations, fmt.Sprintf("%s: %s %s → %d: %v", side, req.Method, req.URL.Path, status, err))
	}
}
