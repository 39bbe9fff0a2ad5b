package forgetest

import (
	"slices"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// What judges read. It is the truth, without lag and without being counted.

// Tip is where a branch is; "" when it does not exist.
func (s *Sim) Tip(r gate.Repo, branch string) gate.SHA { return s.Ref(r, "refs/heads/"+branch) }

// Ref is where a ref is; "" when it does not exist.
func (s *Sim) Ref(r gate.Repo, ref string) gate.SHA {
	s.mu.Lock()
	defer s.mu.Unlock()
	return idOf(s.repos[r].tip(ref))
}

// Tree is a commit's tree.
func (s *Sim) Tree(c gate.SHA) gate.SHA {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.git.commits[c].tree.id
}

// Files are a commit's files.
func (s *Sim) Files(c gate.SHA) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := map[string]string{}
	for _, e := range s.git.commits[c].tree.entries {
		files[e.path] = e.text
	}
	return files
}

// Parents are a commit's parents.
func (s *Sim) Parents(c gate.SHA) []gate.SHA {
	s.mu.Lock()
	defer s.mu.Unlock()
	return parentIDs(s.git.commits[c])
}

// IsAncestor says whether a is b or reachable from it.
func (s *Sim) IsAncestor(a, b gate.SHA) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.git.isAncestor(s.git.commits[a], s.git.commits[b])
}

// MergeBase is the best common ancestor; "" when there is none.
func (s *Sim) MergeBase(a, b gate.SHA) gate.SHA {
	s.mu.Lock()
	defer s.mu.Unlock()
	bases := s.git.mergeBases(s.git.commits[a], s.git.commits[b])
	if len(bases) == 0 {
		return ""
	}
	return bases[0].id
}

// PatchIDs are the identities of what head changes on top of base, commit by
// commit, without merges that add nothing.
func (s *Sim) PatchIDs(base, head gate.SHA) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.git.changes(s.git.commits[base], s.git.commits[head]) {
		if d := s.git.diff(c); len(c.parents) < 2 || !d.empty {
			ids = append(ids, d.patch)
		}
	}
	return ids
}

// Statuses are the newest words of each context on a commit.
func (s *Sim) Statuses(r gate.Repo, c gate.SHA) []gate.Check {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.repos[r].statuses[c])
}

// Comments are the comments of an issue or a pull request, oldest first.
func (s *Sim) Comments(r gate.Repo, n int) (out []forge.Comment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.repos[r].threads[n]
	if t == nil {
		return nil
	}
	for _, c := range t.comments {
		if said, ok := c.asOf(time.Now()); ok {
			out = append(out, said)
		}
	}
	return out
}

// PullRequest is a pull request as it is; a zero one when there is none.
func (s *Sim) PullRequest(r gate.Repo, n int) gate.PR {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.repos[r].pull(n)
	if err != nil {
		return gate.PR{}
	}
	return p.now()
}

// Reviews are the reviews of a pull request, oldest first.
func (s *Sim) Reviews(r gate.Repo, n int) (out []gate.Review) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.repos[r].pull(n)
	if err != nil {
		return nil
	}
	for _, v := range p.reviews {
		out = append(out, gate.Review{By: v.by, State: v.state, Commit: v.commit, Counts: v.official, Dismissed: !v.dismissed.IsZero(), At: v.at})
	}
	return out
}

// PullRequests are all pull requests, open or not, by number.
func (s *Sim) PullRequests(r gate.Repo) (out []gate.PR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.repos[r].pulls {
		out = append(out, p.now())
	}
	return out
}

// OpenRequests are the open pull requests that carry the label.
func (s *Sim) OpenRequests(r gate.Repo, label string) (out []gate.PR) {
	return slices.DeleteFunc(s.PullRequests(r), func(p gate.PR) bool { return !p.Open || !p.Has(label) })
}

// Role is what somebody may do.
func (s *Sim) Role(r gate.Repo, u gate.User) gate.Role {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repos[r].roles[u.ID]
}
