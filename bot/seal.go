package bot

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
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

// unseal finds the document in a comment's body and decodes it into v. It is
// false when there is none, or when it is not ours.
func unseal(key []byte, kind, about, body string, v any) bool {
	m := regexp.MustCompile(`<!-- mergegate:` + regexp.QuoteMeta(kind) + ` v1 (\{.*\}) hmac=([0-9a-f]{64}) -->`).FindStringSubmatch(body)
	if m == nil || strings.Count(body, "<!-- mergegate:"+kind+" ") != 1 {
		return false
	}
	if !hmac.Equal([]byte(mac(key, kind, about, []byte(m[1]))), []byte(m[2])) {
		return false
	}
	return json.Unmarshal([]byte(m[1]), v) == nil
}

func mac(key []byte, kind, about string, data []byte) string {
	h := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("mergegate"), []byte(kind), []byte(about), data} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}
