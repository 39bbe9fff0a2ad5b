package retest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startLimit = 20 * time.Second       // for a sandbox to come up
	probeLimit = 20 * time.Second       // for `true` to run in it
	pipeGrace  = 250 * time.Millisecond // for the last output of a dead command
	killGrace  = 10 * time.Second       // for the child to end, before it is killed
)

// execute runs the command in the slot and gives the slot back.
func (r *Runner) execute(ctx context.Context, s *slot, job Job, out *output) Result {
	p, err := r.start(s, job, out)
	if err != nil {
		r.pool.discard(s, r.warn)
		return broken(ctx, err)
	}
	res := p.judge(ctx, job, out)
	if !p.stop() {
		// Something may still write there.
		r.log.Error("the processes of a retest could not be killed", "pid", p.cmd.Process.Pid)
		r.pool.discard(s, r.warn)
		return res
	}
	r.pool.put(s, r.warn)
	return res
}

// process is a running sandbox.
type process struct {
	cmd     *exec.Cmd
	conn    *net.UnixConn // to the child; closing it ends the child and all below it
	reports chan report   // closed when the child is gone
	done    chan struct{} // closed when cmd has ended
	pipe    *os.File      // read end of the command's output
	copied  chan struct{} // closed when all output has been read
	group   *group
	memory  int64 // its limit

	stopped     bool // stop was called, and found:
	dead        bool
	outOfMemory bool
}

// start starts the child and tells it what to do.
func (r *Runner) start(s *slot, job Job, out *output) (_ *process, err error) {
	v := view{tree: s.tree(), home: s.home(), tmp: s.tmp(), user: r.pool.owner, root: r.root, hide: r.hide, shown: r.shown, network: job.Network}
	sp := spec{Command: job.Command, Network: job.Network, Processes: r.limits.processes, Disk: r.limits.disk}
	r.rung.complete(v, &sp)
	sp.Env = environment(job, sp, searchPath(r.shown))
	if r.groupErr != nil {
		sp.Memory = r.limits.memory
	}
	for _, dir := range []string{v.home, v.tmp} {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Lchown(dir, r.pool.user(), -1)); err != nil {
			return nil, err
		}
	}
	cmd, err := r.rung.command(v)
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd: cmd, memory: r.limits.memory, reports: make(chan report, 2), done: make(chan struct{}), copied: make(chan struct{}),
	}
	if r.groupErr == nil {
		if p.group, err = newGroup(r.groups, r.limits); err != nil {
			return nil, fmt.Errorf("limit the memory: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.group.close())
		}
	}()
	var theirs, output *os.File
	p.conn, theirs, err = socketpair()
	if err != nil {
		return nil, fmt.Errorf("make a socket for the sandbox: %w", err)
	}
	defer theirs.Close()
	p.pipe, output, err = os.Pipe()
	if err != nil {
		p.conn.Close()
		return nil, fmt.Errorf("make a pipe for the output: %w", err)
	}
	defer output.Close()
	cmd.Env = []string{} // not nil, which would mean ours
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = output, output, []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		p.conn.Close()
		p.pipe.Close()
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	go func() {
		_ = cmd.Wait() // the child's report counts, not the sandbox's exit code
		close(p.done)
	}()
	go func() {
		_, _ = io.Copy(out, p.pipe)
		close(p.copied)
	}()
	go p.talk(sp)
	return p, nil
}

// talk puts the child under limits, sends the spec and passes the reports on.
func (p *process) talk(sp spec) {
	defer close(p.reports)
	pid, err := greeting(p.conn)
	if err != nil {
		return // the child is gone, and the output says why
	}
	if err := p.group.add(pid); err != nil {
		p.reports <- report{Trouble: err.Error()}
		return
	}
	if json.NewEncoder(p.conn).Encode(sp) != nil {
		return
	}
	for dec := json.NewDecoder(p.conn); ; {
		var rep report
		if dec.Decode(&rep) != nil {
			return
		}
		p.reports <- rep
	}
}

// greeting waits for the child's first byte. The kernel adds who sent it, with
// the number that the process has in our namespace.
func greeting(conn *net.UnixConn) (pid int, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return 0, errors.Join(errors.New("no credentials came with the greeting"), err)
	}
	cred, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// judge waits for the first of: the command's end, its limits, the context.
func (p *process) judge(ctx context.Context, job Job, out *output) Result {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case rep, ok := <-p.reports:
		switch {
		case rep.Trouble != "":
			return broken(ctx, errors.New(rep.Trouble))
		case !ok:
			return broken(ctx, p.silence("the sandbox did not start", out))
		}
	case <-limit.C:
		return broken(ctx, fmt.Errorf("the sandbox did not start within %s", plain(startLimit)))
	case <-ctx.Done():
		return broken(ctx, ctx.Err())
	}
	began := time.Now()
	limit.Reset(job.Timeout)
	res := p.await(ctx, limit.C, job, out)
	res.Took = time.Since(began)
	return res
}

func (p *process) await(ctx context.Context, limit <-chan time.Time, job Job, out *output) Result {
	select {
	case rep, ok := <-p.reports:
		if !ok {
			err := p.silence("the sandbox ended without a result", out)
			if p.outOfMemory {
				return killed("out of memory (limit %d MiB)", p.memory>>20)
			}
			return broken(ctx, err)
		}
		p.stop() // now all output is there
		select {
		case <-out.full:
			return killed("more than %d MiB of output", maxOutput>>20)
		default:
		}
		res := verdict(rep, out.bytes())
		if res.Verdict == Failed && p.outOfMemory {
			res.Why = killed("out of memory (limit %d MiB)", p.memory>>20).Why
		}
		return res
	case <-limit:
		return Result{Verdict: TimedOut, Exit: -1, Why: "timed out after " + plain(job.Timeout)}
	case <-out.full:
		return killed("more than %d MiB of output", maxOutput>>20)
	case <-ctx.Done():
		return broken(ctx, ctx.Err())
	}
}

// killed is the result of a command that used too much of something.
func killed(format string, limit int64) Result {
	return Result{Verdict: Failed, Exit: -1, Why: "killed: " + fmt.Sprintf(format, limit)}
}

// silence explains a child that went without a word by what it wrote last.
func (p *process) silence(what string, out *output) error {
	p.stop()
	return errors.New(strings.TrimSuffix(what+": "+lastLine(out.bytes()), ": "))
}

// stop ends the process tree, and says whether that is certain. It takes
// milliseconds, or twice killGrace where that is not enough, and may be repeated. The child's end is that of
// its process namespace: when it has been waited for, nobody is left.
func (p *process) stop() bool {
	if p.stopped {
		return p.dead
	}
	p.conn.Close()
	p.stopped, p.dead = true, true
	select {
	case <-p.done:
	case <-time.After(killGrace):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		p.dead = false // bwrap's children end soon after, but nobody says when
		select {
		case <-p.done:
		case <-time.After(killGrace):
		}
	}
	// Without a sandbox somebody may have kept the pipe.
	_ = p.pipe.SetReadDeadline(time.Now().Add(pipeGrace))
	<-p.copied
	p.pipe.Close()
	p.outOfMemory = p.group.outOfMemory()
	p.dead = p.group.close() == nil && p.dead // a group with processes cannot be deleted
	return p.dead
}

// verdict is the judgement of a command that ended by itself.
func verdict(rep report, log []byte) Result {
	res := Result{Verdict: Failed, Exit: rep.Exit}
	switch {
	case rep.Excess != "":
		res.Exit, res.Why = -1, "killed: "+rep.Excess
	case !rep.Exited:
		return Result{Verdict: Broken, Exit: -1, Why: "the sandbox ended without a result"}
	case rep.Signal != 0:
		res.Exit, res.Why = -1, "killed by "+signalName(rep.Signal)
	case rep.Exit == 0:
		res.Verdict, res.Why = Passed, "exit 0"
	case rep.Exit == 126:
		res.Why = "command cannot be run (exit 126): " + lastLine(log)
	case rep.Exit == 127:
		res.Why = "command not found (exit 127): " + lastLine(log)
	case rep.Exit > 128 && unix.SignalName(syscall.Signal(rep.Exit-128)) != "":
		res.Why = fmt.Sprintf("exit %d, %s", rep.Exit, signalName(rep.Exit-128))
	default:
		res.Why = fmt.Sprintf("exit %d", rep.Exit)
	}
	return res
}

// signalName is a signal for people, with its likely reason.
func signalName(n int) string {
	name := unix.SignalName(syscall.Signal(n))
	switch syscall.Signal(n) {
	case syscall.SIGKILL:
		return name + " (out of memory?)"
	case syscall.SIGXFSZ:
		return fmt.Sprintf("%s (a file grew over %d GiB)", name, maxFile>>30)
	}
	return name
}

// lastLine is the last line of the log that says anything, short enough for a status.
func lastLine(log []byte) string {
	lines := strings.Split(strings.TrimSpace(cleanTail(log)), "\n")
	line := []rune(strings.TrimSpace(lines[len(lines)-1]))
	return string(line[:min(len(line), 90)])
}

// environment is the whole environment of a command, sorted.
func environment(job Job, s spec, path string) []string {
	env := map[string]string{"PATH": path, "HOME": s.Home, "LANG": "C.UTF-8", "CI": "true"}
	if s.Tmp != "" {
		env["TMPDIR"] = s.Tmp
	}
	maps.Copy(env, job.Env)
	maps.Copy(env, map[string]string{
		"MERGEGATE_BASE": string(job.Base), "MERGEGATE_CANDIDATE": string(job.Commit), "MERGEGATE_TREE": string(job.Tree),
	})
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// plain writes a duration the way people do: 30m, not 30m0s.
func plain(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// socketpair is a connected pair of sockets. Ours is told who sends.
func socketpair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "ours")
	defer f.Close() // FileConn duplicates it
	theirs = os.NewFile(uintptr(fds[1]), "theirs")
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
