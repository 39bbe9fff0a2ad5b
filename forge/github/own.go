package github

import (
	"context"
	"fmt"

	sdk "github.com/google/go-github/v62/github"

	"mergegate/gate"
)

// OwnRuns gives the newest check runs of this App on exactly this commit, which
// Checks leaves out. With a token there are none: statuses say who posted them.
func (f *Forge) OwnRuns(ctx context.Context, r gate.Repo, c gate.SHA) ([]gate.Check, error) {
	if f.app == nil {
		return nil, nil
	}
	runs, err := f.checkRuns(ctx, r, fmt.Sprintf("read our own checks of %s in %s", c.Short(), r), c, sdk.ListCheckRunsOptions{AppID: &f.cfg.AppID})
	if err != nil {
		return nil, err
	}
	var own []gate.Check
	for _, run := range newest(runs) {
		if run.GetApp().GetID() == f.cfg.AppID {
			own = append(own, checkOf(run))
		}
	}
	return own, nil
}
