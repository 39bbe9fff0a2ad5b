package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mergegate/bot"
	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
)

// words are how we speak of who we are, and of what that lacks.
type words struct {
	credential string // what does not work
	credMend   string
	self       string // "the token is bot's"
	nowhere    string // no repository is ours
	hidden     string
	denied     string
	weak       string
	issues     string
	merge      string // it may not merge into a branch
	stronger   string // a landing that the forge itself does not compare with base
	events     string // the webhook tells of too little
}

const (
	scopes  = "write:repository, write:issue and read:user"
	consent = "then let each account where it is installed agree to that (Settings, Installed GitHub Apps)"
)

func (s site) words() words {
	name := s.me.Login
	switch {
	case s.conf.AppID != 0:
		return words{
			credential: fmt.Sprintf("the App %d does not work", s.conf.AppID),
			credMend:   "check app_id, private_key_file and this machine's clock, and that the App is installed somewhere",
			self:       "the App acts as " + name,
			nowhere:    "install the App on a repository (Settings, Applications, or the App's page)",
			hidden:     "check the name, and install the App there",
			denied:     "give the App the permissions that docs/github-app.md lists, and " + consent,
			weak:       "give the App these permissions on its settings page, " + consent,
			issues:     "give the App the permission Issues: write, and " + consent,
			merge:      "add the App to those who may push in the branch's protection, or to the bypass list of its rulesets",
			stronger:   "let the App bypass the rule that requires pull requests, or require branches to be up to date (docs/github-app.md)",
			events:     "tick them on the App's settings page, under Permissions & events",
		}
	case s.conf.Type == "github":
		return words{
			credential: "the token does not work",
			credMend:   "make a new one for the bot's account; docs/github-app.md lists the permissions",
			self:       "the token is " + name + "'s",
			nowhere:    "add it to a repository as a collaborator with the role write",
			hidden:     "check the name, and add " + name + " as a collaborator with the role write",
			denied:     "make a token with the permissions that docs/github-app.md lists",
			weak:       "give it the role write (or admin, for setup)",
			issues:     "give the token the permission Issues: write",
			merge:      "add " + name + " to those who may push in the branch's protection, or to the bypass list of its rulesets",
			stronger:   "let " + name + " bypass the rule that requires pull requests, or require branches to be up to date (docs/github-app.md)",
			events:     "run mergegate setup",
		}
	}
	return words{
		credential: "the token does not work",
		credMend:   "make a new token for the bot's account with the scopes " + scopes,
		self:       "the token is " + name + "'s",
		nowhere:    "add it to a repository as a collaborator with write permission",
		hidden:     "check the name, and add " + name + " as a collaborator with write permission",
		denied:     "make a token with the scopes " + scopes,
		weak:       "give it write permission (or admin, for setup)",
		issues:     "give the token the scope write:issue",
		merge:      "add " + name + " to those who may merge in the branch's protection",
		stronger:   "run mergegate setup to allow fast-forward-only, or switch on \"block on outdated branch\"",
		events:     "run mergegate setup",
	}
}

// site is one forge that answers, and who we are there.
type site struct {
	conf config.Forge
	Forge
	me gate.User
}

// open says whether the forge can be used at all. Nothing else about it is
// worth asking when it cannot.
func (d *Doctor) open(ctx context.Context, r *report, conf config.Forge) (site, bool) {
	s := site{conf: conf, Forge: d.Forges[conf.Name]}
	version, err := s.Version(ctx)
	if err != nil {
		r.add(Fail, conf.Name, fmt.Sprintf("%s cannot be used: %v", conf.URL, err), "check url and "+s.account()+", and that this machine reaches the forge")
		return s, false
	}
	r.add(OK, conf.Name, version+" at "+conf.URL, "")
	if keepsApprovals(version) {
		r.add(Warn, conf.Name, version+" keeps an approval that was given for another base branch (CVE-2026-58439); mergegate does not count it, whoever merges by hand does", "update to Gitea 1.27 or newer")
	}
	if strings.HasPrefix(conf.URL, "http:") && !loopback(conf.URL) {
		r.add(Warn, conf.Name, "the token travels unencrypted", "use https")
	}
	if s.me, err = s.Me(ctx); err != nil {
		r.add(Fail, conf.Name, fmt.Sprintf("%s: %v", s.words().credential, err), s.words().credMend)
		return s, false
	}
	r.add(OK, conf.Name, s.words().self, "")
	return s, true
}

// keepsApprovals says whether a forge's version is a Gitea before 1.27.
func keepsApprovals(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "Gitea %d.%d", &major, &minor)
	return n == 2 && (major < 1 || major == 1 && minor < 27)
}

// account is what we log in with.
func (s site) account() string {
	if s.conf.AppID != 0 {
		return "app_id and private key"
	}
	return "token"
}

func (d *Doctor) checkForge(ctx context.Context, r *report, conf config.Forge) {
	if !checkSecrets(r, conf) {
		return
	}
	s, ok := d.open(ctx, r, conf)
	if !ok {
		return
	}
	for _, repo := range s.expand(ctx, r) {
		d.checkRepository(ctx, r, s, repo)
	}
}

// expand lists the configured repositories and says what could not be listed.
func (s site) expand(ctx context.Context, r *report) []gate.Repo {
	repos, err := s.conf.Expand(ctx, s.Repos)
	if err != nil {
		r.add(Fail, s.conf.Name, err.Error(), "check the owner's name, and that the bot may see the repositories")
	} else if len(repos) == 0 {
		r.add(Warn, s.conf.Name, strings.Join(s.conf.Repos, ", ")+" is no repository that "+s.me.Login+" can write to", s.words().nowhere)
	}
	return repos
}

// visible reads the repository and says why it cannot be served.
func (s site) visible(ctx context.Context, r *report, repo gate.Repo) (forge.Repository, bool) {
	name := subject(repo)
	info, err := s.Repository(ctx, repo)
	switch {
	case errors.Is(err, forge.ErrNotFound):
		r.add(Fail, name, "not there, or hidden from "+s.me.Login, s.words().hidden)
	case errors.Is(err, forge.ErrDenied):
		r.add(Fail, name, err.Error(), s.words().denied)
	case err != nil:
		r.add(Fail, name, err.Error(), "try again; the forge may be busy")
	case info.Archived:
		r.add(Fail, name, "it is archived, so nothing can land", "unarchive it, or remove it from repos")
	case info.Role < gate.RoleWrite && len(info.Lacks) > 0:
		r.add(Fail, name, "the App's installation lacks "+strings.Join(info.Lacks, ", "), s.words().weak)
	case info.Role < gate.RoleWrite:
		r.add(Fail, name, fmt.Sprintf("%s has only the role %s", s.me.Login, info.Role), s.words().weak)
	default:
		if s.conf.AppID == 0 {
			r.add(OK, name, fmt.Sprintf("%s has the role %s", s.me.Login, info.Role), "")
		} else if len(info.Lacks) == 0 {
			r.add(OK, name, "the App is installed, with all permissions it needs", "")
		} else {
			r.add(Warn, name, "the App is installed, but lacks "+strings.Join(info.Lacks, ", ")+": it works, with less", s.words().weak)
		}
		return info, true
	}
	return info, false
}

func subject(repo gate.Repo) string { return repo.Forge + " " + repo.String() }

func (d *Doctor) checkRepository(ctx context.Context, r *report, s site, repo gate.Repo) {
	name := subject(repo)
	info, ok := s.visible(ctx, r, repo)
	if !ok {
		return
	}
	if !info.HasIssues {
		r.add(Fail, name, "issues are switched off, but the queue lives in one", "switch issues on in the repository's settings")
	} else if n, err := bot.FindQueueIssue(ctx, s, repo, s.me); errors.Is(err, forge.ErrNotFound) {
		r.add(OK, name, "no queue issue yet; it is made on first use", "")
	} else if err != nil {
		r.add(Fail, name, fmt.Sprintf("cannot look for the queue issue: %v", err), s.words().issues)
	} else {
		r.add(OK, name, fmt.Sprintf("queue issue #%d", n), "")
	}
	d.checkWebhook(ctx, r, s, repo)

	labels := map[string]bool{}
	for _, branch := range d.policies(ctx, r, s, repo, info) {
		if label := branch.policy.Trigger.Label; !labels[label] {
			labels[label] = true
			s.checkLabel(ctx, r, repo, label)
		}
		s.checkBranch(ctx, r, branch, info, d.Sandbox)
	}
}

func (s site) checkLabel(ctx context.Context, r *report, repo gate.Repo, label string) {
	name := subject(repo)
	switch n, err := s.Labels(ctx, repo, label); {
	case err != nil:
		r.add(Fail, name, fmt.Sprintf("cannot look for the label %q: %v", label, err), s.words().issues)
	case n == 0:
		r.add(Fail, name, fmt.Sprintf("the label %q does not exist", label), "run mergegate setup, or create it")
	case n > 1:
		r.add(Fail, name, fmt.Sprintf("%d labels are called %q", n, label), "delete all but one, also of the organisation's")
	default:
		r.add(OK, name, fmt.Sprintf("label %q", label), "")
	}
}

func (d *Doctor) checkWebhook(ctx context.Context, r *report, s site, repo gate.Repo) {
	name, url := subject(repo), d.Config.WebhookURL(s.conf)
	polls := fmt.Sprintf("; it works without, but waits up to %v (%v while idle) for news", d.Config.Poll.Active, d.Config.Poll.Idle)
	hooks, err := s.Webhooks(ctx, repo)
	if errors.Is(err, forge.ErrDenied) {
		r.add(Warn, name, s.me.Login+" cannot see webhooks without being an administrator"+polls, byHand(s, url))
		return
	}
	if err != nil {
		r.add(Warn, name, fmt.Sprintf("cannot list webhooks: %v", err), "try again")
		return
	}
	hooks = slices.DeleteFunc(hooks, func(h forge.Webhook) bool { return !ours(h, url) })
	switch {
	case len(hooks) == 0:
		r.add(Warn, name, "no webhook to "+url+polls, "run mergegate setup")
	case len(hooks) > 1:
		r.add(Warn, name, fmt.Sprintf("%d webhooks deliver to %s", len(hooks), url), "delete all but one")
	case !hooks[0].Active:
		r.add(Warn, name, "the webhook is switched off"+polls, "run mergegate setup, or switch it on")
	case len(s.missing(hooks[0])) > 0:
		r.add(Warn, name, "the webhook does not tell about "+strings.Join(s.missing(hooks[0]), ", ")+polls, s.words().events)
	default:
		r.add(OK, name, "webhook to "+url, "")
	}
}

// ours says whether a webhook delivers to our URL.
func ours(h forge.Webhook, url string) bool {
	return strings.EqualFold(strings.TrimRight(h.URL, "/"), url)
}

// missing lists the events that the webhook does not subscribe to.
func (s site) missing(h forge.Webhook) []string {
	return slices.DeleteFunc(slices.Clone(s.HookEvents()), func(e string) bool { return slices.Contains(h.Events, e) })
}

// byHand tells an administrator how to add the webhook.
func byHand(s site, url string) string {
	return fmt.Sprintf("run mergegate setup with an administrator's token, or add a JSON webhook to %s for %s, with the webhook secret", url, strings.Join(s.HookEvents(), ", "))
}
