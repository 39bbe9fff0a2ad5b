package forgetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// land is Gitea's merge call, with its answers. An empty Head is not compared,
// as when a person presses the button. Only fast-forward compares base; the
// other methods merge onto whatever base is by now.
func (s *Sim) land(a actor, r *simRepo, l forge.Landing) error {
	p, err := r.pull(l.PR)
	if err != nil {
		return err
	}
	pr := p.now()
	ref := "refs/heads/" + pr.Base
	base, head := r.tip(ref), s.git.commits[pr.Head]
	rule := r.protected[pr.Base]
	switch {
	case pr.Merged:
		return &forge.Refusal{Kind: forge.ErrMoved, Op: "merge", Status: 405, Text: "The PR is already merged"}
	case !pr.Open || base == nil:
		return refuse(404, "not found")
	case r.roles[a.user.ID] < gate.RoleWrite:
		return refuse(405, "User not allowed to merge PR")
	case pr.Draft:
		return refuse(405, "Work in progress PRs cannot be merged")
	case l.Head != "" && l.Head != pr.Head:
		return refuse(409, "head out of date")
	case time.Now().Before(p.checked):
		return later()
	}
	merged, clashes := s.git.merge(base, head)
	switch {
	case len(clashes) > 0:
		return later() // the forge does not tell a conflict from a computation under way
	case rule.BlockOutdated && !s.git.isAncestor(base, head):
		return &forge.Refusal{Kind: forge.ErrMoved, Op: "merge", Status: 405, Text: "The head branch is behind the base branch"}
	case !s.required(r, rule, pr.Head):
		return refuse(405, "Not all required status checks successful")
	case p.official() < rule.Approvals:
		return refuse(405, "Does not have enough approvals")
	case !slices.Contains(r.methods, l.Method):
		return refuse(405, string(l.Method)+" is not allowed an allowed merge style for this repository")
	}
	to, err := s.landed(a, p, l, base, head, merged)
	if err != nil {
		return err
	}
	s.setRef(a, r, ref, to, OpLand)
	s.note(a, Entry{Op: OpLand, Repo: r.name, PR: l.PR, Ref: ref, From: base.id, To: to.id, Text: string(pr.Head), State: string(l.Method)})
	p.thread.open = false
	p.change(true, func(pr *gate.PR) { pr.Open, pr.Merged, pr.MergeCommit = false, true, to.id })
	s.tell(a, r, l.PR)
	if l.DeleteBranch && p.source == r {
		s.setRef(a, r, "refs/heads/"+pr.HeadBranch, nil, OpRef)
	}
	return nil
}

func later() error {
	return &forge.Refusal{Kind: forge.ErrBusy, Op: "merge", Status: 405, Text: "Please try again later"}
}

// landed is the commit that base moves to.
func (s *Sim) landed(a actor, p *pull, l forge.Landing, base, head *commit, merged *tree) (*commit, error) {
	upToDate := s.git.isAncestor(base, head)
	stamp := person(a.user.Login, a.user.Login+"@forge.test", time.Now().Unix())
	title := l.Title
	if title == "" {
		title = fmt.Sprintf("%s (#%d)", p.thread.title, p.thread.number)
		if l.Method == gate.Merge {
			title = fmt.Sprintf("Merge pull request '%s' (#%d) from %s into %s", p.thread.title, p.thread.number, p.now().HeadBranch, p.now().Base)
		}
	}
	message := strings.TrimSpace(title+"\n\n"+l.Message) + "\n"
	switch {
	case l.Method == gate.FastForward && !upToDate:
		return nil, refuse(500, "") // Gitea has no word for it
	case l.Method == gate.FastForward, l.Method == gate.Rebase && upToDate:
		return head, nil
	case l.Method == gate.Merge:
		return s.git.commit(merged, []*commit{base, head}, stamp, stamp, message), nil
	case l.Method == gate.Squash:
		author := person(p.thread.by.Login, p.thread.by.Login+"@forge.test", time.Now().Unix())
		return s.git.commit(merged, []*commit{base}, author, stamp, message), nil
	}
	tip := base
	for _, c := range s.git.changes(base, head) {
		if len(c.parents) != 1 {
			continue
		}
		t, clashes := s.git.merge3(c.parents[0].tree, tip.tree, c.tree, "rebase")
		if len(clashes) > 0 {
			return nil, refuse(500, "")
		}
		if t != tip.tree {
			tip = s.git.commit(t, []*commit{tip}, c.author, stamp, c.message)
		}
	}
	return tip, nil
}

// required says whether the checks that a branch demands are there and green.
func (s *Sim) required(r *simRepo, rule Protection, head gate.SHA) bool {
	for _, pattern := range rule.Checks {
		found := false
		for _, c := range r.statuses[head] {
			if gate.Match(pattern, c.Context) {
				found = true
				if c.State != gate.CheckPassed {
					return false
				}
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// official counts the approvals that Gitea's own gate counts.
func (p *pull) official() int {
	n := 0
	for _, v := range p.reviews {
		if v.official && v.state == gate.Approved && v.dismissed.IsZero() {
			n++
		}
	}
	return n
}
