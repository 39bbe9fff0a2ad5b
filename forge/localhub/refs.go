package localhub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mergegate/gate"
)

// move is a ref that went from one commit to another; "" is nowhere.
type move struct {
	ref      string
	from, to gate.SHA
}

// moved is called after refs of a repository moved, however they did: it tells
// webhooks, brings pull requests up to date, and marks those as merged whose
// head the base has reached.
func (h *Hub) moved(r *repo, moves []move, c *caller) {
	r.pushed = now()
	for _, m := range moves {
		branch, ok := strings.CutPrefix(m.ref, "refs/heads/")
		if !ok {
			continue
		}
		h.emitPush(r, m, c)
		for _, i := range h.pullsFrom(r, branch) {
			h.headMoved(i, m, c)
		}
		for _, i := range r.open() {
			if i.pull.base == branch {
				h.baseMoved(i, m, c)
			}
		}
		if m.to != "" {
			h.requestSuites(r, branch, m.to, c)
		}
	}
}

// pullsFrom are the open pull requests whose head is the branch.
func (h *Hub) pullsFrom(r *repo, branch string) []*issue {
	var all []*issue
	for _, base := range h.sorted() {
		for _, i := range base.open() {
			if i.pull.headRepo == r && i.pull.headBranch == branch {
				all = append(all, i)
			}
		}
	}
	return all
}

func (h *Hub) headMoved(i *issue, m move, c *caller) {
	p := i.pull
	if m.to == "" {
		h.note(i, c, event{kind: "head_ref_deleted"})
		h.setState(i, c, false)
		return
	}
	before := p.head
	h.fetchHead(i, m.to)
	if h.contains(i.repo, m.to, before) {
		h.noteCommits(i, before, c)
	} else {
		h.note(i, c, event{kind: "head_ref_force_pushed", commit: m.to})
	}
	h.dismissStale(i, c)
	i.touch()
	h.emitPull("synchronize", i, c, obj{"before": before, "after": m.to})
}

// fetchHead sets the head, which a fork's repository may have to hand over.
func (h *Hub) fetchHead(i *issue, to gate.SHA) {
	p := i.pull
	if p.headRepo != i.repo {
		d, err := i.repo.git.Remote(p.headRepo.git.Path, "")
		if err == nil {
			_, err = d.Run(h.ctx, "", "fetch", "-q", "--no-tags", p.headRepo.git.Path, string(to))
		}
		if err != nil {
			return // the head stays where it was, as when GitHub's own copying lags
		}
	}
	p.head, p.baseSHA = to, i.repo.tip(p.base)
	_ = h.setRef(i.repo, fmt.Sprintf("refs/pull/%d/head", i.number), to) // p.head is what is answered
}

// noteCommits puts the commits since before on the timeline.
func (h *Hub) noteCommits(i *issue, before gate.SHA, c *caller) {
	commits, err := h.between(i.repo, before, i.pull.head)
	if err != nil {
		return
	}
	for _, one := range commits {
		h.note(i, c, event{kind: "committed", commit: one.id})
	}
}

// dismissStale withdraws approvals after a push where the base's rules say so.
func (h *Hub) dismissStale(i *issue, c *caller) {
	stale := false
	for _, d := range h.demands(i.repo, i.pull.base, &caller{}) {
		stale = stale || d.DismissStale
	}
	if !stale {
		return
	}
	for _, v := range i.pull.reviews {
		if v.state == "APPROVED" {
			h.dismiss(i, v, c, "")
		}
	}
}

func (h *Hub) baseMoved(i *issue, m move, c *caller) {
	p := i.pull
	if m.to == "" {
		h.note(i, c, event{kind: "base_ref_deleted"})
		h.setState(i, c, false)
		return
	}
	onDefault := p.base == i.repo.defaultBranch || !h.opts.MarkDefaultOnly
	if m.from != "" && onDefault && h.contains(i.repo, m.to, p.head) {
		h.markMerged(i, c, p.head)
	}
}

// createRef is POST git/refs.
func (h *Hub) createRef(r *repo, name string, to gate.SHA, c *caller) error {
	switch {
	case !strings.HasPrefix(name, "refs/") || strings.Count(name, "/") < 2 || !h.goodRef(r, name):
		return refused(http.StatusUnprocessableEntity, "Reference name must start with 'refs/' and contain at least two slashes.")
	case r.refs[name] != "":
		return refused(http.StatusUnprocessableEntity, "Reference already exists")
	case h.commit(r, to) == nil:
		return refused(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if h.clashes(r, name) || h.setRef(r, name, to) != nil {
		return refused(http.StatusUnprocessableEntity, "Reference update failed")
	}
	h.moved(r, []move{{name, "", to}}, c)
	return nil
}

// goodRef says whether git allows the name; refs/pull is GitHub's own.
func (h *Hub) goodRef(r *repo, name string) bool {
	_, err := h.git(r, "check-ref-format", name)
	return err == nil && !strings.HasPrefix(name, "refs/pull/")
}

// clashes says whether git cannot have the name beside those it has: a branch
// cannot be the folder of another.
func (h *Hub) clashes(r *repo, name string) bool {
	for other := range r.refs {
		if strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/") {
			return true
		}
	}
	return false
}

// updateRef is PATCH git/refs.
func (h *Hub) updateRef(r *repo, name string, to gate.SHA, force bool, c *caller) error {
	from := r.refs[name]
	switch {
	case from == "":
		return refused(http.StatusUnprocessableEntity, "Reference does not exist")
	case h.commit(r, to) == nil:
		return refused(http.StatusUnprocessableEntity, "Object does not exist")
	case from == to:
		return nil
	case !force && !h.contains(r, to, from):
		return refused(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	if err := h.pushable(r, name, from, to, c); err != nil {
		return err
	}
	if err := h.setRef(r, name, to); err != nil {
		return err
	}
	h.moved(r, []move{{name, from, to}}, c)
	return nil
}

// deleteRef is DELETE git/refs.
func (h *Hub) deleteRef(r *repo, name string, c *caller) error {
	from := r.refs[name]
	if from == "" {
		return refused(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if name == "refs/heads/"+r.defaultBranch {
		return refused(http.StatusUnprocessableEntity, "Cannot delete the default branch")
	}
	if err := h.pushable(r, name, from, "", c); err != nil {
		return err
	}
	if err := h.setRef(r, name, ""); err != nil {
		return err
	}
	h.moved(r, []move{{name, from, ""}}, c)
	return nil
}

// resolve gives the commit that a branch, a ref without "refs/" or a commit id
// names; "" for none.
func (h *Hub) resolve(r *repo, name string) gate.SHA {
	for _, ref := range []string{"refs/heads/" + name, "refs/" + name, "refs/tags/" + name} {
		if id := r.refs[ref]; id != "" {
			return id
		}
	}
	if c := h.commit(r, gate.SHA(name)); c != nil {
		return c.id
	}
	return ""
}

// branchesAt lists the branches whose tip is the commit.
func (r *repo) branchesAt(c gate.SHA) []string {
	var all []string
	for ref, tip := range r.refs {
		if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok && tip == c {
			all = append(all, branch)
		}
	}
	slices.Sort(all)
	return all
}
