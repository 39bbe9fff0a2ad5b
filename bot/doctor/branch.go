package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"mergegate/bot"
	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/gate"
	"mergegate/internal/git"
)

// base is one base branch and the policy in force on it. For a pattern of
// branches it is the default branch's policy.
type base struct {
	repo   gate.Repo
	name   string
	policy gate.Policy
}

func (b base) pattern() bool { return strings.ContainsAny(b.name, "*?") }

func (b base) subject() string { return subject(b.repo) + " " + b.name }

// policies reads the policy of each base branch of the repository. The branches
// are those of the policy on the default branch; each is judged by its own file.
func (d *Doctor) policies(ctx context.Context, r *report, s site, repo gate.Repo, info forge.Repository) []base {
	first, err := d.policy(ctx, s, repo, info, info.DefaultBranch)
	if err != nil {
		r.add(Fail, subject(repo)+" "+info.DefaultBranch, err.Error(), "")
		return nil
	}
	var all []base
	for _, name := range first.Branches {
		b := base{repo: repo, name: name, policy: first}
		if b.pattern() {
			r.add(OK, subject(repo), fmt.Sprintf("each branch like %s has a queue, by its own policy", name), "")
			if !gate.Match(name, info.DefaultBranch) || slices.Contains(first.Branches, info.DefaultBranch) {
				all = append(all, b)
				continue
			}
			b.name, name = info.DefaultBranch, info.DefaultBranch
		}
		if name != info.DefaultBranch {
			if b.policy, err = d.policy(ctx, s, repo, info, name); err != nil {
				r.add(Fail, b.subject(), err.Error(), "")
				continue
			}
		}
		if !slices.ContainsFunc(b.policy.Branches, func(p string) bool { return gate.Match(p, name) }) {
			r.add(Warn, b.subject(), "no queue: the policy on this branch does not name it", "add it to branches in its "+config.PolicyFile)
			continue
		}
		all = append(all, b)
	}
	return all
}

// policy fetches the newest commit of a branch with git and reads the policy in
// it. The error tells what to do.
func (d *Doctor) policy(ctx context.Context, s site, repo gate.Repo, info forge.Repository, branch string) (gate.Policy, error) {
	data, err := readFile(ctx, s, repo, info.CloneURL, branch, config.PolicyFile)
	if err != nil {
		return gate.Policy{}, err
	}
	return config.ParsePolicy(data, d.Config.Defaults)
}

// readFile reads a file of a branch; nil when the branch does not have it.
func readFile(ctx context.Context, s site, repo gate.Repo, url, branch, path string) ([]byte, error) {
	auth, err := s.GitAuth(ctx, repo)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "mergegate-check-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	dir := git.Dir{Path: tmp}
	remote, err := dir.Remote(url, auth)
	if err != nil {
		return nil, err
	}
	if _, err := dir.Run(ctx, "", "init", "--quiet", "--bare"); err != nil {
		return nil, err
	}
	ref := "refs/heads/" + branch
	if _, err := remote.Run(ctx, "", "fetch", "--quiet", "--no-tags", "--depth=1", "--end-of-options", url, "+"+ref+":"+ref); err != nil {
		if git.Code(err) == 128 && strings.Contains(err.Error(), "couldn't find remote ref") {
			return nil, fmt.Errorf("there is no branch %q — set branches in %s or in defaults", branch, config.PolicyFile)
		}
		return nil, fmt.Errorf("git cannot fetch it: %w — check that this machine reaches %s, and that the token may read the repository", err, url)
	}
	tree, err := dir.Run(ctx, "", "ls-tree", ref, "--", path)
	if err != nil || tree == "" {
		return nil, err
	}
	text, err := dir.Run(ctx, "", "cat-file", "blob", ref+":"+path)
	return []byte(text), err
}

// checkBranch looks at what the policy asks for, and at what the forge lets
// happen to the branch.
func (s site) checkBranch(ctx context.Context, r *report, b base, info forge.Repository, sandbox Sandbox) {
	name, p := b.subject(), b.policy
	if !p.Enabled {
		r.add(OK, name, "enabled is false: mergegate leaves it alone", "")
		return
	}
	if p.DryRun {
		r.add(Warn, name, "dry_run is on: nothing is pushed, nothing lands", "set dry_run: false to begin")
	}
	checkRetest(r, b, sandbox)
	if b.pattern() {
		return // which branches there are is not known here
	}
	branch, err := s.Branch(ctx, b.repo, b.name)
	switch {
	case errors.Is(err, forge.ErrNotFound):
		r.add(Fail, name, "there is no such branch", "set branches in "+config.PolicyFile+" or in defaults")
		return
	case err != nil:
		r.add(Fail, name, err.Error(), "try again; the forge may be busy")
		return
	}
	if branch.Refused != "" {
		r.add(Fail, name, "nothing can land: "+branch.Refused, "switch it off, or leave "+b.name+" out of branches in "+config.PolicyFile)
		return
	}
	s.checkMethod(r, b, info, branch)
	s.checkProtection(r, b, branch)
}

func checkRetest(r *report, b base, sandbox Sandbox) {
	t := b.policy.Retest
	switch {
	case !t.Configured():
		r.add(Fail, b.subject(), "no retest is configured, so nothing can pass", "set retest.command or retest.checks in "+config.PolicyFile)
		return
	case len(t.Checks) > 0 && len(t.Creators) == 0:
		r.add(Warn, b.subject(), "retest believes "+strings.Join(t.Checks, ", ")+" from everybody who may write", "name those whose checks count in retest.check_creators")
	case len(t.Checks) > 0:
		r.add(OK, b.subject(), "retest waits for "+strings.Join(t.Checks, ", ")+" by "+strings.Join(t.Creators, ", "), "")
	}
	switch {
	case t.Command == "":
		return
	case sandbox.Weak():
		r.add(Warn, b.subject(), "the retest command runs without a sandbox: it sees the bot's files, its token among them", "install bubblewrap, or use retest.checks")
	default:
		r.add(OK, b.subject(), fmt.Sprintf("retest runs a command, at most %v", t.Timeout), "")
	}
	if t.Network {
		r.add(Warn, b.subject(), "the retest command may use the network", "set retest.network: false if it can do without")
	}
}

// checkMethod says how changes land, and what would make that stronger.
func (s site) checkMethod(r *report, b base, info forge.Repository, branch forge.Branch) {
	p, name := b.policy, b.subject()
	methods := slices.DeleteFunc(slices.Clone(info.Methods), func(m gate.Method) bool { return slices.Contains(branch.Forbidden, m) })
	method := gate.Strongest(p.Land.Method, p.CatchUp, methods)
	switch {
	case method == "":
		var allowed []string
		for _, m := range methods {
			allowed = append(allowed, string(m))
		}
		r.add(Fail, name, fmt.Sprintf("land.method %s with catch_up %s fits none of the allowed ways to merge (%s)", p.Land.Method, p.CatchUp, strings.Join(allowed, ", ")), "allow one in the repository's settings, or change the policy")
	case p.CatchUp == gate.CatchUpCandidate && branch.BlockOutdated:
		r.add(Fail, name, "catch_up candidate lands heads that are behind, but the branch refuses them", "use catch_up: rebase, or switch off \"block on outdated branch\"")
	case method == gate.FastForward:
		r.add(OK, name, "lands by fast-forward: the tested commit itself, and the forge refuses it if the branch moved", "")
	case branch.BlockOutdated:
		r.add(OK, name, fmt.Sprintf("lands by %s, and the forge refuses heads that are behind", method), "")
	case slices.Contains([]gate.Method{gate.Rebase, gate.Merge}, method) && p.Land.Method == gate.Auto && p.CatchUp != gate.CatchUpCandidate:
		r.add(Warn, name, fmt.Sprintf("lands by %s; if somebody else pushes in that very moment the forge combines untested, and the queue freezes", method), s.words().stronger)
	default:
		r.add(Warn, name, fmt.Sprintf("lands by %s; if somebody else pushes in that very moment the forge combines untested, and the queue freezes", method), "let only mergegate merge, or use land.method auto with catch_up rebase")
	}
}

// checkProtection says whether people can get past the queue, and whether the
// forge's rules stand in the bot's way.
func (s site) checkProtection(r *report, b base, branch forge.Branch) {
	p, name, me := b.policy, b.subject(), s.me
	if !branch.Protected {
		r.add(Warn, name, "not protected: everybody who can write can push past the queue", fmt.Sprintf("protect it: no direct pushes, and require the status check %q", bot.StatusContext))
		return
	}
	hidden := ""
	if branch.Opaque {
		hidden = " (parts of the protection are hidden from " + me.Login + ")"
	}
	if !branch.CanMerge {
		r.add(Fail, name, me.Login+" may not merge into it"+hidden, s.words().merge)
	}
	if slices.ContainsFunc(branch.RequiredChecks, func(pattern string) bool { return gate.Match(pattern, bot.StatusContext) }) {
		r.add(OK, name, fmt.Sprintf("protected, and requires the status check %q%s", bot.StatusContext, hidden), "")
	} else {
		r.add(Warn, name, "protected, but people can merge past the queue"+hidden, fmt.Sprintf("require the status check %q", bot.StatusContext))
	}
	if branch.RequiredApprovals > p.Require.Approvals {
		r.add(OK, name, fmt.Sprintf("the forge asks for %d approvals, the policy for %d: requests wait for %[1]d", branch.RequiredApprovals, p.Require.Approvals), "")
	}
	if branch.DismissStale && branch.RequiredApprovals > 0 && p.CatchUp != gate.CatchUpCandidate {
		r.add(Warn, name, "catching up in the PR's branch dismisses approvals when both changed the same file; mergegate then lands the unchanged head, by merge or squash", "allow merge or squash, or switch off \"dismiss stale approvals\": mergegate itself lands only what was approved")
	}
}
