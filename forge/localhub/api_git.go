package localhub

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"mergegate/gate"
)

func gitRoutes() map[string]handler {
	return map[string]handler{
		"GET /branches":                   listBranches,
		"GET /branches/{branch...}":       branchOrProtection,
		"GET /commits":                    listCommits,
		"GET /commits/{ref...}":           underCommit,
		"GET /git/ref/{ref...}":           getRef,
		"GET /git/matching-refs/{ref...}": matchingRefs,
		"GET /git/commits/{sha}":          getGitCommit,
		"GET /compare/{basehead...}":      compare,
		"GET /contents/{path...}":         getContents,
	}
}

func listCommits(q *request) (int, any, error) {
	from := q.http.URL.Query().Get("sha")
	if from == "" {
		from = q.repo.defaultBranch
	}
	id := q.resolve(q.repo, from)
	if id == "" {
		return no(notFound())
	}
	out, err := q.git(q.repo, "rev-list", string(id))
	if err != nil {
		return no(err)
	}
	all := []obj{}
	for c := range strings.FieldsSeq(out) {
		all = append(all, q.commitView(q.repo, q.commit(q.repo, gate.SHA(c))))
	}
	return ok(all)
}

// underCommit serves paths that begin with a commit or the name of a ref.
func underCommit(q *request) (int, any, error) {
	rest := q.path("ref")
	for suffix, f := range map[string]func(*request, gate.SHA) (int, any, error){
		"/status": combinedStatus, "/statuses": listStatuses, "/check-runs": listRuns, "/check-suites": listSuites, "/pulls": commitPulls,
	} {
		if ref, ok := strings.CutSuffix(rest, suffix); ok {
			id := q.resolve(q.repo, ref)
			if id == "" {
				return no(refused(http.StatusUnprocessableEntity, "No commit found for SHA: %s", ref))
			}
			return f(q, id)
		}
	}
	id := q.resolve(q.repo, rest)
	if id == "" {
		return no(refused(http.StatusUnprocessableEntity, "No commit found for SHA: %s", rest))
	}
	c := q.commit(q.repo, id)
	o := q.commitView(q.repo, c)
	if len(c.parents) > 0 {
		files, err := q.diff(q.repo, c.parents[0], id)
		if err != nil {
			return no(err)
		}
		o["files"] = list(files, func(f file) obj { return q.fileView(q.repo, id, f) })
	}
	return ok(o)
}

func commitPulls(q *request, id gate.SHA) (int, any, error) {
	var all []*issue
	for _, i := range q.repo.issues {
		if i.pull != nil && (i.pull.head == id || i.pull.landed == id) {
			all = append(all, i)
		}
	}
	sortIssues(all, "", "asc")
	return ok(list(all, q.simplePull))
}

func getRef(q *request) (int, any, error) {
	name := "refs/" + q.path("ref")
	id := q.repo.refs[name]
	if id == "" {
		return no(notFound())
	}
	return ok(q.refView(q.repo, name, id))
}

func matchingRefs(q *request) (int, any, error) {
	all := []obj{}
	for _, name := range slices.Sorted(maps.Keys(q.repo.refs)) {
		if strings.HasPrefix(name, "refs/"+q.path("ref")) {
			all = append(all, q.refView(q.repo, name, q.repo.refs[name]))
		}
	}
	return ok(all)
}

func getGitCommit(q *request) (int, any, error) {
	c := q.commit(q.repo, gate.SHA(q.path("sha")))
	if c == nil {
		return no(notFound())
	}
	return ok(q.gitCommit(q.repo, c))
}

func compare(q *request) (int, any, error) {
	from, to, found := strings.Cut(q.path("basehead"), "...")
	base, head := q.resolve(q.repo, from), q.resolve(q.repo, to)
	if !found || base == "" || head == "" {
		return no(notFound())
	}
	common := q.mergeBase(q.repo, base, head)
	if common == "" {
		return no(refused(http.StatusNotFound, "No common ancestor between %s and %s.", from, to))
	}
	ahead, err := q.between(q.repo, base, head)
	if err != nil {
		return no(err)
	}
	behind, err := q.between(q.repo, head, base)
	if err != nil {
		return no(err)
	}
	files, err := q.diff(q.repo, common, head)
	if err != nil {
		return no(err)
	}
	status := "identical"
	switch {
	case len(ahead) > 0 && len(behind) > 0:
		status = "diverged"
	case len(ahead) > 0:
		status = "ahead"
	case len(behind) > 0:
		status = "behind"
	}
	page := q.repoPage(q.repo) + "/compare/" + string(base) + "..." + string(head)
	return ok(obj{
		"url": q.repoURL(q.repo) + "/compare/" + from + "..." + to, "html_url": page, "permalink_url": page, "diff_url": page + ".diff",
		"patch_url": page + ".patch", "base_commit": q.commitView(q.repo, q.commit(q.repo, base)),
		"merge_base_commit": q.commitView(q.repo, q.commit(q.repo, common)), "status": status, "ahead_by": len(ahead), "behind_by": len(behind),
		"total_commits": len(ahead), "commits": list(ahead, func(c *commit) obj { return q.commitView(q.repo, c) }),
		"files": list(files, func(f file) obj { return q.fileView(q.repo, head, f) }),
	})
}

// getContents reads one file; folders are not for this hub.
func getContents(q *request) (int, any, error) {
	path, ref := q.path("path"), q.http.URL.Query().Get("ref")
	if ref == "" {
		ref = q.repo.defaultBranch
	}
	id := q.resolve(q.repo, ref)
	if id == "" {
		return no(notFound())
	}
	blob, err := q.git(q.repo, "rev-parse", "--verify", "-q", string(id)+":"+path)
	if err != nil {
		return no(notFound())
	}
	text, err := q.repo.git.Run(q.ctx, "", "cat-file", "blob", blob)
	if err != nil {
		return no(notFound())
	}
	return ok(q.fileContent(q.repo, path, ref, blob, text))
}

// fileContent is content-file.
func (h *Hub) fileContent(r *repo, path, ref, blob, text string) obj {
	at := fmt.Sprintf("%s/contents/%s?ref=%s", h.repoURL(r), path, ref)
	gitAt := h.repoURL(r) + "/git/blobs/" + blob
	page := h.repoPage(r) + "/blob/" + ref + "/" + path
	return obj{"type": "file", "encoding": "base64", "size": len(text), "name": path[strings.LastIndex(path, "/")+1:], "path": path,
		"content": base64.StdEncoding.EncodeToString([]byte(text)), "sha": blob, "url": at, "git_url": gitAt, "html_url": page,
		"download_url": h.repoPage(r) + "/raw/" + ref + "/" + path, "_links": obj{"self": at, "git": gitAt, "html": page}}
}

func pushRoutes() map[string]handler {
	return map[string]handler{
		"POST /git/refs":            postRef,
		"PATCH /git/refs/{ref...}":  patchRef,
		"DELETE /git/refs/{ref...}": func(q *request) (int, any, error) { return done(q.deleteRef(q.repo, "refs/"+q.path("ref"), q.caller)) },
		"POST /git/commits":         postCommit,
		"POST /merges":              postMerge,
		"PUT /contents/{path...}":   putContents,
	}
}

func postRef(q *request) (int, any, error) {
	var in struct {
		Ref string
		SHA gate.SHA
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if err := q.createRef(q.repo, in.Ref, in.SHA, q.caller); err != nil {
		return no(err)
	}
	return created(q.refView(q.repo, in.Ref, in.SHA))
}

func patchRef(q *request) (int, any, error) {
	var in struct {
		SHA   gate.SHA
		Force bool
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	name := "refs/" + q.path("ref")
	if err := q.updateRef(q.repo, name, in.SHA, in.Force, q.caller); err != nil {
		return no(err)
	}
	return ok(q.refView(q.repo, name, in.SHA))
}

// postCommit makes a commit that no ref has yet.
func postCommit(q *request) (int, any, error) {
	var in struct {
		Message string
		Tree    gate.SHA
		Parents []gate.SHA
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	for _, p := range in.Parents {
		if q.commit(q.repo, p) == nil {
			return no(refused(http.StatusUnprocessableEntity, "Parent SHA does not exist or is not a commit object"))
		}
	}
	if !in.Tree.Valid() || q.object(in.Tree) != "tree" {
		return no(refused(http.StatusUnprocessableEntity, "Tree SHA does not exist"))
	}
	id, err := q.write(q.repo, in.Tree, in.Message, q.ident(q.account), q.ident(q.account), in.Parents...)
	if err != nil {
		return no(err)
	}
	return created(q.gitCommit(q.repo, q.commit(q.repo, id)))
}

// object is the type of an object; "" when it is not there.
func (q *request) object(id gate.SHA) string {
	out, _ := q.git(q.repo, "cat-file", "-t", string(id)) // "" when it fails
	return out
}

// postMerge merges one branch into another.
func postMerge(q *request) (int, any, error) {
	var in struct {
		Base, Head string
		Message    string `json:"commit_message"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	tip, head := q.repo.tip(in.Base), q.resolve(q.repo, in.Head)
	switch {
	case tip == "":
		return no(refused(http.StatusNotFound, "Base does not exist"))
	case head == "":
		return no(refused(http.StatusNotFound, "Head does not exist"))
	case q.contains(q.repo, tip, head):
		return done(nil)
	}
	tree := q.mergeTree(q.repo, tip, head)
	if tree == "" {
		return no(refused(http.StatusConflict, "Merge conflict"))
	}
	if in.Message == "" {
		in.Message = fmt.Sprintf("Merge %s into %s", in.Head, in.Base)
	}
	id, err := q.write(q.repo, tree, in.Message, q.ident(q.account), forgeIdent(), tip, head)
	if err != nil {
		return no(err)
	}
	if err := q.updateRef(q.repo, "refs/heads/"+in.Base, id, false, q.caller); err != nil {
		return no(refused(http.StatusForbidden, "%s", err.Error()))
	}
	return created(q.commitView(q.repo, q.commit(q.repo, id)))
}

// putContents changes one file of a branch. It compares: without the sha of
// what is there, nothing is replaced.
func putContents(q *request) (int, any, error) {
	var in struct {
		Message, Content, Branch, SHA string
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if in.Branch == "" {
		in.Branch = q.repo.defaultBranch
	}
	path, tip := q.path("path"), q.repo.tip(in.Branch)
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(in.Content, "\n", ""))
	if err != nil {
		return no(refused(http.StatusUnprocessableEntity, "content is not valid Base64"))
	}
	was, _ := q.git(q.repo, "rev-parse", "--verify", "-q", string(tip)+":"+path) // "" when it is new
	switch {
	case tip == "":
		return no(refused(http.StatusNotFound, "Branch %s not found", in.Branch))
	case was != "" && in.SHA == "":
		return no(refused(http.StatusUnprocessableEntity, "Invalid request.\n\n\"sha\" wasn't supplied."))
	case was != in.SHA:
		return no(refused(http.StatusConflict, "%s does not match %s", path, in.SHA))
	}
	tree, err := q.writeFiles(q.repo, tip, map[string]string{path: string(text)})
	if err != nil {
		return no(err)
	}
	id, err := q.write(q.repo, tree, in.Message, q.ident(q.account), q.ident(q.account), tip)
	if err != nil {
		return no(err)
	}
	if err := q.updateRef(q.repo, "refs/heads/"+in.Branch, id, false, q.caller); err != nil {
		return no(refused(http.StatusConflict, "%s", err.Error()))
	}
	blob, err := q.git(q.repo, "rev-parse", string(id)+":"+path)
	if err != nil {
		return no(err)
	}
	o := q.fileContent(q.repo, path, in.Branch, blob, string(text))
	delete(o, "content")
	delete(o, "encoding")
	commit := q.gitCommit(q.repo, q.commit(q.repo, id))
	status := http.StatusCreated
	if was != "" {
		status = http.StatusOK
	}
	return status, obj{"content": o, "commit": commit}, nil
}
