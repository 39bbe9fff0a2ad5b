package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/internal/redact"
)

func TestSecretIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	f := Forge{Name: "work", TokenFile: path}
	for _, secret := range []string{"first", "other"} {
		if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Token(); got != secret || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, secret)
		}
	}
}

func TestSecretFromEnvironment(t *testing.T) {
	t.Setenv("MERGEGATE_TEST_TOKEN", "s3cret")
	if got, err := (Forge{TokenEnv: "MERGEGATE_TEST_TOKEN"}).Token(); got != "s3cret" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestBadSecretsAreRefusedWithoutShowingThem(t *testing.T) {
	dir := t.TempDir()
	empty, many := filepath.Join(dir, "empty"), filepath.Join(dir, "many")
	for path, text := range map[string]string{empty: " \n", many: "hunter2\nhunter3\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		f    Forge
		want string
	}{
		{Forge{Name: "work", WebhookSecretFile: empty}, "webhook secret of forge work: the file " + empty + " is empty"},
		{Forge{Name: "work", WebhookSecretFile: many}, "has more than one line"},
		{Forge{Name: "work", WebhookSecretFile: filepath.Join(dir, "none")}, "no such file or directory. Create it"},
		{Forge{Name: "work", WebhookSecretEnv: "MERGEGATE_TEST_UNSET"}, "the environment variable MERGEGATE_TEST_UNSET is empty"},
	} {
		_, err := tc.f.WebhookSecret()
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("got: %v\nwant, in it: %s", err, tc.want)
		}
		if _, err := tc.f.Keys(); err == nil {
			t.Error("a key was derived from a bad secret")
		}
		all := Config{Forges: []Forge{tc.f}}
		if err := all.CheckSecrets(); err == nil {
			t.Error("CheckSecrets found nothing")
		}
	}
}

func TestKeysFollowTheWebhookSecrets(t *testing.T) {
	dir := t.TempDir()
	f := Forge{WebhookSecretFile: filepath.Join(dir, "secret"), WebhookSecretPreviousFile: filepath.Join(dir, "previous")}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := func(want int) [][]byte {
		t.Helper()
		k, err := f.Keys()
		if err != nil || len(k) != want || len(k[0]) != 32 {
			t.Fatalf("%d keys, %v; want %d", len(k), err, want)
		}
		return k
	}
	write(f.WebhookSecretFile, "one\n")
	one := keys(1)
	if !bytes.Equal(one[0], keys(1)[0]) {
		t.Error("two replicas would have two keys")
	}
	write(f.WebhookSecretPreviousFile, "one\n\nzero\n")
	write(f.WebhookSecretFile, "two\n")
	if now := keys(3); bytes.Equal(now[0], one[0]) || !bytes.Equal(now[1], one[0]) {
		t.Error("want the key of the new secret first, then that of the previous")
	}
	write(f.WebhookSecretPreviousFile, "")
	keys(1)
}

// A file with a secret that everybody can read stops the start; one that a group
// can read is named.
func TestLooseFilesAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, f := range map[string]Config{
		"forges[0].token_file":                   {Forges: []Forge{{TokenFile: path}}},
		"forges[0].private_key_file":             {Forges: []Forge{{AppID: 1, PrivateKeyFile: path}}},
		"forges[0].webhook_secret_file":          {Forges: []Forge{{WebhookSecretFile: path}}},
		"forges[0].webhook_secret_previous_file": {Forges: []Forge{{WebhookSecretPreviousFile: path}}},
		"pages.token_file":                       {Pages: Pages{Auth: PagesToken, TokenFile: path}},
	} {
		for mode, want := range map[os.FileMode]string{
			0o600: "", 0o400: "", 0o640: "its group", 0o440: "its group", 0o644: "every user", 0o602: "every user",
		} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			var said string
			for _, l := range f.LooseFiles() {
				said += l.String()
			}
			if want == "" && said != "" || want != "" && (!strings.Contains(said, want) || !strings.HasPrefix(said, key+": "+path) || !strings.Contains(said, "chmod 600 "+path)) {
				t.Errorf("%s, mode %#o: %q; want %q", key, mode, said, want)
			}
			err := f.CheckSecrets()
			if stops := err != nil && strings.Contains(err.Error(), "every user"); stops != (want == "every user") {
				t.Errorf("%s, mode %#o: start says %v", key, mode, err)
			}
		}
	}
}

// Whatever is read as a secret is taken out of what is logged from then on.
func TestSecretsThatWereReadAreKnown(t *testing.T) {
	dir := t.TempDir()
	place := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := Config{
		Forges: []Forge{{
			TokenFile: place("token", "secret-token-1\n"), WebhookSecretFile: place("hook", "secret-hook-2"),
			WebhookSecretPreviousFile: place("old", "secret-old-3\n"), PrivateKeyFile: place("key", "secret-key-line-4\nsecret-key-line-5\n"),
		}},
		Pages: Pages{Auth: PagesToken, TokenFile: place("pages", "secret-pages-token-6")},
	}
	var known redact.Set
	c.Remember(&known)
	if err := c.CheckSecrets(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Forges[0].PrivateKey(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"secret-token-1", "secret-hook-2", "secret-old-3", "secret-key-line-4", "secret-key-line-5", "secret-pages-token-6"} {
		if got := known.String("x " + s); got != "x "+redact.Mark {
			t.Errorf("%s is shown as %q", s, got)
		}
	}
	place("token", "secret-rotated-7")
	if got, err := c.Forges[0].Token(); err != nil || known.String(got) != redact.Mark {
		t.Errorf("the rotated token is shown: %v", err)
	}
}

func TestShortTokenOfThePagesIsRefused(t *testing.T) {
	for text, good := range map[string]bool{"": false, "hunter2": false, "123456789012345": false, "1234567890123456": true} {
		t.Setenv("PAGES_TEST_TOKEN", text)
		c := Config{Pages: Pages{Auth: PagesToken, TokenEnv: "PAGES_TEST_TOKEN"}}
		err := c.CheckSecrets()
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}
