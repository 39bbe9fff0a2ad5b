package web

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// ErrBusy: other bodies fill the memory that is set aside for them.
var ErrBusy = errors.New("too much is being read at once")

// Bodies reads bodies of requests. All that are being read or looked at together
// take at most Total bytes, however many and slow their senders are.
type Bodies struct {
	Each, Total int64
	taken       atomic.Int64
}

// Read reads the body of r. Its errors are ErrBusy, *http.MaxBytesError, or of
// the connection. The caller calls done when it needs the bytes no longer; done
// is never nil.
func (b *Bodies) Read(w http.ResponseWriter, r *http.Request) (body []byte, done func(), err error) {
	if r.ContentLength > b.Each {
		w.Header().Set("Connection", "close")
		return nil, func() {}, &http.MaxBytesError{Limit: b.Each}
	}
	m := &metered{r: http.MaxBytesReader(w, r.Body, b.Each), b: b}
	body, err = io.ReadAll(m)
	return body, func() { b.taken.Add(-m.took) }, err
}

// metered counts what is read.
type metered struct {
	r    io.Reader
	b    *Bodies
	took int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.took += int64(n)
	if m.b.taken.Add(int64(n)) > m.b.Total {
		return n, ErrBusy
	}
	return n, err
}
