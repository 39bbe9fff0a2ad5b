package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// replica is one running mergegate.
type replica struct {
	w    *world
	cmd  *exec.Cmd
	url  string
	log  string
	conf string
	done chan struct{}
}

// start runs a mergegate. Its data directory is its own. extra is more
// configuration, at the top level.
func (w *world) start(extra ...string) *replica {
	w.Helper()
	dir := w.TempDir()
	r := &replica{w: w, log: filepath.Join(dir, "log"), conf: filepath.Join(dir, "config.yaml")}
	listen := freePort(w.TB)
	r.url = "http://" + listen
	poll := "poll: {active: 1s, idle: 1s}\n"
	if w.hooks {
		poll = "poll: {active: 30s, idle: 30s}\n"
	}
	w.must(os.WriteFile(filepath.Join(dir, "token"), []byte(w.bot.Token), 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "secret"), []byte("a webhook secret"), 0o600))
	config := fmt.Sprintf("listen: %s\nexternal_url: %s\ndata_dir: %s\nlog: {level: debug, format: text}\n"+
		"forges:\n- {name: work, type: gitea, url: %q, token_file: token, webhook_secret_file: secret, repos: [%s]}\n"+
		"defaults:\n%s%s%s", listen, r.url, filepath.Join(dir, "data"), w.proxy.url, w.repo, w.policy, poll, strings.Join(extra, ""))
	if !strings.Contains(config, "lease:") {
		config += "lease: {ttl: 10s, renew: 2s, settle: 300ms}\n"
	}
	w.must(os.WriteFile(r.conf, []byte(config), 0o600))
	w.replicas = append(w.replicas, r)
	r.run()
	if w.hooks {
		w.api(w.alice, "POST", "/repos/"+w.repo+"/hooks", map[string]any{
			"type": "gitea", "active": true, "events": []string{"pull_request", "push", "status"},
			"config": map[string]string{"url": r.url + "/webhook/work", "content_type": "json", "secret": "a webhook secret"},
		}, nil)
	}
	return r
}

func (r *replica) run() {
	r.w.Helper()
	out, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	r.w.must(err)
	r.cmd = exec.Command(program, "serve", "--config", r.conf)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r.w.must(r.cmd.Start())
	out.Close()
	r.done = make(chan struct{})
	go func() { r.cmd.Wait(); close(r.done) }()
	r.w.Cleanup(r.kill)
	r.w.until("mergegate to be ready", func() bool {
		select {
		case <-r.done:
			r.w.Fatalf("mergegate ended\n%s", r.w.logs())
		default:
		}
		resp, err := http.Get(r.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// kill is SIGKILL, to the program and all its children.
func (r *replica) kill() {
	syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.done
}

// stop is SIGTERM; the program must end by itself.
func (r *replica) stop() {
	r.w.Helper()
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(patience):
		r.w.Fatal("mergegate did not stop")
	}
}

// logs are the logs of all replicas, for a story that failed.
func (w *world) logs() string {
	var b strings.Builder
	for _, r := range w.replicas {
		data, _ := os.ReadFile(r.log)
		lines := strings.Split(string(data), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", r.url, strings.Join(lines[max(0, len(lines)-80):], "\n"))
	}
	return b.String()
}

// queue is what /api/queue of the first replica says about a PR: its state, "" when unknown.
func (w *world) state(n int) string {
	w.Helper()
	for _, r := range w.replicas {
		resp, err := http.Get(r.url + "/api/queue")
		if err != nil {
			continue
		}
		var queues []struct {
			Requests []struct {
				PR    int    `json:"pr"`
				State string `json:"state"`
			} `json:"requests"`
		}
		err = json.NewDecoder(resp.Body).Decode(&queues)
		resp.Body.Close()
		if err != nil {
			continue
		}
		for _, q := range queues {
			for _, x := range q.Requests {
				if x.PR == n {
					return x.State
				}
			}
		}
	}
	return ""
}

// proxy stands between mergegate and Gitea. It counts, and can do things to a
// request when a story asks for it.
type proxy struct {
	url   string
	calls atomic.Int64
	// meddle is called for each API request; true means that it has answered.
	meddle atomic.Pointer[func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool]
}

func newProxy(t testing.TB, target string) *proxy {
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	rp := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	p := &proxy{}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			p.calls.Add(1)
		}
		if m := p.meddle.Load(); m != nil {
			forward := func() *bytes.Buffer {
				rec := &recorder{header: http.Header{}, code: 200}
				rp.ServeHTTP(rec, r)
				return &rec.body
			}
			if (*m)(rw, r, forward) {
				return
			}
		}
		rp.ServeHTTP(rw, r)
	})}
	l := listen(t)
	p.url = "http://" + l.Addr().String()
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return p
}

// on does something to the requests that match until it says that it is done.
func (p *proxy) on(f func(rw http.ResponseWriter, r *http.Request, forward func() *bytes.Buffer) bool) {
	p.meddle.Store(&f)
}
