package github

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"sync"
)

// cacheSize bounds what a connection remembers, in compressed bytes.
const cacheSize = 32 << 20

// cache remembers answers with their ETags, and when it is full forgets those
// that were used least recently. Bodies are compressed: a page of pull requests
// names the same two repositories a hundred times.
type cache struct {
	mu    sync.Mutex
	items map[string]*item
	size  int
	clock int
}

type item struct {
	etag   string
	header http.Header
	packed []byte
	used   int
}

func newCache() cache { return cache{items: make(map[string]*item)} }

// cacheKey tells requests apart whose answers may differ. The token is not part
// of it: a cache belongs to one installation.
func cacheKey(req *http.Request) string { return req.URL.String() + "\n" + req.Header.Get("Accept") }

func (c *cache) get(req *http.Request) (*item, bool) {
	if req.Method != http.MethodGet {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.items[cacheKey(req)]
	if ok {
		c.clock++
		i.used = c.clock
	}
	return i, ok
}

func (c *cache) put(req *http.Request, h http.Header, body []byte) {
	etag := h.Get("ETag")
	if etag == "" {
		return
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(body) // a Buffer does not fail
	z.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey(req)
	if old := c.items[key]; old != nil {
		c.size -= len(old.packed)
	}
	c.clock++
	c.items[key] = &item{etag: etag, header: h.Clone(), packed: packed.Bytes(), used: c.clock}
	c.size += packed.Len()
	for c.size > cacheSize {
		c.evict()
	}
}

func (c *cache) evict() {
	oldest := ""
	for key, i := range c.items {
		if oldest == "" || i.used < c.items[oldest].used {
			oldest = key
		}
	}
	c.size -= len(c.items[oldest].packed)
	delete(c.items, oldest)
}

// revive turns "not modified" into the answer remembered. What is said about the
// moment (the date, the limits) is the new answer's.
func (i *item) revive(resp *http.Response) ([]byte, error) {
	h := i.header.Clone()
	for key, values := range resp.Header {
		if key != "Content-Length" && key != "Content-Type" {
			h[key] = values
		}
	}
	resp.StatusCode, resp.Status, resp.Header = http.StatusOK, "200 OK", h
	z, err := gzip.NewReader(bytes.NewReader(i.packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
