package manifest

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// conversion is what mergegate keeps of GitHub's answer. The client secret is
// for signing people in, which mergegate does not do.
type conversion struct {
	ID      int64  `json:"id"`
	Slug    string `json:"slug"`
	HTMLURL string `json:"html_url"`
	Owner   struct {
		Login string `json:"login"`
	} `json:"owner"`
	PEM           string  `json:"pem"`
	WebhookSecret *string `json:"webhook_secret"`
}

// convert exchanges the code and keeps the secrets. It must not be repeated: a
// code works once.
func (s Setup) convert(ctx context.Context, client *http.Client, kept *files, code string) (App, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.API+"/app-manifests/"+url.PathEscape(code)+"/conversions", nil)
	if err != nil {
		return App{}, errors.New("GitHub's code makes no address; start again")
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	res, err := client.Do(req)
	if err != nil {
		var at *url.Error // holds the code
		if errors.As(err, &at) {
			err = at.Err
		}
		return App{}, fmt.Errorf("ask %s for the App's key: %w; if the App is on GitHub now, delete it there and start again", s.API, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return App{}, errors.New("GitHub does not know the code: it was used already, or is older than an hour; start again")
	}
	if res.StatusCode != http.StatusCreated {
		return App{}, fmt.Errorf("ask %s for the App's key: it answered %s; delete the App on GitHub and start again", s.API, res.Status)
	}
	var c conversion
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&c); err != nil {
		return App{}, errors.New("GitHub's answer cannot be read; delete the App on GitHub and start again")
	}
	if err := checkKey(c.PEM); err != nil || c.ID == 0 || c.HTMLURL == "" {
		return App{}, errors.New("GitHub's answer holds no App with a private key; delete the App on GitHub and start again")
	}
	app := App{ID: c.ID, Slug: c.Slug, Owner: c.Owner.Login, URL: c.HTMLURL}
	secret := ""
	if c.WebhookSecret != nil {
		secret = *c.WebhookSecret
	}
	if secret == "" {
		secret, app.SecretToSet = rand.Text(), true
	}
	if err := kept.write(c.PEM, secret); err != nil {
		return App{}, fmt.Errorf("%w; make a new private key on %s, or delete the App there and start again", err, c.HTMLURL)
	}
	return app, nil
}

// checkKey says whether the text is an RSA private key, which GitHub's are.
func checkKey(text string) error {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return errors.New("no PEM block")
	}
	if block.Type == "PRIVATE KEY" {
		_, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		return err
	}
	_, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	return err
}
