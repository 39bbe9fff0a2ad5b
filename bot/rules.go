package bot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/gate/catchup"
)

// prepare reads what every round needs: who we are, what the repository allows,
// and a mirror. Most rounds find all of it at hand.
func (w *worker) prepare(ctx context.Context) error {
	if w.me.ID == 0 {
		me, err := w.forge.Me(ctx)
		if err != nil {
			return fmt.Errorf("who is the token's owner: %w", err)
		}
		w.me = me
		w.myself.Store(&me)
	}
	keys, err := w.conf.Keys()
	if err != nil {
		return err
	}
	w.rekey(keys)
	if w.infoAt.IsZero() {
		if err := w.settings(ctx); err != nil {
			return err
		}
	}
	if w.mirror == nil {
		m, err := w.b.open(ctx, w.b.mirrorDir(w.repo), w.remote(w.info.CloneURL), w.committer())
		if err != nil {
			return fmt.Errorf("open the git mirror: %w", err)
		}
		w.mirror = m
	}
	return nil
}

// rekey takes in the keys of the webhook secrets. After a rotation everything is
// read again, and what was sealed with an old key is written with the new one.
func (w *worker) rekey(keys [][]byte) {
	if w.keys != nil && !bytes.Equal(w.keys[0], keys[0]) {
		w.log.Info("the webhook secret was replaced", "previous_secrets_believed", len(keys)-1)
		for _, p := range w.prs {
			p.seen = time.Time{}
		}
	}
	w.keys = keys
}

// settings reads what the repository allows.
func (w *worker) settings(ctx context.Context) error {
	w.infoAt = time.Time{}
	info, err := w.forge.Repository(ctx, w.repo)
	switch {
	case err != nil:
		return fmt.Errorf("read the repository %s: %w", w.repo, err)
	case info.Archived:
		return fmt.Errorf("%s is archived", w.repo)
	case info.Role < gate.RoleWrite:
		return fmt.Errorf("%s has no write access to %s: make it a collaborator with the role write", w.me.Login, w.repo)
	}
	w.info, w.infoAt = info, time.Now()
	return nil
}

// refresh reads repository settings and branch protection again when they are old.
func (w *worker) refresh(ctx context.Context, q *queue) error {
	if time.Since(w.infoAt) > settingsFor {
		if err := w.settings(ctx); err != nil {
			return err
		}
	}
	if time.Since(q.branchAt) > settingsFor && !q.gone {
		b, err := w.forge.Branch(ctx, w.repo, q.base)
		if err != nil {
			return fmt.Errorf("read the branch: %w", err)
		}
		q.branch, q.branchAt = b, time.Now()
	}
	return nil
}

// committer is who commits rebased commits. It must be the same for every
// replica, or they would not recognise each other's rebases.
func (w *worker) committer() catchup.Person {
	host := "localhost"
	if u, err := url.Parse(w.info.CloneURL); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	return catchup.Person{Name: w.me.Login, Email: w.me.Login + "@noreply." + host}
}

func sameHost(a, b string) bool {
	x, errA := url.Parse(a)
	y, errB := url.Parse(b)
	return errA == nil && errB == nil && x.Scheme == y.Scheme && x.Host == y.Host
}

// remote is a repository of this forge as a git remote. The token goes only to
// the forge's own host, whatever a PR says about its fork.
func (w *worker) remote(at string) catchup.Remote {
	r := catchup.Remote{URL: at}
	if sameHost(at, w.info.CloneURL) {
		r.Auth = func(ctx context.Context) (string, error) { return w.forge.GitAuth(ctx, w.repo) }
	}
	return r
}

// rules brings base tip, policy and protection up to date. The policy is always
// the one of the tip: a candidate is judged by the rules of the commit it is
// built on.
func (w *worker) rules(ctx context.Context, q *queue) error {
	tip := w.listedTip(q.base)
	q.gone = false
	if tip == "" || w.behind(ctx, q, tip) {
		b, err := w.forge.Branch(ctx, w.repo, q.base)
		if errors.Is(err, forge.ErrNotFound) {
			q.gone, q.tip, q.branchAt = true, "", time.Time{}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the branch: %w", err)
		}
		q.branch, q.branchAt, tip = b, time.Now(), b.Tip
	}
	return w.moveTo(ctx, q, tip)
}

// behind says whether base is known to have passed a tip that a list shows. Gitea takes
// it from its database, which a crash can leave behind git until the next push.
func (w *worker) behind(ctx context.Context, q *queue, listed gate.SHA) bool {
	if q.tip == "" || listed == q.tip || !w.mirror.Have(ctx, listed) {
		return false
	}
	common, err := w.mirror.MergeBase(ctx, q.tip, listed)
	return err == nil && common == listed
}

// listedTip is the base tip that came with the list of PRs; "" if none did.
func (w *worker) listedTip(base string) gate.SHA {
	for _, p := range w.known() {
		if p.pr.Open && p.pr.Base == base {
			return p.pr.BaseTip
		}
	}
	return ""
}

// moveTo makes tip the queue's tip and reads the policy of that commit.
func (w *worker) moveTo(ctx context.Context, q *queue, tip gate.SHA) error {
	q.tip = tip
	if q.policyOf == tip {
		return nil
	}
	if !w.mirror.Have(ctx, tip) {
		if err := w.mirror.Fetch(ctx, "refs/heads/"+q.base); err != nil {
			return fmt.Errorf("fetch %s: %w", q.base, err)
		}
	}
	data, err := w.mirror.File(ctx, tip, config.PolicyFile, 1<<20)
	q.policy, q.badRules, q.policyOf = w.b.cfg.Defaults, "", tip
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		q.policyOf = ""
		return fmt.Errorf("read %s: %w", config.PolicyFile, err)
	default:
		p, err := config.ParsePolicy(data, w.b.cfg.Defaults)
		if err != nil {
			q.badRules = strings.Split(err.Error(), "\n")[0]
			w.log.Warn("the policy file is not valid", "base", q.base, "commit", tip.Short(), "err", err)
			return nil
		}
		q.policy = p
	}
	return nil
}
