package hubstories

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// start runs a mergegate with a data directory of its own. The App's webhook
// goes to the replica that started last.
func (w *world) start() *replica {
	w.Helper()
	dir := w.TempDir()
	r := &replica{w: w, log: filepath.Join(dir, "log"), conf: filepath.Join(dir, "config.yaml")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	listen := l.Addr().String()
	w.must(l.Close())
	r.url = "http://" + listen
	w.must(os.WriteFile(filepath.Join(dir, "key.pem"), w.app.Key, 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "secret"), []byte(w.app.WebhookSecret), 0o600))
	config := fmt.Sprintf("listen: %s\nexternal_url: %s\ndata_dir: %s\nlog: {level: debug, format: text}\n"+
		"forges:\n- {name: work, type: github, url: %q, app_id: %d, private_key_file: key.pem, webhook_secret_file: secret, repos: [%s]}\n"+
		"lease: {ttl: 15s, renew: 5s, settle: 300ms}\npoll: {active: %s, idle: %s}\ndefaults:\n%s",
		listen, r.url, filepath.Join(dir, "data"), w.hub.API, w.app.ID, repo, w.poll, w.poll, w.policy)
	w.must(os.WriteFile(r.conf, []byte(config), 0o600))
	w.replicas = append(w.replicas, r)
	r.run()
	if w.hooks {
		w.must(w.hub.SetHookURL(w.app.ID, r.url+"/webhook/work"))
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
		return r.page("/readyz") != ""
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

// page is what a page says, "" when it does not answer.
func (r *replica) page(path string) string {
	resp, err := http.Get(r.url + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return ""
	}
	return string(body)
}

// logs are the ends of all replicas' logs, for a story that failed.
func (w *world) logs() string {
	var b strings.Builder
	for _, r := range w.replicas {
		data, _ := os.ReadFile(r.log)
		lines := strings.Split(string(data), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", r.url, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
	return b.String()
}

// state is what /api/queue of the first replica that knows says about a PR: ""
// when none does.
func (w *world) state(n int) string {
	for _, r := range w.replicas {
		var queues []struct {
			Requests []struct {
				PR    int    `json:"pr"`
				State string `json:"state"`
			} `json:"requests"`
		}
		if json.Unmarshal([]byte(r.page("/api/queue")), &queues) != nil {
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
