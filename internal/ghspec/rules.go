package ghspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// meaning holds a message to the status that GitHub gives it. Callers decide by
// the status alone, so a server that swaps two documented ones would teach them
// the wrong thing, and no schema notices.
//
// Sources: the examples in GitHub's description (merge, merges) and answers of
// the real GitHub quoted in public issues (refs; "Base branch was modified").
func meaning(operation string, status int, body any) error {
	said := text(body, "message")
	for _, row := range []struct {
		operation, message string
		status             int
	}{
		{"pulls/merge", "Pull Request is not mergeable", 405},
		{"pulls/merge", "Base branch was modified", 405},
		{"pulls/merge", "Merge commits are not allowed", 405},
		{"pulls/merge", "Squash merges are not allowed", 405},
		{"pulls/merge", "Rebase merges are not allowed", 405},
		{"pulls/merge", "Head branch was modified", 409},
		{"pulls/update-branch", "expected head sha", 422},
		{"repos/merge", "Merge conflict", 409},
		{"git/create-ref", "Reference already exists", 422},
		{"git/create-ref", "Object does not exist", 422},
		{"git/create-ref", "Reference update failed", 422},
		{"git/update-ref", "Update is not a fast", 422},
		{"git/update-ref", "Object does not exist", 422},
		{"git/update-ref", "Reference does not exist", 422},
		{"git/delete-ref", "Reference does not exist", 422},
		{"issues/create-label", "Validation Failed", 422},
		{"repos/create-commit-status", "No commit found", 422},
	} {
		if row.operation == operation && strings.HasPrefix(said, row.message) && row.status != status {
			return fmt.Errorf("%q with %d; GitHub says it with %d", said, status, row.status)
		}
	}
	if operation == "pulls/merge" && status == 409 && !strings.HasPrefix(said, "Head branch was modified") {
		return fmt.Errorf("409 means that the head was modified, not %q", said)
	}
	return nil
}

// seen says whether the real GitHub gives this status to the operation although
// its description does not list it. Sources are answers quoted in public issues:
// 422 "No commit found for SHA" to a commit status, rust-lang/homu#141.
func seen(operation string, status int) bool {
	return operation == "repos/create-commit-status" && status == 422
}

// together is what a request's fields must be besides well-formed.
func together(operation string, body any) error {
	fields, _ := body.(map[string]any)
	length := utf8.RuneCountInString(text(body, "description"))
	switch {
	case operation == "repos/create-commit-status" && length > 140:
		return fmt.Errorf("a status's description has at most 140 characters, not %d", length)
	case strings.HasPrefix(operation, "checks/") && fields["status"] == "completed" && fields["conclusion"] == nil:
		return fmt.Errorf("a completed check run has a conclusion")
	}
	return nil
}

// text is a field of a JSON object; "" when it is no object or no text.
func text(object any, key string) string {
	fields, _ := object.(map[string]any)
	s, _ := fields[key].(string)
	return s
}

// unknownKeys finds a key that the schema does not name, at any depth. GitHub's
// schemas allow more keys than they name, so a misspelt optional field would
// otherwise pass. Where a schema says what its other keys hold, any key is fine.
func unknownKeys(where string, value any, schema *openapi3.Schema) error {
	switch value := value.(type) {
	case map[string]any:
		known, open := properties(schema)
		if open {
			return nil
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			variants, ok := known[key]
			if !ok && key == "status" && known["documentation_url"] != nil {
				continue // GitHub says the status in every error; the description only in some
			}
			if !ok {
				return fmt.Errorf("GitHub's description knows no %s.%s", where, key)
			}
			if err := anyVariant(where+"."+key, value[key], variants); err != nil {
				return err
			}
		}
	case []any:
		items := elements(schema)
		for i, v := range value {
			if err := anyVariant(fmt.Sprintf("%s[%d]", where, i), v, items); err != nil {
				return err
			}
		}
	}
	return nil
}

// anyVariant is nil if one of the schemas knows every key of the value.
func anyVariant(where string, value any, variants []*openapi3.Schema) error {
	var first error
	for _, schema := range variants {
		err := unknownKeys(where, value, schema)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// properties gathers the named properties of a schema and everything it is
// composed of. Open means that other keys are described too, or none are named.
func properties(schema *openapi3.Schema) (known map[string][]*openapi3.Schema, open bool) {
	known = map[string][]*openapi3.Schema{}
	walk(schema, func(s *openapi3.Schema) {
		open = open || s.AdditionalProperties.Schema != nil
		for name, p := range s.Properties {
			known[name] = append(known[name], p.Value)
		}
	})
	return known, open || len(known) == 0
}

func elements(schema *openapi3.Schema) []*openapi3.Schema {
	var items []*openapi3.Schema
	walk(schema, func(s *openapi3.Schema) {
		if s.Items != nil {
			items = append(items, s.Items.Value)
		}
	})
	return items
}

// walk visits a schema and its alternatives.
func walk(s *openapi3.Schema, visit func(*openapi3.Schema)) {
	visit(s)
	for _, refs := range []openapi3.SchemaRefs{s.AllOf, s.AnyOf, s.OneOf} {
		for _, ref := range refs {
			walk(ref.Value, visit)
		}
	}
}
