package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	slowOnes  = 500
	largeOnes = 8
)

// strangers is a process of its own: 500 slow connections and eight bodies of
// 200 MB at the door of the address in its argument. It ends when all were sent
// away, or after a minute, and tells what happened to each.
func strangers() {
	addr := os.Args[1]
	fates := make(chan string)
	for i := range slowOnes {
		go func() { fates <- slow(addr, i) }()
	}
	for range largeOnes {
		go func() { fates <- large(addr) }()
	}
	for range slowOnes + largeOnes {
		fmt.Println(<-fates)
	}
}

// slow holds a connection open with as little as it can, until it is cut off.
func slow(addr string, i int) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if i%2 == 0 {
		fmt.Fprintf(c, "POST /webhook/work HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Gitea-Signature: ")
	} else {
		fmt.Fprintf(c, "POST /webhook/work HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Gitea-Signature: 00\r\nContent-Length: 4000000\r\n\r\n")
	}
	gone := make(chan struct{})
	go func() { io.Copy(io.Discard, c); close(gone) }()
	for deadline := time.After(time.Minute); ; {
		select {
		case <-gone:
			return "cut off"
		case <-deadline:
			return "still there"
		case <-time.After(500 * time.Millisecond):
			c.Write([]byte("0"))
		}
	}
}

// large posts 200 MB whose length is not announced, and gives the status.
func large(addr string) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /webhook/work HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Gitea-Signature: 00\r\nTransfer-Encoding: chunked\r\n\r\n")
	status := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c).ReadString('\n')
		status <- "answered " + strings.TrimSpace(line)
	}()
	chunk := append(fmt.Appendf(nil, "%x\r\n", 1<<20), append(make([]byte, 1<<20), "\r\n"...)...)
	for range 200 {
		if _, err := c.Write(chunk); err != nil {
			break
		}
	}
	select {
	case line := <-status:
		return line
	case <-time.After(30 * time.Second):
		return "no answer"
	}
}

// siege is what /healthz did while strangers stood at the door.
type siege struct {
	took          []time.Duration // of each answer, sorted
	before, after int             // memory in MiB; after: at most
}

func (s siege) median() time.Duration  { return s.took[len(s.took)/2] }
func (s siege) p99() time.Duration     { return s.took[len(s.took)*99/100] }
func (s siege) longest() time.Duration { return s.took[len(s.took)-1] }

// besiege lets the strangers come, checks that each is sent away, and meanwhile
// asks for /healthz. Server, strangers and this are three processes.
func besiege(t testing.TB, s *server) siege {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := siege{before: s.memory(t, "VmRSS")}
	var said strings.Builder
	cmd := exec.Command(self)
	cmd.Args, cmd.Stdout, cmd.Stderr = []string{"strangers", s.addr}, &said, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { out.took = s.healthy(t, stop) })
	err = cmd.Wait()
	close(stop)
	asking.Wait()
	if err != nil {
		t.Fatalf("the strangers: %v\n%s", err, said.String())
	}
	fates := map[string]int{}
	for line := range strings.Lines(said.String()) {
		fates[strings.TrimSpace(line)]++
	}
	for fate, n := range fates {
		refused := strings.Contains(fate, " 413 ") || strings.Contains(fate, " 503 ") || fate == "answered" // cut off before it read
		if fate == "cut off" && n != slowOnes || fate != "cut off" && !refused {
			t.Errorf("%d of the strangers: %s", n, fate)
		}
	}
	out.after = s.memory(t, "VmHWM")
	return out
}

// healthy asks for /healthz until stop is closed, and gives how long each answer
// took, sorted.
func (s *server) healthy(t testing.TB, stop <-chan struct{}) []time.Duration {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var took []time.Duration
	for {
		begun := time.Now()
		resp, err := client.Get(s.url + "/healthz")
		if err != nil {
			t.Errorf("/healthz: %v", err)
			return append(took, time.Since(begun))
		}
		resp.Body.Close()
		took = append(took, time.Since(begun))
		if resp.StatusCode != http.StatusOK {
			t.Errorf("/healthz: %s", resp.Status)
		}
		select {
		case <-stop:
			slices.Sort(took)
			return took
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Five hundred slow strangers and 1.6 GB keep nobody else away. That machine may be
// busy with others, so only a wait that no load explains is an error; the benchmark
// below gives the times.
func TestAttack44And45StrangersAtTheDoorDoNotDisturb(t *testing.T) {
	got := besiege(t, startServer(t))
	if got.after > got.before+300 {
		t.Errorf("memory went from %d to %d MiB", got.before, got.after)
	}
	if got.p99() > 5*time.Second {
		t.Errorf("one of a hundred waited %v for /healthz", got.p99())
	}
	t.Logf("/healthz %d times: median %v, p99 %v, longest %v; memory %d MiB before, %d at most", len(got.took),
		got.median().Round(time.Millisecond), got.p99().Round(time.Millisecond), got.longest().Round(time.Millisecond), got.before, got.after)
}

// BenchmarkStrangersAtTheDoor is the same siege with its numbers. They are only the
// server's own on a machine that does nothing else.
func BenchmarkStrangersAtTheDoor(b *testing.B) {
	var worst, p99, median time.Duration
	most := 0
	for b.Loop() {
		got := besiege(b, startServer(b))
		worst, p99, median, most = max(worst, got.longest()), max(p99, got.p99()), max(median, got.median()), max(most, got.after)
	}
	b.ReportMetric(median.Seconds()*1000, "median-ms")
	b.ReportMetric(p99.Seconds()*1000, "p99-ms")
	b.ReportMetric(worst.Seconds()*1000, "longest-ms")
	b.ReportMetric(float64(most), "MiB")
}
