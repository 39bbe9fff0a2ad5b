package manifest

import (
	"crypto/subtle"
	_ "embed" // page.html
	"encoding/json"
	"html/template"
	"net/http"
	"sync"
)

const callback = "/callback"

//go:embed page.html
var pageText string

// result is how the flow ended.
type result struct {
	app App
	err error
}

// pages are the two pages of the flow on this machine.
type pages struct {
	setup   Setup
	home    string
	host    string // home without the scheme; nothing else is answered
	state   string
	convert func(code string) (App, error)
	once    sync.Once
	done    chan result
}

func (p *pages) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.start)
	mux.HandleFunc("GET "+callback, p.callback)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// Another site may make a browser resolve its name to this address.
		if req.Host != p.host {
			http.Error(w, "This page is at "+p.home, http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		mux.ServeHTTP(w, req)
	})
}

// start sends the manifest to GitHub, by the person's browser.
func (p *pages) start(w http.ResponseWriter, _ *http.Request) {
	doc, err := json.Marshal(p.setup.document(p.home))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	page := template.Must(template.New("page").Parse(pageText))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page.Execute(w, map[string]any{"Action": p.setup.form(p.state), "Manifest": string(doc), "GitHub": p.setup.Web})
}

// callback takes the code and ends the flow, whatever comes of it.
func (p *pages) callback(w http.ResponseWriter, req *http.Request) {
	state, code := req.FormValue("state"), req.FormValue("code")
	if subtle.ConstantTimeCompare([]byte(state), []byte(p.state)) != 1 || code == "" {
		http.Error(w, "This is not the answer to the question that was asked here. Start again at "+p.home+"/", http.StatusBadRequest)
		return
	}
	first := false
	p.once.Do(func() {
		first = true
		app, err := p.convert(code)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		} else {
			http.Redirect(w, req, app.Install(), http.StatusSeeOther)
		}
		p.done <- result{app, err}
	})
	if !first {
		http.Error(w, "The App is already there; go on in the terminal.", http.StatusConflict)
	}
}
