package ghspec

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// Transport judges what a client sends and what it gets back. A request that
// has no answer (the connection broke) is not an exchange.
func (j *Judge) Transport(next http.RoundTripper) http.RoundTripper {
	return transport{j, next}
}

type transport struct {
	judge *Judge
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sent, err := drain(&req.Body)
	if err != nil {
		return nil, fmt.Errorf("read the request to judge it: %w", err)
	}
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	got, err := drain(&res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer to judge it: %w", err)
	}
	operation, asked, answered := t.judge.exchange(req, sent, res.StatusCode, res.Header, got)
	t.judge.remember("client", operation, req, res.StatusCode, append(asked, answered...))
	return res, nil
}

// Handler judges what a server answers. A request that GitHub's description does
// not allow is the server's fault only if it was accepted.
func (j *Judge) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked := req.Clone(req.Context())
		sent, err := drain(&req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		tee := &tee{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(tee, req)
		operation, wrong, answered := j.exchange(asked, sent, tee.status, w.Header(), tee.body.Bytes())
		if tee.status < 300 {
			for _, err := range wrong {
				answered = append(answered, fmt.Errorf("accepted although %w", err))
			}
		}
		j.remember("server", operation, asked, tee.status, answered)
	})
}

// tee passes an answer on and keeps a copy.
type tee struct {
	http.ResponseWriter
	status int
	wrote  bool
	body   bytes.Buffer
}

func (t *tee) WriteHeader(status int) {
	if !t.wrote {
		t.status, t.wrote = status, true
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tee) Write(p []byte) (int, error) {
	t.wrote = true
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// drain reads a body and puts a fresh one in its place.
func drain(body *io.ReadCloser) ([]byte, error) {
	if *body == nil || *body == http.NoBody {
		return nil, nil
	}
	defer (*body).Close()
	data, err := io.ReadAll(*body)
	*body = io.NopCloser(bytes.NewReader(data))
	return data, err
}
