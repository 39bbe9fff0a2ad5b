package localhub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mergegate/gate"
)

// request is one call of the REST API, with the hub locked.
type request struct {
	*Hub
	*caller
	http   *http.Request
	repo   *repo // of /repos/{owner}/{repo}/…
	body   []byte
	header http.Header // of the answer
}

// need is what a route asks of its caller: an App's permission and its level, and
// a person's role.
type need struct {
	scope, level string
	role         gate.Role
}

// paged is a list inside of an object.
type paged struct {
	obj
	key string
	all []obj
}

// handler is one operation. A []obj or paged answer is cut into pages.
type handler func(*request) (status int, body any, err error)

// rest is the REST API, by GitHub's paths.
func (h *Hub) rest() http.Handler {
	mux := http.NewServeMux()
	for _, routes := range []map[string]handler{accountRoutes(), appRoutes()} {
		for pattern, f := range routes {
			mux.Handle(pattern, h.serve(nil, f))
		}
	}
	var (
		meta    = need{"metadata", "read", gate.RoleRead}
		content = need{"contents", "read", gate.RoleRead}
		push    = need{"contents", "write", gate.RoleWrite}
		issues  = need{"issues", "read", gate.RoleRead}
		talk    = need{"issues", "write", gate.RoleRead}
		label   = need{"issues", "write", gate.RoleWrite}
		pulls   = need{"pull_requests", "read", gate.RoleRead}
		propose = need{"pull_requests", "write", gate.RoleRead}
		report  = need{"statuses", "write", gate.RoleWrite}
		checks  = need{"checks", "read", gate.RoleRead}
		ruler   = need{"administration", "write", gate.RoleAdmin}
		checker = need{"checks", "write", gate.RoleRead} // whoever is no App is told so
		hooks   = need{"repository_hooks", "read", gate.RoleAdmin}
		hooker  = need{"repository_hooks", "write", gate.RoleAdmin}
	)
	for n, routes := range map[need]map[string]handler{
		meta: repoRoutes(), content: gitRoutes(), push: pushRoutes(), issues: issueRoutes(), talk: talkRoutes(), label: labelRoutes(),
		pulls: pullRoutes(), propose: proposeRoutes(), report: reportRoutes(), checks: checkRoutes(), checker: checkWriteRoutes(),
		ruler: rulesetRoutes(), hooks: hookRoutes(), hooker: hookWriteRoutes(),
	} {
		for pattern, f := range routes {
			method, path, _ := strings.Cut(pattern, " ")
			mux.Handle(method+" /repos/{owner}/{repo}"+path, h.serve(&n, f))
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { writeProblem(w, notFound()) })
	return mux
}

// serve runs a handler and writes what it answers.
func (h *Hub) serve(n *need, f handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10<<20))
		if err != nil {
			writeProblem(w, refused(http.StatusRequestEntityTooLarge, "Request body is too large"))
			return
		}
		q := &request{Hub: h, caller: r.Context().Value(callerKey{}).(*caller), http: r, body: body, header: w.Header()}
		status, data, err := q.run(n, f)
		switch {
		case err != nil:
			writeProblem(w, err)
		case data == nil:
			w.WriteHeader(status)
		default:
			q.reply(w, status, data)
		}
	})
}

// run calls the handler with the hub locked and gives its answer as JSON.
func (q *request) run(n *need, f handler) (int, []byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n != nil {
		q.repo = q.find(q.path("owner") + "/" + q.path("repo"))
		if q.repo == nil {
			return 0, nil, notFound()
		}
		if err := q.allow(q.caller, q.repo, n.scope, n.level, n.role); err != nil {
			return 0, nil, err
		}
	}
	status, body, err := f(q)
	if err != nil || body == nil {
		return status, nil, err
	}
	switch all := body.(type) {
	case []obj:
		body = q.cut(all)
	case paged:
		all.obj["total_count"] = len(all.all)
		all.obj[all.key] = q.cut(all.all)
		body = all.obj
	case obj:
		if at, ok := all["url"].(string); ok && status == http.StatusCreated {
			q.header.Set("Location", at)
		}
	}
	data, err := json.Marshal(body)
	return status, data, err
}

// cut gives the page that was asked for and points to the others.
func (q *request) cut(all []obj) []obj {
	query := q.http.URL.Query()
	number := func(name string, otherwise int) int {
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 1 {
			return otherwise
		}
		return n
	}
	size, page := min(number("per_page", 30), 100), number("page", 1)
	last := (len(all) + size - 1) / size
	base := q.API + strings.TrimSuffix(q.http.URL.EscapedPath(), "/")
	if q.repo != nil {
		f := strings.SplitN(q.http.URL.EscapedPath(), "/", 5)
		base = strings.TrimSuffix(fmt.Sprintf("%s/repositories/%d/%s", q.API, q.repo.id, f[len(f)-1]), "/")
	}
	rest := "" // of the query, in its order
	for part := range strings.SplitSeq(q.http.URL.RawQuery, "&") {
		if part != "" && !strings.HasPrefix(part, "page=") {
			rest += part + "&"
		}
	}
	var links []string
	link := func(to int, rel string) {
		links = append(links, fmt.Sprintf(`<%s?%spage=%d>; rel="%s"`, base, rest, to, rel))
	}
	if page > 1 {
		link(page-1, "prev")
	}
	if page < last {
		link(page+1, "next")
		link(last, "last")
	}
	if page > 1 {
		link(1, "first")
	}
	if links != nil {
		q.header.Set("Link", strings.Join(links, ", "))
	}
	from := min((page-1)*size, len(all))
	return all[from:min(from+size, len(all))]
}

// reply sends JSON, or 304 for what the caller has already.
func (q *request) reply(w http.ResponseWriter, status int, data []byte) {
	head := w.Header()
	head.Set("Content-Type", "application/json; charset=utf-8")
	head.Set("Cache-Control", "private, max-age=60, s-maxage=60")
	head.Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP")
	if q.http.Method == http.MethodGet && status == http.StatusOK {
		sum := sha256.Sum256(slices.Concat(data, []byte(head.Get("Link"))))
		tag := `"` + hex.EncodeToString(sum[:]) + `"`
		head.Set("ETag", `W/`+tag)
		if strings.Contains(q.http.Header.Get("If-None-Match"), tag) {
			head.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(status)
	w.Write(data)
}

func (q *request) path(name string) string { return q.http.PathValue(name) }

// number reads a path value; 0 is no issue, comment, hook or run.
func (q *request) number(name string) int64 {
	n, _ := strconv.ParseInt(q.path(name), 10, 64)
	return n
}

// decode reads the request's body; an empty one changes nothing.
func (q *request) decode(into any) error {
	if len(q.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(q.body, into); err != nil {
		return refused(http.StatusBadRequest, "Problems parsing JSON")
	}
	return nil
}

// issue is the issue or pull request of the path.
func (q *request) issue() (*issue, error) {
	i := q.repo.issues[int(q.number("number"))]
	if i == nil {
		return nil, notFound()
	}
	return i, nil
}

// pull is the pull request of the path.
func (q *request) pull() (*issue, error) {
	i, err := q.issue()
	if err == nil && i.pull == nil {
		err = notFound()
	}
	return i, err
}

func ok(body any) (int, any, error)      { return http.StatusOK, body, nil }
func created(body any) (int, any, error) { return http.StatusCreated, body, nil }
func no(err error) (int, any, error)     { return 0, nil, err }

// done is the answer without a body, or the error.
func done(err error) (int, any, error) { return http.StatusNoContent, nil, err }
