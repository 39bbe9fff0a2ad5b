package bot

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"mergegate/bot/config"
	"mergegate/templates"
)

// Who may read what. Pages of a base branch whose policy says public: true are for
// everybody; all else is for readers that pages.auth lets in. A stranger is not told
// whether a page that is not shown exists.

// reader says whether the request is from somebody who may read everything.
func (s *site) reader(r *http.Request) bool {
	pages := s.b.cfg.Pages
	switch pages.Auth {
	case config.PagesToken:
		return s.knowsToken(r)
	case config.PagesProxy:
		return s.ourHost(r) && r.Header.Get(pages.Header) != "" && fromOneOf(r, pages.Proxies)
	}
	// Whoever can be reached from elsewhere has a proxy in front, and what comes
	// through it looks local.
	return loopbackURL(s.b.cfg.ExternalURL) && s.ourHost(r) && fromLoopback(r)
}

// knowsToken looks for the token as a bearer token, or as a password with any name.
func (s *site) knowsToken(r *http.Request) bool {
	want, err := s.b.cfg.Pages.Token()
	if err != nil {
		s.b.log.Error("nobody can read the pages", "err", err)
		return false
	}
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, got, _ = r.BasicAuth()
	}
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256(want)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// ourHost says whether the browser asked for us by a name of ours. A page of
// somebody else's may have its name point here (DNS rebinding); its requests then
// carry that name.
func (s *site) ourHost(r *http.Request) bool {
	host := hostOnly(r.Host)
	u, err := url.Parse(s.b.cfg.ExternalURL)
	return loopbackName(host) || err == nil && strings.EqualFold(host, u.Hostname())
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func loopbackName(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

func loopbackURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && loopbackName(u.Hostname())
}

func fromLoopback(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

func fromOneOf(r *http.Request, networks []string) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, n := range networks {
		if p, err := netip.ParsePrefix(n); err == nil && p.Contains(at.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// deny answers a stranger, the same way whether there is such a page or not.
func (s *site) deny(w http.ResponseWriter) {
	why := "Pages are shown to this machine only. The operator may open them with pages.auth, and a repository its own with public: true in its policy."
	status := http.StatusForbidden
	switch s.b.cfg.Pages.Auth {
	case config.PagesToken:
		status, why = http.StatusUnauthorized, "Give the token of this mergegate as the password, with any name."
		w.Header().Set("WWW-Authenticate", `Basic realm="mergegate", charset="UTF-8"`)
	case config.PagesProxy:
		why = "Come through the proxy in front of this mergegate, and log in there."
	}
	html(w).WriteHeader(status)
	s.said(templates.Denied(w, s.frame(false), why))
}

// only lets readers through.
func (s *site) only(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.reader(r) {
			s.deny(w)
			return
		}
		next(w, r)
	}
}

// forStranger is a queue without what only its operator should know.
func forStranger(q templates.BaseView) templates.BaseView {
	q.Holder = ""
	if q.Trouble != nil {
		hidden := *q.Trouble
		hidden.Error = "mergegate cannot work on this queue at present"
		q.Trouble = &hidden
	}
	return q
}

// publicLog says whether the log belongs to a request of a public queue.
func (s *site) publicLog(id string) bool {
	for _, v := range s.views() {
		for _, page := range v.prs {
			if v.public[page.Base] && strings.HasSuffix(page.LogHref, "/log/"+id) {
				return true
			}
		}
	}
	return false
}
