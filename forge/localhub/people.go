package localhub

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"mergegate/gate"
)

// User is an account and a personal access token for it.
type User struct {
	ID    int64
	Login string
	Token string
}

// as runs f with the hub locked, as the account.
func (h *Hub) as(login string, f func(*caller) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.whois(login)
	switch {
	case h.ctx.Err() != nil:
		return errStopped
	case a == nil:
		return fmt.Errorf("nobody here is called %q", login)
	}
	return f(&caller{account: a})
}

// in is as, in a repository.
func (h *Hub) in(full, login string, f func(*repo, *caller) error) error {
	return h.as(login, func(c *caller) error {
		r := h.find(full)
		if r == nil {
			return fmt.Errorf("there is no repository %q", full)
		}
		return f(r, c)
	})
}

// on is in, on an issue or pull request.
func (h *Hub) on(full string, n int, login string, f func(*issue, *caller) error) error {
	return h.in(full, login, func(r *repo, c *caller) error {
		i := r.issues[n]
		if i == nil {
			return fmt.Errorf("there is no #%d in %s", n, full)
		}
		return f(i, c)
	})
}

// onPull is on, for pull requests only.
func (h *Hub) onPull(full string, n int, login string, f func(*issue, *caller) error) error {
	return h.on(full, n, login, func(i *issue, c *caller) error {
		if i.pull == nil {
			return fmt.Errorf("#%d of %s is an issue", n, full)
		}
		return f(i, c)
	})
}

// owner is the login that acts when nobody is named.
func owner(full string) string { return full[:max(0, strings.Index(full, "/"))] }

// AddUser makes an account with a token, or gives the one of that name a new
// token.
func (h *Hub) AddUser(login string) (User, error) { return h.addAccount(login, "User") }

// AddOrg makes an organization.
func (h *Hub) AddOrg(login string) error {
	_, err := h.addAccount(login, "Organization")
	return err
}

func (h *Hub) addAccount(login, kind string) (User, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if login == "" || strings.ContainsAny(login, "/ ?#%\\") {
		return User{}, fmt.Errorf("%q is not a login", login)
	}
	a := h.whois(login)
	if a == nil {
		a = h.newAccount(login, kind)
	}
	secret := make([]byte, 18)
	_, _ = rand.Read(secret) // never fails
	token := "ghp_" + hex.EncodeToString(secret)
	h.tokens[token] = &caller{account: a}
	return User{a.id, a.login, token}, nil
}

// AddRepo makes a public repository, owner/name, with one commit on main, every
// way of merging allowed and no labels.
func (h *Hub) AddRepo(full string) error {
	return h.AddRepoWith(full, map[string]string{"README.md": "# " + full + "\n"})
}

// AddRepoWith is AddRepo with these files in the first commit.
func (h *Hub) AddRepoWith(full string, files map[string]string) error {
	return h.as(owner(full), func(c *caller) error {
		r, err := h.newRepo(c.account, full[len(owner(full))+1:])
		if err != nil {
			return err
		}
		if err := h.initGit(r); err != nil {
			return err
		}
		tree, err := h.writeFiles(r, "", files)
		if err != nil {
			return err
		}
		id, err := h.write(r, tree, "Initial commit", h.ident(c.account), h.ident(c.account))
		if err != nil {
			return err
		}
		return h.setRef(r, "refs/heads/main", id)
	})
}

func (h *Hub) newRepo(by *account, name string) (*repo, error) {
	full := by.login + "/" + name
	if name == "" || strings.ContainsAny(name, "/ ?#%\\") || h.find(full) != nil {
		return nil, fmt.Errorf("%q cannot be the name of a new repository", full)
	}
	r := &repo{
		id: h.id(), owner: by, name: name, defaultBranch: "main", methods: []gate.Method{gate.Merge, gate.Squash, gate.Rebase},
		roles: map[*account]gate.Role{}, created: now(), pushed: now(), refs: map[string]gate.SHA{}, commits: map[gate.SHA]*commit{},
		issues: map[int]*issue{}, comments: map[int64]*comment{}, statuses: map[gate.SHA][]*status{}, runs: map[int64]*run{},
		protections: map[string]*Protection{},
	}
	h.repos[r.id] = r
	h.names[strings.ToLower(full)] = r
	return r, nil
}

// Fork copies a repository to another account and gives the copy's name.
func (h *Hub) Fork(full, by string) (string, error) {
	var name string
	err := h.in(full, by, func(r *repo, c *caller) error {
		f, err := h.newRepo(c.account, r.name)
		if err != nil {
			return err
		}
		f.parent, f.private, name = r, r.private, f.full()
		if err := h.initGit(f); err != nil {
			return err
		}
		d, err := f.git.Remote(r.git.Path, "")
		if err != nil {
			return err
		}
		if _, err := d.Run(h.ctx, "", "fetch", "-q", r.git.Path, "+refs/heads/*:refs/heads/*"); err != nil {
			return err
		}
		return h.readRefs(f)
	})
	return name, err
}

// Collaborate gives an account a role in a repository; gate.RoleNone takes it.
func (h *Hub) Collaborate(full, login string, role gate.Role) error {
	return h.in(full, login, func(r *repo, c *caller) error {
		r.roles[c.account] = role
		if role <= gate.RoleNone {
			delete(r.roles, c.account)
		}
		return nil
	})
}

// CloneURL is where git reaches a repository. A push needs a user's or an
// installation's token as the password.
func (h *Hub) CloneURL(full string) string { return h.URL + "/" + full + ".git" }

// Commit writes files on a branch, which begins at main when it is new, and
// gives the new tip. An empty text deletes a file.
func (h *Hub) Commit(full, by, branch, message string, files map[string]string) (tip gate.SHA, err error) {
	err = h.in(full, by, func(r *repo, c *caller) error {
		ref := "refs/heads/" + branch
		from := r.refs[ref]
		parent := from
		if parent == "" {
			parent = r.tip(r.defaultBranch)
		}
		tree, err := h.writeFiles(r, parent, files)
		if err != nil {
			return err
		}
		if tip, err = h.write(r, tree, message, h.ident(c.account), h.ident(c.account), parent); err != nil {
			return err
		}
		if err := h.pushable(r, ref, from, tip, c); err != nil {
			return err
		}
		if err := h.setRef(r, ref, tip); err != nil {
			return err
		}
		h.moved(r, []move{{ref, from, tip}}, c)
		return nil
	})
	return tip, err
}

// Tip is the commit of a branch; "" when there is none.
func (h *Hub) Tip(full, branch string) (tip gate.SHA, err error) {
	err = h.in(full, owner(full), func(r *repo, _ *caller) error {
		tip = r.tip(branch)
		return nil
	})
	return tip, err
}

// DeleteBranch deletes a branch, which closes its pull requests.
func (h *Hub) DeleteBranch(full, by, branch string) error {
	return h.in(full, by, func(r *repo, c *caller) error { return h.deleteRef(r, "refs/heads/"+branch, c) })
}

// CreateLabel adds a label to a repository.
func (h *Hub) CreateLabel(full, name, color string) error {
	return h.in(full, owner(full), func(r *repo, _ *caller) error {
		if r.label(name) != nil {
			return invalid("Label", "name", "already_exists")
		}
		r.labels = append(r.labels, &label{id: h.id(), name: name, color: color})
		return nil
	})
}

// OpenPR opens a pull request and gives its number. head is a branch, or
// owner:branch of a fork.
func (h *Hub) OpenPR(full, by, head, base, title string) (n int, err error) {
	err = h.in(full, by, func(r *repo, c *caller) error {
		i, err := h.openPull(r, c, head, base, title, "", false, true)
		if err == nil {
			n = i.number
		}
		return err
	})
	return n, err
}

// CreateIssue opens an issue and gives its number.
func (h *Hub) CreateIssue(full, by, title, body string) (n int, err error) {
	err = h.in(full, by, func(r *repo, c *caller) error {
		n = h.newIssue(r, c, title, body).number
		return nil
	})
	return n, err
}

// Review submits a review of the pull request's current head.
func (h *Hub) Review(full string, n int, by string, s gate.ReviewState) error {
	state := map[gate.ReviewState]string{gate.Approved: "APPROVED", gate.ChangesRequested: "CHANGES_REQUESTED", gate.Commented: "COMMENTED"}[s]
	return h.onPull(full, n, by, func(i *issue, c *caller) error {
		_, err := h.submitReview(i, c, state, "I looked.", "")
		return err
	})
}

// Dismiss dismisses every approval and objection of the reviewer.
func (h *Hub) Dismiss(full string, n int, by, reviewer string) error {
	return h.onPull(full, n, by, func(i *issue, c *caller) error {
		for _, v := range i.pull.reviews {
			if equalFold(v.by.login, reviewer) && v.state != "COMMENTED" && v.state != "DISMISSED" {
				h.dismiss(i, v, c, "Not any more.")
			}
		}
		return nil
	})
}

// Label puts a label on an issue or pull request, and creates it if need be.
func (h *Hub) Label(full string, n int, by, label string) error {
	return h.on(full, n, by, func(i *issue, c *caller) error {
		h.putLabel(i, c, label)
		return nil
	})
}

// Unlabel takes it off.
func (h *Hub) Unlabel(full string, n int, by, label string) error {
	return h.on(full, n, by, func(i *issue, c *caller) error {
		h.takeLabel(i, c, label)
		return nil
	})
}

// Comment writes a comment and gives its id.
func (h *Hub) Comment(full string, n int, by, body string) (id int64, err error) {
	err = h.on(full, n, by, func(i *issue, c *caller) error {
		id = h.addComment(i, c, body).id
		return nil
	})
	return id, err
}

// EditComment changes a comment, whoever wrote it.
func (h *Hub) EditComment(full string, id int64, by, body string) error {
	return h.atComment(full, id, by, func(m *comment, c *caller) { h.editComment(m, c, body) })
}

// DeleteComment deletes a comment, whoever wrote it.
func (h *Hub) DeleteComment(full string, id int64, by string) error {
	return h.atComment(full, id, by, h.deleteComment)
}

func (h *Hub) atComment(full string, id int64, by string, f func(*comment, *caller)) error {
	return h.in(full, by, func(r *repo, c *caller) error {
		m := r.comments[id]
		if m == nil {
			return fmt.Errorf("there is no comment %d in %s", id, full)
		}
		f(m, c)
		return nil
	})
}

// Close closes an issue or pull request.
func (h *Hub) Close(full string, n int, by string) error { return h.state(full, n, by, false) }

// Reopen opens it again.
func (h *Hub) Reopen(full string, n int, by string) error { return h.state(full, n, by, true) }

func (h *Hub) state(full string, n int, by string, open bool) error {
	return h.on(full, n, by, func(i *issue, c *caller) error {
		if i.pull != nil && i.pull.merged {
			return fmt.Errorf("#%d of %s is merged", n, full)
		}
		h.setState(i, c, open)
		return nil
	})
}

// Draft makes a pull request a draft, or ready for review.
func (h *Hub) Draft(full string, n int, by string, draft bool) error {
	return h.onPull(full, n, by, func(i *issue, c *caller) error {
		h.setDraft(i, c, draft)
		return nil
	})
}

// Retitle changes the title of an issue or pull request.
func (h *Hub) Retitle(full string, n int, by, title string) error {
	return h.on(full, n, by, func(i *issue, c *caller) error {
		h.retitle(i, c, title)
		return nil
	})
}

// Retarget changes the base branch of a pull request.
func (h *Hub) Retarget(full string, n int, by, base string) error {
	return h.onPull(full, n, by, func(i *issue, c *caller) error { return h.retarget(i, c, base) })
}

// Merge presses the merge button.
func (h *Hub) Merge(full string, n int, by string, method gate.Method) error {
	return h.onPull(full, n, by, func(i *issue, c *caller) error {
		if err := h.allow(c, i.repo, "contents", "write", gate.RoleWrite); err != nil {
			return err
		}
		_, err := h.merge(i, c, string(method), "", "", "")
		return err
	})
}

// Protect sets the classic protection of a branch; nil removes it.
func (h *Hub) Protect(full, branch string, p *Protection) error {
	return h.in(full, owner(full), func(r *repo, _ *caller) error {
		if p == nil {
			delete(r.protections, branch)
			return nil
		}
		kept := *p
		r.protections[branch] = &kept
		return nil
	})
}

// AddRuleset adds the ruleset and gives its id.
func (h *Hub) AddRuleset(full string, rules Ruleset) (id int64, err error) {
	err = h.in(full, owner(full), func(r *repo, _ *caller) error {
		id = h.id()
		r.rulesets = append(r.rulesets, &ruleset{id, rules, now()})
		return nil
	})
	return id, err
}

// RemoveRuleset takes a ruleset away; nothing happens when there is none.
func (h *Hub) RemoveRuleset(full string, id int64) error {
	return h.in(full, owner(full), func(r *repo, _ *caller) error {
		r.rulesets = slices.DeleteFunc(r.rulesets, func(s *ruleset) bool { return s.id == id })
		return nil
	})
}

// SetMergeMethods allows exactly these ways for the merge button.
// gate.FastForward is not one of GitHub's and means nothing here.
func (h *Hub) SetMergeMethods(full string, methods ...gate.Method) error {
	return h.in(full, owner(full), func(r *repo, _ *caller) error {
		r.methods = slices.Clone(methods)
		return nil
	})
}

// Archive makes a repository read-only.
func (h *Hub) Archive(full string) error {
	return h.in(full, owner(full), func(r *repo, _ *caller) error {
		r.archived = true
		return nil
	})
}

// SetPrivate hides a repository from everybody but its collaborators and Apps.
func (h *Hub) SetPrivate(full string, private bool) error {
	return h.in(full, owner(full), func(r *repo, _ *caller) error {
		r.private = private
		return nil
	})
}

// Rename gives a repository another name; the old one redirects.
func (h *Hub) Rename(full, name string) error {
	return h.in(full, owner(full), func(r *repo, c *caller) error {
		return h.rename(r, c, name)
	})
}

// Status posts a commit status.
func (h *Hub) Status(full string, id gate.SHA, by, context, state, text string) error {
	return h.in(full, by, func(r *repo, c *caller) error {
		_, err := h.setStatus(r, c, id, state, context, text, "")
		return err
	})
}
