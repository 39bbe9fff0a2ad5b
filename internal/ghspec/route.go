package ghspec

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
)

// route is one path of the description.
type route struct {
	path    string
	item    *openapi3.PathItem
	pattern *regexp.Regexp // on the escaped path
	names   []string       // of the pattern's groups
}

// routes lists the description's paths, those with more fixed text first.
// kin-openapi's own routers cannot be used: in GitHub's paths a {ref} may hold
// slashes, and fixed text may follow it.
func routes(doc *openapi3.T) []route {
	param := regexp.MustCompile(`\{(\w+)\}`)
	var all []route
	for path, item := range doc.Paths.Map() {
		r := route{path: path, item: item}
		pattern := param.ReplaceAllStringFunc(path, func(p string) string {
			r.names = append(r.names, strings.Trim(p, "{}"))
			if slices.Contains([]string{"{ref}", "{path}", "{basehead}"}, p) {
				return `(.+)`
			}
			return `([^/]+)`
		})
		r.pattern = regexp.MustCompile("^" + pattern + "$")
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b route) int {
		fixed := func(r route) int { return len(param.ReplaceAllString(r.path, "")) }
		return cmp.Or(fixed(b)-fixed(a), strings.Compare(a.path, b.path))
	})
	return all
}

// find gives the operation a request asks for; nil when GitHub has none.
// GitHub also serves every repository under /repositories/{id}, which it uses
// in Link headers and redirects but does not describe, and GitHub Enterprise
// Server serves everything under /api/v3.
func (j *Judge) find(req *http.Request) (*routers.Route, map[string]string) {
	path := strings.TrimPrefix(req.URL.EscapedPath(), "/api/v3")
	if rest, ok := strings.CutPrefix(path, "/repositories/"); ok {
		_, rest, below := strings.Cut(rest, "/")
		if path = "/repos/id/id"; below {
			path += "/" + rest
		}
	}
	for _, r := range j.routes {
		operation := r.item.GetOperation(req.Method)
		groups := r.pattern.FindStringSubmatch(path)
		if operation == nil || groups == nil {
			continue
		}
		params := map[string]string{}
		for i, name := range r.names {
			value, err := url.PathUnescape(groups[i+1])
			if err != nil {
				return nil, nil
			}
			params[name] = value
		}
		return &routers.Route{Spec: j.doc, Path: r.path, PathItem: r.item, Method: req.Method, Operation: operation}, params
	}
	return nil, nil
}
