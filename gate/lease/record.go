package lease

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"mergegate/gate"
)

// A record in text is one line, an HTML comment that forges do not show:
//
//	<!-- mergegate:lease v1 {JSON} hmac=HEX -->
//
// The HMAC is over the JSON's bytes as they stand there.
const (
	mark    = "<!-- mergegate:lease"
	opening = mark + " v1 "
	closing = " -->"
	domain  = "mergegate lease v1\x00" // keeps this HMAC apart from others made with the key
	macSep  = " hmac="
)

// maxText keeps a comment below 65,536 bytes, the shortest limit among forges.
const maxText = 60_000

// record is the content of a lease.
type record struct {
	Repo   string          `json:"repo"` // forge/owner/name
	Issue  int             `json:"issue"`
	Base   string          `json:"base"`
	Holder string          `json:"holder"`
	Nonce  string          `json:"nonce"` // one per attempt to take
	Seq    int             `json:"seq"`   // grows with every edit
	TTL    int64           `json:"ttl_ms"`
	PR     int             `json:"pr"`
	Since  time.Time       `json:"since"` // held for this PR
	Data   json.RawMessage `json:"data,omitempty"`
	Saved  bool            `json:"saved,omitempty"` // Data is the holder's own
	Heirs  int             `json:"heirs,omitempty"` // how often the work before it was inherited
}

// newRecord is the first record of an attempt. The work of the lease that it
// inherits, nil for none, is kept in it until the first save, so that it survives
// this holder too.
func newRecord(c Config, nonce string, n Note, from *record) record {
	r := record{
		Repo: repoName(c.Repo), Issue: c.Issue, Base: c.Base,
		Holder: c.Holder, Nonce: nonce, TTL: c.TTL.Milliseconds(),
	}.with(n)
	if from != nil && from.Data != nil {
		r.Data, r.Heirs = from.Data, from.Heirs+1
	}
	return r
}

// compareWork orders leases that are inherited by how recent the work in them is.
// Only a proven holder saves, and removes all others first; so what was saved is
// newer than what those carry who came second to the same lease. Without that, who
// inherited is nearer to the last holder than who found nothing.
func compareWork(a, b *record) int {
	number := func(saved bool) int {
		if saved {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(number(a.Saved), number(b.Saved)), cmp.Compare(a.Heirs, b.Heirs))
}

// work is what whoever takes this lease goes on with; nil for none. r may be nil.
func (r *record) work() []byte {
	if r == nil {
		return nil
	}
	return r.Data
}

func repoName(r gate.Repo) string { return r.Forge + "/" + r.String() }

// with is r with another note.
func (r record) with(n Note) record {
	if r.PR != n.PR || r.Since.IsZero() {
		r.PR, r.Since = n.PR, time.Now().UTC().Truncate(time.Second)
	}
	r.Data = n.Data
	return r
}

func (r record) ttl() time.Duration { return time.Duration(r.TTL) * time.Millisecond }

// line is r's machine-readable line.
func (r record) line(key []byte) (string, error) {
	text, err := json.Marshal(r) // escapes <, > and &
	if err != nil {
		return "", fmt.Errorf("write the lease as JSON: %w", err)
	}
	// "--" ends an HTML comment for some readers. In JSON it occurs only
	// within strings, where it may be written otherwise.
	safe := strings.ReplaceAll(string(text), "--", `-\u002d`)
	if len(safe) > maxText {
		return "", fmt.Errorf("the lease would be %d bytes long and forges take %d: save less work in it", len(safe), maxText)
	}
	return opening + safe + macSep + hex.EncodeToString(mac(key, safe)) + closing, nil
}

// comment is r as a comment: the machine's line and one for people. PRs are
// not written as #n, which would leave a reference on the PR at every edit.
func (r record) comment(key []byte) (string, error) {
	line, err := r.line(key)
	if err != nil {
		return "", err
	}
	work := "no pull request yet"
	if r.PR != 0 {
		work = fmt.Sprintf("pull request %d", r.PR)
	}
	return fmt.Sprintf("%s\n%s holds the merge queue of %s for %s since %s. If you know that it is dead, delete this comment to free the queue.\n",
		line, code(r.Holder), code(r.Base), work, r.Since.Format("2006-01-02 15:04:05 MST")), nil
}

// code shows a name as it is: no markup, no mention.
func code(s string) string { return "`" + strings.ReplaceAll(s, "`", "'") + "`" }

// parse reads the first line of text. It is false unless that line is exactly
// what line makes with the key.
func parse(key []byte, text string) (record, bool) {
	line, _, _ := strings.Cut(text, "\n")
	rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r"), opening)
	if !ok {
		return record{}, false
	}
	if rest, ok = strings.CutSuffix(rest, closing); !ok {
		return record{}, false
	}
	cut := strings.LastIndex(rest, macSep)
	if cut < 0 {
		return record{}, false
	}
	sum, err := hex.DecodeString(rest[cut+len(macSep):])
	if err != nil || !hmac.Equal(sum, mac(key, rest[:cut])) {
		return record{}, false
	}
	var r record
	if err := json.Unmarshal([]byte(rest[:cut]), &r); err != nil {
		return record{}, false
	}
	return r, true
}

// parseAny is parse with the first key that fits.
func parseAny(keys [][]byte, text string) (record, bool) {
	for _, k := range keys {
		if r, ok := parse(k, text); ok {
			return r, true
		}
	}
	return record{}, false
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(domain + text))
	return h.Sum(nil)
}
