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

func repoRoutes() map[string]handler {
	return map[string]handler{
		"GET ":                                 func(q *request) (int, any, error) { return ok(q.fullRepo(q.repo, q.caller)) },
		"GET /rules/branches/{branch...}":      func(q *request) (int, any, error) { return ok(q.branchRules(q.repo, q.path("branch"))) },
		"GET /rulesets":                        listRulesets,
		"GET /rulesets/{id}":                   oneRuleset,
		"GET /collaborators/{user}/permission": permission,
	}
}

// permission is what an account may do, for those who may push.
func permission(q *request) (int, any, error) {
	if err := q.allow(q.caller, q.repo, "metadata", "read", gate.RoleWrite); err != nil && q.inst == nil {
		return no(refused(http.StatusForbidden, "Must have push access to view collaborator permission."))
	}
	a := q.whois(q.path("user"))
	if a == nil {
		return no(notFound())
	}
	role := q.repo.role(a)
	if a.kind == "Bot" {
		role = q.botRole(q.repo, a)
	}
	legacy := map[gate.Role]string{gate.RoleNone: "none", gate.RoleRead: "read", gate.RoleWrite: "write", gate.RoleMaintain: "write", gate.RoleAdmin: "admin"}
	who := with(q.user(a), obj{"role_name": role.String(), "permissions": obj{
		"admin": role >= gate.RoleAdmin, "maintain": role >= gate.RoleMaintain, "push": role >= gate.RoleWrite,
		"triage": role >= gate.RoleWrite, "pull": role >= gate.RoleRead}})
	return ok(obj{"permission": legacy[role], "role_name": role.String(), "user": who})
}

// botRole is an App's access as if its bot were a person.
func (h *Hub) botRole(r *repo, bot *account) gate.Role {
	for _, i := range h.installations {
		c := &caller{account: bot, app: i.app, inst: i}
		switch {
		case i.app.bot != bot || !slices.Contains(i.repos, r):
			continue
		case h.mayAs(c, r, "administration", "write", gate.RoleAdmin):
			return gate.RoleAdmin
		case h.mayAs(c, r, "contents", "write", gate.RoleWrite):
			return gate.RoleWrite
		}
		return gate.RoleRead
	}
	return r.role(bot)
}

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

func (h *Hub) branchURL(r *repo, branch string) string {
	return h.repoURL(r) + "/branches/" + strings.ReplaceAll(branch, "/", "%2F")
}

func listBranches(q *request) (int, any, error) {
	all := []obj{}
	for _, ref := range slices.Sorted(maps.Keys(q.repo.refs)) {
		if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			tip := q.repo.refs[ref]
			all = append(all, obj{"name": branch, "commit": obj{"sha": tip, "url": q.repoURL(q.repo) + "/commits/" + string(tip)},
				"protected": q.isProtected(q.repo, branch)})
		}
	}
	return ok(all)
}

func (h *Hub) isProtected(r *repo, branch string) bool {
	return r.protections[branch] != nil || len(h.branchRules(r, branch)) > 0
}

// branchOrProtection serves paths that begin with a branch, whose name may have
// slashes itself.
func branchOrProtection(q *request) (int, any, error) {
	rest := q.path("branch")
	if branch, ok := strings.CutSuffix(rest, "/protection/required_status_checks"); ok {
		return getProtection(q, branch, true)
	}
	if branch, ok := strings.CutSuffix(rest, "/protection"); ok {
		return getProtection(q, branch, false)
	}
	tip := q.repo.tip(rest)
	if tip == "" {
		return no(refused(http.StatusNotFound, "Branch not found"))
	}
	at := q.branchURL(q.repo, rest)
	protection := obj{"enabled": false, "required_status_checks": obj{"enforcement_level": "off", "contexts": []string{}, "checks": []obj{}}}
	if p := q.repo.protections[rest]; p != nil {
		protection["enabled"] = true
		if len(p.Checks) > 0 {
			protection["required_status_checks"] = obj{"enforcement_level": "non_admins", "contexts": p.Checks,
				"checks": list(p.Checks, func(c string) obj { return obj{"context": c, "app_id": nil} })}
		}
	}
	return ok(obj{"name": rest, "commit": q.commitView(q.repo, q.commit(q.repo, tip)), "protected": q.isProtected(q.repo, rest),
		"protection": protection, "protection_url": at + "/protection",
		"_links": obj{"self": at, "html": q.repoPage(q.repo) + "/tree/" + rest}})
}

func getProtection(q *request, branch string, checksOnly bool) (int, any, error) {
	if err := q.allow(q.caller, q.repo, "administration", "read", gate.RoleAdmin); err != nil {
		return no(err)
	}
	p := q.repo.protections[branch]
	switch {
	case q.repo.tip(branch) == "":
		return no(refused(http.StatusNotFound, "Branch not found"))
	case p == nil:
		return no(refused(http.StatusNotFound, "Branch not protected"))
	case checksOnly && len(p.Checks) == 0 && !p.Strict:
		return no(refused(http.StatusNotFound, "Required status checks not enabled"))
	case checksOnly:
		return ok(q.statusPolicy(q.branchURL(q.repo, branch)+"/protection", p))
	}
	return ok(q.protectionView(q.repo, branch, p))
}

func listRulesets(q *request) (int, any, error) {
	return ok(list(q.repo.rulesets, func(s *ruleset) obj { return q.rulesetView(q.repo, s, false) }))
}

func oneRuleset(q *request) (int, any, error) {
	for _, s := range q.repo.rulesets {
		if s.id == q.number("id") {
			return ok(q.rulesetView(q.repo, s, true))
		}
	}
	return no(notFound())
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
	blob, err := q.git(q.repo, "rev-parse", "--verify", "-q", string(id)+":"+path)
	if id == "" || err != nil {
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
	if _, err := q.git(q.repo, "rev-parse", "--verify", "-q", string(in.Tree)+"^{tree}"); err != nil || !in.Tree.Valid() {
		return no(refused(http.StatusUnprocessableEntity, "Tree SHA does not exist"))
	}
	id, err := q.write(q.repo, in.Tree, in.Message, q.ident(q.account), q.ident(q.account), in.Parents...)
	if err != nil {
		return no(err)
	}
	return created(q.gitCommit(q.repo, q.commit(q.repo, id)))
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

// rulesetRoutes change rules, as an administrator does.
func rulesetRoutes() map[string]handler {
	return map[string]handler{
		"PUT /collaborators/{user}": func(q *request) (int, any, error) {
			a := q.whois(q.path("user"))
			if a == nil {
				return no(notFound())
			}
			q.repo.roles[a] = gate.RoleWrite
			return done(nil)
		},
		"PATCH ": editRepo,
	}
}

func editRepo(q *request) (int, any, error) {
	var in struct {
		Name   string
		About  *string `json:"description"`
		Merge  *bool   `json:"allow_merge_commit"`
		Squash *bool   `json:"allow_squash_merge"`
		Rebase *bool   `json:"allow_rebase_merge"`
	}
	if err := q.decode(&in); err != nil {
		return no(err)
	}
	if in.About != nil {
		q.repo.about = *in.About
	}
	if in.Name != "" && in.Name != q.repo.name {
		if err := q.rename(q.repo, q.caller, in.Name); err != nil {
			return no(err)
		}
	}
	for method, on := range map[gate.Method]*bool{gate.Merge: in.Merge, gate.Squash: in.Squash, gate.Rebase: in.Rebase} {
		if on == nil {
			continue
		}
		q.repo.methods = slices.DeleteFunc(q.repo.methods, func(m gate.Method) bool { return m == method })
		if *on {
			q.repo.methods = append(q.repo.methods, method)
		}
	}
	return ok(q.fullRepo(q.repo, q.caller))
}
