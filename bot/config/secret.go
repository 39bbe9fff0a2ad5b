package config

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"mergegate/internal/redact"
)

// Token reads the forge's access token. It is read again at every call; safe
// for concurrent use. Errors name the place, never the content.
func (f Forge) Token() (string, error) {
	secret, err := readSecret(f.Known, f.TokenFile, f.TokenEnv)
	if err != nil {
		return "", fmt.Errorf("token of forge %s: %w", f.Name, err)
	}
	return string(secret), nil
}

// PrivateKey reads the App's private key, PEM. Like Token.
func (f Forge) PrivateKey() ([]byte, error) {
	data, err := readLimited(f.PrivateKeyFile)
	if err != nil {
		return nil, fmt.Errorf("private key of forge %s: the file %s: %s. Create it, readable by the user mergegate runs as", f.Name, f.PrivateKeyFile, reason(err))
	}
	f.Known.Add(string(data))
	return data, nil
}

// CheckAccount reads what mergegate works with on the forge, once: the App's
// key, or the token.
func (f Forge) CheckAccount() error {
	_, err := f.Token()
	if f.AppID != 0 {
		_, err = f.PrivateKey()
	}
	return err
}

// WebhookSecret reads the secret that signs the forge's deliveries. Like Token.
func (f Forge) WebhookSecret() ([]byte, error) {
	secret, err := readSecret(f.Known, f.WebhookSecretFile, f.WebhookSecretEnv)
	if err != nil {
		return nil, fmt.Errorf("webhook secret of forge %s: %w", f.Name, err)
	}
	return secret, nil
}

// minPagesToken is the shortest token that pages accept: it can be guessed at over
// the network.
const minPagesToken = 16

// Token reads the token that readers of the pages show. Like Forge.Token.
func (p Pages) Token() ([]byte, error) {
	secret, err := readSecret(p.Known, p.TokenFile, p.TokenEnv)
	if err == nil && len(secret) < minPagesToken {
		err = fmt.Errorf("it is shorter than %d characters. Make a random one", minPagesToken)
	}
	if err != nil {
		return nil, fmt.Errorf("token of the pages: %w", err)
	}
	return secret, nil
}

// WebhookSecrets are the secret that signs deliveries now, and those of before
// that are still believed. Like Token. A file of previous secrets that is empty or
// not there names none, so that a rotation ends without a restart.
func (f Forge) WebhookSecrets() ([][]byte, error) {
	secret, err := f.WebhookSecret()
	if err != nil {
		return nil, err
	}
	all := [][]byte{secret}
	if f.WebhookSecretPreviousFile == "" {
		return all, nil
	}
	data, err := readLimited(f.WebhookSecretPreviousFile)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("previous webhook secrets of forge %s: the file %s: %s", f.Name, f.WebhookSecretPreviousFile, reason(err))
	}
	for line := range bytes.Lines(data) {
		if old := bytes.TrimSpace(line); len(old) > 0 {
			f.Known.Add(string(old))
			all = append(all, old)
		}
	}
	return all, nil
}

// Keys are the keys that authenticate mergegate's own comments, 32 bytes each, by
// HKDF-SHA256 (RFC 5869) from the webhook secrets, so that replicas with the same
// configuration share them. New comments are sealed with the first; the others are
// of previous secrets.
func (f Forge) Keys() ([][]byte, error) {
	secrets, err := f.WebhookSecrets()
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, s, nil, "mergegate v1 comment authentication", sha256.Size)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readSecret reads a file, or else an environment variable. White space around
// the secret is not part of it. An empty secret, or one of several lines, is
// an error: an empty secret would accept everybody.
func readSecret(known *redact.Set, file, env string) ([]byte, error) {
	place, data := "the environment variable "+env, []byte(os.Getenv(env))
	if file != "" {
		place = "the file " + file
		var err error
		if data, err = readLimited(file); err != nil {
			return nil, fmt.Errorf("%s: %s. Create it, readable by the user mergegate runs as", place, reason(err))
		}
	}
	secret := bytes.TrimSpace(data)
	switch {
	case len(secret) == 0:
		return nil, errors.New(place + " is empty. Put the secret there")
	case bytes.ContainsAny(secret, "\r\n\x00"):
		return nil, errors.New(place + " has more than one line. Put only the secret there")
	}
	known.Add(string(secret))
	return secret, nil
}
