package bot

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mergegate/gate"
)

// A seal is a JSON document inside an HTML comment, with an HMAC over the
// document, its kind and what it is about. Whoever may write to a repository may
// edit a bot's comment; without the key nobody can make mergegate believe the
// result, nor move a document from one PR to another.

// seal renders v as one line that Markdown does not show.
func seal(key []byte, kind, about string, v any) (string, error) {
	data, err := json.Marshal(v) // escapes <, > and &
	if err != nil {
		return "", err
	}
	data = bytes.ReplaceAll(data, []byte("--"), []byte(`-\u002d`))
	return fmt.Sprintf("<!-- mergegate:%s v1 %s hmac=%s -->", kind, data, mac(key, kind, about, data)), nil
}

// unseal finds the document in a comment's body and decodes it into v. believed is
// false when there is none, or when none of the keys sealed it; old is true when it
// was not the first of them.
func unseal(keys [][]byte, kind, about, body string, v any) (believed, old bool) {
	begin := "<!-- mergegate:" + kind + " "
	_, line, found := strings.Cut(body, begin+"v1 ")
	line, _, ends := strings.Cut(line, " -->") // which the document itself cannot contain
	at := strings.LastIndex(line, " hmac=")
	if !found || !ends || at < 0 || strings.Count(body, begin) != 1 {
		return false, false
	}
	data, sum := []byte(line[:at]), []byte(line[at+len(" hmac="):])
	by := slices.IndexFunc(keys, func(key []byte) bool { return hmac.Equal([]byte(mac(key, kind, about, data)), sum) })
	if by < 0 || json.Unmarshal(data, v) != nil {
		return false, false
	}
	return true, by > 0
}

func mac(key []byte, kind, about string, data []byte) string {
	h := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("mergegate"), []byte(kind), []byte(about), data} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ReadRecord is the record in a sticky comment's text, if it is one that was made
// with one of the keys for this PR. The caller makes sure that the comment is the bot's.
func ReadRecord(keys [][]byte, repo gate.Repo, pr int, body string) (r gate.Record, ok bool) {
	if !strings.Contains(body, stickyMarker) {
		return r, false
	}
	ok, _ = unseal(keys, "record", about(repo, pr), body, &r)
	return r, ok
}

// about names what a seal is about.
func about(repo gate.Repo, n int) string { return fmt.Sprintf("%s/%s#%d", repo.Forge, repo, n) }
