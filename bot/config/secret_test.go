package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		if _, err := tc.f.Key(); err == nil {
			t.Error("a key was derived from a bad secret")
		}
		all := Config{Forges: []Forge{tc.f}}
		if err := all.CheckSecrets(); err == nil {
			t.Error("CheckSecrets found nothing")
		}
	}
}

func TestKeyFollowsTheWebhookSecret(t *testing.T) {
	t.Setenv("MERGEGATE_TEST_HOOK", "one")
	f := Forge{WebhookSecretEnv: "MERGEGATE_TEST_HOOK"}
	a, err := f.Key()
	if err != nil || len(a) != 32 {
		t.Fatalf("%d bytes, %v", len(a), err)
	}
	if again, _ := f.Key(); !bytes.Equal(a, again) {
		t.Error("two replicas would have two keys")
	}
	t.Setenv("MERGEGATE_TEST_HOOK", "two")
	if b, _ := f.Key(); bytes.Equal(a, b) {
		t.Error("the key does not depend on the secret")
	}
}
