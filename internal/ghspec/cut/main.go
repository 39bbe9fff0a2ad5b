// Command cut takes from GitHub's OpenAPI description what a merge bot uses:
// the operations and webhook payloads listed below with everything they refer
// to, and no prose. It writes description.json.gz beside the package ghspec.
//
// The description comes from the npm package @octokit/openapi; README.md in the
// folder above names the version and says how to run this again.
package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: cut api.github.com.json description.json.gz")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var whole map[string]any
	if err := json.Unmarshal(data, &whole); err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	small, err := cut(whole)
	if err != nil {
		return fmt.Errorf("cut %s: %w", from, err)
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := write(out, small); err != nil {
		out.Close()
		return fmt.Errorf("write %s: %w", to, err)
	}
	return out.Close()
}

func write(w io.Writer, doc any) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(z).Encode(doc); err != nil {
		return err
	}
	return z.Close()
}

// cut picks the operations and payloads, then follows references until nothing
// new turns up.
func cut(whole map[string]any) (map[string]any, error) {
	paths, err := pick(whole["paths"].(map[string]any))
	if err != nil {
		return nil, err
	}
	all := whole["components"].(map[string]any)
	todo := append(references(paths, nil), "#/components/schemas/basic-error")
	for name := range all["schemas"].(map[string]any) {
		if wanted(name) {
			todo = append(todo, "#/components/schemas/"+name)
		}
	}
	kept := map[string]map[string]any{}
	for len(todo) > 0 {
		ref := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		kind, name, _ := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
		if kind == "examples" || kept[kind][name] != nil {
			continue
		}
		part, ok := all[kind].(map[string]any)[name]
		if !ok {
			return nil, fmt.Errorf("%s is referred to but not there", ref)
		}
		strip(part)
		if kept[kind] == nil {
			kept[kind] = map[string]any{}
		}
		kept[kind][name] = part
		todo = references(part, todo)
	}
	return map[string]any{"openapi": whole["openapi"], "info": whole["info"], "servers": whole["servers"], "paths": paths, "components": kept}, nil
}

// pick takes the listed operations.
func pick(all map[string]any) (map[string]any, error) {
	paths := map[string]any{}
	for path, methods := range operations() {
		there, ok := all[path].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is not described", path)
		}
		item := map[string]any{}
		for method := range strings.FieldsSeq(methods) {
			if there[method] == nil {
				return nil, fmt.Errorf("%s %s is not described", method, path)
			}
			item[method] = there[method]
		}
		strip(item)
		paths[path] = item
	}
	return paths, nil
}

// strip takes out prose, examples and what only Octokit reads.
func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{"x-octokit", "x-github", "externalDocs", "example", "examples"} {
			delete(v, key)
		}
		for _, key := range []string{"description", "summary"} {
			if _, ok := v[key].(string); ok {
				v[key] = ""
			}
		}
		for _, below := range v {
			strip(below)
		}
	case []any:
		for _, below := range v {
			strip(below)
		}
	}
}

// references appends every $ref below v.
func references(v any, found []string) []string {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			found = append(found, ref)
		}
		for _, below := range v {
			found = references(below, found)
		}
	case []any:
		for _, below := range v {
			found = references(below, found)
		}
	}
	return found
}
