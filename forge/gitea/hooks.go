package gitea

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	sdk "code.gitea.io/sdk/gitea"

	"mergegate/forge"
	"mergegate/gate"
)

// Verify implements forge.Forge. A webhook without a secret sends an empty
// signature; that never verifies, nor does anything without a secret of ours.
func (f *Forge) Verify(h http.Header, body, secret []byte) bool {
	sent := cmp.Or(h.Get("X-Gitea-Signature"), strings.TrimPrefix(h.Get("X-Hub-Signature-256"), "sha256="))
	got, err := hex.DecodeString(sent)
	if err != nil || len(got) == 0 || len(secret) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

// delivery is what mergegate reads of a webhook's body.
type delivery struct {
	Action     string
	Repository *sdk.Repository
	Sender     *sdk.User
	// pull requests; a comment has all three
	Number      int
	PullRequest *struct{ Number int } `json:"pull_request"`
	Comment     *sdk.Comment
	// pushes
	Ref string
	// statuses
	SHA string
}

// Event implements forge.Forge. What happened is told by X-Gitea-Event-Type: the
// plain X-Gitea-Event calls a comment on a PR "issue_comment" and a review
// "pull_request_comment".
func (f *Forge) Event(h http.Header, body []byte) (forge.Event, error) {
	kind := cmp.Or(h.Get("X-Gitea-Event-Type"), h.Get("X-Gitea-Event"))
	pull := strings.HasPrefix(kind, "pull_request")
	if !pull && kind != "push" && kind != "status" {
		return forge.Event{}, nil
	}
	var d delivery
	if err := json.Unmarshal(body, &d); err != nil {
		return forge.Event{}, fmt.Errorf("read the %s delivery: %w", kind, err)
	}
	if d.Repository == nil || d.Repository.Owner == nil {
		return forge.Event{}, fmt.Errorf("read the %s delivery: it names no repository", kind)
	}
	e := forge.Event{
		Repo:   gate.Repo{Forge: f.name, Owner: d.Repository.Owner.UserName, Name: d.Repository.Name},
		Sender: user(d.Sender), Delivery: h.Get("X-Gitea-Delivery"),
	}
	switch {
	case pull:
		e.PR = d.Number
		if d.PullRequest != nil {
			e.PR = d.PullRequest.Number
		}
		if kind == "pull_request_comment" && d.Action == "created" && d.Comment != nil {
			e.Comment, e.Text = d.Comment.ID, d.Comment.Body
		}
	case kind == "status":
		e.Commit = gate.SHA(d.SHA)
	default:
		branch, ok := strings.CutPrefix(d.Ref, "refs/heads/")
		if !ok {
			return forge.Event{}, nil // a tag
		}
		e.Branch = branch
	}
	return e, nil
}
