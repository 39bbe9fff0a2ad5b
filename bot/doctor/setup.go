package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mergegate/bot"
	"mergegate/forge"
	"mergegate/gate"
)

// Options say how Setup works.
type Options struct {
	DryRun bool // say what would be done
	// Secrets also writes the webhook secret into webhooks that are fine
	// otherwise: for after it was changed. The forge does not tell which
	// secret a webhook has, so this is done only when asked.
	Secrets bool
}

// Setup makes what is missing and calls say for each step. It answers whether
// everything it is there for is in place now, or, in a dry run, would be.
func (d *Doctor) Setup(ctx context.Context, o Options, say func(Finding)) bool {
	r := &report{say: say}
	for _, conf := range d.Config.Forges {
		secret, err := conf.WebhookSecret()
		if err != nil {
			r.add(Fail, conf.Name, err.Error(), "")
			continue
		}
		if err := conf.CheckAccount(); err != nil {
			r.add(Fail, conf.Name, err.Error(), "")
			continue
		}
		s, ok := d.open(ctx, r, conf)
		if !ok {
			continue
		}
		for _, repo := range s.expand(ctx, r) {
			w := work{report: r, site: s, repo: repo, dry: o.DryRun}
			if info, ok := s.visible(ctx, r, repo); ok {
				d.setUp(ctx, w, info, secret, o.Secrets)
			}
		}
	}
	return !r.failed
}

// work is what is being done for one repository.
type work struct {
	*report
	site
	repo gate.Repo
	dry  bool
}

// do makes one thing, or says that it would.
func (w work) do(what, mend string, denied Level, make func() error) {
	if w.dry {
		w.add(Plan, subject(w.repo), what, "")
		return
	}
	err := make()
	switch {
	case errors.Is(err, forge.ErrDenied):
		w.add(denied, subject(w.repo), fmt.Sprintf("%s: %s may not", what, w.me.Login), mend)
	case err != nil:
		w.add(Fail, subject(w.repo), fmt.Sprintf("%s: %v", what, err), "run setup again")
	default:
		w.add(Done, subject(w.repo), what, "")
	}
}

func (w work) fine(what string) { w.add(OK, subject(w.repo), what, "") }

func (d *Doctor) setUp(ctx context.Context, w work, info forge.Repository, secret []byte, secrets bool) {
	branches := d.policies(ctx, w.report, w.site, w.repo, info)
	branches = slices.DeleteFunc(branches, func(b base) bool { return !b.policy.Enabled })
	if len(branches) == 0 {
		w.fine("no branch has a queue")
		return
	}
	d.setUpWebhook(ctx, w, secret, secrets)
	var labels []string
	fastForward := false
	for _, b := range branches {
		if label := b.policy.Trigger.Label; !slices.Contains(labels, label) {
			labels = append(labels, label)
			w.setUpLabel(ctx, label)
		}
		wants := b.policy.Land.Method
		fastForward = fastForward || wants == gate.FastForward || wants == gate.Auto && b.policy.CatchUp != gate.CatchUpCandidate
	}
	w.setUpIssue(ctx, info, labels[0])
	switch {
	case !fastForward:
	case slices.Contains(info.Methods, gate.FastForward):
		w.fine("fast-forward-only is allowed")
	default:
		w.do("allow fast-forward-only", "ask an administrator to allow it in the repository's settings", Warn, func() error { return w.AllowFastForward(ctx, w.repo) })
	}
}

func (d *Doctor) setUpWebhook(ctx context.Context, w work, secret []byte, secrets bool) {
	url := d.Config.WebhookURL(w.conf)
	hooks, err := w.Webhooks(ctx, w.repo)
	if err != nil {
		if errors.Is(err, forge.ErrDenied) {
			w.add(Warn, subject(w.repo), "look for the webhook: "+w.me.Login+" may not", byHand(w.site, url))
		} else {
			w.add(Fail, subject(w.repo), fmt.Sprintf("look for the webhook: %v", err), "run setup again")
		}
		return
	}
	i := slices.IndexFunc(hooks, func(h forge.Webhook) bool { return ours(h, url) })
	switch {
	case i < 0:
		w.do("create the webhook to "+url, byHand(w.site, url), Warn, func() error { return w.CreateWebhook(ctx, w.repo, url, secret) })
	case !hooks[i].Active || len(w.missing(hooks[i])) > 0 || secrets:
		w.do("update the webhook to "+url, byHand(w.site, url), Warn, func() error { return w.UpdateWebhook(ctx, w.repo, hooks[i].ID, url, secret) })
	default:
		w.fine("webhook to " + url)
	}
}

func (w work) setUpLabel(ctx context.Context, label string) {
	n, err := w.Labels(ctx, w.repo, label)
	switch {
	case err != nil:
		w.add(Fail, subject(w.repo), fmt.Sprintf("look for the label %q: %v", label, err), w.words().issues)
	case n > 1:
		w.add(Fail, subject(w.repo), fmt.Sprintf("%d labels are called %q", n, label), "delete all but one")
	case n == 1:
		w.fine(fmt.Sprintf("label %q", label))
	default:
		w.do(fmt.Sprintf("create the label %q", label), "ask a writer to create it", Fail, func() error {
			return w.CreateLabel(ctx, w.repo, label, "1d76db", "Put this into the merge queue")
		})
	}
}

func (w work) setUpIssue(ctx context.Context, info forge.Repository, label string) {
	if !info.HasIssues {
		w.add(Fail, subject(w.repo), "issues are switched off, but the queue lives in one", "switch issues on in the repository's settings")
		return
	}
	n, err := bot.FindQueueIssue(ctx, w.Forge, w.repo, w.me)
	switch {
	case err == nil:
		w.fine(fmt.Sprintf("queue issue #%d", n))
	case !errors.Is(err, forge.ErrNotFound):
		w.add(Fail, subject(w.repo), fmt.Sprintf("look for the queue issue: %v", err), w.words().issues)
	default:
		w.do("create the queue issue", w.words().issues, Fail, func() error {
			_, err := bot.CreateQueueIssue(ctx, w.Forge, w.repo, w.me, label)
			return err
		})
	}
}
