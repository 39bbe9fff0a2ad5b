package forgetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// What happens to the world, for people and replicas alike. Every function here
// is called with the lock held, and writes the log and the webhooks.

// may refuses who does not have the role.
func (r *simRepo) may(u gate.User, role gate.Role) error {
	if r.roles[u.ID] < role {
		return refuse(403, u.Login+" has no "+role.String()+" access")
	}
	return nil
}

// setRef moves a ref, whoever asks, and all that follows for pull requests.
func (s *Sim) setRef(a actor, r *simRepo, ref string, to *commit, op string) {
	from := r.tip(ref)
	if from == to {
		return
	}
	r.refs[ref] = append(r.refs[ref], refAt{time.Now(), to})
	s.store(r.have, to)
	if op == OpRef {
		s.note(a, Entry{Op: OpRef, Repo: r.name, Ref: ref, From: idOf(from), To: idOf(to)})
	}
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	if !ok {
		return
	}
	if to == nil {
		s.branchGone(a, r, branch)
		return
	}
	s.news = append(s.news, forge.Event{Repo: r.name, Branch: branch, Sender: a.user})
	for _, repo := range s.family(r) {
		for _, p := range repo.pulls {
			pr := p.now()
			switch {
			case !pr.Open:
			case p.source == r && pr.HeadBranch == branch:
				s.headMoved(a, p, to)
			case repo == r && pr.Base == branch:
				p.checked = time.Now().Add(s.check)
			}
		}
	}
}

// family is the repository and those whose pull requests may come from it.
func (s *Sim) family(r *simRepo) []*simRepo {
	if r.parent != nil {
		return []*simRepo{r, r.parent}
	}
	return []*simRepo{r}
}

func idOf(c *commit) gate.SHA {
	if c == nil {
		return ""
	}
	return c.id
}

// headMoved is a push to a pull request's branch. A review becomes stale when
// the push changed a file in a way that neither the old head nor base explains,
// as Gitea sees it.
func (s *Sim) headMoved(a actor, p *pull, to *commit) {
	old := s.git.commits[p.now().Head]
	p.change(true, func(pr *gate.PR) { pr.Head = to.id })
	p.checked = time.Now().Add(s.check)
	p.events = append(p.events, happened{at: time.Now(), kind: "push", by: a.user})
	s.store(p.repo.have, to)
	s.tell(a, p.repo, p.thread.number)
	if old == nil || !s.contentChanged(p, old, to) {
		return
	}
	protection := p.repo.protected[p.now().Base]
	for _, v := range p.reviews {
		v.stale = true
		if protection.DismissStale && v.state == gate.Approved && v.dismissed.IsZero() {
			v.dismissed = time.Now()
		}
	}
}

func (s *Sim) contentChanged(p *pull, old, new *commit) bool {
	base := p.repo.tip("refs/heads/" + p.now().Base)
	if base == nil {
		return true
	}
	bases := s.git.mergeBases(base, new)
	if len(bases) == 0 {
		return true
	}
	changed := false
	eachChange(old.tree, new.tree, func(path, _, text string) {
		there, _ := bases[0].tree.at(path)
		changed = changed || text != there
	})
	return changed
}

// branchGone closes the pull requests from a deleted branch and turns those
// onto it to the default branch.
func (s *Sim) branchGone(a actor, r *simRepo, branch string) {
	for _, repo := range s.family(r) {
		for _, p := range repo.pulls {
			pr := p.now()
			switch {
			case !pr.Open:
			case p.source == r && pr.HeadBranch == branch:
				p.source = nil
				s.closeThread(a, repo, p.thread)
			case repo == r && pr.Base == branch:
				_ = s.retarget(a, p, r.main)
			}
		}
	}
}

func (s *Sim) retarget(a actor, p *pull, base string) error {
	if p.repo.tip("refs/heads/"+base) == nil {
		return refuse(404, "")
	}
	if p.now().Merged {
		return refuse(422, "merged")
	}
	from := p.now().Base
	if from == base {
		return nil
	}
	p.change(true, func(pr *gate.PR) { pr.Base = base })
	p.events = append(p.events, happened{at: time.Now(), kind: "retarget", by: a.user})
	p.checked = time.Now().Add(s.check)
	s.note(a, Entry{Op: OpRetarget, Repo: p.repo.name, PR: p.thread.number, Ref: base, Text: from})
	s.tell(a, p.repo, p.thread.number)
	return nil
}

func (s *Sim) closeThread(a actor, r *simRepo, t *thread) {
	if !t.open {
		return
	}
	t.open = false
	op := OpCloseIssue
	if t.pull != nil {
		op = OpClose
		t.pull.change(true, func(pr *gate.PR) { pr.Open = false })
		s.tell(a, r, t.number)
	}
	s.note(a, Entry{Op: op, Repo: r.name, PR: t.number})
}

func (s *Sim) newThread(r *simRepo, by gate.User, title, body string) *thread {
	r.nextNumber++
	t := &thread{number: r.nextNumber, by: by, title: title, body: body, open: true}
	r.threads[t.number] = t
	return t
}

func (s *Sim) openPull(a actor, r, source *simRepo, branch, base, title string) (*pull, error) {
	head, tip := source.tip("refs/heads/"+branch), r.tip("refs/heads/"+base)
	if head == nil || tip == nil {
		return nil, refuse(404, "")
	}
	for _, p := range r.pulls {
		if pr := p.now(); pr.Open && p.source == source && pr.HeadBranch == branch && pr.Base == base {
			return nil, refuse(409, "there is such a pull request already")
		}
	}
	t := s.newThread(r, a.user, title, "")
	now := time.Now()
	p := &pull{thread: t, repo: r, source: source, edits: true, checked: now.Add(s.check)}
	t.pull = p
	p.past = []pullAt{{now, gate.PR{
		Number: t.number, Title: title, URL: fmt.Sprintf("%s/%s/pulls/%d", simURL, r.name, t.number), Author: a.user, Open: true,
		Base: base, Head: head.id, HeadBranch: branch, Updated: now.Truncate(time.Second),
	}}}
	r.pulls = append(r.pulls, p)
	s.store(r.have, head)
	s.note(a, Entry{Op: OpOpen, Repo: r.name, PR: t.number, Ref: base, To: head.id, Text: title})
	s.tell(a, r, t.number)
	return p, nil
}

func (s *Sim) label(a actor, p *pull, label string) error {
	i := slices.IndexFunc(p.repo.labels, func(l string) bool { return strings.EqualFold(l, label) })
	if i < 0 {
		return refuse(404, "there is no label "+label)
	}
	label = p.repo.labels[i]
	if pr := p.now(); !slices.Contains(pr.Labels, label) {
		p.change(true, func(pr *gate.PR) { pr.Labels = append(slices.Clip(pr.Labels), label) })
		p.events = append(p.events, happened{at: time.Now(), kind: "label", by: a.user, label: label})
		s.note(a, Entry{Op: OpLabel, Repo: p.repo.name, PR: p.thread.number, Ref: label})
	}
	s.tell(a, p.repo, p.thread.number)
	return nil
}

func (s *Sim) unlabel(a actor, p *pull, label string) {
	if !p.now().Has(label) {
		return
	}
	p.change(true, func(pr *gate.PR) {
		pr.Labels = slices.DeleteFunc(slices.Clone(pr.Labels), func(l string) bool { return strings.EqualFold(l, label) })
	})
	p.events = append(p.events, happened{at: time.Now(), kind: "unlabel", by: a.user, label: label})
	s.note(a, Entry{Op: OpUnlabel, Repo: p.repo.name, PR: p.thread.number, Ref: label})
	s.tell(a, p.repo, p.thread.number)
}

func (s *Sim) comment(a actor, r *simRepo, t *thread, body string) (*comment, error) {
	if body == "" {
		return nil, refuse(422, "the body is empty")
	}
	now := time.Now()
	c := &comment{id: s.id(), by: a.user, made: now, edits: []edit{{now, body}}}
	t.comments = append(t.comments, c)
	r.comments[c.id] = place{t, c}
	s.note(a, Entry{Op: OpComment, Repo: r.name, PR: t.number, ID: c.id, Text: body})
	if p := t.pull; p != nil {
		p.change(true, func(*gate.PR) {})
		p.events = append(p.events, happened{at: now, kind: "comment", by: a.user, comment: c})
		s.news = append(s.news, forge.Event{Repo: r.name, PR: t.number, Sender: a.user, Comment: c.id, Text: body})
	}
	return c, nil
}

func (s *Sim) editComment(a actor, r *simRepo, id int64, body string) error {
	p, err := r.comment(id)
	if err != nil {
		return err
	}
	if body == "" {
		return refuse(422, "the body is empty")
	}
	p.comment.edits = append(p.comment.edits, edit{time.Now(), body})
	s.note(a, Entry{Op: OpEditComment, Repo: r.name, PR: p.thread.number, ID: id, Text: body})
	if p.thread.pull != nil {
		s.tell(a, r, p.thread.number)
	}
	return nil
}

func (s *Sim) deleteComment(a actor, r *simRepo, id int64) error {
	p, err := r.comment(id)
	if err != nil {
		return err
	}
	p.comment.deleted = time.Now()
	s.note(a, Entry{Op: OpDeleteComment, Repo: r.name, PR: p.thread.number, ID: id})
	if p.thread.pull != nil {
		s.tell(a, r, p.thread.number)
	}
	return nil
}

// status takes any word from any writer, as Gitea does.
func (s *Sim) status(a actor, r *simRepo, c gate.SHA, st forge.Status) error {
	if err := r.may(a.user, gate.RoleWrite); err != nil {
		return err
	}
	if at := s.git.commits[c]; at == nil || !r.have[at] {
		return refuse(500, "")
	}
	state := gate.CheckPending
	switch st.State {
	case forge.StatusSuccess:
		state = gate.CheckPassed
	case forge.StatusFailure, forge.StatusError:
		state = gate.CheckFailed
	}
	check := gate.Check{Context: st.Context, State: state, Text: st.Text, URL: st.URL, By: a.user, At: time.Now().Truncate(time.Second)}
	list := slices.DeleteFunc(slices.Clone(r.statuses[c]), func(o gate.Check) bool { return o.Context == st.Context })
	r.statuses[c] = append(list, check)
	s.note(a, Entry{Op: OpStatus, Repo: r.name, Ref: st.Context, To: c, Text: st.Text, State: string(st.State)})
	s.news = append(s.news, forge.Event{Repo: r.name, Commit: c, Sender: a.user})
	return nil
}

// store puts a commit and all it rests on into a place that keeps objects.
func (s *Sim) store(have map[*commit]bool, c *commit) {
	if c == nil || have[c] {
		return
	}
	have[c] = true
	for _, p := range c.parents {
		s.store(have, p)
	}
}
