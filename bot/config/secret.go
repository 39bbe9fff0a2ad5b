package config

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
)

// Token reads the forge's access token. It is read again at every call; safe
// for concurrent use. Errors name the place, never the content.
func (f Forge) Token() (string, error) {
	secret, err := readSecret(f.TokenFile, f.TokenEnv)
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
	secret, err := readSecret(f.WebhookSecretFile, f.WebhookSecretEnv)
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
	secret, err := readSecret(p.TokenFile, p.TokenEnv)
	if err == nil && len(secret) < minPagesToken {
		err = fmt.Errorf("it is shorter than %d characters. Make a random one", minPagesToken)
	}
	if err != nil {
		return nil, fmt.Errorf("token of the pages: %w", err)
	}
	return secret, nil
}

// Key is the key that authenticates mergegate's own comments: 32 bytes, by
// HKDF-SHA256 (RFC 5869) from the webhook secret, so that replicas with the
// same configuration share it. It changes when the webhook secret does.
func (f Forge) Key() ([]byte, error) {
	secret, err := f.WebhookSecret()
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, secret, nil, "mergegate v1 comment authentication", sha256.Size)
}

// readSecret reads a file, or else an environment variable. White space around
// the secret is not part of it. An empty secret, or one of several lines, is
// an error: an empty secret would accept everybody.
func readSecret(file, env string) ([]byte, error) {
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
	return secret, nil
}
