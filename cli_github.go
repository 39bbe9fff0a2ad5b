package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mergegate/forge/github"
	"mergegate/internal/manifest"
)

// setupGitHubCommand creates the GitHub App.
type setupGitHubCommand struct {
	URL         string `default:"https://api.github.com" help:"The REST API: https://HOST/api/v3 on GitHub Enterprise Server."`
	Org         string `help:"The organization that shall own the App; yourself if not given."`
	Name        string `default:"mergegate" help:"The App's name. It must be unique on all of GitHub."`
	ExternalURL string `name:"external-url" placeholder:"URL" help:"Where GitHub reaches mergegate. Without it the App gets no webhook, and mergegate polls."`
	Forge       string `default:"github" help:"The forge's name in the configuration; part of the webhook's address."`
	Workflows   bool   `help:"Ask for the permission to push changes to workflow files."`
	KeyFile     string `default:"github-app.pem" help:"Where the private key goes. Never overwritten."`
	SecretFile  string `default:"webhook.secret" help:"Where the webhook secret goes. Never overwritten."`
}

// Run is called by kong.
func (c setupGitHubCommand) Run(ctx context.Context, out io.Writer) error {
	f, err := github.New(github.Config{Name: c.Forge, URL: c.URL, Token: func() (string, error) { return "", nil }})
	if err != nil {
		return usageError{err}
	}
	s := manifest.Setup{
		Web: f.Web(), API: strings.TrimRight(c.URL, "/"), Org: c.Org, Name: c.Name,
		External: strings.TrimRight(c.ExternalURL, "/"), Events: f.HookEvents(), Workflows: c.Workflows,
		KeyFile: c.KeyFile, SecretFile: c.SecretFile,
	}
	if s.External != "" {
		s.Webhook = s.External + "/webhook/" + c.Forge
	}
	app, err := s.Run(ctx, &http.Client{Timeout: 30 * time.Second}, func(url string) {
		fmt.Fprintf(out, "Open this page in a browser on this machine, and press Create on GitHub:\n\n    %s\n\n", url)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Created the App %s (%s). Its private key is in %s, its webhook secret in %s.\n", app.Slug, app.URL, c.KeyFile, c.SecretFile)
	if app.SecretToSet {
		fmt.Fprintf(out, "GitHub gave no webhook secret. Enter the one in %s on the App's settings page.\n", c.SecretFile)
	}
	fmt.Fprintf(out, "Install it on your repositories: %s\n\nFor the configuration:\n\nforges:\n  - name: %s\n    type: github\n    url: %s\n    app_id: %d\n    private_key_file: %s\n    webhook_secret_file: %s\n    repos: [\"%s/*\"]\n",
		app.Install(), c.Forge, s.API, app.ID, c.KeyFile, c.SecretFile, app.Owner)
	return nil
}
