package localhub

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mergegate/gate"
)

//go:embed pages
var pageFiles embed.FS

// handler is everything that the hub serves.
func (h *Hub) handler() http.Handler {
	api := h.rest()
	if h.opts.Wrap != nil {
		api = h.opts.Wrap(api)
	}
	pages := template.Must(template.New("").Funcs(template.FuncMap{"clock": func(t time.Time) string { return t.Format("15:04:05") }}).
		ParseFS(pageFiles, "pages/*.html"))
	p := &site{h, pages}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("GET /settings/apps/new", p.newApp)
	mux.HandleFunc("POST /settings/apps/new", p.newApp)
	mux.HandleFunc("POST /settings/apps/create", p.createApp)
	mux.HandleFunc("GET /organizations/{org}/settings/apps/new", p.newApp)
	mux.HandleFunc("POST /organizations/{org}/settings/apps/new", p.newApp)
	mux.HandleFunc("GET /apps/{slug}", p.app)
	mux.HandleFunc("GET /apps/{slug}/installations/new", p.app)
	mux.HandleFunc("POST /apps/{slug}/installations", p.install)
	mux.HandleFunc("GET /{owner}/{repo}", p.repo)
	mux.HandleFunc("GET /{owner}/{repo}/pull/{number}", p.issue)
	mux.HandleFunc("GET /{owner}/{repo}/issues/{number}", p.issue)
	mux.HandleFunc("POST /{owner}/{repo}/act/{number}", p.act)
	mux.HandleFunc("GET /{owner}/{repo}/info/refs", h.serveGit)
	mux.HandleFunc("POST /{owner}/{repo}/{service}", h.serveGit)
	// A page of another site must not press the buttons. The manifest form is
	// posted from one by design, and makes nothing yet.
	guard := http.NewCrossOriginProtection()
	guard.AddInsecureBypassPattern("POST /settings/apps/new")
	guard.AddInsecureBypassPattern("POST /organizations/{org}/settings/apps/new")
	people, programs := guard.Handler(mux), h.gateway(api)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v3/") {
			programs.ServeHTTP(w, r)
			return
		}
		people.ServeHTTP(w, r)
	})
}

// site is the pages for people.
type site struct {
	*Hub
	pages *template.Template
}

// show renders a page. It is made with the hub locked and sent without.
func (p *site) show(w http.ResponseWriter, name string, data func() (any, error)) {
	var page bytes.Buffer
	err := func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		d, err := data()
		if err != nil {
			return err
		}
		return p.pages.ExecuteTemplate(&page, name, d)
	}()
	if err != nil {
		p.sorry(w, err)
		return
	}
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Write(page.Bytes())
}

func (p *site) sorry(w http.ResponseWriter, err error) {
	status := http.StatusUnprocessableEntity
	if e, ok := errors.AsType[*problem](err); ok {
		status = e.status
	}
	http.Error(w, err.Error(), status)
}

func (p *site) home(w http.ResponseWriter, r *http.Request) {
	p.show(w, "home.html", func() (any, error) {
		var names []string
		for _, r := range p.sorted() {
			if !r.private {
				names = append(names, r.full())
			}
		}
		return names, nil
	})
}

// line is an issue or pull request on a repository's page.
type line struct {
	Number              int
	Title, State, Kind  string
	Author, Base, Short string
	Labels              []string
}

func lineOf(i *issue) line {
	l := line{Number: i.number, Title: i.title, State: i.state(), Kind: "issues", Author: i.by.login}
	for _, one := range i.labels {
		l.Labels = append(l.Labels, one.name)
	}
	if i.pull != nil {
		l.Kind, l.Base, l.Short = "pull", i.pull.base, i.pull.head.Short()
		switch {
		case i.pull.merged:
			l.State = "merged"
		case i.open && i.pull.draft:
			l.State = "draft"
		}
	}
	return l
}

func (p *site) repo(w http.ResponseWriter, r *http.Request) {
	p.show(w, "repo.html", func() (any, error) {
		repo := p.find(r.PathValue("owner") + "/" + r.PathValue("repo"))
		if repo == nil {
			return nil, notFound()
		}
		type commitLine struct{ Short, Title, Author string }
		d := struct {
			Name, Branch, Clone string
			Lines               []line
			Commits             []commitLine
		}{Name: repo.full(), Branch: repo.defaultBranch, Clone: p.CloneURL(repo.full())}
		for _, n := range slices.Backward(slices.Sorted(maps.Keys(repo.issues))) {
			d.Lines = append(d.Lines, lineOf(repo.issues[n]))
		}
		out, err := p.git(repo, "rev-list", "-n", "20", string(repo.tip(repo.defaultBranch)))
		if err != nil {
			return nil, err
		}
		for id := range strings.FieldsSeq(out) {
			c := p.commit(repo, gate.SHA(id))
			title, _, _ := strings.Cut(c.message, "\n")
			d.Commits = append(d.Commits, commitLine{c.id.Short(), title, c.author.name})
		}
		return d, nil
	})
}

// talkLine is one entry of the conversation.
type talkLine struct {
	At        time.Time
	Who, What string
	Text      string
}

// checkLine is a status or a check run.
type checkLine struct {
	Name, State, Text, Summary string
	Run                        int64
	Buttons                    []struct{ Label, Description, Identifier string }
}

func (p *site) issue(w http.ResponseWriter, r *http.Request) {
	p.show(w, "issue.html", func() (any, error) {
		repo := p.find(r.PathValue("owner") + "/" + r.PathValue("repo"))
		n, _ := strconv.Atoi(r.PathValue("number")) // 0 is nothing
		if repo == nil || repo.issues[n] == nil {
			return nil, notFound()
		}
		i := repo.issues[n]
		d := struct {
			line
			Repo, Body, Merge string
			Pull, Open        bool
			People            []string
			Talk              []talkLine
			Checks            []checkLine
		}{line: lineOf(i), Repo: repo.full(), Body: i.body, Pull: i.pull != nil, Open: i.open, People: p.people(repo)}
		for _, e := range i.history {
			d.Talk = append(d.Talk, talkOf(e))
		}
		if i.pull != nil {
			d.Checks = p.checks(repo, i.pull.head)
			d.Merge = string(i.pull.landed)
		}
		return d, nil
	})
}

// people are those who may act on the page: the owner, and who has a role.
func (h *Hub) people(r *repo) []string {
	all := []string{r.owner.login}
	for a := range r.roles {
		if a.kind == "User" {
			all = append(all, a.login)
		}
	}
	slices.Sort(all[1:])
	return all
}

func talkOf(e *event) talkLine {
	l := talkLine{At: e.at, Who: e.actor.login, What: strings.ReplaceAll(e.kind, "_", " ")}
	switch {
	case e.comment != nil:
		l.Text = e.comment.body
	case e.review != nil:
		l.Text = strings.ToLower(strings.ReplaceAll(e.review.state, "_", " "))
	case e.label != nil:
		l.Text = e.label.name
	case e.kind == "renamed":
		l.Text = e.from + " → " + e.to
	case e.commit != "":
		l.Text = e.commit.Short()
	}
	return l
}

func (h *Hub) checks(r *repo, id gate.SHA) []checkLine {
	var all []checkLine
	for _, s := range newest(r.statuses[id]) {
		all = append(all, checkLine{Name: s.context, State: s.state, Text: s.text})
	}
	for _, c := range h.newestRuns(r, id) {
		l := checkLine{Name: c.name, State: c.status, Run: c.id, Buttons: c.buttons()}
		if c.conclusion != "" {
			l.State = c.conclusion
		}
		l.Text, _ = c.output["title"].(string)
		l.Summary, _ = c.output["summary"].(string)
		all = append(all, l)
	}
	return all
}

// act does what a form of a page asks, as the person named in it.
func (p *site) act(w http.ResponseWriter, r *http.Request) {
	repo := r.PathValue("owner") + "/" + r.PathValue("repo")
	n, _ := strconv.Atoi(r.PathValue("number")) // 0 is nothing
	by, text := r.PostFormValue("as"), r.PostFormValue("text")
	var err error
	switch r.PostFormValue("do") {
	case "comment":
		_, err = p.Comment(repo, n, by, text)
	case "approve":
		err = p.Review(repo, n, by, gate.Approved)
	case "object":
		err = p.Review(repo, n, by, gate.ChangesRequested)
	case "label":
		err = p.Label(repo, n, by, text)
	case "unlabel":
		err = p.Unlabel(repo, n, by, text)
	case "close":
		err = p.Close(repo, n, by)
	case "reopen":
		err = p.Reopen(repo, n, by)
	case "draft", "ready":
		err = p.Draft(repo, n, by, r.PostFormValue("do") == "draft")
	case "press":
		run, _ := strconv.ParseInt(r.PostFormValue("run"), 10, 64) // 0 is nothing
		err = p.Press(repo, run, by, text)
	default:
		err = refused(http.StatusUnprocessableEntity, "no such button")
	}
	if err != nil {
		p.sorry(w, err)
		return
	}
	http.Redirect(w, r, "/"+repo+"/pull/"+strconv.Itoa(n), http.StatusSeeOther)
}

// newApp is where the manifest flow begins: a manifest arrives by a form of
// another site, and a person looks at it before anything is made.
func (p *site) newApp(w http.ResponseWriter, r *http.Request) {
	text := r.FormValue("manifest")
	p.show(w, "app_new.html", func() (any, error) {
		var owners []string
		for _, a := range p.accounts {
			if org := r.PathValue("org"); a.kind != "Bot" && (org == "" || equalFold(org, a.login)) {
				owners = append(owners, a.login)
			}
		}
		slices.Sort(owners)
		if owners == nil {
			return nil, notFound()
		}
		return struct {
			Manifest, State string
			Owners          []string
		}{text, r.URL.Query().Get("state"), owners}, nil
	})
}

func (p *site) createApp(w http.ResponseWriter, r *http.Request) {
	to, err := p.makeFromManifest(r.PostFormValue("owner"), r.PostFormValue("manifest"), r.PostFormValue("name"), r.PostFormValue("state"))
	if err != nil {
		p.sorry(w, err)
		return
	}
	http.Redirect(w, r, to, http.StatusFound)
}

func (p *site) app(w http.ResponseWriter, r *http.Request) {
	p.show(w, "app.html", func() (any, error) {
		a := p.bySlug(r.PathValue("slug"))
		if a == nil {
			return nil, notFound()
		}
		d := struct {
			Name, Slug string
			Repos      []string
		}{Name: a.name, Slug: a.Slug}
		for _, repo := range p.sorted() {
			d.Repos = append(d.Repos, repo.full())
		}
		return d, nil
	})
}

func (h *Hub) bySlug(slug string) *app {
	for _, a := range h.apps {
		if a.Slug == slug {
			return a
		}
	}
	return nil
}

func (p *site) install(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	a := p.bySlug(r.PathValue("slug"))
	p.mu.Unlock()
	if a == nil {
		p.sorry(w, notFound())
		return
	}
	if _, err := p.InstallApp(a.ID, r.PostFormValue("repo")); err != nil {
		p.sorry(w, err)
		return
	}
	http.Redirect(w, r, "/"+r.PostFormValue("repo"), http.StatusSeeOther)
}
