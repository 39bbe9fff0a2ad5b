package bot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"mergegate/bot/config"
	"mergegate/gate"
	"mergegate/templates"
)

// Logs opens the log of a retest by its id; fs.ErrNotExist when there is none.
type Logs interface {
	OpenLog(id string) (io.ReadSeekCloser, error)
}

// view is what the pages show of one worker: a snapshot made after each round, so
// that a page never waits for a forge and works while one is down.
type view struct {
	repo    gate.Repo
	at      time.Time
	trouble *templates.Trouble
	queues  []templates.BaseView
	public  map[string]bool // bases whose pages are for everybody
	prs     map[int]templates.PRPageView
}

// publish makes the snapshot.
func (w *worker) publish() {
	v := &view{repo: w.repo, at: time.Now(), prs: map[int]templates.PRPageView{}, public: map[string]bool{}}
	v.trouble = w.failing.shown()
	states := map[gate.State]int{}
	var names []string
	for base := range w.queues {
		names = append(names, base)
	}
	slices.Sort(names)
	for _, base := range names {
		q := w.queues[base]
		v.public[base] = q.policy.Public
		b := templates.BaseView{
			Forge: w.repo.Forge, Repo: w.repo.String(), Base: base, Href: strings.TrimSuffix(w.info.CloneURL, ".git"),
			Frozen: q.frozen, Trouble: v.trouble, Outcomes: q.ended,
		}
		if b.Trouble == nil { // else no queue is served: what is in the way now comes first
			b.Trouble = q.failing.shown()
		}
		if q.held != nil {
			b.Holder = w.b.holder
		}
		for _, l := range w.lines(q) {
			if !l.State.Active() {
				continue
			}
			states[l.State]++
			row := templates.Row{Line: l, Href: w.prURL(l.PR)}
			b.Rows = append(b.Rows, row)
			v.prs[l.PR] = w.page(q, row, w.prs[l.PR].record)
		}
		for _, page := range q.pages {
			if _, ok := v.prs[page.PR]; !ok {
				v.prs[page.PR] = page
			}
		}
		v.queues = append(v.queues, b)
	}
	for _, s := range []gate.State{gate.Waiting, gate.Queued, gate.CatchingUp, gate.Testing, gate.Landing} {
		w.b.metrics.queued.WithLabelValues(w.repo.Forge, w.repo.String(), string(s)).Set(float64(states[s]))
	}
	w.view.Store(v)
}

func (t trouble) shown() *templates.Trouble {
	if t.err == nil {
		return nil
	}
	return &templates.Trouble{Error: t.err.Error(), Since: t.since, Next: t.next}
}

func (w *worker) page(q *queue, row templates.Row, r gate.Record) templates.PRPageView {
	if r.Log != "" {
		row.LogHref = w.b.cfg.ExternalURL + "/log/" + r.Log
	}
	return templates.PRPageView{
		Row: row, Forge: w.repo.Forge, Repo: w.repo.String(), QueueHref: w.queueURL(q.base),
		ModeWhy: r.ModeWhy, Landed: r.Landed, Events: slices.Clone(r.Events),
	}
}

// history keeps the last requests that ended, for the pages.
func (w *worker) history(p *pull) {
	q := w.queue(p.asksFor())
	page := w.page(q, templates.Row{Line: w.line(q, p.pr.Number), Href: w.prURL(p.pr.Number)}, p.record)
	q.ended = slices.Insert(q.ended, 0, page.Row)[:min(len(q.ended)+1, 20)]
	q.pages = slices.Insert(q.pages, 0, page)[:min(len(q.pages)+1, 20)]
}

// Handler serves webhooks, pages, the JSON view, health and metrics.
func (b *Bot) Handler(version string) http.Handler {
	s := &site{b: b, version: version}
	r := mux.NewRouter()
	r.UseEncodedPath()
	r.HandleFunc("/webhook/{forge}", b.webhook).Methods(http.MethodPost)
	get := r.Methods(http.MethodGet, http.MethodHead).Subrouter()
	get.HandleFunc("/", s.overview)
	get.HandleFunc("/style.css", s.style)
	get.HandleFunc("/r/{forge}/{owner}/{repo}/{base}", s.base)
	get.HandleFunc("/p/{forge}/{owner}/{repo}/{number:[0-9]+}", s.pr)
	get.HandleFunc("/log/{id:[a-z0-9]+}", s.log)
	get.HandleFunc("/login", s.only(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusSeeOther) }))
	get.HandleFunc("/api/queue", s.api)
	get.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	get.HandleFunc("/readyz", s.ready)
	get.HandleFunc("/metrics", s.only(b.metrics.handler().ServeHTTP))
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.missing(w, r, "page") })
	return secure(r)
}

// secure sets the headers that make a page harmless whatever it shows.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

type site struct {
	b       *Bot
	version string
}

func (s *site) views() []*view {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	var out []*view
	for _, w := range s.b.workers {
		if v := w.view.Load(); v != nil {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *view) int {
		return strings.Compare(a.repo.Forge+"/"+a.repo.String(), b.repo.Forge+"/"+b.repo.String())
	})
	return out
}

func (s *site) frame(reader bool) templates.Frame {
	f := templates.Frame{Now: time.Now()}
	if reader {
		f.Version = s.version
	} else if s.b.cfg.Pages.Auth == config.PagesToken {
		f.Login = true
	}
	return f
}

func html(w http.ResponseWriter) http.ResponseWriter {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return w
}

func (s *site) missing(w http.ResponseWriter, r *http.Request, what string) {
	html(w).WriteHeader(http.StatusNotFound)
	s.said(templates.NotFound(w, s.frame(s.reader(r)), what))
}

// said notes a reader that went away before the page was written.
func (s *site) said(err error) {
	if err != nil {
		s.b.log.Debug("write a page", "err", err)
	}
}

func (s *site) overview(w http.ResponseWriter, r *http.Request) {
	all := s.reader(r)
	page := templates.OverviewView{Frame: s.frame(all)}
	for _, v := range s.views() {
		if all && len(v.queues) == 0 && v.trouble != nil {
			page.Queues = append(page.Queues, templates.QueueSummary{Forge: v.repo.Forge, Repo: v.repo.String(), Trouble: v.trouble})
		}
		for _, q := range v.shown(all) {
			row := templates.QueueSummary{
				Forge: q.Forge, Repo: q.Repo, Base: q.Base, Length: len(q.Rows), Holder: q.Holder,
				Href:   s.b.worker(v.repo).queueURL(q.Base),
				Frozen: q.Frozen, Trouble: q.Trouble,
			}
			if len(q.Rows) > 0 {
				row.Head = &q.Rows[0].Line
			}
			page.Queues = append(page.Queues, row)
		}
	}
	if !all && len(page.Queues) == 0 {
		s.deny(w)
		return
	}
	if all {
		page.Sandbox = s.b.runner.Sandbox().String()
	}
	s.said(templates.Overview(html(w), page))
}

// shown are the queues that a reader, or else a stranger, may see.
func (v *view) shown(all bool) []templates.BaseView {
	if all {
		return v.queues
	}
	var public []templates.BaseView
	for _, q := range v.queues {
		if v.public[q.Base] {
			public = append(public, forStranger(q))
		}
	}
	return public
}

func (s *site) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, err := w.Write(templates.StyleCSS())
	s.said(err)
}

// unescape undoes the escaping of one part of an address.
func unescape(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}

// find gives the snapshot of the repository that a page's address names.
func (s *site) find(r *http.Request) *view {
	vars := mux.Vars(r)
	worker := s.b.worker(gate.Repo{Forge: unescape(vars["forge"]), Owner: unescape(vars["owner"]), Name: unescape(vars["repo"])})
	if worker == nil {
		return nil
	}
	return worker.view.Load()
}

func (s *site) base(w http.ResponseWriter, r *http.Request) {
	base, all := unescape(mux.Vars(r)["base"]), s.reader(r)
	if v := s.find(r); v != nil {
		for _, q := range v.shown(all) {
			if q.Base == base {
				q.Frame = s.frame(all)
				s.said(templates.Base(html(w), q))
				return
			}
		}
	}
	if !all {
		s.deny(w)
		return
	}
	s.missing(w, r, "queue")
}

func (s *site) pr(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(mux.Vars(r)["number"])
	all := s.reader(r)
	if v := s.find(r); v != nil && err == nil {
		if page, ok := v.prs[n]; ok && (all || v.public[page.Base]) {
			page.Frame = s.frame(all)
			s.said(templates.PRPage(html(w), page))
			return
		}
	}
	if !all {
		s.deny(w)
		return
	}
	s.missing(w, r, "pull request")
}

func (s *site) log(w http.ResponseWriter, r *http.Request) {
	id, all := mux.Vars(r)["id"], s.reader(r)
	if !all && !s.publicLog(id) {
		s.deny(w)
		return
	}
	f, err := s.b.logs.OpenLog(id)
	if errors.Is(err, fs.ErrNotExist) {
		s.missing(w, r, "log")
		return
	}
	if err != nil {
		s.b.log.Warn("open a log", "err", err)
		http.Error(w, "the log cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		s.b.log.Warn("read a log", "err", err)
		http.Error(w, "the log cannot be read", http.StatusInternalServerError)
		return
	}
	if r.URL.Query().Has("raw") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="`+id+`.log"`)
		_, err = w.Write(text)
		s.said(err)
		return
	}
	page := templates.LogView{Frame: s.frame(all), Title: "Retest " + id, RawHref: "/log/" + id + "?raw", Text: text}
	s.said(templates.Log(html(w), page))
}

// ready is 200 once every forge has answered, and as long as the last attempt to
// reach each of them went well.
func (s *site) ready(w http.ResponseWriter, r *http.Request) {
	all := s.reader(r)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, c := range s.b.cfg.Forges {
		if err, tried := s.b.ready[c.Name]; !tried || err != nil {
			why := "a forge was not reached"
			if all {
				why = fmt.Sprintf("forge %s: not reached", c.Name)
			}
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

// apiQueue is /api/queue. Fields may be added; none is renamed or taken away.
type apiQueue struct {
	Forge    string       `json:"forge"`
	Repo     string       `json:"repo"`
	Base     string       `json:"base"`
	Holder   string       `json:"holder,omitempty"`
	Frozen   *gate.Freeze `json:"frozen,omitempty"`
	Trouble  string       `json:"trouble,omitempty"`
	Requests []apiRequest `json:"requests"`
}

type apiRequest struct {
	PR        int       `json:"pr"`
	Title     string    `json:"title"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	Position  int       `json:"position,omitempty"`
	Candidate gate.SHA  `json:"candidate,omitempty"`
	Base      gate.SHA  `json:"base_commit,omitempty"`
	Waits     []string  `json:"waits_for,omitempty"`
	Status    string    `json:"status"`
}

func (s *site) api(w http.ResponseWriter, r *http.Request) {
	out, all := []apiQueue{}, s.reader(r)
	for _, v := range s.views() {
		for _, q := range v.shown(all) {
			a := apiQueue{Forge: q.Forge, Repo: q.Repo, Base: q.Base, Holder: q.Holder, Frozen: q.Frozen, Requests: []apiRequest{}}
			if q.Trouble != nil {
				a.Trouble = q.Trouble.Error
			}
			for _, r := range q.Rows {
				a.Requests = append(a.Requests, apiRequest{
					PR: r.PR, Title: r.Title, State: string(r.State), Since: r.Since, Position: r.Position,
					Candidate: r.Candidate, Base: r.Tip, Waits: r.Why, Status: templates.Status(r.Line, time.Now()),
				})
			}
			out = append(out, a)
		}
	}
	if !all && len(out) == 0 {
		s.deny(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s.said(json.NewEncoder(w).Encode(out))
}
