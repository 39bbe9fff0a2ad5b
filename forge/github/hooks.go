package github

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
)

// Verify implements forge.Forge. Only X-Hub-Signature-256 counts: GitHub's older
// header is SHA-1. Nothing verifies without a secret of ours.
func (f *Forge) Verify(h http.Header, body, secret []byte) bool {
	sent, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256=")
	got, err := hex.DecodeString(sent)
	if !ok || err != nil || len(secret) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

// delivery is what mergegate reads of a webhook's body.
type delivery struct {
	Action       string
	Sender       *sdk.User
	Installation *struct {
		ID      int64
		Account *sdk.User
	}
	Repository *struct {
		ID    int64
		Name  string
		Owner *struct{ Login, Name string } // pushes from old servers have only the name
	}
	PullRequest *struct{ Number int } `json:"pull_request"`
	Issue       *struct {
		Number      int
		PullRequest *struct{} `json:"pull_request"`
	}
	Comment *struct {
		ID   int64
		Body string
	}
	Ref      string
	SHA      string
	CheckRun *struct {
		HeadSHA      string `json:"head_sha"`
		Name         string
		App          *struct{ ID int64 }
		PullRequests []struct{ Number int } `json:"pull_requests"`
	} `json:"check_run"`
	Requested *struct{ Identifier string } `json:"requested_action"`
}

// Event implements forge.Forge. A kind that mergegate does not know is a zero Event.
// An installation that changes is looked up anew by the next call.
func (f *Forge) Event(h http.Header, body []byte) (forge.Event, error) {
	kind := h.Get("X-GitHub-Event")
	switch kind {
	case "pull_request", "pull_request_review", "issue_comment", "push", "status", "check_run", "installation", "installation_repositories":
	default:
		return forge.Event{}, nil
	}
	var d delivery
	if err := json.Unmarshal(body, &d); err != nil {
		return forge.Event{}, fmt.Errorf("read the %s delivery: %w", kind, err)
	}
	if strings.HasPrefix(kind, "installation") {
		f.reinstalled(d)
		return forge.Event{}, nil
	}
	if d.Repository == nil || d.Repository.Owner == nil {
		return forge.Event{}, fmt.Errorf("read the %s delivery: it names no repository", kind)
	}
	e := forge.Event{Repo: f.configured(d), Sender: user(d.Sender), Delivery: h.Get("X-GitHub-Delivery")}
	switch kind {
	case "push":
		branch, ok := strings.CutPrefix(d.Ref, "refs/heads/")
		if !ok {
			return forge.Event{}, nil // a tag
		}
		e.Branch = branch
	case "status":
		e.Commit = gate.SHA(d.SHA)
	case "check_run":
		if !f.pressed(d, &e) {
			return forge.Event{}, nil
		}
	case "issue_comment":
		if d.Issue == nil || d.Issue.PullRequest == nil {
			return forge.Event{}, nil // an issue's
		}
		e.PR = d.Issue.Number
		if d.Action == "created" && d.Comment != nil {
			e.Comment, e.Text = d.Comment.ID, d.Comment.Body
		}
	default:
		if d.PullRequest == nil {
			return forge.Event{}, fmt.Errorf("read the %s delivery: it names no pull request", kind)
		}
		e.PR = d.PullRequest.Number
	}
	return e, nil
}

// pressed fills in what a check run tells: its commit, and a button of ours.
// "Re-run" on our own check run is Requeue. Anything else about our own check run
// we did ourselves, which is no news.
func (f *Forge) pressed(d delivery, e *forge.Event) bool {
	run := d.CheckRun
	if run == nil {
		return false
	}
	e.Commit = gate.SHA(run.HeadSHA)
	if len(run.PullRequests) > 0 {
		e.PR = run.PullRequests[0].Number
	}
	ours := f.app != nil && run.App != nil && run.App.ID == f.cfg.AppID
	if !ours {
		return true
	}
	switch {
	case d.Action == "rerequested":
		e.Button = forge.ButtonRequeue
	case d.Action == "requested_action" && d.Requested != nil:
		e.Button = forge.Button(d.Requested.Identifier)
	}
	return e.Button == forge.ButtonRequeue || e.Button == forge.ButtonRemove
}

// configured is the repository as the configuration names it, also after it was
// renamed.
func (f *Forge) configured(d delivery) gate.Repo {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r, p := range f.places {
		if p.id == d.Repository.ID {
			return r
		}
	}
	owner := d.Repository.Owner.Login
	if owner == "" {
		owner = d.Repository.Owner.Name
	}
	return gate.Repo{Forge: f.cfg.Name, Owner: owner, Name: d.Repository.Name}
}

// reinstalled drops what we know of an installation.
func (f *Forge) reinstalled(d delivery) {
	if d.Installation == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, c := range f.conns {
		if c.installation == d.Installation.ID {
			delete(f.conns, key)
		}
	}
}
