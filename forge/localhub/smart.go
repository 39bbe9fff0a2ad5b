package localhub

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"mergegate/gate"
)

// maxPush is the largest push that is taken.
const maxPush = 256 << 20

// serveGit is git's smart HTTP protocol (gitprotocol-http), by git's own
// upload-pack and receive-pack.
func (h *Hub) serveGit(w http.ResponseWriter, r *http.Request) {
	full := r.PathValue("owner") + "/" + strings.TrimSuffix(r.PathValue("repo"), ".git")
	service := strings.TrimPrefix(r.URL.Query().Get("service"), "git-")
	if r.Method == http.MethodPost {
		service = strings.TrimPrefix(r.PathValue("service"), "git-")
	}
	if service != "upload-pack" && service != "receive-pack" {
		http.Error(w, "Please upgrade your git client.", http.StatusForbidden)
		return
	}
	repo, c, err := h.gitCaller(r, full, service == "receive-pack")
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		status := http.StatusUnauthorized
		if p, ok := errors.AsType[*problem](err); ok && c != nil && c.account != nil {
			status = p.status
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if r.Method == http.MethodGet {
		h.advertise(w, r, repo, service)
		return
	}
	body, err := io.ReadAll(unzipped(http.MaxBytesReader(w, r.Body, maxPush), r.Header.Get("Content-Encoding")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	w.Header().Set("Content-Type", "application/x-git-"+service+"-result")
	if service == "receive-pack" {
		h.receive(w, r, repo, c, body)
		return
	}
	_ = h.talk(w, r, repo, bytes.NewReader(body), "upload-pack", "--stateless-rpc", repo.git.Path) // git told the client
}

// unzipped undoes what git does to long requests.
func unzipped(body io.Reader, encoding string) io.Reader {
	if encoding != "gzip" {
		return body
	}
	z, err := gzip.NewReader(body)
	if err != nil {
		return strings.NewReader("")
	}
	return z
}

// gitCaller finds the repository and says whether the caller may.
func (h *Hub) gitCaller(r *http.Request, full string, push bool) (*repo, *caller, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := h.authenticate(r)
	if err != nil {
		return nil, nil, err
	}
	found := h.find(full)
	if found == nil {
		return nil, c, notFound()
	}
	level, role := "read", gate.RoleRead
	if push {
		level, role = "write", gate.RoleWrite
	}
	err = h.allow(c, found, "contents", level, role)
	if err != nil && push && h.maintains(found, c) {
		err = nil
	}
	return found, c, err
}

// maintains says whether a person may push to a fork because its owner lets the
// maintainers of an open pull request's base do so. Apps never may.
func (h *Hub) maintains(fork *repo, c *caller) bool {
	if c.inst != nil || fork.parent == nil || fork.parent.role(c.account) < gate.RoleWrite {
		return false
	}
	for _, i := range fork.parent.open() {
		if i.pull.headRepo == fork && i.pull.maintainer {
			return true
		}
	}
	return false
}

// talk runs git for a client.
func (h *Hub) talk(w io.Writer, r *http.Request, repo *repo, in io.Reader, args ...string) error {
	d := repo.git
	if protocol := r.Header.Get("Git-Protocol"); protocol == "version=2" || protocol == "version=1" {
		d.Env = []string{"GIT_PROTOCOL=" + protocol}
	}
	return d.Stream(r.Context(), in, w, args...)
}

// advertise tells the client what refs there are.
func (h *Hub) advertise(w http.ResponseWriter, r *http.Request, repo *repo, service string) {
	w.Header().Set("Content-Type", "application/x-git-"+service+"-advertisement")
	io.WriteString(w, pkt("# service=git-"+service+"\n")+"0000")
	_ = h.talk(w, r, repo, strings.NewReader(""), service, "--stateless-rpc", "--advertise-refs", repo.git.Path) // git told the client
}

// receive takes a push: all of it, or nothing when a branch's rules forbid one
// of its changes.
func (h *Hub) receive(w http.ResponseWriter, r *http.Request, repo *repo, c *caller, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted := commands(body)
	for _, m := range wanted {
		if why := h.refusal(repo, m, c); why != "" {
			io.WriteString(w, decline(wanted, m.ref, why))
			return
		}
	}
	before := repo.refs
	_ = h.talk(w, r, repo, bytes.NewReader(body), "receive-pack", "--stateless-rpc", repo.git.Path) // git told the client
	if err := h.readRefs(repo); err != nil {
		repo.refs = before
		return
	}
	var moves []move
	for _, m := range wanted {
		if from, to := before[m.ref], repo.refs[m.ref]; from != to {
			moves = append(moves, move{m.ref, from, to})
		}
	}
	h.moved(repo, moves, c)
}

// refusal is why a push may not move a ref. The new commit is not there yet, so
// rules that look at it (checks) refuse any commit the repository does not have.
func (h *Hub) refusal(r *repo, m move, c *caller) string {
	branch, ok := strings.CutPrefix(m.ref, "refs/heads/")
	if !ok || len(h.demands(r, branch, c)) == 0 || m.from == "" {
		return ""
	}
	if m.to != "" && h.commit(r, m.to) == nil {
		if why := h.unmet(r, branch, m.to, nil, c); why != "" {
			return why
		}
		return ""
	}
	if err := h.pushable(r, m.ref, m.from, m.to, c); err != nil {
		return err.Error()
	}
	return ""
}

// commands reads what a push asks for: pkt-lines of "old new ref" up to the
// flush packet.
func commands(body []byte) []move {
	var all []move
	for len(body) >= 4 {
		n, err := strconv.ParseUint(string(body[:4]), 16, 16)
		if err != nil || n < 4 || int(n) > len(body) {
			break
		}
		line, _, _ := strings.Cut(string(body[4:n]), "\x00")
		body = body[n:]
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		id := func(s string) gate.SHA {
			if strings.Trim(s, "0") == "" {
				return ""
			}
			return gate.SHA(s)
		}
		all = append(all, move{f[2], id(f[0]), id(f[1])})
	}
	return all
}

// decline is receive-pack's report that nothing was taken, with GitHub's words.
func decline(all []move, ref, why string) string {
	report := pkt("unpack ok\n")
	for _, m := range all {
		report += pkt("ng " + m.ref + " protected branch hook declined\n")
	}
	said := fmt.Sprintf("error: GH006: Protected branch update failed for %s.\nerror: %s\n", ref, strings.ReplaceAll(why, "\n\n", " "))
	return pkt("\x02"+said) + pkt("\x01"+report+"0000") + "0000"
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
