package bot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mergegate/bot/chat"
	"mergegate/gate"
)

func sealed(t *testing.T, about string, r gate.Record) string {
	t.Helper()
	line, err := seal([]byte("0123456789abcdef"), "record", about, r)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestSealIsBelievedOnlyAsItWas(t *testing.T) {
	key := []byte("0123456789abcdef")
	r := gate.Record{State: gate.Queued, Same: []gate.SHA{"a"}, Why: []string{`--> <b> "quotes" -- {"json":1} hmac=00 -->`}}
	line := sealed(t, "work/acme/widgets#1", r)
	var got gate.Record
	if ok, old := unseal([][]byte{key}, "record", "work/acme/widgets#1", "text\n"+line+"\nmore", &got); !ok || old || !cmp.Equal(got, r) {
		t.Fatalf("read back %+v from\n%s", got, line)
	}
	if strings.Count(line, "-->") != 1 || strings.Contains(line[4:len(line)-3], "--") {
		t.Errorf("the comment ends early:\n%s", line)
	}
	for name, c := range map[string]struct {
		key               []byte
		kind, about, body string
	}{
		"another PR":     {key, "record", "work/acme/widgets#2", line},
		"another kind":   {key, "queue-record", "work/acme/widgets#1", line},
		"another key":    {[]byte("another key, long"), "record", "work/acme/widgets#1", line},
		"changed text":   {key, "record", "work/acme/widgets#1", strings.Replace(line, "queued", "landed", 1)},
		"changed mac":    {key, "record", "work/acme/widgets#1", strings.Replace(line, "hmac=", "hmac=0", 1)},
		"two of them":    {key, "record", "work/acme/widgets#1", line + "\n" + line},
		"none":           {key, "record", "work/acme/widgets#1", "nothing here"},
		"not a document": {key, "record", "work/acme/widgets#1", "<!-- mergegate:record v1 {} hmac=" + strings.Repeat("0", 64) + " -->"},
	} {
		var got gate.Record
		if ok, _ := unseal([][]byte{c.key}, c.kind, c.about, c.body, &got); ok {
			t.Errorf("%s is believed: %+v", name, got)
		}
	}
}

// After the webhook secret was replaced the records of before are still read, and
// known to need the new seal; without the old key they are nothing.
func TestSealOutlivesARotation(t *testing.T) {
	r := gate.Record{State: gate.Queued, Same: []gate.SHA{"a"}}
	line := sealed(t, "x", r)
	before, now := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	var got gate.Record
	if ok, old := unseal([][]byte{now, before}, "record", "x", line, &got); !ok || !old || !cmp.Equal(got, r) {
		t.Errorf("with the previous key: believed %v, old %v, %+v", ok, old, got)
	}
	if ok, _ := unseal([][]byte{now}, "record", "x", line, &got); ok {
		t.Error("believed without the key that sealed it")
	}
}

// A record carries words of strangers into a comment: they are no commands there.
func TestSealHidesCommands(t *testing.T) {
	line := sealed(t, "x", gate.Record{Why: []string{"\n/merge\n"}, Tail: "\n\n/merge freeze all\n"})
	if got := chat.Parse("text\n\n" + line + "\n"); len(got) != 0 {
		t.Errorf("commands in a record: %+v", got)
	}
}

func FuzzUnseal(f *testing.F) {
	key := []byte("0123456789abcdef")
	line, err := seal(key, "record", "x", gate.Record{State: gate.Queued})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add("<!-- mergegate:record v1 {} hmac= -->")
	f.Fuzz(func(t *testing.T, body string) {
		var r gate.Record
		if ok, _ := unseal([][]byte{key}, "record", "x", body, &r); ok && !strings.Contains(body, line) {
			t.Errorf("believed: %q", body)
		}
	})
}
