package localhub

import "mergegate/gate"

// AddUser makes an account with a token, or gives the one of that name.
func (h *Hub) AddUser(login string) (User, error) { return User{}, errNotYet }

// AddOrg makes an organization.
func (h *Hub) AddOrg(login string) error { return errNotYet }

// AddRepo makes a public repository, owner/name, with one commit on main.
func (h *Hub) AddRepo(repo string) error { return errNotYet }

// Collaborate gives an account a role in a repository.
func (h *Hub) Collaborate(repo, login string, role gate.Role) error { return errNotYet }

// CloneURL is where git reaches a repository. A push needs a user's or an
// installation's token as the password.
func (h *Hub) CloneURL(repo string) string { return h.URL + "/" + repo + ".git" }

// Fork copies a repository to another owner and gives its name.
func (h *Hub) Fork(repo, by string) (string, error) { return "", errNotYet }

// CreateLabel adds a label to a repository.
func (h *Hub) CreateLabel(repo, name, color string) error { return errNotYet }

// OpenPR opens a pull request. head is a branch, or owner:branch of a fork.
func (h *Hub) OpenPR(repo, by, head, base, title string) (int, error) { return 0, errNotYet }

// CreateIssue opens an issue.
func (h *Hub) CreateIssue(repo, by, title, body string) (int, error) { return 0, errNotYet }

// Review submits a review of the pull request's current head.
func (h *Hub) Review(repo string, n int, by string, s gate.ReviewState) error { return errNotYet }

// Dismiss dismisses every review of the reviewer.
func (h *Hub) Dismiss(repo string, n int, by, reviewer string) error { return errNotYet }

// Label puts a label on an issue or pull request, and creates it if need be.
func (h *Hub) Label(repo string, n int, by, label string) error { return errNotYet }

// Unlabel takes it off.
func (h *Hub) Unlabel(repo string, n int, by, label string) error { return errNotYet }

// Comment writes a comment and gives its id.
func (h *Hub) Comment(repo string, n int, by, body string) (int64, error) { return 0, errNotYet }

// EditComment changes anybody's comment, as a writer may.
func (h *Hub) EditComment(repo string, id int64, by, body string) error { return errNotYet }

// DeleteComment deletes anybody's comment, as a writer may.
func (h *Hub) DeleteComment(repo string, id int64, by string) error { return errNotYet }

// Close closes an issue or pull request.
func (h *Hub) Close(repo string, n int, by string) error { return errNotYet }

// Reopen opens it again.
func (h *Hub) Reopen(repo string, n int, by string) error { return errNotYet }

// Draft makes a pull request a draft, or ready for review.
func (h *Hub) Draft(repo string, n int, by string, draft bool) error { return errNotYet }

// Retitle changes the title of an issue or pull request.
func (h *Hub) Retitle(repo string, n int, by, title string) error { return errNotYet }

// Retarget changes the base branch of a pull request.
func (h *Hub) Retarget(repo string, n int, by, base string) error { return errNotYet }

// Merge presses the merge button.
func (h *Hub) Merge(repo string, n int, by string, method gate.Method) error { return errNotYet }

// Protection is what a protected branch demands, by classic branch protection
// or, with Protect's ruleset form, by a ruleset.
type Protection struct {
	Approvals     int      // reviews by writers; 0: none
	DismissStale  bool     // a push dismisses approvals
	Checks        []string // required contexts
	Strict        bool     // the head must contain the base tip
	Bypass        []string // logins (slug[bot] for an App) that the rules do not bind
	EnforceAdmins bool     // administrators are bound too (classic only; rulesets always do)
}

// Protect sets the classic protection of a branch; nil removes it.
func (h *Hub) Protect(repo, branch string, p *Protection) error { return errNotYet }

// Ruleset adds an active ruleset for a branch. MergeQueue adds the rule of
// GitHub's own queue; Unknown adds a rule of a type that no library knows.
type Ruleset struct {
	Name       string
	Branch     string
	Protection Protection
	MergeQueue bool
	Unknown    bool
}

// AddRuleset adds the ruleset and gives its id.
func (h *Hub) AddRuleset(repo string, r Ruleset) (int64, error) { return 0, errNotYet }

// SetMergeMethods allows exactly these ways for the merge button. gate.FastForward
// is not one of GitHub's and is ignored.
func (h *Hub) SetMergeMethods(repo string, methods ...gate.Method) error { return errNotYet }

// Archive makes a repository read-only.
func (h *Hub) Archive(repo string) error { return errNotYet }

// SetPrivate hides a repository from everybody but its collaborators and Apps.
func (h *Hub) SetPrivate(repo string, private bool) error { return errNotYet }

// Rename gives a repository another name; the old one redirects.
func (h *Hub) Rename(repo, name string) error { return errNotYet }

// Tip is the commit of a branch.
func (h *Hub) Tip(repo, branch string) (gate.SHA, error) { return "", errNotYet }

// Status posts a commit status.
func (h *Hub) Status(repo string, c gate.SHA, by, context, state, text string) error {
	return errNotYet
}

// CreateApp makes an App whose owner is the account. hookURL "" makes its
// webhook inactive.
func (h *Hub) CreateApp(owner, name, hookURL string) (App, error) { return App{}, errNotYet }

// InstallApp installs the App on repositories of one owner and gives the
// installation's id. Again for the same owner adds repositories.
func (h *Hub) InstallApp(app int64, repos ...string) (int64, error) { return 0, errNotYet }

// RemoveFromApp takes repositories out of an installation.
func (h *Hub) RemoveFromApp(installation int64, repos ...string) error { return errNotYet }

// SetHookURL points the App's webhook elsewhere; "" switches it off.
func (h *Hub) SetHookURL(app int64, url string) error { return errNotYet }

// Suspend suspends an installation, or lifts the suspension.
func (h *Hub) Suspend(installation int64, suspended bool) error { return errNotYet }

// Uninstall removes an installation.
func (h *Hub) Uninstall(installation int64) error { return errNotYet }

// CheckRun makes a check run by the App named ci (created when it is not
// there). conclusion "" leaves it in progress. A run of the same name by the
// same App on the commit is updated.
func (h *Hub) CheckRun(repo string, c gate.SHA, ci, name, conclusion string) (int64, error) {
	return 0, errNotYet
}

// Press presses a button of a check run.
func (h *Hub) Press(repo string, run int64, by, identifier string) error { return errNotYet }

// Rerun presses "Re-run" of a check run.
func (h *Hub) Rerun(repo string, run int64, by string) error { return errNotYet }

// Redeliver sends a webhook delivery again, as the button in the App's settings does.
func (h *Hub) Redeliver(delivery int64) error { return errNotYet }

// Settle waits until every webhook emitted so far has been delivered or has failed.
func (h *Hub) Settle() {}

// Fault makes matching requests go wrong until it has struck often enough or
// lift is called.
func (h *Hub) Fault(f Fault) (lift func()) { return func() {} }

// Exchanges are the REST requests so far, oldest first.
func (h *Hub) Exchanges() []Exchange { return nil }

// ExpireTokens makes every installation token invalid, as time does.
func (h *Hub) ExpireTokens() {}
