package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/forge"
	"mergegate/gate"
	"mergegate/templates"
)

const (
	// ownContext is the status context that tells where a pull request is in the
	// queue; only this one is shown as a check run too.
	ownContext = "mergegate"
	runName    = "Merge queue"
)

// SetStatus implements forge.Forge. An App also shows the queue's own status as
// the check run "Merge queue", with buttons. The status is the record; the check
// run is for people, so an App that may not write checks goes without.
func (f *Forge) SetStatus(ctx context.Context, r gate.Repo, c gate.SHA, st forge.Status) error {
	op := fmt.Sprintf("set the status of %s in %s", c.Short(), r)
	err := do(ctx, f, r, op, func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Repositories.CreateStatus(ctx, s.owner, s.name, string(c), &sdk.RepoStatus{
			State: new(string(st.State)), Context: &st.Context, Description: &st.Text, TargetURL: optional(st.URL)})
		return resp, err
	})
	var refusal *forge.Refusal
	if errors.As(err, &refusal) && refusal.Status == http.StatusUnprocessableEntity && strings.Contains(refusal.Text, "No commit found") {
		refusal.Kind = forge.ErrNotFound
	}
	if err != nil || f.app == nil || st.Context != ownContext {
		return err
	}
	if err := f.showRun(ctx, r, c, st); !errors.Is(err, forge.ErrDenied) {
		return err
	}
	return nil
}

// showRun updates our check run on the commit, or makes one. One that was
// completed is not started again; a new one takes its place.
func (f *Forge) showRun(ctx context.Context, r gate.Repo, c gate.SHA, st forge.Status) error {
	op := fmt.Sprintf("show the check run of %s in %s", c.Short(), r)
	runs, err := f.checkRuns(ctx, r, op, c, sdk.ListCheckRunsOptions{CheckName: new(runName)})
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, func(run *sdk.CheckRun) bool { return run.GetApp().GetID() != f.cfg.AppID })
	status, conclusion := "in_progress", (*string)(nil)
	switch st.State {
	case forge.StatusSuccess:
		status, conclusion = "completed", new("success")
	case forge.StatusFailure, forge.StatusError:
		status, conclusion = "completed", new("failure")
	}
	output := &sdk.CheckRunOutput{Title: &st.Text, Summary: new(next(st))}
	if last := newest(runs); len(last) > 0 && (last[0].GetStatus() != "completed" || status == "completed") {
		return do(ctx, f, r, op, func(s site) (*sdk.Response, error) {
			_, resp, err := s.api.Checks.UpdateCheckRun(ctx, s.owner, s.name, last[0].GetID(), sdk.UpdateCheckRunOptions{
				Name: runName, DetailsURL: optional(st.URL), Status: &status, Conclusion: conclusion, Output: output, Actions: buttons(st)})
			return resp, err
		})
	}
	return do(ctx, f, r, op, func(s site) (*sdk.Response, error) {
		_, resp, err := s.api.Checks.CreateCheckRun(ctx, s.owner, s.name, sdk.CreateCheckRunOptions{
			Name: runName, HeadSHA: string(c), DetailsURL: optional(st.URL), Status: &status, Conclusion: conclusion, Output: output, Actions: buttons(st)})
		return resp, err
	})
}

// next says what happens or what to do now, in Markdown. The text may quote people.
func next(st forge.Status) string {
	said := templates.Plain(st.Text) + ".\n\n"
	switch {
	case st.State == forge.StatusSuccess:
		said += "There is nothing left to do."
	case st.State != forge.StatusPending:
		said += "**Next step:** mend what is named here, then press *Requeue* or comment `/merge`."
	case strings.HasPrefix(st.Text, "Waiting"):
		said += "**Next step:** once that is done it queues by itself. Press *Remove* or comment `/merge cancel` to take it back."
	default:
		said += "**Next step:** none; it goes on by itself. Press *Remove* or comment `/merge cancel` to take it out of the queue."
	}
	if st.URL != "" {
		said += "\n\n[Everything about it](" + st.URL + ")"
	}
	return said
}

// buttons are the actions that fit. GitHub allows three, with labels of at most
// 20 and descriptions of at most 40 characters.
func buttons(st forge.Status) []*sdk.CheckRunAction {
	switch st.State {
	case forge.StatusPending:
		return []*sdk.CheckRunAction{{Label: "Remove", Description: "Take it out of the queue", Identifier: string(forge.ButtonRemove)}}
	case forge.StatusSuccess:
		return nil
	}
	return []*sdk.CheckRunAction{{Label: "Requeue", Description: "Ask again for it to land", Identifier: string(forge.ButtonRequeue)}}
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
