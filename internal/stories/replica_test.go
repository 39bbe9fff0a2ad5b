package stories

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mergegate/internal/giteatest"
)

// replica is one running mergegate.
type replica struct {
	w    *world
	cmd  *exec.Cmd
	url  string
	dir  string // its configuration and secrets
	data string // data_dir
	log  string // the file with all its output
	argv []string
	done chan struct{}
}

// start runs a mergegate. Its data directory is its own. extra is more
// configuration, at the top level.
func (w *world) start(extra ...string) *replica {
	w.Helper()
	r := w.install(extra...)
	r.run()
	if w.hooks {
		w.hear(r)
	}
	return r
}

// install makes a replica that does not run yet.
func (w *world) install(extra ...string) *replica {
	w.Helper()
	dir := w.TempDir()
	port, err := giteatest.FreePort()
	w.must(err)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	r := &replica{w: w, url: "http://" + listen, dir: dir, log: filepath.Join(dir, "log"), data: filepath.Join(dir, "data"),
		argv: []string{program, "serve", "--config", filepath.Join(dir, "config.yaml")}}
	more := strings.Join(extra, "")
	if !strings.Contains(more, "lease:") {
		more += "lease: {ttl: 12s, renew: 3s, settle: 300ms}\n"
	}
	r.file("config.yaml", fmt.Sprintf("listen: %s\nexternal_url: %s\ndata_dir: %s\nlog: {level: debug, format: text}\n"+
		"forges:\n- {name: work, %s, repos: [%s]}\ndefaults:\n%spoll: {active: %s, idle: %s}\n%s",
		listen, r.url, r.data, w.hire(dir, w.proxy.url), w.repo(), w.policy, w.poll, w.poll, more))
	w.replicas = append(w.replicas, r)
	w.keepSecret(r)
	w.Cleanup(r.kill)
	return r
}

// file writes one of the replica's files, as an operator would.
func (r *replica) file(name, text string) {
	r.w.Helper()
	path := filepath.Join(r.dir, name)
	r.w.must(os.WriteFile(path+".new", []byte(text), 0o600))
	r.w.must(os.Rename(path+".new", path))
}

// launch starts the program: its arguments are the configuration's name, its
// environment is that of the tests, its output goes to the log.
func (r *replica) launch() {
	r.w.Helper()
	out, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	r.w.must(err)
	r.cmd = exec.Command(r.argv[0], r.argv[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r.w.must(r.cmd.Start())
	out.Close()
	cmd, done := r.cmd, make(chan struct{})
	r.done = done
	go func() { cmd.Wait(); close(done) }()
	go r.w.canary.Follow(cmd.Process.Pid, done)
}

// run starts the program and waits until it is ready.
func (r *replica) run() {
	r.w.Helper()
	r.launch()
	r.w.Cleanup(r.lookAtPages)
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
	if r.cmd == nil {
		return
	}
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

// logs are the ends of the logs of all replicas, for a story that failed. With
// -artifacts the logs are kept.
func (w *world) logs() string {
	var b strings.Builder
	for i, r := range w.replicas {
		data, _ := os.ReadFile(r.log)
		w.must(os.WriteFile(filepath.Join(w.ArtifactDir(), fmt.Sprintf("log%d", i)), data, 0o600))
		lines := strings.Split(string(data), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", r.url, strings.Join(lines[max(0, len(lines)-80):], "\n"))
	}
	return b.String()
}

// page is what a page says, "" when it does not answer.
func (r *replica) page(path string) string {
	resp, err := http.Get(r.url + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.w.canary.Look("page "+path, body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// state is what /api/queue of the first replica that knows says about a PR; ""
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
