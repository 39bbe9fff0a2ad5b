package ghspec

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// library is the client whose methods tell in a comment which operation they call.
const library = "github.com/google/go-github/v62"

// Callable lists the operations that the Go package in dir can ask GitHub for,
// sorted, so that a test can demand that each of them was exercised. It reads
// the source: calls of go-github's methods, and literal paths below a repository
// together with the HTTP methods named in the same function. A path that is put
// together from pieces is not seen. An operation that is not in GitHub's
// description is an error.
func (j *Judge) Callable(dir string) ([]string, error) {
	known, err := libraryOperations()
	if err != nil {
		return nil, fmt.Errorf("read go-github's source: %w", err)
	}
	functions, err := functions(dir)
	if err != nil {
		return nil, fmt.Errorf("read the source in %s: %w", dir, err)
	}
	found := map[string]bool{}
	var errs []error
	// A method of the library that stands for several operations ("GET /app" and
	// "GET /apps/{app_slug}") must have one of them described.
	add := func(where string, operations ...string) {
		described := false
		for _, operation := range operations {
			if id := j.operation(operation); id != "" {
				found[id], described = true, true
			}
		}
		if !described {
			errs = append(errs, fmt.Errorf("%s: GitHub's description has no %s", where, strings.Join(operations, " nor ")))
		}
	}
	for _, f := range functions {
		for _, name := range libraryCalls(f) {
			if operations, ok := known[name]; ok {
				add(f.Name.Name, operations...)
			}
		}
		methods, paths := rawCalls(f)
		for _, path := range paths {
			for _, method := range methods {
				add(f.Name.Name, method+" /repos/1/1"+path)
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), errors.Join(errs...)
}

// operation is GitHub's name of a "METHOD /path"; "" when there is none. Braces
// in the path stand for anything.
func (j *Judge) operation(call string) string {
	method, path, _ := strings.Cut(call, " ")
	req, err := http.NewRequest(method, regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "1"), nil)
	if err != nil {
		return ""
	}
	if route, _ := j.find(req); route != nil {
		return route.Operation.OperationID
	}
	return ""
}

// libraryOperations maps "Issues.Get" to "GET /repos/{owner}/{repo}/issues/{issue_number}"
// and whatever else the method asks for.
func libraryOperations() (map[string][]string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", library).Output()
	if err != nil {
		return nil, err
	}
	functions, err := functions(filepath.Join(strings.TrimSpace(string(out)), "github"))
	if err != nil {
		return nil, err
	}
	known := map[string][]string{}
	for _, f := range functions {
		if f.Recv == nil || f.Doc == nil {
			continue
		}
		star, ok := f.Recv.List[0].Type.(*ast.StarExpr)
		if !ok {
			continue
		}
		service := strings.TrimSuffix(fmt.Sprint(star.X), "Service")
		for _, c := range f.Doc.List {
			if operation, ok := strings.CutPrefix(c.Text, "//meta:operation "); ok {
				name := service + "." + f.Name.Name
				known[name] = append(known[name], operation)
			}
		}
	}
	return known, nil
}

// functions parses the functions in a folder, without tests.
func functions(dir string) ([]*ast.FuncDecl, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var all []*ast.FuncDecl
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				all = append(all, f)
			}
		}
	}
	if len(all) == 0 {
		return nil, fs.ErrNotExist
	}
	return all, nil
}

// libraryCalls finds x.Service.Method in a function.
func libraryCalls(f *ast.FuncDecl) []string {
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if method, ok := n.(*ast.SelectorExpr); ok {
			if service, ok := method.X.(*ast.SelectorExpr); ok {
				names = append(names, service.Sel.Name+"."+method.Sel.Name)
			}
		}
		return true
	})
	return names
}

// rawCalls finds the HTTP methods and the paths that a function names itself.
// A path starts with a slash, or with "repos/%s/"; every verb of fmt in it becomes "1".
func rawCalls(f *ast.FuncDecl) (methods, paths []string) {
	verb, below := regexp.MustCompile(`%[a-z]`), regexp.MustCompile(`^(?:repos/%s)?(/[a-z].*)`)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if name, ok := strings.CutPrefix(n.Sel.Name, "Method"); ok && fmt.Sprint(n.X) == "http" {
				methods = append(methods, strings.ToUpper(name))
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if err != nil || n.Kind != token.STRING {
				return true
			}
			if path := below.FindStringSubmatch(text); path != nil {
				paths = append(paths, verb.ReplaceAllString(path[1], "1"))
			}
		}
		return true
	})
	return methods, paths
}
