package github

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/golang-jwt/jwt/v4"
)

// A transport that lives on signs with the key that is there now.
func TestTheKeyMayBeReplaced(t *testing.T) {
	var file []byte
	s := presentKey{func() ([]byte, error) { return file, nil }}
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		check(t, err)
		file = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		signed, err := s.Sign(&jwt.RegisteredClaims{Issuer: "1"})
		check(t, err)
		if _, err := jwt.Parse(signed, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }); err != nil {
			t.Errorf("not signed with the present key: %v", err)
		}
	}
	file = []byte("rubbish")
	if _, err := s.Sign(&jwt.RegisteredClaims{}); err == nil {
		t.Error("signed without a key")
	}
}
