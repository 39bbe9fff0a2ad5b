package localhub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mergegate/gate"
)

// trial is what GitHub finds out about a pull request in the background: whether
// it merges, and the test merge commit. It belongs to one base tip and head.
type trial struct {
	base, head gate.SHA
	asked      bool // somebody read the pull request since
	known      bool
	commit     gate.SHA // of the test merge; "" when it conflicts or is not known
	// of the change, known at once
	commits, additions, deletions, files int
}

// mergeable is GitHub's mergeable and mergeable_state. It is null when it is
// first asked after head or base moved; the asking makes it known.
func (h *Hub) mergeable(i *issue) (any, string) {
	p, tip := i.pull, i.repo.tip(i.pull.base)
	h.measure(i)
	if !i.open || !p.trial.asked {
		p.trial.asked = true
		return nil, "unknown"
	}
	h.try(i)
	switch {
	case p.trial.commit == "":
		return false, "dirty"
	case p.draft:
		return true, "draft"
	}
	for _, d := range h.demands(i.repo, p.base, &caller{}) {
		if d.Strict && !h.contains(i.repo, p.head, tip) {
			return true, "behind"
		}
	}
	if h.unmet(i.repo, p.base, p.head, i, &caller{}) != "" {
		return true, "blocked"
	}
	if combined(newest(i.repo.statuses[p.head])) == "failure" {
		return true, "unstable"
	}
	return true, "clean"
}

// measure starts a new trial, with what is known at once, if head or base moved.
// What is merged or closed stays as it was measured.
func (h *Hub) measure(i *issue) {
	p, tip := i.pull, i.repo.tip(i.pull.base)
	if p.trial.head == p.head && (p.trial.base == tip || !i.open) {
		return
	}
	p.trial = trial{base: tip, head: p.head}
	base := h.mergeBase(i.repo, tip, p.head)
	if base == "" {
		return
	}
	commits, err := h.between(i.repo, base, p.head)
	files, err2 := h.diff(i.repo, base, p.head)
	if err != nil || err2 != nil {
		return
	}
	p.trial.commits, p.trial.files = len(commits), len(files)
	for _, f := range files {
		p.trial.additions += f.additions
		p.trial.deletions += f.removed
	}
}

// try finds out whether the pull request merges.
func (h *Hub) try(i *issue) {
	p, t := i.pull, &i.pull.trial
	if t.known {
		return
	}
	t.known = true
	tree := h.mergeTree(i.repo, t.base, t.head)
	if tree == "" {
		return
	}
	message := fmt.Sprintf("Merge %s into %s", p.head, t.base)
	id, err := h.write(i.repo, tree, message, forgeIdent(), forgeIdent(), t.base, t.head)
	if err != nil {
		return
	}
	t.commit = id
	_ = h.setRef(i.repo, fmt.Sprintf("refs/pull/%d/merge", i.number), id) // what it is for, the trial says too
}

// ways are GitHub's names of the methods, with what it says when one is off.
func ways() map[string]struct {
	method  gate.Method
	refusal string
} {
	type way = struct {
		method  gate.Method
		refusal string
	}
	return map[string]way{
		"merge":  {gate.Merge, "Merge commits are not allowed on this repository."},
		"squash": {gate.Squash, "Squash merges are not allowed on this repository."},
		"rebase": {gate.Rebase, "Rebase merges are not allowed on this repository."},
	}
}

// merge is the merge button and the merge call. expected is the head it is
// pinned to, or "". Errors are GitHub's: 405 when the pull request cannot be
// merged, 409 when its head is another.
func (h *Hub) merge(i *issue, c *caller, method string, expected gate.SHA, title, message string) (gate.SHA, error) {
	r, p := i.repo, i.pull
	no := func(format string, args ...any) error {
		return refused(http.StatusMethodNotAllowed, format, args...)
	}
	way, ok := ways()[method]
	switch {
	case !ok:
		return "", invalid("PullRequest", "merge_method", "invalid")
	case !i.open:
		return "", no("Pull Request is not mergeable")
	case expected != "" && expected != p.head:
		return "", refused(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case p.draft:
		return "", no("Pull Request is still a draft")
	case !slices.Contains(r.methods, way.method):
		return "", no("%s", way.refusal)
	}
	if why := h.unmet(r, p.base, p.head, i, c); why != "" {
		return "", no("%s", why)
	}
	tip := r.tip(p.base)
	tree := h.mergeTree(r, tip, p.head)
	if tree == "" {
		return "", no("Pull Request is not mergeable")
	}
	commits, err := h.between(r, tip, p.head)
	if err != nil {
		return "", err
	}
	landed, err := h.join(i, c, way.method, tip, tree, commits, title, message)
	if err != nil {
		return "", err
	}
	return landed, h.landed(i, c, tip, landed)
}

// join makes what the base moves to.
func (h *Hub) join(i *issue, c *caller, method gate.Method, tip, tree gate.SHA, commits []*commit, title, message string) (gate.SHA, error) {
	r, p := i.repo, i.pull
	text := func(fallbackTitle, fallback string) string {
		if title == "" {
			title = fallbackTitle
		}
		if message == "" {
			message = fallback
		}
		return strings.TrimSpace(title + "\n\n" + message)
	}
	switch method {
	case gate.Merge:
		from := fmt.Sprintf("Merge pull request #%d from %s/%s", i.number, p.headRepo.owner.login, p.headBranch)
		return h.write(r, tree, text(from, i.title), h.ident(c.account), forgeIdent(), tip, p.head)
	case gate.Squash:
		author := h.ident(i.by)
		if len(commits) > 0 {
			author = commits[0].author
		}
		var body []string
		for _, one := range commits {
			body = append(body, "* "+one.message)
		}
		return h.write(r, tree, text(fmt.Sprintf("%s (#%d)", i.title, i.number), strings.Join(body, "\n\n")), author, forgeIdent(), tip)
	}
	for _, one := range commits {
		if len(one.parents) > 1 {
			continue
		}
		next, err := h.pick(r, tip, one, h.ident(c.account))
		if err != nil {
			return "", err
		}
		tip = next
	}
	return tip, nil
}

// pick puts one commit on top of tip, with a new committer. The three-way merge
// is given its base by a throw-away commit that has tip's tree and the commit's
// parent, because git learnt to be told the base later than 2.38.
func (h *Hub) pick(r *repo, tip gate.SHA, c *commit, committer person) (gate.SHA, error) {
	if len(c.parents) == 0 {
		return "", refused(http.StatusMethodNotAllowed, "This branch can't be rebased")
	}
	ours, err := h.write(r, h.commit(r, tip).tree, "", forgeIdent(), forgeIdent(), c.parents[0])
	if err != nil {
		return "", err
	}
	tree := h.mergeTree(r, ours, c.id)
	if tree == "" {
		return "", refused(http.StatusMethodNotAllowed, "This branch can't be rebased")
	}
	return h.write(r, tree, c.message, c.author, committer, tip)
}

// landed moves the base and closes the pull request as merged.
func (h *Hub) landed(i *issue, c *caller, from, to gate.SHA) error {
	if err := h.setRef(i.repo, "refs/heads/"+i.pull.base, to); err != nil {
		return err
	}
	h.markMerged(i, c, to)
	h.moved(i.repo, []move{{"refs/heads/" + i.pull.base, from, to}}, c)
	return nil
}

func (h *Hub) markMerged(i *issue, c *caller, as gate.SHA) {
	p := i.pull
	p.merged, p.mergedAt, p.mergedBy, p.landed = true, now(), c.account, as
	i.open, i.closed, i.closedBy = false, now(), c.account
	h.note(i, c, event{kind: "merged", commit: as})
	h.note(i, c, event{kind: "closed"})
	h.emitPull("closed", i, c, nil)
}

// updateBranch merges the base into the head, as update-branch does.
func (h *Hub) updateBranch(i *issue, c *caller, expected gate.SHA) error {
	p := i.pull
	tip := i.repo.tip(p.base)
	switch {
	case expected != "" && expected != p.head:
		return refused(http.StatusUnprocessableEntity, "expected head sha didn’t match current head ref.")
	case p.headRepo != i.repo:
		return refused(http.StatusForbidden, "Resource not accessible by integration")
	case h.contains(i.repo, p.head, tip):
		return refused(http.StatusUnprocessableEntity, "There are no new commits on the base branch.")
	}
	tree := h.mergeTree(i.repo, p.head, tip)
	if tree == "" {
		return refused(http.StatusUnprocessableEntity, "merge conflict between base and head")
	}
	message := fmt.Sprintf("Merge branch '%s' into %s", p.base, p.headBranch)
	to, err := h.write(i.repo, tree, message, h.ident(c.account), forgeIdent(), p.head, tip)
	if err != nil {
		return err
	}
	from, ref := p.head, "refs/heads/"+p.headBranch
	if err := h.setRef(i.repo, ref, to); err != nil {
		return err
	}
	h.moved(i.repo, []move{{ref, from, to}}, c)
	return nil
}
