package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// start serves h with room for limit connections, and gives the address.
func start(t *testing.T, h http.Handler, limit int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server(h, limit, slog.New(slog.DiscardHandler))
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// dial opens a connection that asks for nothing.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ended says whether the other side closes the connection within a time.
func ended(c net.Conn, within time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	nerr, ok := errors.AsType[net.Error](err)
	return !ok || !nerr.Timeout()
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func get(t *testing.T, addr string) {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "hello" {
		t.Errorf("answered %q", body)
	}
}

func TestAFullHouseShowsOutWhoHasWaitedLongest(t *testing.T) {
	addr := start(t, http.HandlerFunc(hello), 8)
	var waiting []net.Conn
	for range 30 {
		c := dial(t, addr)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ") // and never the rest
		waiting = append(waiting, c)
	}
	get(t, addr)
	for i, c := range waiting[:20] {
		if !ended(c, 30*time.Second) {
			t.Errorf("connection %d of 30 is still open in a house for 8", i+1)
		}
	}
}

func TestWhoIsBeingServedStays(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			in <- struct{}{}
			<-out
		}
		hello(w, r)
	})
	addr := start(t, h, 3)
	served := dial(t, addr)
	fmt.Fprintf(served, "GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	<-in
	for range 20 {
		get(t, addr)
		dial(t, addr)
	}
	close(out)
	served.SetReadDeadline(time.Now().Add(30 * time.Second))
	answer, err := io.ReadAll(served)
	if err != nil || !bytes.HasSuffix(answer, []byte("hello")) {
		t.Errorf("answered %q, %v", answer, err)
	}
}

func TestAHouseWhereAllAreServedTakesNobodyIn(t *testing.T) {
	in, out := make(chan struct{}, 10), make(chan struct{})
	defer close(out)
	addr := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { in <- struct{}{}; <-out }), 2)
	for range 2 {
		fmt.Fprintf(dial(t, addr), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-in
	}
	if !ended(dial(t, addr), 30*time.Second) {
		t.Error("a third was let in")
	}
}

func TestAttack45WhoIsSlowWithTheHeaderIsCutOff(t *testing.T) {
	addr := start(t, http.HandlerFunc(hello), 10)
	c := dial(t, addr)
	stop := time.After(time.Minute)
	begun := time.Now()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nX: ")
	for { // one letter at a time
		select {
		case <-stop:
			t.Fatal("still served after a minute")
		case <-time.After(200 * time.Millisecond):
		}
		if _, err := c.Write([]byte("a")); err != nil {
			break
		}
	}
	t.Logf("cut off after %v", time.Since(begun).Round(100*time.Millisecond))
}

func TestBodiesGiveBackWhatTheyTook(t *testing.T) {
	b := Bodies{Each: 100, Total: 150}
	read := func(n int) (func(), error) {
		r := httptest.NewRequest(http.MethodPost, "/", struct{ io.Reader }{bytes.NewReader(make([]byte, n))}) // of unknown length
		body, done, err := b.Read(httptest.NewRecorder(), r)
		if err == nil && len(body) != n {
			t.Errorf("%d bytes of %d", len(body), n)
		}
		return done, err
	}
	large, err := read(101)
	if _, ok := errors.AsType[*http.MaxBytesError](err); !ok {
		t.Errorf("101 bytes in a room for 100: %v", err)
	}
	large()
	first, err := read(100)
	if err != nil {
		t.Fatal(err)
	}
	second, err := read(100)
	if !errors.Is(err, ErrBusy) {
		t.Errorf("a second of 100 in a room for 150: %v", err)
	}
	second()
	first()
	for range 5 {
		done, err := read(100)
		if err != nil {
			t.Error(err)
		}
		done()
	}
}
